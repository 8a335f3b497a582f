//! Enqueues ten thousand jobs for one instant after the outage, and writes down when the sessions of workers were opened.

use crate::DrillError;
use crate::database;
use crate::guest::Visit;
use crate::history::History;
use crate::work::Work;
use faultline::{Client, Enqueued, Error};
use faultline_check::witness::{Action, Answer, Phase};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;
use std::time::Duration;

/// Jobs of one instant.
const JOBS: usize = 10_000;
/// From the beginning to that instant: the outage is over, and everybody has come back.
const DUE_IN: SignedDuration = SignedDuration::from_secs(9);
/// Between two looks at the sessions.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ends with the load.
pub(crate) async fn herd(visit: Visit) -> Result<(), DrillError> {
    let failed = |error: Error| DrillError::Process(format!("the jobs of one instant were not enqueued: {error}"));
    let history = History::open(&visit.dir, "herd")?;
    let client = Client::lazy(&visit.url).map_err(failed)?;
    let (at, work) = (Timestamp::now() + DUE_IN, Work { light: true, ..Work::default() });
    let job = || client.enqueue(&work).queue(&visit.queue).run_at(at).into_new_job();
    let jobs = (0..JOBS).map(|_| job()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let ops: Vec<u64> = jobs.iter().map(|job| note(&history, history.op(), Phase::Invoke, job.id.0)).collect();
    let answers = client.enqueue_all(&jobs).await.map_err(failed)?;
    for ((op, job), answer) in ops.iter().zip(&jobs).zip(answers) {
        debug_assert!(matches!(answer, Enqueued::Created(_)), "there are no keys");
        note(&history, *op, Phase::Ok, job.id.0);
    }
    let mut seen = HashSet::new();
    while !visit.stop.is_cancelled() {
        // Nothing while the database is away.
        let _ = look(&visit.url, &history, &mut seen).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn note(history: &History, op: u64, phase: Phase, job: uuid::Uuid) -> u64 {
    let mut record = history.record(op, Action::Enqueue, phase);
    record.job = Some(job);
    record.answer = (phase == Phase::Ok).then_some(Answer::Created);
    history.write(&record);
    op
}

/// Notes the presence sessions that are new, each as its worker's connect at the time at which the server began with it.
async fn look(url: &str, history: &History, seen: &mut HashSet<(String, i64)>) -> Result<(), DrillError> {
    let sql = "select w.id::text, (extract(epoch from a.backend_start) * 1000000)::bigint
                 from faultline.workers w join pg_stat_activity a on a.pid = w.presence_pid
                where a.backend_start = w.presence_started_at";
    let client = database::connect(url).await?;
    for row in client.query(sql, &[]).await? {
        let session: (String, i64) = (row.get(0), row.get(1));
        if !seen.contains(&session) {
            let mut record = history.record(history.op(), Action::Connect, Phase::Ok);
            record.process = session.0.as_str().into();
            record.wall_ns = session.1 * 1000;
            history.write(&record);
            seen.insert(session);
        }
    }
    Ok(())
}
