//! `faultline work`: runs jobs, each by a command, a POST, or as a demonstration.

use crate::attempt::Facts;
use crate::cli::{self, Global};
use crate::commands::database::when_migrated;
use crate::commands::serve::{address, listen};
use crate::connection::{self, url};
use crate::demo;
use crate::exec::{Exec, Groups, Program};
use crate::exit::{Done, usage};
use crate::output;
use crate::signals::stop_token;
use crate::webhook::{Secrets, Webhook};
use anyhow::anyhow;
use clap::{ArgGroup, Args};
use faultline::{Client, Error, Worker};
use faultline_core::{job, limits};
use faultline_server::serve_metrics;
use faultline_store::{DEFAULT_POOL_SIZE, Database};
use http::Uri;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Jobs that run at once unless told otherwise: each may be a process of its own.
const CONCURRENCY: usize = 10;
/// What a worker whose parent is gone has to stop in order; its database may be gone as well.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
--exec starts the command once for each attempt: a direct child, without a shell. The payload is its
standard input, as JSON. In its environment are FAULTLINE_JOB_ID, FAULTLINE_KIND, FAULTLINE_QUEUE,
FAULTLINE_ATTEMPT, FAULTLINE_MAX_ATTEMPTS, FAULTLINE_KEY, FAULTLINE_LEASE_ID, FAULTLINE_WORKER_ID
and, in a trace, TRACEPARENT and TRACESTATE. It must be the last flag: all that follows is the
command. A single string is split into words as a shell does, without expanding anything; what
needs a shell says so: --exec sh -c '…'.
  exit code 0   succeeded; standard output is the result: JSON, or text, 1 MiB at most
  exit code 75  try again later: counts as an attempt; standard output such as 30s is the delay
  any other     a failed attempt, with the last 8 KiB of standard error as its error
When the attempt is over from outside (time-out, cancel, lost lease, end of the grace), its process
group gets SIGTERM, and SIGKILL after 5 s.

--http posts the payload, with the same facts in headers (Faultline-Job-Id …), signed after Standard
Webhooks 1.0 with the secret in FAULTLINE_WEBHOOK_SECRET (whsec_…; several, separated by spaces,
while you change it).
  2xx                        succeeded; the body is the result
  429, 503 with Retry-After  a failed attempt; the next one after that delay
  410                        failed for good
  any other                  a failed attempt

Traces go where OTEL_EXPORTER_OTLP_ENDPOINT says, as OTLP over HTTP.

Examples:
  faultline work --queue mail --exec ./send-mail.sh
  faultline work --queue mail:20 --queue reports:2 --exec python3 handler.py
  FAULTLINE_WEBHOOK_SECRET=whsec_… faultline work --http https://example.com/jobs";

/// Flags of `faultline work`.
#[derive(Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("how").required(true).args(["exec", "http", "demo"]))]
pub(crate) struct Options {
    /// A queue to take jobs from, with the number of its slots; may be repeated [default: default]
    #[arg(
        long = "queue",
        value_name = "NAME[:SLOTS]",
        value_delimiter = ',',
        env = "FAULTLINE_QUEUES",
        hide_env_values = true
    )]
    queues: Vec<String>,

    /// How many jobs of a queue to run at once where --queue does not say
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY, env = "FAULTLINE_CONCURRENCY", hide_env_values = true)]
    concurrency: usize,

    /// Run each job by this command (see below)
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_names = ["CMD", "ARGS"], env = "FAULTLINE_EXEC", hide_env_values = true)]
    exec: Option<Vec<String>>,

    /// Run each job by a POST to this URL (see below)
    #[arg(long, value_name = "URL", env = "FAULTLINE_HTTP", hide_env_values = true)]
    http: Option<Uri>,

    /// Run the demonstration kinds: demo.echo, demo.sleep, demo.fail, demo.crash
    #[arg(long)]
    demo: bool,

    /// How long jobs may go on after the signal to stop; what is left then is given back, uncharged
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = cli::duration, env = "FAULTLINE_GRACE", hide_env_values = true)]
    grace: Duration,

    /// How long a lease lasts without renewal; the same for all workers and servers of a database
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = cli::duration, env = "FAULTLINE_LEASE_TTL", hide_env_values = true)]
    lease_ttl: Duration,

    /// Stop a job as soon as its lease may have ended for all that this worker knows, instead of when the database says so;
    /// an outage longer than a lease then interrupts every job
    #[arg(long, env = "FAULTLINE_STRICT", hide_env_values = true)]
    strict: bool,

    /// How long to wait for a database that can't be reached or is not migrated yet
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = cli::duration, env = "FAULTLINE_WAIT", hide_env_values = true)]
    wait: Duration,

    /// Serve metrics at http://HOST:PORT/metrics, without a token; a port alone means 127.0.0.1
    #[arg(long, value_name = "[HOST:]PORT", value_parser = metrics_address, env = "FAULTLINE_METRICS", hide_env_values = true)]
    metrics: Option<(String, u16)>,

    /// Stop when standard input ends: the parent holds its other end
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// How a job is run.
enum Mode {
    Exec(Exec),
    Http(Box<Webhook>),
    Demo,
}

