//! Refused finishes, from the logs of the workers: the engine tells its own finishes to nobody else.

use crate::DrillError;
use crate::history::History;
use faultline_check::witness::{Action, Answer, Phase};
use serde_json::Value;
use std::path::Path;

/// What a worker logs for a finish that another lease holder made void.
const REFUSED: &str = "the finish was refused: the lease was lost";

/// Writes a history for each log that holds refused finishes.
pub(crate) fn refused_finishes(dir: &Path) -> Result<(), DrillError> {
    let unreadable = || DrillError::io("read the logs of the workers");
    for entry in std::fs::read_dir(dir.join("logs")).map_err(unreadable())? {
        let path = entry.map_err(unreadable())?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(unreadable())?;
        let history = History::open(dir, &format!("{name}-log"))?;
        for line in text.lines().filter(|line| line.contains(REFUSED)) {
            // The last line of a process that was killed may be cut.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let id = |field: &str| line[field].as_str().and_then(|text| text.parse().ok());
            let mut record = history.record(history.op(), Action::Finish, Phase::Fail);
            (record.job, record.lease, record.answer) = (id("job"), id("lease"), Some(Answer::LeaseLost));
            history.write(&record);
        }
    }
    Ok(())
}
