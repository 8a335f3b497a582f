//! The demonstration kinds: small jobs that behave and misbehave on request.
//!
//! | kind | payload | does |
//! |---|---|---|
//! | `demo.echo` | anything | succeeds with its payload as the result |
//! | `demo.sleep` | `{"ms": 500}` | sleeps, then succeeds |
//! | `demo.fail` | `{"times": 2}` | fails its first attempts, then succeeds |
//! | `demo.crash` | `{"times": 1}` | kills its own process on its first attempts, then succeeds |
//! | [`SCENES`] | whatever, and a `script` | what its [`Script`] says; the load of `faultline dev` is made of them |

use crate::attempt::{Facts, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

/// The names of the kinds that users try out.
pub(crate) const KINDS: [&str; 4] = ["demo.echo", "demo.sleep", "demo.fail", "demo.crash"];

/// The names of the kinds that play a part.
pub(crate) const SCENES: [&str; 5] = ["demo.receipt", "demo.report", "demo.webhook", "demo.import", "demo.reminder"];

/// What the attempts at a job of [`SCENES`] do. It stands in the payload, where whoever looks at the job can read it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Script {
    /// How long each attempt takes.
    pub(crate) takes_ms: u64,
    /// How many attempts kill their process, before any does anything else.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) crashes: i32,
    /// How many attempts fail.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) fails: i32,
    /// With what.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
    /// Whether that is final.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_final: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(times: &i32) -> bool {
    *times == 0
}

#[derive(Deserialize)]
struct Scene {
    script: Script,
}

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

/// Makes one attempt at a job of one of [`KINDS`] or [`SCENES`].
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
        kind if SCENES.contains(&kind) => {
            let Scene { script } = serde_json::from_str(payload.get())?;
            play(facts, &script).await
        }
        _ => Ok(Outcome::Succeeded(Some(payload.to_owned()))),
    }
}

async fn play(facts: &Facts, script: &Script) -> serde_json::Result<Outcome> {
    tokio::time::sleep(Duration::from_millis(script.takes_ms)).await;
    if facts.attempt <= script.crashes {
        tracing::warn!(
            job = facts.job_id,
            attempt = facts.attempt,
            "a demonstration job kills this process, as its script says"
        );
        std::process::abort();
    }
    match facts.attempt <= script.fails {
        true if script.is_final => Ok(Outcome::Fatal(script.error.clone())),
        true => Ok(Outcome::Failed(script.error.clone())),
        false => succeeded(&serde_json::json!({ "took_ms": script.takes_ms, "attempts": facts.attempt })),
    }
}

fn succeeded(result: &serde_json::Value) -> serde_json::Result<Outcome> {
    serde_json::value::to_raw_value(result).map(|result| Outcome::Succeeded(Some(result)))
}
