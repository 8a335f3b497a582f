//! The load: clients that enqueue over HTTP with keys and write down what they asked and were answered.
//!
//! What was not answered well is repeated under the same key, so that outages cost no load and ambiguous answers get resolved.

use crate::DrillError;
use crate::catalogue::{Drill, Load};
use crate::history::History;
use crate::http::{Exchange, exchange};
use crate::schedule::work;
use faultline_check::witness::{Action, Answer, Phase, Record};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest time until an enqueue is answered, whatever the answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Before a request is repeated.
const AGAIN: Duration = Duration::from_millis(150);
/// Tries of one request at most; outages of a drill are far shorter.
const TRIES: usize = 400;

/// What all clients share.
pub(crate) struct Enqueuer {
    pub(crate) drill: Drill,
    pub(crate) seed: u64,
    pub(crate) port: Arc<AtomicU16>,
    pub(crate) queue: String,
    pub(crate) next: AtomicU64,
}

impl Enqueuer {
    /// Runs client number `client` until `stop`, and its last request to its end.
    pub(crate) async fn client(
        self: Arc<Self>,
        dir: Arc<Path>,
        client: u64,
        stop: CancellationToken,
    ) -> Result<(), DrillError> {
        let history = History::open(&dir, &format!("client-{client}"))?;
        while !stop.is_cancelled() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let request = self.request(number);
            self.send_until_answered(&history, &request).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.drill.load.pause) => {}
            }
        }
        Ok(())
    }

    fn request(&self, number: u64) -> Value {
        let Load { per_key, max_attempts, timeout, .. } = self.drill.load;
        let job = number / per_key;
        let mut payload = json!(work(&self.drill, self.seed, job));
        if per_key > 1 && number % 4 == 3 {
            payload["other"] = json!(number % per_key);
        }
        json!({"kind": "drill.work", "queue": self.queue, "payload": payload, "key": format!("job-{job}"), "max_attempts": max_attempts,
               "timeout": timeout, "backoff": {"base": "50ms", "cap": "400ms"}})
    }

    /// Repeats a request under its key until it is answered; then every answer that told nothing is resolved.
    async fn send_until_answered(&self, history: &History, request: &Value) {
        let mut unknown = Vec::new();
        for _ in 0..TRIES {
            let op = history.op();
            let end = self.send(history, op, request).await;
            if end.phase == Phase::Info {
                unknown.push(op);
            }
            let Some(answer) = end.answer else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            for of in unknown {
                let mut record = history.record(history.op(), Action::Resolve, Phase::Ok);
                record.of = Some(of);
                // The key's job was there before this last request: somebody's earlier one took place.
                let happened = answer == Answer::Duplicate;
                record.answer = Some(if happened { Answer::Happened } else { Answer::Absent });
                record.job = end.job.filter(|_| happened);
                history.write(&record);
            }
            return;
        }
    }

    /// One request; answers its end as it was written down.
    async fn send(&self, history: &History, op: u64, request: &Value) -> Record {
        let key: Box<str> = request["key"].as_str().unwrap_or_default().into();
        let record = |phase| {
            let mut record = history.record(op, Action::Enqueue, phase);
            record.key = Some(key.clone());
            record.queue = Some(self.queue.as_str().into());
            record.fingerprint = Some(request["payload"].to_string().into());
            record.effect_tx = request["payload"]["tx"] == true;
            record
        };
        history.write(&record(Phase::Invoke));
        let api = (Ipv4Addr::LOCALHOST, self.port.load(Ordering::Acquire)).into();
        let answer = exchange(api, "POST /v1/jobs", &request.to_string(), self.drill.load.patience).await;
        let (phase, answer, id) = match &answer {
            Exchange::Answered(status @ (200 | 201), body) => {
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                let answer = if *status == 201 { Answer::Created } else { Answer::Duplicate };
                (Phase::Ok, Some(answer), body["id"].as_str().and_then(|id| id.parse().ok()))
            }
            Exchange::Answered(409, _) => (Phase::Fail, Some(Answer::Conflict), None),
            Exchange::Answered(400..=499, _) => (Phase::Fail, Some(Answer::Refused), None),
            Exchange::Answered(503, _) | Exchange::Unsent => (Phase::Fail, None, None),
            Exchange::Answered(..) | Exchange::Silence => (Phase::Info, None, None),
        };
        let mut end = record(phase);
        (end.answer, end.job) = (answer, id);
        history.write(&end);
        end
    }
}
