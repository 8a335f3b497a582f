//! Carries out a schedule: each fault is begun at its time and ended after its length; several may last at once.

use crate::DrillError;
use crate::schedule::Step;
use crate::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Carries out the steps from `began` on, until all have ended and `duration` is over. A fault that began late, since its
/// victim was not ready, or took long to heal, delays those after it, so that faults which were planned apart stay apart.
pub(crate) async fn carry_out(
    stage: &mut Stage,
    steps: &[Step],
    began: Instant,
    duration: Duration,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<(), DrillError> {
    let mut late = Duration::ZERO;
    let mut to_begin = steps.iter().zip(1..).peekable();
    let mut to_end: Vec<(Instant, u64, &Step)> = Vec::new();
    loop {
        to_end.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let next_begin = to_begin.peek().map(|(step, _)| began + late + Duration::from_millis(step.at_ms));
        let next_end = to_end.last().map(|(at, ..)| *at);
        let Some(next) = next_begin.into_iter().chain(next_end).min() else { break };
        wait_until(stage, next).await?;
        if next_end == Some(next) {
            let Some((_, number, step)) = to_end.pop() else { continue };
            step.fault.end(stage, number).await?;
            late += Instant::now() - next;
            tell(&format!("{:>5.1} s  over: {}", began.elapsed().as_secs_f64(), step.fault));
        } else if let Some((step, number)) = to_begin.next() {
            tell(&format!("{:>5.1} s  {}", began.elapsed().as_secs_f64(), step.fault));
            step.fault.begin(stage, number).await?;
            let now = Instant::now();
            late += now - next;
            if step.for_ms > 0 {
                to_end.push((now + Duration::from_millis(step.for_ms), number, step));
            }
        }
    }
    wait_until(stage, began + duration).await
}

async fn wait_until(stage: &mut Stage, then: Instant) -> Result<(), DrillError> {
    loop {
        stage.watch().await?;
        let now = Instant::now();
        if now >= then {
            return Ok(());
        }
        tokio::time::sleep_until(then.min(now + LOOK_EVERY)).await;
    }
}
