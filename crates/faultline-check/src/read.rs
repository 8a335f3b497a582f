//! Witnesses from a directory of JSON lines.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::witness::{
    Effect, Event, Fault, FaultRecord, JobRow, Operation, Record, Sample, Witnesses, faults, operations,
};

/// Lines of one kind of witness that are read at most. A run of 100,000 jobs has about a million events; ten million lines
/// take some 3 GB of memory, and whoever has more should check shorter runs.
pub const MAX_LINES: usize = 10_000_000;
/// The longest line: a claim that names thousands of jobs stays far below.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Why witnesses could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A file or directory could not be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("{path} line {line} is not a valid record")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is more than [`MAX_LINES`], or a line is longer than [`MAX_LINE_BYTES`].
    #[error("{path} line {line} is beyond the limit")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// Reads what a run left in `dir`; the README names the files. A file that is missing is a witness that was not taken, except
/// for `run.json`, without which nothing can be judged.
///
/// A last line without an end is left out in the histories and effects, since their writers may have been killed in the middle of it.
///
/// # Errors
/// [`ReadError`], with the file and the line.
pub fn read_dir(dir: &Path) -> Result<Witnesses, ReadError> {
    let run_path = dir.join("run.json");
    let file = File::open(&run_path).map_err(|source| ReadError::Io { path: run_path.clone(), source })?;
    let run = serde_json::from_reader(BufReader::new(file)).map_err(|source| ReadError::Line {
        path: run_path,
        line: 1,
        source,
    })?;
    let history = histories(&dir.join("history"))?.map(operations);
    let old_dir = dir.join("old");
    let nemesis = lines::<FaultRecord>(&dir.join("nemesis.jsonl"), Tail::Whole)?.map(faults);
    let nemesis = nemesis.map(|faults| with_owners(faults, history.as_deref().unwrap_or_default()));
    let mut old = if old_dir.join("run.json").exists() { Some(Box::new(read_dir(&old_dir)?)) } else { None };
    if let Some(old) = &mut old {
        // The processes are the same, whomever they talked to.
        old.history.clone_from(&history);
    }
    Ok(Witnesses {
        run,
        history,
        old,
        events: lines::<Event>(&dir.join("events.jsonl"), Tail::Whole)?,
        effects_tx: lines::<Effect>(&dir.join("effects_tx.jsonl"), Tail::Whole)?,
        effects_ext: lines::<Effect>(&dir.join("effects_ext.jsonl"), Tail::MayBeCut)?,
        nemesis,
        samples: lines::<Sample>(&dir.join("samples.jsonl"), Tail::Whole)?,
        end: lines::<JobRow>(&dir.join("end.jsonl"), Tail::Whole)?,
    })
}

/// Who asks for a worker's incarnation while the database is away learns nothing; its own history names it, unless the process
/// was several workers.
fn with_owners(mut faults: Vec<Fault>, history: &[Operation]) -> Vec<Fault> {
    for fault in faults.iter_mut().filter(|fault| fault.owner.is_none()) {
        let Some(process) = fault.process.as_deref() else { continue };
        let of_process = history.iter().filter(|o| *o.record.process == *process).filter_map(|o| o.record.owner);
        let owners: BTreeSet<_> = of_process.collect();
        fault.owner = owners.first().copied().filter(|_| owners.len() == 1);
    }
    faults
}

#[derive(Clone, Copy, PartialEq)]
enum Tail {
    Whole,
    MayBeCut,
}

fn histories(dir: &Path) -> Result<Option<Vec<Record>>, ReadError> {
    let error = |source| ReadError::Io { path: dir.to_owned(), source };
    let entries = match dir.read_dir() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(error)?,
    };
    let mut paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(error)?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(lines::<Record>(&path, Tail::MayBeCut)?.unwrap_or_default());
        if all.len() > MAX_LINES {
            return Err(ReadError::TooLarge { path, line: all.len() });
        }
    }
    Ok(Some(all))
}

fn lines<T: DeserializeOwned>(path: &Path, tail: Tail) -> Result<Option<Vec<T>>, ReadError> {
    let error = |source| ReadError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(error)?,
    };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut all, mut buffer, mut line) = (Vec::new(), Vec::new(), 0);
    loop {
        buffer.clear();
        line += 1;
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut reader, limit).read_until(b'\n', &mut buffer).map_err(error)?;
        if read == 0 {
            return Ok(Some(all));
        }
        let cut = buffer.last() != Some(&b'\n');
        if line > MAX_LINES || (cut && read >= MAX_LINE_BYTES) {
            return Err(ReadError::TooLarge { path: path.to_owned(), line });
        }
        if buffer.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(&buffer) {
            Ok(record) => all.push(record),
            Err(_) if cut && tail == Tail::MayBeCut => return Ok(Some(all)),
            Err(source) => return Err(ReadError::Line { path: path.to_owned(), line, source }),
        }
    }
}
