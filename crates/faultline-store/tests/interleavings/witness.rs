//! What a run leaves for the checker: the log and the rows as the database has them, and what the sessions noted.

use faultline_check::live::{EVENTS_AS_JSON, ROWS_AS_JSON};
use faultline_check::witness::{Action, Answer, Effect, Phase, Record, Run, Witnesses, operations};
use faultline_check::{Status, check};
use faultline_store::ClientWrapper;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_postgres::types::Type;

/// What one session asked for and was told.
#[derive(Debug, Default)]
pub(crate) struct History {
    process: Box<str>,
    records: Vec<Record>,
    ops: u64,
}

impl History {
    pub(crate) fn of(process: &str) -> Self {
        Self { process: process.into(), ..Self::default() }
    }

    /// An operation begins; answers its end, to be filled in.
    pub(crate) fn begin(&mut self, action: Action, fill: impl FnOnce(&mut Record)) -> Record {
        self.ops += 1;
        let mut record = record(&self.process, self.ops, action);
        fill(&mut record);
        self.records.push(record.clone());
        record
    }

    /// Something that is one line.
    pub(crate) fn note(&mut self, action: Action, answer: Answer, fill: impl FnOnce(&mut Record)) {
        self.ops += 1;
        let mut record = record(&self.process, self.ops, action);
        (record.phase, record.answer) = (Phase::Ok, Some(answer));
        fill(&mut record);
        self.records.push(record);
    }

    /// An operation ends.
    pub(crate) fn push(&mut self, mut end: Record) {
        (end.wall_ns, end.boot_ns) = now();
        self.records.push(end);
    }

    pub(crate) fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }
}

fn now() -> (i64, i64) {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap();
    (ns(SystemTime::now().duration_since(UNIX_EPOCH).unwrap()), ns(START.elapsed()))
}

fn record(process: &str, op: u64, action: Action) -> Record {
    let (wall_ns, boot_ns) = now();
    Record {
        phase: Phase::Invoke,
        op,
        process: process.into(),
        action,
        wall_ns,
        boot_ns,
        job: None,
        lease: None,
        owner: None,
        attempt: None,
        queue: None,
        key: None,
        fingerprint: None,
        effect_tx: false,
        jobs: Vec::new(),
        deadline_boot_ns: None,
        contact_ns: None,
        of: None,
        sqlstate: None,
        answer: None,
    }
}

/// Judges a run; answers what the checker found wrong.
pub(crate) async fn judge(client: &ClientWrapper, histories: Vec<Record>) -> Vec<String> {
    let select_events = client.prepare_cached(EVENTS_AS_JSON).await.unwrap();
    let select_rows = client.prepare_typed_cached(ROWS_AS_JSON, &[Type::INT4, Type::BOOL]).await.unwrap();
    let events = client.query(&select_events, &[]).await.unwrap();
    let rows = client.query(&select_rows, &[&0i32, &true]).await.unwrap();
    let effects = client.query("select job, lease from public.effects", &[]).await.unwrap();
    let witnesses = Witnesses {
        run: run(),
        history: Some(operations(histories)),
        events: Some(events.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()),
        effects_tx: Some(effects.iter().map(|row| Effect { job: row.get(0), lease: row.get(1) }).collect()),
        end: Some(rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()),
        ..Witnesses::default()
    };
    let verdict = check(&witnesses);
    let wrong = |status: &Status| match status {
        Status::Violated { violations, .. } => violations.iter().map(ToString::to_string).collect(),
        Status::Passed | Status::NotChecked { .. } => Vec::new(),
    };
    verdict
        .outcomes
        .iter()
        .flat_map(|outcome| {
            wrong(&outcome.status).into_iter().map(|what| format!("invariant {}: {what}", outcome.number))
        })
        .collect()
}

/// Some leases of a program end as they begin, others never: invariant 18 holds both to be near a half.
fn run() -> Run {
    let half_us = i64::try_from(crate::step::LONG.as_micros()).unwrap() / 2;
    Run { lease_ttl_us: half_us, clock_tolerance_us: half_us + 30_000_000, ..Run::default() }
}
