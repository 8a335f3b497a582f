//! Enqueues under keys as a guest makes and notes them.

use crate::history::History;
use crate::work::Work;
use faultline::{Client, Enqueue, Enqueued, Error};
use faultline_check::witness::{Action, Answer, Phase, Record};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Between two tries to find out.
const AGAIN: Duration = Duration::from_millis(100);
/// Tries to find out, at most.
const TRIES: usize = 200;

/// One job that is asked for, perhaps several times.
pub(crate) struct Keyed<'a> {
    pub(crate) history: &'a History,
    pub(crate) queue: &'a str,
    pub(crate) key: String,
    pub(crate) work: Work,
}

impl Keyed<'_> {
    /// The enqueue, through the library.
    pub(crate) fn by_library<'c>(&self, client: &'c Client) -> Enqueue<'c> {
        let (base, cap) = (Duration::from_millis(50), Duration::from_millis(400));
        client.enqueue(&self.work).queue(self.queue).key(&self.key).max_attempts(8).backoff(base, cap)
    }

    /// The same as a request of the API.
    pub(crate) fn by_http(&self) -> Value {
        json!({"kind": "drill.work", "queue": self.queue, "payload": self.work, "key": self.key, "max_attempts": 8,
               "backoff": {"base": "50ms", "cap": "400ms"}})
    }

    fn record(&self, op: u64, phase: Phase) -> Record {
        let mut record = self.history.record(op, Action::Enqueue, phase);
        record.key = Some(self.key.as_str().into());
        record.queue = Some(self.queue.into());
        record.fingerprint = Some(json!(self.work).to_string().into());
        record.effect_tx = self.work.tx;
        record
    }

    /// Notes the beginning of an enqueue.
    pub(crate) fn begin(&self) -> u64 {
        let op = self.history.op();
        self.history.write(&self.record(op, Phase::Invoke));
        op
    }

    /// Notes its end.
    pub(crate) fn end(&self, op: u64, phase: Phase, answer: Option<Answer>, job: Option<Uuid>) {
        let mut record = self.record(op, phase);
        (record.answer, record.job) = (answer, job);
        self.history.write(&record);
    }

    /// Notes how an enqueue of the library ended; answers whether nobody can tell.
    pub(crate) fn ended(&self, op: u64, answer: &Result<Enqueued, Error>) -> bool {
        match answer {
            Ok(Enqueued::Created(id)) => self.end(op, Phase::Ok, Some(Answer::Created), Some(id.0)),
            Ok(Enqueued::Duplicate(id)) => self.end(op, Phase::Ok, Some(Answer::Duplicate), Some(id.0)),
            Ok(Enqueued::Conflict(_)) | Err(Error::KeyConflict { .. }) => {
                self.end(op, Phase::Fail, Some(Answer::Conflict), None);
            }
            Err(Error::Invalid(_) | Error::Payload(_)) => self.end(op, Phase::Fail, Some(Answer::Refused), None),
            Err(_) => self.end(op, Phase::Info, None, None),
        }
        answer.is_err() && !matches!(answer, Err(Error::KeyConflict { .. } | Error::Invalid(_) | Error::Payload(_)))
    }

    /// Asks with the key until that is answered, and notes what it says of the enqueue `of`, of which nobody could tell the end.
    pub(crate) async fn resolve(&self, client: &Client, of: u64) {
        for _ in 0..TRIES {
            let op = self.begin();
            let answer = self.by_library(client).await;
            let unknown = self.ended(op, &answer);
            let Ok(enqueued) = answer else {
                debug_assert!(unknown, "the same request is no conflict");
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let happened = matches!(enqueued, Enqueued::Duplicate(_));
            let mut record = self.history.record(self.history.op(), Action::Resolve, Phase::Ok);
            record.of = Some(of);
            record.answer = Some(if happened { Answer::Happened } else { Answer::Absent });
            record.job = happened.then(|| enqueued.id().0);
            return self.history.write(&record);
        }
    }
}
