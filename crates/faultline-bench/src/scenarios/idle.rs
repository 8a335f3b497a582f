//! What a worker costs that has nothing to do.

use crate::accounts;
use crate::bench::Bench;
use crate::crew::Crew;
use crate::duty::{Duty, Side};
use crate::error::Result;
use crate::figure::{Figure, Outcome, Unit};
use crate::ground::Room;
use crate::worker::mib;
use std::time::{Duration, Instant};

/// How long it is watched, after what it does at its start.
const LASTS: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(5);
/// Sessions tell the statistics what they did when they have been idle for so long (`PGSTAT_IDLE_INTERVAL`), or a second after it
/// if they go on.
const STATISTICS_LAG: Duration = Duration::from_secs(12);
const SLOTS: usize = 1000;
/// What autovacuum does counts as transactions of the database too. The catalogs keep it.
const WITHOUT_AUTOVACUUM: &str = "do $$ declare t regclass; begin \
    for t in select oid from pg_class where relkind = 'r' and relnamespace = 'faultline'::regnamespace loop \
        execute format('alter table %s set (autovacuum_enabled = off)', t); \
    end loop; end $$";

struct Measured {
    statements_per_second: f64,
    resident_mib: f64,
    cpu_percent: f64,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let lasts = bench.options.duration(LASTS);
    let mut outcome = bench.outcome(format!(
        "One process with {SLOTS} slots and no jobs, for {} s from {} s after its start: transactions of its database by \
         pg_stat_database (each statement is one), autovacuum of its tables switched off, and its memory.",
        lasts.as_secs_f64(),
        SETTLE.as_secs()
    ));
    // Nothing here depends on what else the machine does.
    bench.plan(1);
    let one = bench.measure("idle", async |room| measure(bench, room, lasts).await).await?;
    let what = "statements of an idle worker";
    let note = format!("{:.2} % of a processor", one.cpu_percent);
    outcome.figures.push(
        Figure::new(what, Unit::StatementsPerSecond, vec![one.statements_per_second])
            .budget("at most 1.00/s", one.statements_per_second <= 1.0)
            .note(note),
    );
    outcome.figures.push(Figure::new("memory of an idle worker", Unit::Mebibytes, vec![one.resident_mib]).below(40.0));
    Ok(outcome)
}

async fn measure(bench: &Bench<'_>, room: &Room, lasts: Duration) -> Result<Measured> {
    room.client.batch_execute(WITHOUT_AUTOVACUUM).await?;
    let crew = Crew::start(&bench.options.program, room, &Duty::new(Side::Faultline, SLOTS), 1).await?;
    tokio::time::sleep(SETTLE + STATISTICS_LAG).await;
    let (before, began) = (bench.ground.transactions(room).await?, Instant::now());
    let account = || crew.pids().first().copied().and_then(accounts::of);
    let cpu = account().map(|account| account.cpu);
    tokio::time::sleep(lasts).await;
    let (after, seconds) = (bench.ground.transactions(room).await?, began.elapsed().as_secs_f64());
    let end = account();
    crew.dismiss().await?;
    let cpu = end.zip(cpu).map_or(0.0, |(end, before)| (end.cpu - before).as_secs_f64());
    Ok(Measured {
        statements_per_second: (after - before) / seconds,
        resident_mib: end.map_or(f64::NAN, |end| mib(end.resident_kib)),
        cpu_percent: cpu * 100.0 / seconds,
    })
}
