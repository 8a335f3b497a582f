//! The disks of the database fill up: first that of the tables, then that of the write-ahead log.

use crate::catalogue::{Drill, Load, Scene, SmallDisks};
use crate::faults::{DiskFull, Fault};
use crate::needs::Need;
use crate::schedule::{Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "disk-full",
    summary: "the disk of the tables is full, then that of the write-ahead log: errors, then a panic; space is given back",
    duration: Duration::from_secs(17),
    // It needs to mount disks, which not every place that runs the tests may do.
    fast: false,
    required: &[(Required::Success, 10), (Required::Outage, 2), (Required::FailedEnqueue, 1)],
    needs: &[Need::Mounts, Need::Program("nsenter", "util-linux"), Need::Program("setpriv", "util-linux")],
    scene: Scene {
        disks: Some(SmallDisks { tables_mib: 64, wal_mib: 128 }),
        settings: &[("min_wal_size", "32MB"), ("max_wal_size", "64MB")],
        ..Drill::CALM.scene
    },
    load: Load { clients: 4, ..Drill::CALM.load },
    plan,
    work: |rng, number| Work { ms: rng.random_range(20..800), ..Work::calm(rng, number) },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = [DiskFull::Tables, DiskFull::Wal].map(|fault| Turn {
        fault: Fault::DiskFull(fault),
        for_ms: 2 * frame.ttl_ms + rng.random_range(0..500),
        rest_ms: 3000 + rng.random_range(0..500),
    });
    in_turn(frame, turns)
}
