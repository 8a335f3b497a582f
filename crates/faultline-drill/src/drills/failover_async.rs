//! A standby that has not received everything takes over: what it lacks is lost, and told exactly.

use crate::catalogue::{Drill, Load, Scene, Standby};
use crate::faults::{Fault, Outage, Replication};
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "failover-async",
    summary: "replication is cut, the primary dies, and the standby is promoted without what it never got",
    duration: Duration::from_secs(13),
    required: &[(Required::Success, 10), (Required::Outage, 1), (Required::LostAck, 1), (Required::RefusedZombie, 1)],
    scene: Scene { standby: Standby::Asynchronous, ..Drill::CALM.scene },
    load: Load { pause: Duration::from_millis(120), ..Drill::CALM.load },
    plan,
    work,
    settle: |run| run.asynchronous_failover = true,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, _: &Frame) -> Vec<Step> {
    let how = if rng.random_bool(0.5) { Outage::Immediate } else { Outage::Kill };
    let (cut_ms, at_ms) = (rng.random_range(1500..2500), rng.random_range(4500..5500));
    let away_ms = rng.random_range(300..1200);
    vec![
        Step { at_ms: cut_ms, for_ms: 0, fault: Fault::Replication(Replication::Cut) },
        Step { at_ms, for_ms: away_ms, fault: Fault::Replication(Replication::Failover { how }) },
    ]
}

/// Some jobs take longer than the failover: the new primary gives them to somebody else, while their first holders, which never
/// yield, go on. Both are on their first attempt.
fn work(rng: &mut StdRng, number: u64) -> Work {
    let calm = Work::calm(rng, number);
    if number % 6 < 4 {
        return calm;
    }
    Work { ms: rng.random_range(2500..4000), blocking: true, ..calm }
}
