//! A transaction that somebody forgot: while its snapshot is held, nothing that ends can be cleaned up.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Database, Fault};
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "held-snapshot",
    summary: "a repeatable-read session holds its snapshot for nearly the whole run, under load",
    duration: Duration::from_secs(18),
    required: &[(Required::Success, 200), (Required::HeldSnapshot, 1), (Required::Claim, 100)],
    scene: Scene { slots: 20, ..Drill::CALM.scene },
    load: Load { clients: 8, pause: Duration::from_millis(10), ..Drill::CALM.load },
    plan: |rng: &mut StdRng, frame: &Frame| {
        let at_ms = rng.random_range(1000..1500);
        let for_ms = frame.end_ms.saturating_sub(at_ms + 1000);
        vec![Step { at_ms, for_ms, fault: Fault::Database(Database::HeldSnapshot) }]
    },
    work: |_, _| Work { ms: 1, light: true, ..Work::default() },
    settle: |run| {
        run.unhurt = true;
        run.claim_p99_bound_us = 250_000;
    },
    fast: false,
    ..Drill::CALM
};
