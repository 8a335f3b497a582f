//! Leases of claims whose answer nobody has read yet.
//!
//! A claim runs on the runtime of the handlers. When they block all of its threads between a claim and its answer, the database has given
//! jobs to this worker of which it does not know: nobody would renew them, and others would reap jobs of a worker that is alive. So the
//! renewals, which have a thread of their own, look for the jobs of a claim that takes long, and renew them as well. The claim loop runs
//! them when it gets on. It costs a look at the queue's head, and a session, only while a claim is overdue.

use crate::link::Link;
use crate::worker::Shared;
use crate::worker::claim::RECOVER_BEYOND;
use crate::worker::deadline::BootTime;
use faultline_core::LeaseId;
use faultline_store::lease::{Floors, recover_claim};
use std::sync::Arc;
use std::time::Duration;

/// A claim that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) lease_id: LeaseId,
    pub(crate) queue: Arc<str>,
    pub(crate) floors: Floors,
    pub(crate) at: BootTime,
}

/// Adds the jobs of claims that have taken longer than `patience` to what is renewed. A failure is left to the next look: nothing is
/// lost before the lease is over, and the claim itself may be answered meanwhile.
pub(crate) async fn hold_unread(shared: &Shared, link: &Link, patience: Duration) {
    for sent in shared.registry.claims_sent() {
        if sent.at.elapsed() < patience {
            continue;
        }
        let look = link.call(async |session| {
            recover_claim(session, &sent.queue, sent.lease_id, &sent.floors, RECOVER_BEYOND).await
        });
        // The renewals of all other jobs wait for this.
        let Ok(found) = tokio::time::timeout(patience, look).await else { return };
        match found {
            Ok(found) => found.iter().for_each(|job| shared.registry.hold(job.id, &sent, shared.lease_ttl)),
            Err(error) => tracing::debug!(%error, "could not look for the jobs of a claim that takes long"),
        }
    }
}
