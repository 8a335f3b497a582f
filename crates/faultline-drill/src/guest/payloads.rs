//! A client that sends what nobody can store: through the API, the library and SQL, as payloads and as what handlers answer with.
//!
//! One round: each class once a way. What must be refused is noted as refused only if it was refused as documented: by the API with a
//! problem of a 4xx type, by the library with its error of an invalid value, by SQL with an error about data.

use crate::DrillError;
use crate::guest::Visit;
use crate::guest::keyed::Keyed;
use crate::handler::Odd;
use crate::history::History;
use crate::http::{Exchange, exchange_bytes};
use crate::work::{How, Work};
use faultline::{Client, tokio_postgres};
use faultline_check::witness::{Action, Answer, Phase};
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

/// How long an answer may take, 300 megabytes included.
const LIMIT: Duration = Duration::from_secs(10);
/// What the classes are refused for, at least: the number of things that must be refused in one round.
pub(crate) const REFUSED: u64 = 32;

/// Something odd, in the place of a value within a payload.
struct Class {
    name: &'static str,
    json: fn() -> String,
}

/// What is refused wherever it comes from.
const REFUSED_VALUES: &[Class] = &[
    Class { name: "nul", json: || r#""a\u0000b""#.into() },
    Class { name: "nul-in-a-key", json: || r#"{"a\u0000":1}"#.into() },
    Class { name: "lone-surrogate", json: || r#""\ud800""#.into() },
    Class { name: "reversed-surrogates", json: || r#""\udc00\ud800""#.into() },
    Class { name: "number-beyond-a-double", json: || "1e400".into() },
    Class { name: "number-of-ten-thousand-digits", json: || "9".repeat(10_000) },
    Class { name: "deep", json: || format!("{}{}", "[".repeat(5000), "]".repeat(5000)) },
    Class { name: "too-large", json: || format!("\"{}\"", "x".repeat(2 << 20)) },
];

/// What is stored and handed to the handler.
const STORED_VALUES: &[Class] = &[
    Class { name: "pair-of-surrogates", json: || r#""\ud83d\ude00""#.into() },
    Class { name: "large-double", json: || "1e308".into() },
    Class { name: "nested", json: || format!("{}{}", "[".repeat(90), "]".repeat(90)) },
    Class { name: "megabyte", json: || format!("\"{}\"", "x".repeat(1_000_000)) },
];

struct Round {
    visit: Visit,
    client: Client,
    history: History,
}

/// One round of everything.
pub(crate) async fn send_odd_things(visit: Visit) -> Result<(), DrillError> {
    let failed = |error: faultline::Error| DrillError::Process(format!("a client cannot start: {error}"));
    let client = Client::lazy(&visit.url).map_err(failed)?;
    let history = History::open(&visit.dir, "payloads")?;
    let round = Round { visit, client, history };
    for class in REFUSED_VALUES {
        let payload = format!(r#"{{"ms":1,"odd":{}}}"#, (class.json)());
        round.by_http(class.name, &round.request(class.name, &payload)).await;
        round.by_library(class.name, &payload).await;
        round.by_sql(class.name, &payload).await?;
    }
    for class in STORED_VALUES {
        let payload = format!(r#"{{"ms":1,"odd":{}}}"#, (class.json)());
        round.by_http(class.name, &round.request(class.name, &payload)).await;
        round.by_library(class.name, &payload).await;
        round.by_sql(class.name, &payload).await?;
    }
    round.whole_requests().await;
    round.answers_of_handlers().await;
    Ok(())
}

impl Round {
    fn request(&self, key: &str, payload: &str) -> Vec<u8> {
        let queue = &self.visit.queue;
        let text = format!(r#"{{"kind":"drill.work","queue":"{queue}","key":"http-{key}","payload":{payload}}}"#);
        text.into_bytes()
    }

    /// What is odd about the request itself.
    async fn whole_requests(&self) {
        let plain = r#"{"ms":1}"#;
        let key = "k".repeat(3000);
        self.by_http("key-beyond-an-index-row", &self.request(&key, plain)).await;
        self.by_http("key-with-nul", &self.request(r"a\u0000b", plain)).await;
        self.by_http("twice-in-the-payload", &self.request("twice", r#"{"ms":1,"ms":2}"#)).await;
        self.by_http("field-twice", br#"{"kind":"drill.work","kind":"other","payload":null}"#).await;
        self.by_http("not-utf-8", b"{\"kind\":\"drill.work\",\"payload\":\"\xff\xfe\"}").await;
        self.by_http("cut", br#"{"kind":"drill.work","payload":{"#).await;
        self.by_http("kind-with-nul", br#"{"kind":"a\u0000b","payload":null}"#).await;
        let vast = vec![b'x'; 300 << 20];
        self.by_http("three-hundred-megabytes", &vast).await;
    }

    async fn by_http(&self, name: &str, body: &[u8]) {
        let op = self.begin();
        match exchange_bytes(self.visit.address, "POST /v1/jobs", body, LIMIT).await {
            Exchange::Answered(201, body) => {
                let body: Value = serde_json::from_str(&body).unwrap_or_default();
                self.end(op, name, Phase::Ok, Some(Answer::Created), body["id"].as_str());
            }
            Exchange::Answered(400..=499, body) if is_problem(&body) => {
                self.end(op, name, Phase::Fail, Some(Answer::Refused), None);
            }
            // Of a body that is far too large a server may read a part and hang up.
            Exchange::Silence if body.len() > (100 << 20) => {
                self.end(op, name, Phase::Fail, Some(Answer::Refused), None);
            }
            _ => self.end(op, name, Phase::Info, Some(Answer::Broken), None),
        }
    }

    async fn by_library(&self, name: &str, payload: &str) {
        let op = self.begin();
        let Ok(raw) = RawValue::from_string(payload.to_owned()) else {
            // What serde_json does not take for JSON never becomes a job.
            return self.end(op, name, Phase::Fail, Some(Answer::Refused), None);
        };
        let enqueue =
            self.client.enqueue_raw("drill.work", raw).queue(&self.visit.queue).key(format!("library-{name}"));
        match enqueue.await {
            Ok(enqueued) => self.end(op, name, Phase::Ok, Some(Answer::Created), Some(&enqueued.id().to_string())),
            Err(faultline::Error::Invalid(_) | faultline::Error::Payload(_)) => {
                self.end(op, name, Phase::Fail, Some(Answer::Refused), None);
            }
            Err(_) => self.end(op, name, Phase::Info, Some(Answer::Broken), None),
        }
    }

    async fn by_sql(&self, name: &str, payload: &str) -> Result<(), DrillError> {
        let session = crate::database::connect(&self.visit.url).await?;
        let sql =
            "select faultline.enqueue(kind => 'drill.work', queue => $1, key => $2, payload => $3::text::jsonb)::text";
        let op = self.begin();
        match session.query_one(sql, &[&self.visit.queue, &format!("sql-{name}"), &payload]).await {
            Ok(row) => self.end(op, name, Phase::Ok, Some(Answer::Created), Some(row.get(0))),
            Err(error) if is_about_data(&error) => self.end(op, name, Phase::Fail, Some(Answer::Refused), None),
            Err(error) => {
                let mut record = self.history.record(op, Action::Enqueue, Phase::Info);
                (record.answer, record.sqlstate) = (Some(Answer::Broken), error.code().map(|code| code.code().into()));
                self.history.write(&record);
            }
        }
        Ok(())
    }

    /// Jobs whose handlers return or fail with what cannot be stored: they must end all the same.
    async fn answers_of_handlers(&self) {
        let work = || Work { ms: 1, light: true, ..Work::default() };
        let odd = Odd::ALL.map(|odd| Work { result: Some(odd), ..work() });
        let errors = [How::Nul, How::Huge, How::Vast].map(|how| Work { fail: Some(how), times: 1, ..work() });
        for (number, work) in odd.into_iter().chain(errors).enumerate() {
            let (queue, key) = (&self.visit.queue, format!("answer-{number}"));
            let keyed = Keyed { history: &self.history, queue, key, work };
            let op = keyed.begin();
            keyed.ended(op, &keyed.by_library(&self.client).await);
        }
    }

    fn begin(&self) -> u64 {
        let op = self.history.op();
        self.history.write(&self.history.record(op, Action::Enqueue, Phase::Invoke));
        op
    }

    fn end(&self, op: u64, name: &str, phase: Phase, answer: Option<Answer>, job: Option<&str>) {
        let mut record = self.history.record(op, Action::Enqueue, phase);
        record.job = job.and_then(|job| job.parse().ok());
        record.fingerprint = Some(name.into());
        record.answer = answer;
        self.history.write(&record);
    }
}

/// Problem details with a type that clients may rely on.
fn is_problem(body: &str) -> bool {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["type"].as_str().is_some_and(|kind| kind.starts_with("urn:faultline:problem:"))
}

/// Wrong data, a limit of the program, or what the functions say of a job: no failure of the server.
fn is_about_data(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map(tokio_postgres::error::SqlState::code).unwrap_or_default();
    ["22", "23", "54", "FL"].iter().any(|class| code.starts_with(class))
}
