//! The grammar of the command line, and the flags that hold for every command.

use crate::commands::{audit, bench, check, database, dev, drill, health, job, queue, serve, token, work, worker};
use crate::exit::Done;
use crate::output::Format;
use clap::{Args, Parser, Subcommand, ValueEnum};
use faultline_core::JobId;

const EXAMPLES: &str = "\
Examples:
  faultline dev                                     Postgres, API and a demo worker, on this machine
  faultline migrate && faultline serve              on your own database, named by DATABASE_URL
  faultline job enqueue demo.echo '{\"hello\":\"world\"}'
  faultline work --queue mail --exec ./send-mail.sh
  faultline job explain 01976a3e-…                  why is it not running?

Exit codes: 0 well, 1 it failed (one line on standard error says what to do), 2 wrong usage.";

/// Jobs on Postgres that survive crashes: enqueue over HTTP, Rust or SQL, and work in any language.
#[derive(Parser)]
#[command(name = "faultline", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The database, as postgres://user:password@host:port/name [also: DATABASE_URL]
    #[arg(long, global = true, value_name = "URL", env = "FAULTLINE_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,

    /// How to print answers
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        env = "FAULTLINE_OUTPUT",
        hide_env_values = true
    )]
    pub(crate) output: Format,

    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as faultline=debug
    /// [default: info for dev, serve and work, else warn]
    #[arg(long, global = true, value_name = "LEVEL", env = "FAULTLINE_LOG", hide_env_values = true)]
    pub(crate) log: Option<String>,

    /// How to log: as text, or one JSON object a line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        env = "FAULTLINE_LOG_FORMAT",
        hide_env_values = true
    )]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: a private Postgres, the API, a worker with demonstration kinds
    Dev(dev::Options),
    /// Bring the database's schema up to date
    Migrate(database::Options),
    /// Run the HTTP API and the maintenance
    Serve(serve::Options),
    /// Run jobs: each by a command, a POST, or as a demonstration
    Work(work::Options),
    /// Enqueue, look at, cancel and retry jobs
    #[command(subcommand)]
    Job(job::Verb),
    /// Look at queues, pause and resume them
    #[command(subcommand)]
    Queue(queue::Verb),
    /// Look at workers
    #[command(subcommand)]
    Worker(worker::Verb),
    /// Make and revoke tokens of the HTTP API
    #[command(subcommand)]
    Token(token::Verb),
    /// Ask a running API whether it is well, for container health checks
    Health(health::Options),
    /// Audit the invariants on a live database: reads only, bounded, safe in production
    Check(check::Options),
    /// Switch the transition log on and off
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Failure drills: prove on this machine what survives which failure
    #[command(subcommand)]
    Drill(drill::Verb),
    /// What Faultline costs on this machine, beside hand-written SQL that does the same
    Bench(bench::BenchOptions),
    /// The worker of a drill
    #[command(hide = true)]
    DrillWorker(drill::WorkerOptions),
    /// The worker of a benchmark
    #[command(hide = true)]
    BenchWorker(bench::WorkerOptions),
}

impl Command {
    /// Whether it runs until it is told to stop, so that its log is worth reading.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Serve(_) | Self::Work(_) | Self::DrillWorker(_))
    }

    /// As which it is known to a collector of traces, unless `OTEL_SERVICE_NAME` says otherwise; none that is over soon.
    #[cfg(feature = "otel")]
    pub(crate) fn traced_as(&self) -> Option<&'static str> {
        match self {
            Self::Dev(_) | Self::Serve(_) => Some("faultline-api"),
            Self::Work(_) => Some("faultline-worker"),
            _ => None,
        }
    }

    /// What listens to the log of a drill's worker.
    pub(crate) fn trap(&self) -> Option<faultline_drill::Trap> {
        if let Self::DrillWorker(options) = self { Some(options.trap()) } else { None }
    }

    pub(crate) async fn run(&self, global: &Global) -> Done {
        match self {
            Self::Dev(options) => dev::run(options, global).await,
            Self::Migrate(options) => database::migrate(options, global).await,
            Self::Serve(options) => serve::run(options, global).await,
            Self::Work(options) => work::run(options, global).await,
            Self::Job(verb) => job::run(verb, global).await,
            Self::Queue(verb) => queue::run(verb, global).await,
            Self::Worker(verb) => worker::run(verb, global).await,
            Self::Token(verb) => token::run(verb, global).await,
            Self::Health(options) => health::run(options).await,
            Self::Check(options) => check::run(options, global).await,
            Self::Audit(verb) => audit::run(verb, global).await,
            Self::Drill(verb) => drill::run(verb, global).await,
            Self::DrillWorker(options) => drill::work(options, global).await,
            Self::Bench(options) => bench::run_all(options, global).await,
            Self::BenchWorker(options) => bench::work(options, global).await,
        }
    }
}

/// Reads a job's id for clap.
pub(crate) fn job_id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|_| "expected the id of a job, such as 01976a3e-52b1-7c40-9d0e-8d2f6f0c9a11".to_owned())
}

/// Reads a duration such as `5s` for clap.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    faultline_core::durations::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What `work --exec` tells its child must never come back as a flag of a command that the child runs.
    #[test]
    fn no_flag_reads_a_variable_that_handlers_are_given() {
        fn variables(command: &clap::Command, found: &mut Vec<String>) {
            let envs = command.get_arguments().filter_map(clap::Arg::get_env);
            found.extend(envs.map(|env| env.to_string_lossy().into_owned()));
            command.get_subcommands().for_each(|sub| variables(sub, found));
        }
        let mut found = Vec::new();
        variables(&Cli::command(), &mut found);
        assert!(found.iter().all(|name| name.starts_with("FAULTLINE_")), "{found:?}");
        for given in crate::attempt::VARIABLES {
            assert!(!found.iter().any(|name| name == given), "{given} is both");
        }
    }
}
