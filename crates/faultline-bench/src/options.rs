//! What a run is told.

use std::path::PathBuf;
use std::time::Duration;

/// How to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program, which is started as API and workers.
    pub program: PathBuf,
    /// A server that takes databases of the benchmark's own; without one, a private cluster is started.
    pub against: Option<String>,
    /// Settings of the private cluster, over its own.
    pub settings: Vec<(String, String)>,
    /// How often everything is measured, Faultline and the ceiling in turn.
    pub repeats: u32,
    /// Small numbers: to see that it works, not to learn how fast.
    pub quick: bool,
    /// Jobs of a measurement, instead of the scenario's own number.
    pub jobs: Option<u64>,
    /// Jobs a second in `steady`.
    pub rate: u32,
    /// How long `steady`, `long-jobs` and `idle` last, instead of the scenario's own time.
    pub duration: Option<Duration>,
    /// Bytes of payload.
    pub payload_bytes: usize,
}

impl Options {
    /// The number of jobs: as asked, or the scenario's own, which is far smaller in a quick run.
    pub(crate) fn jobs(&self, usual: u64) -> u64 {
        self.jobs.unwrap_or(if self.quick { usual / 40 } else { usual })
    }

    /// A number that no flag changes, and that is far smaller in a quick run.
    pub(crate) fn scaled(&self, usual: u64) -> u64 {
        if self.quick { usual / 40 } else { usual }
    }

    pub(crate) fn duration(&self, usual: Duration) -> Duration {
        self.duration.unwrap_or(if self.quick { usual / 10 } else { usual })
    }
}