/// Runs `faultline work`.
pub(crate) async fn run(options: &Options, global: &Global) -> Done {
    let groups = Groups::default();
    let mode = mode(options, groups.clone())?;
    let queues = queues(options)?;
    let database =
        Database::new(&url(global)?, "faultline work", DEFAULT_POOL_SIZE).map_err(|error| usage(error.to_string()))?;
    let shown = database.shown().to_owned();
    let shown_metrics = match &options.metrics {
        Some((host, port)) => Some(show_metrics(host, *port, &database).await?),
        None => None,
    };
    let stop = stop_token(move || groups.kill_all())?;
    if options.exit_with_parent {
        tokio::spawn(follow_parent(stop.clone()));
    }
    tokio::select! {
        ready = when_migrated(&database, options.wait) => {
            ready.map_err(|error| connection::explain(&error, &shown))?;
        }
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    }
    let client = Client::of(database);
    let mut worker = Worker::new(&client).lease_ttl(options.lease_ttl).grace(options.grace).strict(options.strict);
    for (queue, slots) in queues {
        worker = worker.queue(queue, slots);
    }
    let ran = handle(worker, &mode).run_until(stop.cancelled_owned()).await;
    if let Mode::Exec(exec) = &mode {
        exec.wait().await;
    }
    drop(shown_metrics);
    ran.map_err(|error| match error {
        Error::Invalid(invalid) => usage(invalid.to_string()),
        Error::Store(error) => connection::explain(&error, &shown),
        other => anyhow!(other),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Serves the metrics of the worker until the guard is dropped, which is after its end: until then they can be looked at.
async fn show_metrics(host: &str, port: u16, database: &Database) -> anyhow::Result<DropGuard> {
    let listener = listen(host, port, "--metrics").await?;
    let address = address(&listener)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(serve_metrics(listener, database.metrics().clone(), shutdown.clone()));
    output::line(&format!("metrics http://{address}/metrics"))?;
    Ok(shutdown.drop_guard())
}

/// Reads `[HOST:]PORT` for clap.
fn metrics_address(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| "expected a port, or an address such as 0.0.0.0:9100".to_owned())?;
    Ok((host.to_owned(), port))
}

fn mode(options: &Options, groups: Groups) -> anyhow::Result<Mode> {
    Ok(match (&options.exec, &options.http) {
        (Some(words), _) => Mode::Exec(Exec::new(Program::new(words)?, groups)),
        (None, Some(url)) => {
            let secrets = std::env::var("FAULTLINE_WEBHOOK_SECRET").unwrap_or_default();
            Mode::Http(Box::new(Webhook::new(url, Secrets::parse(&secrets)?)?))
        }
        (None, None) => Mode::Demo,
    })
}

/// Registers the handlers. A command or a URL is there for every kind; the demonstrations leave other kinds to others.
fn handle(worker: Worker, mode: &Mode) -> Worker {
    match mode {
        Mode::Exec(exec) => {
            let exec = exec.clone();
            worker.on_any(move |payload, run| {
                let exec = exec.clone();
                async move { exec.run(&Facts::of(&run), payload.get()).await.into() }
            })
        }
        Mode::Http(webhook) => {
            let webhook = webhook.clone();
            worker.on_any(move |payload, run| {
                let webhook = webhook.clone();
                async move { webhook.run(&Facts::of(&run), payload.get()).await.into() }
            })
        }
        Mode::Demo => demo::KINDS.into_iter().chain(demo::SCENES).fold(worker, |worker, kind| {
            worker.on_kind(kind, |payload, run| async move { demo::run(&Facts::of(&run), &payload).await.into() })
        }),
    }
}

/// The queues with their slots. A queue's name may hold colons: only digits after the last one are slots.
fn queues(options: &Options) -> anyhow::Result<Vec<(String, usize)>> {
    let default = [limits::DEFAULT_QUEUE.to_owned()];
    let named = if options.queues.is_empty() { &default[..] } else { &options.queues };
    named
        .iter()
        .map(|text| {
            let slots = |(name, digits): (&str, &str)| Some((name.to_owned(), digits.parse::<usize>().ok()?));
            let (name, slots) =
                text.rsplit_once(':').and_then(slots).unwrap_or_else(|| (text.clone(), options.concurrency));
            job::check_name("--queue", &name).map_err(|error| usage(error.to_string()))?;
            Ok((name, slots))
        })
        .collect()
}

/// Stops with the parent: its death closes the pipe that is our standard input. The database may be gone with it, so that an
/// orderly end is not waited for.
pub(crate) async fn follow_parent(stop: CancellationToken) {
    follow_parent_within(stop, ORPHAN_LIMIT).await;
}

/// The same, with so long to stop in order.
pub(crate) async fn follow_parent_within(stop: CancellationToken, limit: Duration) {
    let mut byte = [0];
    while let Ok(1..) = tokio::io::stdin().read(&mut byte).await {}
    stop.cancel();
    tokio::time::sleep(limit).await;
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Options {
        Line::try_parse_from([&["work"], words].concat()).unwrap_or_else(|error| panic!("{error}")).options
    }

    #[test]
    fn all_that_follows_exec_is_the_command() {
        let options = parse(&["--queue", "a:2", "--queue", "b", "--exec", "./run", "--queue", "x", "-o"]);
        assert_eq!(options.exec.as_deref().unwrap(), ["./run", "--queue", "x", "-o"]);
        assert_eq!(queues(&options).unwrap(), [("a".to_owned(), 2), ("b".to_owned(), CONCURRENCY)]);
    }

    #[test]
    fn a_queue_name_may_hold_colons() {
        let options = parse(&["--queue", "team:mail,team:mail:3", "--concurrency", "7", "--demo"]);
        assert_eq!(queues(&options).unwrap(), [("team:mail".to_owned(), 7), ("team:mail".to_owned(), 3)]);
        assert!(queues(&parse(&["--queue", "no spaces", "--demo"])).is_err());
    }

    #[test]
    fn exactly_one_way_to_run_jobs_is_needed() {
        assert!(Line::try_parse_from(["work"]).is_err());
        assert!(Line::try_parse_from(["work", "--demo", "--http", "http://x"]).is_err());
    }
}
