//! Handlers that fail in every way: the only fault is theirs.

use crate::catalogue::{Drill, Load};
use crate::work::{How, Work};
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "failing-jobs",
    summary: "handlers that fail k times, panic, give up, take too long, or end with huge and NUL error texts",
    duration: Duration::from_secs(12),
    required: &[(Required::Success, 10), (Required::Retry, 5)],
    load: Load { pause: Duration::from_millis(80), timeout: "500ms", ..Drill::CALM.load },
    work,
    touches_only_processes: true,
    ..Drill::CALM
};

fn work(rng: &mut StdRng, number: u64) -> Work {
    let how = [None, Some(How::Error), Some(How::Panic), Some(How::Fatal)];
    let more = [Some(How::Slow), Some(How::Huge), Some(How::Nul), Some(How::Error)];
    let at = usize::try_from(number % 8).unwrap_or(0);
    let fail = how.into_iter().chain(more).nth(at).flatten();
    // One in three fails more often than it may: it ends as failed.
    Work { ms: 20, tx: number.is_multiple_of(3), fail, times: rng.random_range(1..=5), ..Work::calm(rng, number) }
}
