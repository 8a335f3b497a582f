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
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "\
Each drill starts a Postgres of its own, an API and workers, puts load on them, breaks them as its
schedule says, and lets a checker judge what was left behind. Nothing of yours is touched. Exit
code 0 only if every invariant held and everything happened that had to happen.

With --against, drills that touch only processes (see `faultline drill list`) run on a database of
yours instead, in a queue of their own with workers of their own, and ask before they begin. The
transition log is on meanwhile, which costs about half of that database's throughput; what the drill
left is removed afterwards. For staging.

Examples:
  faultline drill run kill-worker
  faultline drill run fast --seed 7 --report drills
  faultline drill run random --seeds 50
  faultline drill run kill-worker --against postgres://staging.example/jobs";

/// What starting, healing, draining and judging take beside the load, about.
const BEYOND_LOAD: Duration = Duration::from_secs(8);
/// Between two steps of the progress bar.
const TICK: Duration = Duration::from_millis(200);

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

    /// Run each drill so many times, with the seeds that follow
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,

    /// How long load and faults last [default: the drill's own]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    duration: Option<Duration>,

    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = workers)]
    workers: usize,

    /// Where to keep the reports and the evidence [default: kept only when a drill fails]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Run on this migrated database instead of a private one
    #[arg(long, value_name = "URL")]
    against: Option<String>,

    /// An older version of this program, for rolling-upgrade [default: this one in its place]
    #[arg(long, value_name = "PROGRAM", env = "FAULTLINE_DRILL_OLD", hide_env_values = true)]
    old: Option<PathBuf>,

    /// The name of that database, typed again, where no terminal can ask for it
    #[arg(long, value_name = "NAME", requires = "against")]
    confirm: Option<String>,

    /// Stop when standard input ends: the parent holds its other end
    #[arg(long, hide = true, conflicts_with = "against")]
    exit_with_parent: bool,
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
    fast: bool,
    against: bool,
}

fn list(global: &Global) -> Done {
    let listed = |d: &faultline_drill::Drill| Listed {
        name: d.name,
        summary: d.summary,
        duration_s: d.duration.as_secs(),
        fast: d.fast,
        against: d.touches_only_processes,
    };
    let items: Vec<Listed> = DRILLS.iter().map(listed).collect();
    let mut table = Table::new(&["NAME", "LOAD", "FAST", "AGAINST", "WHAT IT DOES"]).uncut();
    for item in &items {
        let yes = |is: bool| if is { "yes" } else { "" }.to_owned();
        let load = format!("{} s", item.duration_s);
        table.row(&[item.name.to_owned(), load, yes(item.fast), yes(item.against), item.summary.to_owned()]);
    }
    output::list(global.output, "drills", &items, None, &table)?;
    Ok(ExitCode::SUCCESS)
}

async fn run_all(options: &RunOptions, global: &Global) -> Done {
    let drills = select(&options.names).map_err(|error| usage(error.to_string()))?;
    let stop = stop_token(|| ())?;
    if options.exit_with_parent {
        tokio::spawn(follow_parent(stop.clone()));
    }
    if let Some(url) = &options.against {
        confirm(url, options.confirm.as_deref())?;
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let (duration, workers, against, old) =
        (options.duration, options.workers, options.against.clone(), options.old.clone());
    let how = Options { program, seed: options.seed, duration, workers, against, old };
    let mut reports = Vec::new();
    let mut skipped = 0;
    let seeds = options.seed..options.seed.saturating_add(options.seeds);
    let runs: Vec<_> = drills.into_iter().flat_map(|drill| seeds.clone().map(move |seed| (drill, seed))).collect();
    let count = runs.len();
    for (number, (drill, seed)) in runs.into_iter().enumerate() {
        crate::exit::say(&format!("drill {} ({} of {count})", drill.name, number + 1));
        let how = Options { seed, ..how.clone() };
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
    let bar = progress(how.duration.unwrap_or(drill.duration));
    let tell = |line: &str| bar.suspend(|| crate::exit::say(&format!("  {line}")));
    let ran = run_drill(drill, how, &dir, stop, &tell).await;
    bar.finish_and_clear();
    let explained = match &ran {
        Ok(report) => report.passed,
        Err(error) => matches!(error, DrillError::Interrupted | DrillError::Needs(_) | DrillError::Against(_)),
    };
    if !explained && kept.is_none() {
        crate::exit::say(&format!("  the evidence is kept in {}", temporary.keep().display()));
    } else if kept.is_some() {
        crate::exit::say(&format!("  the report is {}", dir.join("report.html").display()));
    }
    Ok(ran?)
}

/// A bar on the terminal while a drill runs; none where nobody watches.
fn progress(load: Duration) -> ProgressBar {
    let bar = ProgressBar::new((load + BEYOND_LOAD).as_secs());
    let style = ProgressStyle::with_template("  {spinner} [{wide_bar}] {pos} of about {len} s").ok();
    bar.set_style(style.unwrap_or_else(ProgressStyle::default_bar));
    bar.enable_steady_tick(TICK);
    let ticking = bar.downgrade();
    tokio::spawn(async move {
        let began = tokio::time::Instant::now();
        while let Some(bar) = ticking.upgrade().filter(|bar| !bar.is_finished()) {
            bar.set_position(began.elapsed().as_secs());
            tokio::time::sleep(TICK).await;
        }
    });
    bar
}

/// Nobody breaks workers on a database by a slip: its name must be typed.
fn confirm(url: &str, given: Option<&str>) -> anyhow::Result<()> {
    let name = faultline::tokio_postgres::Config::from_str(url)
        .ok()
        .and_then(|config| config.get_dbname().map(str::to_owned))
        .ok_or_else(|| usage("--against must name a database: postgres://user@host:5432/name"))?;
    let typed = match given {
        Some(typed) => typed.to_owned(),
        None if std::io::stdin().is_terminal() => {
            crate::exit::say(&format!(
                "This starts workers on the database {name}, in a queue of their own, kills them, and switches the transition \
                 log on meanwhile.\nType the name of the database to go on:"
            ));
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            line.trim().to_owned()
        }
        None => {
            return Err(usage(
                "--against wants to be confirmed: run it in a terminal or pass --confirm with the database's name",
            ));
        }
    };
    if typed == name { Ok(()) } else { Err(usage(format!("not confirmed: the database is called {name}"))) }
}

/// Runs the hidden worker of drills.
pub(crate) async fn work(options: &WorkerOptions, global: &Global) -> Done {
    let stop = stop_token(|| ())?;
    tokio::spawn(follow_parent(stop.clone()));
    let (url, stop) = (url(global)?, stop.cancelled_owned());
    faultline_drill::work(&url, &options.dir, &options.process, stop).await?;
    Ok(ExitCode::SUCCESS)
}
