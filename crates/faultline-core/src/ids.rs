//! The ids that cross crate boundaries. Each is a UUID; the newtypes keep them from being mixed up.

use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

id! {
    /// A job's id: a UUID of version 7, made by whoever enqueues, so that a repeated enqueue is the same row.
    JobId
}
id! {
    /// The fence of one claim: random, compared by equality, never ordered.
    LeaseId
}
id! {
    /// One incarnation of a worker process; never a host name, which a restart would share.
    WorkerId
}

impl JobId {
    /// An id of version 7 (RFC 9562, section 5.7) from the time in Unix milliseconds and 80 random bits.
    pub fn new(unix_ms: u64, rng: &mut impl Rng) -> Self {
        let mut random = [0u8; 10];
        rng.fill_bytes(&mut random);
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }
}

impl LeaseId {
    /// A random lease id (UUID version 4).
    pub fn new(rng: &mut impl Rng) -> Self {
        Self(random_v4(rng))
    }
}

impl WorkerId {
    /// A random worker id (UUID version 4).
    pub fn new(rng: &mut impl Rng) -> Self {
        Self(random_v4(rng))
    }
}

fn random_v4(rng: &mut impl Rng) -> Uuid {
    let mut random = [0u8; 16];
    rng.fill_bytes(&mut random);
    uuid::Builder::from_random_bytes(random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_of_version_7_and_ordered_by_its_time() {
        let mut rng = rand::rng();
        let earlier = JobId::new(1_700_000_000_000, &mut rng);
        let later = JobId::new(1_700_000_000_001, &mut rng);
        assert_eq!(earlier.0.get_version_num(), 7);
        assert!(earlier < later);
    }
}
