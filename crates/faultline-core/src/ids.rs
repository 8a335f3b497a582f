//! The ids that cross crate boundaries. Each is a UUID; the newtypes keep them from being mixed up.

use rand::Rng;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
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
    /// An id of now. Those that one process makes one after the other are in order within a millisecond too, so that a batch goes to the end
    /// of the primary key's index: of the random bits twelve are the fraction of the millisecond (RFC 9562, section 6.2, method 3). Nothing may
    /// rest on that order: within a quarter of a microsecond there is none, and the process's clock may be set back.
    pub fn now(rng: &mut impl Rng) -> Self {
        Self::at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), rng)
    }

    fn at(since_epoch: Duration, rng: &mut impl Rng) -> Self {
        const NANOS_IN_MS: u32 = 1_000_000;
        let fraction = u64::from(since_epoch.subsec_nanos() % NANOS_IN_MS) * (1 << 12) / u64::from(NANOS_IN_MS);
        let unix_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(0);
        let mut rest = [0u8; 10];
        rng.fill_bytes(&mut rest[2..]);
        rest[..2].copy_from_slice(&fraction.to_be_bytes()[6..]);
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &rest).into_uuid())
    }

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

    #[test]
    fn ids_of_one_process_are_in_the_order_of_their_time_within_a_millisecond() {
        let mut rng = rand::rng();
        let from = Duration::from_millis(1_700_000_000_000);
        let ids: Vec<JobId> = (0..2100).map(|n| JobId::at(from + Duration::from_nanos(500 * n), &mut rng)).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        let ms = |id: JobId| id.0.get_timestamp().map(|time| time.to_unix());
        assert_eq!(ids[0].0.get_version_num(), 7);
        assert_eq!(ms(ids[1999]), ms(ids[0]), "999 µs later it is the same millisecond");
        assert!(ms(ids[2000]) > ms(ids[0]));
        assert_ne!(JobId::at(from, &mut rng), JobId::at(from, &mut rng));
    }

    #[test]
    fn an_id_of_now_has_the_time_of_now() {
        let ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let (before, id, after) = (ms(), JobId::now(&mut rand::rng()), ms());
        let own = id.0.as_u128() >> 80;
        assert!((before..=after).contains(&own));
    }
}
