//! Old and new programs work on one schema: everything is exchanged one by one, under load, there and back and there again.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Database, Fault, Process, Version};
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "rolling-upgrade",
    summary: "API and workers are exchanged one by one for another version under load, the migrations applied in between",
    duration: Duration::from_secs(20),
    required: &[(Required::Success, 100), (Required::Shutdown, 4)],
    scene: Scene { versions: true, ..Drill::CALM.scene },
    load: Load { clients: 4, pause: Duration::from_millis(50), ..Drill::CALM.load },
    plan,
    work: |rng, number| Work { ms: rng.random_range(5..200), ..Work::calm(rng, number) },
    settle: |run| {
        run.uncounted = true;
        run.unhurt = true;
        run.uninterrupted = true;
    },
    fast: false,
    ..Drill::CALM
};

/// The schema first, as operators do it; then the API and the workers, in an order from the seed; some go back and forth.
fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut faults = vec![Fault::Database(Database::Migrate)];
    for version in [Version::New, Version::Old, Version::New] {
        let mut round: Vec<Fault> =
            (0..frame.workers).map(|worker| Fault::Process(Process::Exchange { worker, version })).collect();
        round.push(Fault::Process(Process::ExchangeApi { version }));
        round.shuffle(rng);
        faults.extend(round);
        faults.push(Fault::Database(Database::Migrate));
    }
    let apart_ms = frame.end_ms.saturating_sub(2000) / faults.len() as u64;
    faults.into_iter().zip(0..).map(|(fault, n)| Step { at_ms: 1000 + n * apart_ms, for_ms: 0, fault }).collect()
}
