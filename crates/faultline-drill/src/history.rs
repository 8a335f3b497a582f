//! Writes witnesses: a line a record, handed to the operating system at once, so that `kill -9` loses nothing.

use crate::DrillError;
use faultline_check::witness::{Action, Phase, Record};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file of JSON lines that several may write to.
pub(crate) struct Lines {
    file: File,
    sync: bool,
}

impl Lines {
    /// Opens for appending; with `sync` each line is on the disk when [`Lines::write`] returns.
    pub(crate) fn open(path: &Path, sync: bool) -> Result<Self, DrillError> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: opened.map_err(DrillError::io(format!("open {}", path.display())))?, sync })
    }

    pub(crate) fn write(&self, record: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        // One write to a file opened for appending: lines of several processes never mix.
        (&self.file).write_all(&line)?;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}

/// The history of one process.
pub(crate) struct History {
    lines: Lines,
    process: Arc<str>,
    next_op: AtomicU64,
}

impl History {
    /// Opens `dir/history/PROCESS.jsonl`.
    pub(crate) fn open(dir: &Path, process: &str) -> Result<Self, DrillError> {
        Self::continued(dir, process, process, 1)
    }

    /// Opens `dir/history/FILE.jsonl` for operations of a process from a number on.
    pub(crate) fn continued(dir: &Path, process: &str, file: &str, first_op: u64) -> Result<Self, DrillError> {
        let path = dir.join("history").join(format!("{file}.jsonl"));
        Ok(Self { lines: Lines::open(&path, false)?, process: process.into(), next_op: AtomicU64::new(first_op) })
    }

    /// The number of a new operation.
    pub(crate) fn op(&self) -> u64 {
        self.next_op.fetch_add(1, Ordering::Relaxed)
    }

    /// A record of now, with what only some records have left out.
    pub(crate) fn record(&self, op: u64, action: Action, phase: Phase) -> Record {
        Record {
            phase,
            op,
            process: self.process.as_ref().into(),
            action,
            wall_ns: wall_ns(),
            boot_ns: boot_ns(),
            job: None,
            lease: None,
            owner: None,
            attempt: None,
            queue: None,
            key: None,
            fingerprint: None,
            effect_tx: false,
            jobs: Vec::new(),
            deadline_boot_ns: None,
            contact_ns: None,
            of: None,
            sqlstate: None,
            answer: None,
        }
    }

    /// Writes it. A history that cannot be written is worthless: the process must end.
    pub(crate) fn write(&self, record: &Record) {
        self.lines.write(record).expect("a history on the local disk can be written");
    }
}

/// The wall clock.
pub(crate) fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The clock of the machine since it booted.
pub(crate) fn boot_ns() -> i64 {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
