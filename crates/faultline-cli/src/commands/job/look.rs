//! `faultline job get`, `list` and `explain`.

use super::unknown;
use super::watch::{self, Event};
use crate::cli;
use crate::connection::Connection;
use crate::exit::Done;
use crate::output::{self, Format, Table, facts, or_dash, time};
use clap::Args;
use faultline_core::durations::format_ms;
use faultline_core::{JobId, State};
use faultline_server::JobView;
use faultline_store::read::{self, Filter, Job, StateFilter};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two looks at a job whose end is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How long a list is searched for jobs that match, before it says how far it has come.
const SEARCH_TIME: Duration = Duration::from_secs(5);
/// Characters of a payload or a result for people; the whole of it is in the JSON.
const VALUE_CHARS: usize = 2000;

/// Which jobs to list.
#[derive(Args)]
pub(crate) struct Filters {
    /// Those of one queue
    #[arg(long)]
    queue: Option<String>,
    /// Those of one kind
    #[arg(long)]
    kind: Option<String>,
    /// Those in one of these states: queued, running, succeeded, failed, cancelled, or of the queued ones scheduled (due
    /// later) and retrying (after an attempt)
    #[arg(long, value_delimiter = ',')]
    state: Vec<StateFilter>,
    /// Those of one key
    #[arg(long)]
    key: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Continue behind this job, the last of the page before
    #[arg(long, value_name = "ID", value_parser = cli::job_id)]
    cursor: Option<JobId>,
}

/// Runs `faultline job get`.
pub(super) async fn get(connection: &Connection, format: Format, id: JobId, wait: Option<Duration>) -> Done {
    let until = Instant::now() + wait.unwrap_or_default();
    loop {
        let job = fetch(connection, id).await?;
        if job.state.is_terminal() || Instant::now() >= until {
            let text = show(&job);
            output::answer(format, &JobView::from(job), &text)?;
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Runs `faultline job list`.
pub(super) async fn list(connection: &Connection, format: Format, filters: &Filters) -> Done {
    let filter = Filter {
        queue: filters.queue.clone(),
        kind: filters.kind.clone(),
        states: (!filters.state.is_empty()).then(|| filters.state.clone()),
        key: filters.key.clone(),
        before: filters.cursor,
        ..Filter::default()
    };
    let limit = usize::from(filters.limit);
    let page = connection.run(async |client| read::page_within(client, &filter, limit, SEARCH_TIME).await).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    let table = table(&page.jobs);
    let views: Vec<JobView> = page.jobs.into_iter().map(JobView::from).collect();
    output::list(format, "jobs", &views, next_cursor.as_deref(), &table)?;
    if let (Format::Table, Some(cursor)) = (format, next_cursor) {
        output::line(&match page.searched_to {
            Some(at) => format!("… searched back to {}; go on with --cursor {cursor}", time(at)),
            None => format!("… more with --cursor {cursor}"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The answer of `faultline job explain`.
#[derive(Serialize)]
struct Explanation {
    id: JobId,
    state: State,
    reasons: Vec<String>,
    timeline: Vec<Event>,
}

/// Runs `faultline job explain`.
pub(super) async fn explain(connection: &Connection, format: Format, id: JobId) -> Done {
    let waiting = connection.run(async |client| read::explain(client, id).await).await?;
    let job = fetch(connection, id).await?;
    let reasons = match waiting {
        // It may have ended between the two looks.
        Some(waiting) if waiting.state == job.state => waiting.reasons,
        _ => vec![read::how_it_ended(&job)],
    };
    let timeline = watch::timeline(connection, &job).await?;
    let mut text = format!("job {id} ({} in queue {}) is {}:", job.kind, job.queue, job.state);
    reasons.iter().for_each(|reason| text.push_str(&format!("\n- {}", output::printable(reason))));
    text.push_str("\n\nwhat happened:");
    timeline.iter().for_each(|event| text.push_str(&format!("\n  {event}")));
    output::answer(format, &Explanation { id, state: job.state, reasons, timeline }, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// One job, or the error that there is none.
pub(super) async fn fetch(connection: &Connection, id: JobId) -> anyhow::Result<Job> {
    connection.run(async |client| read::get(client, id).await).await?.ok_or_else(|| unknown(id))
}

fn show(job: &Job) -> String {
    let mut shown = vec![
        ("id", job.id.to_string()),
        ("kind", job.kind.clone()),
        ("queue", job.queue.clone()),
        ("state", job.state.to_string()),
        ("priority", job.priority.to_string()),
        ("attempts", format!("{} of {}", job.attempts, job.max_attempts)),
        ("timeout", format_ms(job.timeout_ms.into())),
        ("created", time(job.created_at)),
        ("due", time(job.next_run_at)),
    ];
    let lease =
        |lease: &read::Lease| format!("{} on worker {} until {}", lease.id, lease.owner, time(lease.expires_at));
    let optional = [
        ("key", job.key.clone()),
        ("crashes", (job.crashes > 0).then(|| job.crashes.to_string())),
        ("started", job.started_at.map(time)),
        ("finished", job.finished_at.map(time)),
        ("lease", job.lease.as_ref().map(lease)),
        ("cancel", job.cancel_requested.then(|| "requested".to_owned())),
        ("retry of", job.retry_of.map(|id| id.to_string())),
        ("reason", job.reason.clone()),
        ("last error", job.last_error.clone()),
        ("headers", job.headers.as_ref().map(|json| json.get().to_owned())),
        ("payload", Some(job.payload.get().to_owned())),
        ("result", job.result.as_ref().map(|json| json.get().to_owned())),
    ];
    shown.extend(optional.into_iter().filter_map(|(name, value)| Some((name, beginning(value?)))));
    facts(&shown)
}

fn beginning(value: String) -> String {
    match value.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes; the whole of it with -o json)", &value[..end], value.len()),
        None => value,
    }
}

fn table(jobs: &[Job]) -> Table {
    let mut table = Table::new(&["ID", "STATE", "QUEUE", "KIND", "ATTEMPTS", "DUE", "CREATED", "LAST ERROR"]);
    for job in jobs {
        table.row(&[
            job.id.to_string(),
            job.state.to_string(),
            job.queue.clone(),
            job.kind.clone(),
            format!("{}/{}", job.attempts, job.max_attempts),
            time(job.next_run_at),
            time(job.created_at),
            or_dash(job.last_error.as_ref()),
        ]);
    }
    table
}
