//! `faultline job watch`, and the timeline of a job that it prints as it grows.
//!
//! The timeline is not a log of what this process happened to see: it is computed anew with each look, from the job's row
//! and its attempts, which are only ever appended to. Whatever happens between two looks is found by the next.

use super::look::fetch;
use crate::connection::Connection;
use crate::exit::{Done, FAILURE};
use crate::output::{self, Format, printable, time};
use faultline_core::{JobId, State};
use faultline_store::read::{self, Attempt, Job};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Event {
    at: Timestamp,
    event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}  ", time(self.at))?;
        if let Some(attempt) = self.attempt {
            write!(f, "attempt {attempt} ")?;
        }
        f.write_str(&self.event)?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {}", printable(detail)))
    }
}

/// Runs `faultline job watch`.
pub(super) async fn watch(connection: &Connection, format: Format, id: JobId) -> Done {
    let mut printed = HashSet::new();
    loop {
        let job = fetch(connection, id).await?;
        for event in timeline(connection, &job).await? {
            if printed.insert(event.clone()) {
                // A stream has no end that could close a JSON document: one object a line in both forms.
                let format = if format == Format::Table { format } else { Format::Jsonl };
                output::answer(format, &event, &event.to_string())?;
            }
        }
        if job.state.is_terminal() {
            let succeeded = job.state == State::Succeeded;
            return Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What happened to a job so far, in order.
pub(super) async fn timeline(connection: &Connection, job: &Job) -> anyhow::Result<Vec<Event>> {
    let attempts = connection.run(async |client| read::attempts(client, job.id).await).await?;
    Ok(events(job, &attempts))
}

fn events(job: &Job, attempts: &[Attempt]) -> Vec<Event> {
    let event = |at: Timestamp, event: &str, attempt: Option<i32>, detail: Option<String>| Event {
        at,
        event: event.to_owned(),
        attempt,
        detail,
    };
    let mut events = vec![event(job.created_at, "enqueued", None, None)];
    for attempt in attempts {
        let number = Some(attempt.attempt);
        events.push(event(attempt.started_at, "started", number, None));
        let next = format!("due again at {}", time(attempt.next_run_at));
        let said = attempt.error.as_ref().map_or(next.clone(), |error| format!("{error}; {next}"));
        events.push(event(attempt.ended_at, &attempt.outcome, number, Some(said)));
    }
    // Between two attempts `started_at` is still that of the last one, which is among the attempts.
    let runs_or_ended = job.state == State::Running || job.state.is_terminal();
    let known = |at: Timestamp| attempts.iter().any(|attempt| attempt.started_at == at);
    if let Some(at) = job.started_at.filter(|at| runs_or_ended && !known(*at)) {
        events.push(event(at, "started", Some(job.attempts), None));
    }
    if let Some(at) = job.finished_at {
        let said = job.last_error.clone().filter(|_| job.state == State::Failed);
        let why = job.reason.clone().filter(|reason| reason != job.state.as_str());
        events.push(event(at, job.state.as_str(), None, said.or(why)));
    }
    events
}
