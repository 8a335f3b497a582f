//! `faultline job enqueue`.

use crate::attempt::TRACE_VARIABLES;
use crate::cli::{self, Global};
use crate::connection::{self, url};
use crate::exit::{Done, usage};
use crate::output;
use anyhow::{Context, anyhow};
use clap::Args;
use faultline::{Client, Enqueue, Enqueued, Error, JobId};
use faultline_core::{json, limits};
use faultline_store::Database;
use faultline_store::enqueue::notify;
use faultline_trace::TraceContext;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  faultline job enqueue send_email '{\"to\":\"ann@example.com\"}' --key order-42
  faultline job enqueue report --queue slow --delay 10m --max-attempts 3
  generate-report-input | faultline job enqueue report -
  id=$(faultline job enqueue demo.echo '[1]' -o json | jq -r .id)";

/// The job to enqueue.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// What is to be done: the name by which workers know the handler
    kind: String,
    /// The handler's input, as JSON; - reads it from standard input
    #[arg(default_value = "{}", allow_negative_numbers = true)]
    payload: String,
    /// The queue it waits in
    #[arg(long, default_value = limits::DEFAULT_QUEUE)]
    queue: String,
    /// At most one job per queue and key while the key's window is open; asked twice it is the same job
    #[arg(long)]
    key: Option<String>,
    /// How long the key stays taken [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration, requires = "key")]
    key_ttl: Option<Duration>,
    /// Start no sooner than this long from now
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    delay: Option<Duration>,
    /// Start no sooner than this, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    run_at: Option<Timestamp>,
    /// 1 is first, 4 is last [default: 2]
    #[arg(long)]
    priority: Option<i16>,
    /// How many attempts may be made, the first included [default: 20]
    #[arg(long, value_name = "N")]
    max_attempts: Option<i32>,
    /// How long one attempt may take [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    timeout: Option<Duration>,
    /// The largest wait before the first retry; doubles with each [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    backoff_base: Option<Duration>,
    /// The largest wait before any retry [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    backoff_cap: Option<Duration>,
    /// Trace context and tags: a JSON object, such as {"traceparent":"00-…"} [traceparent also: TRACEPARENT]
    #[arg(long, value_name = "JSON")]
    headers: Option<String>,
}

/// What became of it.
#[derive(Serialize)]
struct Answer {
    id: JobId,
    created: bool,
}

/// Runs `faultline job enqueue`.
pub(super) async fn run(options: &Options, global: &Global) -> Done {
    let payload = parsed("PAYLOAD", &payload_text(&options.payload)?, limits::MAX_PAYLOAD_BYTES)?;
    let database = Database::new(&url(global)?, "faultline cli", 1).map_err(|error| usage(error.to_string()))?;
    let shown = database.shown().to_owned();
    let client = Client::of(database.clone());
    let schema = client.check_schema().await;
    schema.map_err(|error| explain(error, options, &shown))?;
    let enqueued = with_options(client.enqueue_raw(&options.kind, payload), options)?.await;
    let enqueued = enqueued.map_err(|error| explain(error, options, &shown))?;
    // The client hints in the background, which ends with this process; a worker that misses it finds the job by looking.
    let _ = database.run(async |session| notify(session, &options.queue).await).await;
    let answer = Answer { id: enqueued.id(), created: matches!(enqueued, Enqueued::Created(_)) };
    let id = answer.id;
    let text = if answer.created {
        format!("enqueued {id}")
    } else {
        format!("its key was used before for the same job: {id}")
    };
    output::answer(global.output, &answer, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn with_options<'a>(mut job: Enqueue<'a>, options: &Options) -> anyhow::Result<Enqueue<'a>> {
    job = job.queue(&options.queue);
    if let Some(key) = &options.key {
        job = job.key(key);
    }
    if let Some(ttl) = options.key_ttl {
        job = job.key_ttl(ttl);
    }
    if let Some(delay) = options.delay {
        job = job.delay(delay);
    }
    if let Some(at) = options.run_at {
        job = job.run_at(at);
    }
    if let Some(priority) = options.priority {
        job = job.priority(priority);
    }
    if let Some(max_attempts) = options.max_attempts {
        job = job.max_attempts(max_attempts);
    }
    if let Some(timeout) = options.timeout {
        job = job.timeout(timeout);
    }
    if options.backoff_base.is_some() || options.backoff_cap.is_some() {
        let millis = |ms: i32| Duration::from_millis(u64::from(ms.unsigned_abs()));
        let base = options.backoff_base.unwrap_or(millis(limits::DEFAULT_BACKOFF_BASE_MS));
        let cap = options.backoff_cap.unwrap_or(millis(limits::DEFAULT_BACKOFF_CAP_MS));
        job = job.backoff(base, cap);
    }
    if let Some(headers) = headers(options)? {
        job = job.headers(headers);
    }
    Ok(job)
}

/// What is given, and the trace context that whoever runs this command is in: `work --exec` hands it to handlers.
fn headers(options: &Options) -> anyhow::Result<Option<Box<RawValue>>> {
    let given = options.headers.as_ref();
    let given = given.map(|headers| parsed("--headers", headers, limits::MAX_HEADERS_BYTES)).transpose()?;
    let [parent, state] = TRACE_VARIABLES.map(|name| std::env::var(name).ok());
    let context = parent.and_then(|parent| TraceContext::parse(&parent, state.as_deref()));
    Ok(match context {
        Some(context) => context.add_to(given),
        None => given,
    })
}

/// The payload itself, or standard input for `-`. Reads one byte more than a payload may have, so that too much is seen.
fn payload_text(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(limits::MAX_PAYLOAD_BYTES)?.saturating_add(1);
    std::io::stdin().take(limit).read_to_end(&mut bytes).context("cannot read standard input")?;
    String::from_utf8(bytes).map_err(|_| usage("PAYLOAD: standard input is not UTF-8"))
}

fn parsed(what: &str, text: &str, max_bytes: usize) -> anyhow::Result<Box<RawValue>> {
    json::parse(text, max_bytes).map_err(|problem| usage(format!("{what}: {problem}")))
}

fn explain(error: Error, options: &Options, shown: &str) -> anyhow::Error {
    match error {
        Error::Invalid(invalid) => usage(invalid.to_string()),
        Error::KeyConflict { holder } => anyhow!(
            "key {} of queue {} was used before for another job, {holder}: choose another key, or enqueue the same again",
            options.key.as_deref().unwrap_or_default(),
            options.queue,
        ),
        Error::Indeterminate { id, source } => {
            anyhow!("whether job {id} was enqueued is unknown: {source}; ask with `faultline job get {id}`")
        }
        Error::Store(error) => connection::explain(&error, shown),
        other => anyhow!(other),
    }
}
