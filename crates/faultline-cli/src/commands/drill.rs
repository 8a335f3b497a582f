//! `faultline drill`: failure drills on a private cluster.

use crate::cli;
use crate::cli::Global;
use crate::commands::work::follow_parent;
use crate::connection::url;
use crate::exit::{Done, FAILURE, usage};
use crate::output::{self, Table};
use crate::signals::stop_token;
use anyhow::Context;
use clap::{Args, Subcommand};
use faultline_drill::{DRILLS, DrillError, Options, Report, run as run_drill, select};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "\
Each drill starts a Postgres of its own, an API and workers, puts load on them, breaks them as its
schedule says, and lets a checker judge what was left behind. Nothing of yours is touched. Exit
code 0 only if every invariant held and everything happened that had to happen.

Examples:
  faultline drill run kill-worker
  faultline drill run fast --seed 7 --report drills";

/// What to do with drills.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List the drills
    List,
    /// Run drills: their names, or fast or all
    Run(RunOptions),
}

/// Flags of `faultline drill run`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunOptions {
    /// The drills to run, one after the other
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// What schedule and jobs are computed from: the same seed repeats them
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How long load and faults last [default: the drill's own]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    duration: Option<Duration>,

    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = workers)]
    workers: usize,

    /// Where to keep the reports and the evidence [default: kept only when a drill fails]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// Flags of the hidden worker.
#[derive(Args)]
pub(crate) struct WorkerOptions {
    /// Where to leave witnesses
    #[arg(long)]
    dir: PathBuf,
    /// The name of this process in the run
    #[arg(long)]
    process: String,
}

impl WorkerOptions {
    /// What listens to the log of this worker.
    pub(crate) fn trap(&self) -> faultline_drill::Trap {
        faultline_drill::Trap::new(&self.dir, &self.process)
    }
}

/// A takeover needs another worker; more than that many share too few processors to mean anything.
fn workers(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (2..=64).contains(count)).ok_or_else(|| "expected 2 to 64".to_owned())
}

/// Runs `faultline drill`.
pub(crate) async fn run(verb: &Verb, global: &Global) -> Done {
    match verb {
        Verb::List => list(global),
        Verb::Run(options) => run_all(options, global).await,
    }
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    summary: &'static str,
    duration_s: u64,
}

fn list(global: &Global) -> Done {
    let listed =
        |d: &faultline_drill::Drill| Listed { name: d.name, summary: d.summary, duration_s: d.duration.as_secs() };
    let items: Vec<Listed> = DRILLS.iter().map(listed).collect();
    let mut table = Table::new(&["NAME", "LOAD", "WHAT IT DOES"]);
    for item in &items {
        table.row(&[item.name.to_owned(), format!("{} s", item.duration_s), item.summary.to_owned()]);
    }
    output::list(global.output, "drills", &items, None, &table)?;
    Ok(ExitCode::SUCCESS)
}

async fn run_all(options: &RunOptions, global: &Global) -> Done {
    let drills = select(&options.names).map_err(|error| usage(error.to_string()))?;
    let stop = stop_token(|| ())?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let how = Options { program, seed: options.seed, duration: options.duration, workers: options.workers };
    let mut reports = Vec::new();
    let mut skipped = 0;
    for drill in drills {
        crate::exit::say(&format!("drill {}", drill.name));
        let report = match run_one(drill, &how, options.report.as_deref(), &stop).await {
            Ok(report) => report,
            Err(error) if matches!(error.downcast_ref(), Some(DrillError::Needs(_))) => {
                crate::exit::say(&format!("  {error:#}"));
                skipped += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        if global.output == output::Format::Table {
            output::line(&report.table())?;
        }
        reports.push(report);
    }
    let passed = reports.iter().filter(|report| report.passed).count();
    let all = reports.len() + skipped;
    let text = format!("{passed} of {all} drills passed, {skipped} skipped");
    output::answer(global.output, &reports, &text)?;
    Ok(if passed == all { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

async fn run_one(
    drill: &'static faultline_drill::Drill,
    how: &Options,
    kept: Option<&Path>,
    stop: &CancellationToken,
) -> anyhow::Result<Report> {
    let temporary = tempfile::Builder::new().prefix("faultline-drill-").tempdir().context("cannot make a directory")?;
    let dir =
        kept.map_or_else(|| temporary.path().to_owned(), |kept| kept.join(format!("{}-{}", drill.name, how.seed)));
    // Witnesses are appended to: what an earlier run left would be judged with them.
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(usage(format!("{} is not empty: name another directory", dir.display())));
    }
    let tell = |line: &str| crate::exit::say(&format!("  {line}"));
    let ran = run_drill(drill, how, &dir, stop, &tell).await;
    let explained = match &ran {
        Ok(report) => report.passed,
        Err(error) => matches!(error, DrillError::Interrupted | DrillError::Needs(_)),
    };
    if !explained && kept.is_none() {
        crate::exit::say(&format!("  the evidence is kept in {}", temporary.keep().display()));
    } else if kept.is_some() {
        crate::exit::say(&format!("  the report is {}", dir.join("report.html").display()));
    }
    Ok(ran?)
}

/// Runs the hidden worker of drills.
pub(crate) async fn work(options: &WorkerOptions, global: &Global) -> Done {
    let stop = stop_token(|| ())?;
    tokio::spawn(follow_parent(stop.clone()));
    let (url, stop) = (url(global)?, stop.cancelled_owned());
    faultline_drill::work(&url, &options.dir, &options.process, stop).await?;
    Ok(ExitCode::SUCCESS)
}
