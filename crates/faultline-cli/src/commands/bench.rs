//! `faultline bench`: what Faultline costs on this machine, beside hand-written SQL that does the same.

use crate::cli::{self, Global};
use crate::commands::work::follow_parent_within;
use crate::connection::url;
use crate::exit::{Done, FAILURE, say, usage};
use crate::output::{self, Table};
use crate::signals::stop_token;
use anyhow::Context;
use clap::Args;
use faultline_bench::{BenchError, Figure, Options, Outcome, Progress, Report, SCENARIOS, run, select};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Each measurement runs in a database of its own, on a private Postgres that is started for it, with
durability on. Faultline and its ceiling, hand-written SQL that does the same and nothing else, are
measured in turn, so that what slows the machine down slows both. Read the ratios; the absolute
figures belong to this machine and this hour.

Exit code 1 if a measurement failed; 0 also if a budget was missed, unless --strict.

Examples:
  faultline bench list
  faultline bench drain
  faultline bench all --report bench        everything, in about 25 minutes
  faultline bench all --quick               whether it works; the figures mean nothing
  faultline bench steady --rate 20000 --duration 1h -o json
  faultline bench drain --against postgres://me@staging.example/postgres";

/// Between two steps of the progress bar.
const TICK: Duration = Duration::from_millis(200);
/// What a worker has to finish what it holds when the benchmark is done with it, on however busy a machine.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// More payload than the engine takes is no measurement of it.
const MAX_PAYLOAD_BYTES: u64 = 256 << 10;

/// Flags of `faultline bench`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchOptions {
    /// The scenarios to run, one after the other: their names, or all; list lists them
    #[arg(required = true, value_name = "SCENARIO")]
    names: Vec<String>,

    /// Measure everything so many times; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,

    /// Small numbers and one repeat: whether it works, not how fast
    #[arg(long)]
    quick: bool,

    /// Jobs of a measurement [default: the scenario's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    jobs: Option<u64>,

    /// Bytes of payload
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(16..=MAX_PAYLOAD_BYTES))]
    payload: u64,

    /// Jobs a second in steady
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// How long steady, long-jobs and idle last [default: the scenario's own]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    duration: Option<Duration>,

    /// A setting of the private Postgres, such as shared_buffers=4GB; may be repeated
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting, conflicts_with = "against")]
    settings: Vec<(String, String)>,

    /// Run on this server instead of a private one, in databases made for it and dropped afterwards
    #[arg(long, value_name = "URL")]
    against: Option<String>,

    /// Write what was found to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write report.html and report.json into this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Fail if a budget was missed
    #[arg(long)]
    strict: bool,
}

/// Flags of the hidden worker.
#[derive(Args)]
pub(crate) struct WorkerOptions {
    /// What it is to do, as JSON
    #[arg(long)]
    duty: String,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if is_name { Ok((name.to_owned(), value.to_owned())) } else { Err(format!("{name:?} is no name of a setting")) }
}

/// Runs `faultline bench`.
pub(crate) async fn run_all(options: &BenchOptions, global: &Global) -> Done {
    if options.names.iter().any(|name| name == "list") {
        return list(global);
    }
    let scenarios = select(&options.names).map_err(|error| usage(error.to_string()))?;
    if let Some(url) = &options.against {
        let parsed = url.parse::<faultline::tokio_postgres::Config>();
        parsed.map_err(|error| usage(format!("--against wants postgres://user@host:5432/name: {error}")))?;
    }
    if let Some(dir) = &options.report {
        // Before the measurement, which may take an hour.
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    }
    let how = Options {
        program: std::env::current_exe().context("cannot tell where this program is")?,
        against: options.against.clone(),
        settings: options.settings.clone(),
        repeats: if options.quick { 1 } else { options.repeats },
        quick: options.quick,
        jobs: options.jobs,
        rate: options.rate,
        duration: options.duration,
        payload_bytes: usize::try_from(options.payload)?,
    };
    if cfg!(debug_assertions) {
        say("this program was built without optimisation: the figures mean nothing");
    }
    let stop = stop_token(|| ())?;
    let bar = progress();
    let tell = |word: Progress<'_>| show(&bar, word);
    let report = run(&scenarios, &how, &stop, &tell).await;
    bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        BenchError::Unknown(_) => usage(error.to_string()),
        other => other.into(),
    })?;
    write(options, &report)?;
    output::answer(global.output, &report, &summary(&report))?;
    let failed = report.outcomes.iter().any(|outcome| outcome.failed.is_some());
    let is_missed = missed(&report).next().is_some();
    Ok(if failed || options.strict && is_missed { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS })
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
}

