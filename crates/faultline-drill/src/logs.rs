//! What the engine does by itself, from the logs of the workers: it tells nobody else of its claims and finishes.

use crate::DrillError;
use crate::history::History;
use faultline_check::witness::{Action, Answer, Phase, Record};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use uuid::Uuid;

/// The levels at which workers log what is read here.
pub(crate) const LEVELS: &str = "info,tokio_postgres=warn,faultline::worker=debug";
/// Operations of a log are numbered from here on, beyond those that the process itself noted.
const FIRST_OP: u64 = 1 << 40;

/// Writes a history for each log that tells of claims or finishes.
pub(crate) fn read(dir: &Path) -> Result<(), DrillError> {
    let unreadable = || DrillError::io("read the logs of the workers");
    for entry in std::fs::read_dir(dir.join("logs")).map_err(unreadable())? {
        let path = entry.map_err(unreadable())?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(unreadable())?;
        let history = History::continued(dir, &name, &format!("{name}-log"), FIRST_OP)?;
        let mut reader = Reader { history, lost: HashMap::new() };
        for line in text.lines() {
            // The last line of a process that was killed may be cut.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            reader.line(&line);
        }
    }
    Ok(())
}

/// What a lost answer was about: a job and its lease, or the lease of a claim.
type About = (Option<Uuid>, Option<Uuid>);

struct Reader {
    history: History,
    /// Operations whose answers were lost and that nobody has found out about yet.
    lost: HashMap<About, Vec<u64>>,
}

impl Reader {
    fn line(&mut self, line: &Value) {
        let id = |field: &str| line[field].as_str().and_then(|text| text.parse().ok());
        let about = (id("job"), id("lease"));
        match line["message"].as_str().unwrap_or_default() {
            "claimed" => self.claim(line, about.1),
            "the answer of a claim was lost" => self.lose(line, Action::Claim, about),
            "found out about a claim whose answer was lost" => {
                let found = line["jobs"].as_u64().unwrap_or(0) > 0;
                self.resolve(line, about, if found { Answer::Happened } else { Answer::Absent });
            }
            "the answer of a finish was lost" => self.lose(line, Action::Finish, about),
            "the finish was answered" => {
                let answer = serde_json::from_value(line["state"].clone()).ok();
                self.end(line, about, Phase::Ok, answer);
                self.resolve(line, about, Answer::Happened);
            }
            "the finish was refused: the lease was lost" => {
                self.end(line, about, Phase::Fail, Some(Answer::LeaseLost));
                self.resolve(line, about, Answer::Absent);
            }
            _ => {}
        }
    }

    /// A claim that was answered, from its beginning to its end.
    fn claim(&self, line: &Value, lease: Option<Uuid>) {
        let (op, took_us) = (self.history.op(), line["took_us"].as_i64().unwrap_or(0));
        let mut end = self.record(line, op, Action::Claim, Phase::Ok);
        end.lease = lease;
        let mut begin = end.clone();
        begin.phase = Phase::Invoke;
        begin.wall_ns -= took_us * 1000;
        begin.boot_ns -= took_us * 1000;
        self.history.write(&begin);
        self.history.write(&end);
    }

    fn lose(&mut self, line: &Value, action: Action, about: About) {
        let op = self.history.op();
        self.lost.entry(about).or_default().push(op);
        let mut record = self.record(line, op, action, Phase::Info);
        (record.job, record.lease) = about;
        self.history.write(&record);
    }

    fn end(&mut self, line: &Value, about: About, phase: Phase, answer: Option<Answer>) {
        let mut record = self.record(line, self.history.op(), Action::Finish, phase);
        (record.job, record.lease) = about;
        record.answer = answer;
        self.history.write(&record);
    }

    fn resolve(&mut self, line: &Value, about: About, answer: Answer) {
        for of in self.lost.remove(&about).unwrap_or_default() {
            let mut record = self.record(line, self.history.op(), Action::Resolve, Phase::Ok);
            (record.of, record.answer) = (Some(of), Some(answer));
            self.history.write(&record);
        }
    }

    /// A record of the time at which the line was logged.
    fn record(&self, line: &Value, op: u64, action: Action, phase: Phase) -> Record {
        let mut record = self.history.record(op, action, phase);
        let logged = line["timestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(logged) = logged.and_then(|logged| i64::try_from(logged.as_nanosecond()).ok()) {
            record.boot_ns -= record.wall_ns - logged;
            record.wall_ns = logged;
        }
        record
    }
}
