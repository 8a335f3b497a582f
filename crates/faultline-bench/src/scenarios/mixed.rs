//! What real queues hold: payloads of different sizes, priorities, several queues, jobs that fail and are tried again.

use super::ways::{figure, over_time};
use crate::bench::Bench;
use crate::drain::{Drain, Drained};
use crate::duty::Side::Faultline;
use crate::duty::{FLAKY, NOOP};
use crate::error::Result;
use crate::figure::Outcome;
use crate::ground::Room;
use crate::load::{CHUNK, Load, fill, payload, through_library};
use faultline::Client;
use std::time::Duration;

/// Jobs of one measurement.
const JOBS: u64 = 100_000;
const QUEUES: [&str; 4] = ["bench-a", "bench-b", "bench-c", "bench-d"];
/// Of each queue; the plain drain beside it has as many in one.
const SLOTS: usize = 500;
/// One job in so many fails in its first attempt.
const FAILS_ONE_IN: u64 = 10;
/// Payloads of ten jobs, bytes: a mean of 1.5 KB.
const BYTES: [usize; 10] = [100, 100, 100, 100, 100, 100, 100, 1000, 3000, 10_000];
/// Failed attempts come back within this.
const BACKOFF: Duration = Duration::from_millis(100);

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let jobs = bench.options.jobs(JOBS);
    let mut outcome = bench.outcome(format!(
        "{jobs} jobs over {} queues and four priorities, payloads of 100 bytes (seven in ten), 1, 3 and 10 KB; one in {FAILS_ONE_IN} fails \
         in its first attempt and succeeds within {} ms in its second. One process, {SLOTS} slots a queue, beside a plain drain of as \
         many jobs with as many slots in one queue.",
        QUEUES.len(),
        BACKOFF.as_millis()
    ));
    bench.plan(2 * bench.options.repeats as usize);
    let (mut plain, mut mixed): (Vec<Drained>, Vec<Drained>) = (Vec::new(), Vec::new());
    let slots = SLOTS * QUEUES.len();
    for _ in 0..bench.options.repeats {
        let one = bench.measure("plain", async |room| {
            fill(room, Faultline, Load::now(jobs, bench.options.payload_bytes)).await?;
            Drain::all(Faultline, 1, slots, jobs).run(bench, room, None).await
        });
        plain.push(one.await?);
        let one = bench.measure("mixed", async |room| {
            enqueue(room, jobs).await?;
            Drain { queues: &QUEUES, ..Drain::all(Faultline, 1, SLOTS, jobs) }.run(bench, room, None).await
        });
        mixed.push(one.await?);
    }
    let figures = (figure("plain", &plain), figure("mixed", &mixed));
    let beside = figures.1.beside(&figures.0);
    outcome.figures.extend([figures.0, beside]);
    let last = [("plain", plain.last()), ("mixed", mixed.last())];
    outcome.plots =
        over_time(&last.into_iter().filter_map(|(name, one)| Some((name, Faultline, one?))).collect::<Vec<_>>());
    Ok(outcome)
}

async fn enqueue(room: &Room, jobs: u64) -> Result<()> {
    let client = Client::connect(&room.url).await?;
    let job = |number: u64| {
        let kind = if number.is_multiple_of(FAILS_ONE_IN) { FLAKY } else { NOOP };
        let pick = |count: usize| usize::try_from(number / FAILS_ONE_IN).unwrap_or(0) % count;
        let bytes = BYTES[usize::try_from(number).unwrap_or(0) % BYTES.len()];
        let priority = i16::try_from(1 + number % 4).unwrap_or(2);
        let job = client.enqueue_raw(kind, payload(bytes)).queue(QUEUES[pick(QUEUES.len())]);
        job.priority(priority).backoff(BACKOFF, BACKOFF).into_new_job()
    };
    for first in (0..jobs).step_by(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
        let chunk = (first..jobs.min(first + CHUNK)).map(job).collect::<std::result::Result<Vec<_>, _>>()?;
        through_library(&client, &chunk).await?;
    }
    Ok(())
}
