//! The demonstration kinds: small jobs that behave and misbehave on request.
//!
//! | kind | payload | does |
//! |---|---|---|
//! | `demo.echo` | anything | succeeds with its payload as the result |
//! | `demo.sleep` | `{"ms": 500}` | sleeps, then succeeds |
//! | `demo.fail` | `{"times": 2}` | fails its first attempts, then succeeds |
//! | `demo.crash` | `{"times": 1}` | kills its own process on its first attempts, then succeeds |

use crate::attempt::{Facts, Outcome};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// The names of the kinds.
pub(crate) const KINDS: [&str; 4] = ["demo.echo", "demo.sleep", "demo.fail", "demo.crash"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sleep {
    #[serde(default = "half_a_second")]
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    #[serde(default = "once")]
    times: i32,
}

fn half_a_second() -> u64 {
    500
}

fn once() -> i32 {
    1
}

/// Makes one attempt at a job of one of [`KINDS`].
pub(crate) async fn run(facts: &Facts, payload: &RawValue) -> Outcome {
    match attempt(facts, payload).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Fatal(format!("the payload of {} is wrong: {error}", facts.kind)),
    }
}

async fn attempt(facts: &Facts, payload: &RawValue) -> serde_json::Result<Outcome> {
    match facts.kind.as_str() {
        "demo.sleep" => {
            let Sleep { ms } = serde_json::from_str(payload.get())?;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            succeeded(&serde_json::json!({ "slept_ms": ms }))
        }
        "demo.fail" => {
            let Times { times } = serde_json::from_str(payload.get())?;
            if facts.attempt <= times {
                return Ok(Outcome::Failed(format!("attempt {} was asked to fail", facts.attempt)));
            }
            succeeded(&serde_json::json!({ "attempts": facts.attempt }))
        }
        "demo.crash" => {
            let Times { times } = serde_json::from_str(payload.get())?;
            if facts.attempt <= times {
                tracing::warn!("demo.crash kills this process");
                std::process::abort();
            }
            succeeded(&serde_json::json!({ "attempts": facts.attempt }))
        }
        _ => Ok(Outcome::Succeeded(Some(payload.to_owned()))),
    }
}

fn succeeded(result: &serde_json::Value) -> serde_json::Result<Outcome> {
    serde_json::value::to_raw_value(result).map(|result| Outcome::Succeeded(Some(result)))
}
