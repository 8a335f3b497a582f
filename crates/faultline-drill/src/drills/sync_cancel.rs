//! Commits hang since the synchronous standby is away; clients hang up, waits are cancelled, and everybody asks again.

use crate::catalogue::{Drill, Load, Scene, Standby};
use crate::faults::{Fault, Replication};
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "sync-cancel",
    summary: "the synchronous standby is away, waiting commits are cancelled and repeated; in the end the primary is lost",
    duration: Duration::from_secs(18),
    required: &[
        (Required::Success, 10),
        (Required::Outage, 2),
        (Required::BackendKill, 2),
        (Required::AmbiguousEnqueue, 1),
    ],
    scene: Scene { standby: Standby::Synchronous, ..Drill::CALM.scene },
    load: Load { clients: 4, patience: Duration::from_millis(800), ..Drill::CALM.load },
    plan,
    // A handler's own commit is its author's: Postgres calls it done when its wait is cancelled.
    work: |rng, number| Work { tx: false, ..Work::calm(rng, number) },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut away = |at_ms: u64, for_ms: u64, fault: Replication, rng: &mut StdRng| {
        steps.push(Step { at_ms, for_ms, fault: Fault::Replication(fault) });
        let mut cut_ms = at_ms + 300;
        while cut_ms + 200 < at_ms + for_ms {
            let terminate = rng.random_bool(0.3);
            steps.push(Step {
                at_ms: cut_ms,
                for_ms: 0,
                fault: Fault::Replication(Replication::CutWaits { terminate }),
            });
            cut_ms += rng.random_range(200..500);
        }
    };
    // Longer than a lease: who cannot renew must not lose its jobs for that.
    let first_ms = 2 * frame.ttl_ms + rng.random_range(500..1000);
    away(1500, first_ms, Replication::StandbyAway, rng);
    away(9000, rng.random_range(2000..3000), Replication::PrimaryLost, rng);
    steps
}
