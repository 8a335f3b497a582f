//! The witnesses of a primary that a failover left behind: what it has, and the new one may lack.

use crate::DrillError;
use crate::database;
use crate::ground::Ground;
use crate::history::Lines;
use crate::run::write_json;
use faultline_check::witness::{FaultKind, FaultRecord, Phase, Run};
use faultline_cluster::Cluster;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// Where they are, in the directory of a run.
pub(crate) fn dir(run: &Path) -> PathBuf {
    run.join("old")
}

/// Reads them, after everybody has ended; a server that was killed is started once more for that.
pub(crate) async fn take(ground: &Ground, run: &Run, run_dir: &Path) -> Result<(), DrillError> {
    let Some(cluster) = ground.cluster.clone() else { return Ok(()) };
    let dir = dir(run_dir);
    let start = move || {
        let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
        let survived = cluster.postmaster_pid().is_some();
        if survived { Ok(true) } else { Cluster::start_again(&mut cluster).map(|()| false) }
    };
    let panicked = |_| DrillError::Process("the start of the old primary has panicked".into());
    let survived = tokio::task::spawn_blocking(start).await.map_err(panicked)??;
    let ended_us = database::dump(&database::connect(&ground.primary_url).await?, &dir, &ground.queue).await?;
    nemesis(run_dir, &dir, survived)?;
    let run =
        Run { ended_us, drained: survived, asynchronous_failover: true, required: BTreeMap::new(), ..run.clone() };
    write_json(&dir.join("run.json"), &run)
}

/// The faults as the old primary had them: one that died did not come back.
fn nemesis(run_dir: &Path, dir: &Path, survived: bool) -> Result<(), DrillError> {
    let failed = || DrillError::io("copy the nemesis's log");
    let text = std::fs::read_to_string(run_dir.join("nemesis.jsonl")).map_err(failed())?;
    let lines = Lines::open(&dir.join("nemesis.jsonl"), false)?;
    let mut last_outage = None;
    for line in text.lines() {
        let record: FaultRecord = serde_json::from_str(line).map_err(|error| DrillError::Witness(error.to_string()))?;
        lines.write(&record).map_err(failed())?;
        if matches!(record.kind, FaultKind::Failover | FaultKind::CommitsHang) {
            last_outage = Some(record);
        }
    }
    let Some(outage) = last_outage.filter(|_| !survived) else { return Ok(()) };
    let down = FaultRecord { fault: u64::MAX, phase: Phase::Invoke, kind: FaultKind::DatabaseDown, ..outage };
    lines.write(&down).map_err(failed())
}
