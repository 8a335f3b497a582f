//! What handlers of some drills do beside their work: they starve the process, note their steps, return what nobody can store.

use crate::history::{History, boot_ns};
use crate::work::Work;
use faultline::{Client, Run};
use faultline_check::witness::{Action, Phase};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::{Duration, Instant};

/// Sessions in the pool of a [`Client`], and one more, which finds none.
const SESSIONS: usize = 9;
/// Between two looks whether the runtime still runs things.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A result that Postgres cannot store, or common languages cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Odd {
    /// The character NUL.
    Nul,
    /// Half of a surrogate pair.
    Surrogate,
    /// A number beyond a double.
    Number,
    /// A key twice in one object.
    Keys,
    /// Five thousand arrays in each other.
    Deep,
    /// Thirty megabytes.
    Large,
}

impl Odd {
    pub(crate) const ALL: [Self; 6] = [Self::Nul, Self::Surrogate, Self::Number, Self::Keys, Self::Deep, Self::Large];

    /// As JSON; none if the library that writes it refuses already.
    pub(crate) fn json(self) -> Option<Box<RawValue>> {
        let text = match self {
            Self::Nul => r#""a\u0000b""#.to_owned(),
            Self::Surrogate => r#""\ud800""#.to_owned(),
            Self::Number => "1e400".to_owned(),
            Self::Keys => r#"{"a":1,"a":2}"#.to_owned(),
            Self::Deep => format!("{}{}", "[".repeat(5000), "]".repeat(5000)),
            Self::Large => format!("\"{}\"", "x".repeat(30 << 20)),
        };
        RawValue::from_string(text).ok()
    }
}

/// Holds the thread that runs the handler: nothing else runs on it.
pub(crate) fn block(work: &Work) {
    let time = Duration::from_millis(work.block_ms);
    if work.spin {
        let since = Instant::now();
        while since.elapsed() < time {
            std::hint::spin_loop();
        }
    } else {
        std::thread::sleep(time);
    }
}

/// Takes every session of the pool for so long, and notes those that were not to be had.
pub(crate) async fn take_sessions(client: &Client, hold: Duration, history: &History) {
    let seconds = hold.as_secs_f64();
    let take = async || {
        let sleep = format!("select pg_sleep({seconds})");
        let taken = client.database().run(async |session| Ok(session.batch_execute(&sleep).await?)).await;
        if taken.is_err() {
            history.write(&history.record(history.op(), Action::Connect, Phase::Fail));
        }
    };
    futures_util::future::join_all((0..SESSIONS).map(|_| take())).await;
}

/// Works for `total` in steps, each noted with the deadline of its lease.
pub(crate) async fn work_in_steps(total: Duration, step: Duration, run: &Run, history: &History) {
    let steps = total.as_millis() / step.as_millis().max(1);
    for _ in 0..steps {
        tokio::time::sleep(step).await;
        // In this order: what happens in between makes the deadline no later than it is.
        let (looked_ns, left) = (boot_ns(), run.lease_left());
        let mut record = history.record(history.op(), Action::HandlerStep, Phase::Ok);
        record.job = Some(run.id().0);
        record.lease = Some(run.lease_id().0);
        record.deadline_boot_ns = Some(looked_ns.saturating_add(i64::try_from(left.as_nanos()).unwrap_or(i64::MAX)));
        history.write(&record);
    }
}

/// Notes each time that the runtime ran nothing for longer than a lease; never ends.
pub(crate) async fn watch_for_stalls(history: &History, lease_ttl: Duration) {
    loop {
        let since = Instant::now();
        tokio::time::sleep(LOOK_EVERY).await;
        if since.elapsed() > lease_ttl {
            history.write(&history.record(history.op(), Action::Stalled, Phase::Ok));
        }
    }
}