fn list(global: &Global) -> Done {
    let items: Vec<Listed> = SCENARIOS.iter().map(|s| Listed { name: s.name, about: s.about }).collect();
    let mut table = Table::new(&["NAME", "WHAT IT MEASURES"]).uncut();
    for item in &items {
        table.row(&[item.name.to_owned(), item.about.to_owned()]);
    }
    output::list(global.output, "scenarios", &items, None, &table)?;
    Ok(ExitCode::SUCCESS)
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("  {spinner} [{wide_bar}] {pos} of {len}  {msg}").ok();
    bar.set_style(style.unwrap_or_else(ProgressStyle::default_bar));
    bar.enable_steady_tick(TICK);
    bar
}

fn show(bar: &ProgressBar, word: Progress<'_>) {
    match word {
        Progress::Scenario(name, measurements) => {
            bar.suspend(|| say(&format!("scenario {name}")));
            bar.set_length(measurements);
            bar.set_position(0);
        }
        Progress::Begins(what) => bar.set_message(what.to_owned()),
        Progress::Ended => bar.inc(1),
        Progress::Found(outcome) => {
            if let Some(failed) = &outcome.failed {
                return bar.suspend(|| say(&format!("  failed: {failed}")));
            }
            let missed = outcome.figures.iter().filter(|figure| is_missed(figure)).count();
            let budgets = if missed == 0 { String::new() } else { format!(", {missed} budgets missed") };
            bar.suspend(|| say(&format!("  {} figures{budgets}", outcome.figures.len())));
        }
    }
}

fn write(options: &BenchOptions, report: &Report) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    if let Some(file) = &options.json {
        std::fs::write(file, &json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(dir) = &options.report {
        for (name, text) in [("report.json", &json), ("report.html", &report.html())] {
            let file = dir.join(name);
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        say(&format!("the report is {}", dir.join("report.html").display()));
    }
    Ok(())
}

fn is_missed(figure: &Figure) -> bool {
    figure.budget.as_ref().is_some_and(|budget| !budget.met)
}

fn missed(report: &Report) -> impl Iterator<Item = &Figure> {
    report.outcomes.iter().flat_map(|outcome| &outcome.figures).filter(|figure| is_missed(figure))
}

/// Everything for people.
fn summary(report: &Report) -> String {
    let load =
        report.load_before.map_or(String::new(), |load| format!(", load {load:.2} before the first measurement"));
    let server: Vec<String> = report.server.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut text = format!("{}{load}\n{}\n", report.machine, server.join(", "));
    for outcome in &report.outcomes {
        match &outcome.failed {
            Some(failed) => text.push_str(&format!("\n{}: failed: {failed}\n", outcome.scenario)),
            None => text.push_str(&format!("\n{}: {}\n{}\n", outcome.scenario, outcome.about, table(outcome))),
        }
    }
    let missed: Vec<String> = missed(report).map(|figure| figure.what.clone()).collect();
    text.push_str(&match missed.len() {
        0 => "\nevery budget that was measured is met".to_owned(),
        n => format!("\n{n} budgets missed: {}", missed.join("; ")),
    });
    if report.quick {
        text.push_str("\na quick run: the figures mean nothing");
    }
    text
}

fn table(outcome: &Outcome) -> Table {
    let mut table =
        Table::new(&["WHAT", "MEDIAN", "SPREAD", "RATIO", "TO", "BUDGET", "WAL", "PG CPU", "OWN CPU", "PEAK"]).uncut();
    for figure in &outcome.figures {
        let cost = figure.cost.unwrap_or_default();
        let or_dash = |value: Option<f64>, unit: &str| value.map_or("-".into(), |value| format!("{value:.0} {unit}"));
        let budget = figure
            .budget
            .as_ref()
            .map_or(String::new(), |budget| format!("{}: {}", if budget.met { "met" } else { "MISSED" }, budget.text));
        table.row(&[
            figure.what.clone(),
            figure.unit.show(figure.median),
            format!("{} - {}", figure.unit.show(figure.low), figure.unit.show(figure.high)),
            figure.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
            figure.ceiling.clone().unwrap_or_default(),
            budget,
            or_dash(cost.wal_bytes, "B"),
            or_dash(cost.postgres_cpu_us, "us"),
            or_dash(cost.worker_cpu_us, "us"),
            or_dash(cost.worker_peak_mib, "MiB"),
        ]);
    }
    table
}

/// Runs the hidden worker of the benchmark.
pub(crate) async fn work(options: &WorkerOptions, global: &Global) -> Done {
    let stop = stop_token(|| ())?;
    tokio::spawn(follow_parent_within(stop.clone(), STOP_LIMIT));
    let (url, stop) = (url(global)?, stop.cancelled_owned());
    faultline_bench::work(&url, &options.duty, stop).await?;
    Ok(ExitCode::SUCCESS)
}
