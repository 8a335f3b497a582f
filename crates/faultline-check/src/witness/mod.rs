//! What a run leaves behind, as the checker reads it. Each type is a line of a file; the README tells which.
//!
//! Times that processes measured are nanoseconds (`_ns`), times of the database microseconds (`_us`), both since 1970 unless a
//! field says otherwise. Unknown fields are refused: a witness that is misspelt must not count as silence.

mod effects;
mod events;
mod history;
mod nemesis;
mod run;
mod sample;

pub use effects::Effect;
pub use events::{Event, Reason, State};
pub use history::{Action, Answer, Operation, Phase, Record, operations};
pub use nemesis::{Fault, FaultKind, FaultRecord, Place, faults};
pub use run::{Required, Run};
pub use sample::{HealthSample, JobRow, MetricsSample, QueueSample, Sample, SessionSample};

/// Everything a run left. A witness that was not taken is `None`: what rests on it is then not checked, never passed.
#[derive(Debug, Clone, Default)]
pub struct Witnesses {
    /// The settings of the run.
    pub run: Run,
    /// H: what the processes asked and were answered.
    pub history: Option<Vec<Operation>>,
    /// T: what the database did to jobs, by `seq`.
    pub events: Option<Vec<Event>>,
    /// `E_tx`: effects that handlers wrote in the transaction of their job's success.
    pub effects_tx: Option<Vec<Effect>>,
    /// `E_ext`: effects that handlers caused outside of the database.
    pub effects_ext: Option<Vec<Effect>>,
    /// N: the faults.
    pub nemesis: Option<Vec<Fault>>,
    /// S: snapshots during the run.
    pub samples: Option<Vec<Sample>>,
    /// The job tables after the run was drained.
    pub end: Option<Vec<JobRow>>,
    /// What a primary has that a failover left behind: a history of jobs of its own, judged for itself.
    pub old: Option<Box<Witnesses>>,
}
