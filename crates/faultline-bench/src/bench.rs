//! One run: the server, the scenarios one after the other, and what they have measured.

use crate::error::{BenchError, Result, with_causes};
use crate::figure::Outcome;
use crate::ground::{Ground, Room};
use crate::options::Options;
use crate::scenarios::Scenario;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// What a run says while it runs.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A scenario begins, with so many measurements.
    Scenario(&'static str, u64),
    /// A measurement of it begins.
    Begins(&'a str),
    /// It has ended.
    Ended,
    /// The scenario has ended, and this is what it found.
    Found(&'a Outcome),
}

/// What scenarios measure with.
pub(crate) struct Bench<'a> {
    pub(crate) ground: Ground,
    pub(crate) options: &'a Options,
    tell: &'a (dyn Fn(Progress<'_>) + Sync),
    scenario: &'static str,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// When it began.
    pub began: jiff::Timestamp,
    /// The machine: processors and memory.
    pub machine: String,
    /// How busy the machine was with other things before the first measurement: the load average of a minute.
    pub load_before: Option<f64>,
    /// The version of the program.
    pub version: &'static str,
    /// Whether the numbers were small.
    pub quick: bool,
    /// Repeats of each measurement.
    pub repeats: u32,
    /// The server's settings.
    pub server: Vec<(String, String)>,
    /// What was found.
    pub outcomes: Vec<Outcome>,
}

/// Runs scenarios on a server of its own, or on the one that the options name.
///
/// # Errors
/// When there is no server to measure on, or somebody stops it; everything that was started has been ended and every database
/// dropped. A scenario that fails is told in its outcome.
pub async fn run(
    scenarios: &[&'static Scenario],
    options: &Options,
    stop: &CancellationToken,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Report> {
    let (began, load_before) = (jiff::Timestamp::now(), load_average());
    let ground = Ground::start(options).await?;
    let mut bench = Bench { ground, options, tell, scenario: "" };
    let measured = measure(&mut bench, scenarios, stop).await;
    bench.ground.end().await;
    let (server, outcomes) = measured?;
    let (machine, version) = (machine(), env!("CARGO_PKG_VERSION"));
    let Options { quick, repeats, .. } = *options;
    Ok(Report { began, machine, load_before, version, quick, repeats, server, outcomes })
}

async fn measure(
    bench: &mut Bench<'_>,
    scenarios: &[&'static Scenario],
    stop: &CancellationToken,
) -> Result<(Vec<(String, String)>, Vec<Outcome>)> {
    let server = bench.ground.told().await?;
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        bench.scenario = scenario.name;
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(BenchError::Interrupted),
            outcome = (scenario.run)(bench) => outcome,
        };
        // The others may still be measured.
        let outcome =
            outcome.unwrap_or_else(|error| Outcome { failed: Some(with_causes(&error)), ..bench.outcome("") });
        (bench.tell)(Progress::Found(&outcome));
        outcomes.push(outcome);
    }
    Ok((server, outcomes))
}

impl Bench<'_> {
    /// Says how many measurements there will be.
    pub(crate) fn plan(&self, measurements: usize) {
        (self.tell)(Progress::Scenario(self.scenario, measurements as u64));
    }

    /// One measurement in a database of its own.
    pub(crate) async fn measure<T>(&self, what: &str, measure: impl AsyncFnOnce(&Room) -> Result<T>) -> Result<T> {
        (self.tell)(Progress::Begins(what));
        let room = self.ground.room().await?;
        let measured = measure(&room).await;
        self.ground.leave(room).await?;
        (self.tell)(Progress::Ended);
        measured
    }

    pub(crate) fn outcome(&self, about: impl Into<String>) -> Outcome {
        Outcome { scenario: self.scenario, about: about.into(), figures: Vec::new(), plots: Vec::new(), failed: None }
    }
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name))?.trim_start_matches([' ', '\t', ':']);
        Some(value.trim().to_owned())
    };
    let model = read("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let memory = read("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown memory".into());
    format!("{processors} x {model}, {memory}, {}", std::env::consts::OS)
}
