//! Looks at the run ten times a second: the job tables in one snapshot, whether the API answers, and what it has counted.

use crate::DrillError;
use crate::database;
use crate::history::{Lines, wall_ns};
use crate::http::{Exchange, exchange};
use crate::metrics;
use crate::old;
use faultline_check::witness::{HealthSample, Sample};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a snapshot may take; a database that was killed in the middle of one may say nothing.
const LIMIT: Duration = Duration::from_secs(2);

/// The port of a snapshot that could not be taken.
const NOWHERE: i32 = -1;

/// The API that ought to answer now; none while it is killed.
#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<Option<(String, SocketAddr)>>>);

impl Api {
    pub(crate) fn set(&self, api: Option<(String, SocketAddr)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = api;
    }

    fn get(&self) -> Option<(String, SocketAddr)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is looked at.
pub(crate) struct Sampler {
    pub(crate) url: String,
    pub(crate) queue: String,
    pub(crate) api: Api,
    pub(crate) every: Duration,
    /// The primary that a failover will leave behind: what it shows is written down with its own witnesses.
    pub(crate) old: Option<String>,
}

impl Sampler {
    /// Samples until `stop`.
    pub(crate) async fn run(self, dir: Arc<Path>, stop: CancellationToken) -> Result<(), DrillError> {
        let lines = Lines::open(&dir.join("samples.jsonl"), false)?;
        let of_old = match &self.old {
            Some(_) => Some(Lines::open(&old::dir(&dir).join("samples.jsonl"), false)?),
            None => None,
        };
        let mut session = None;
        let (mut number, mut seen) = (0, false);
        loop {
            // The last look comes when everything has ended: what is counted by then is all there is.
            let is_last = stop.is_cancelled();
            number += 1;
            let ((rows, port), told) = tokio::join!(self.snapshot(&mut session, number), told(&self.api, number));
            seen |= port != NOWHERE;
            let is_old = self.old.as_ref().is_some_and(|url| url.contains(&format!(":{port}/")));
            let rows_to = of_old.as_ref().filter(|_| is_old).unwrap_or(&lines);
            for (lines, sample) in rows.iter().map(|row| (rows_to, row)).chain(told.iter().map(|told| (&lines, told))) {
                lines.write(sample).map_err(DrillError::io("write a sample"))?;
            }
            if is_last {
                break;
            }
            let _ = tokio::time::timeout(self.every, stop.cancelled()).await;
        }
        // An outage may cost snapshots, but not all of them: then the look itself is wrong.
        if seen { Ok(()) } else { Err(DrillError::Witness("no snapshot of the job tables could be taken".into())) }
    }

    /// What is there and on which port; nothing while the database is away.
    async fn snapshot(&self, session: &mut Option<tokio_postgres::Client>, number: u32) -> (Vec<Sample>, i32) {
        let look = async {
            let mut client = match session.take() {
                Some(client) => client,
                None => database::connect(&self.url).await?,
            };
            let rows = database::sample(&mut client, number, &self.queue).await?;
            Ok::<_, DrillError>((client, rows))
        };
        let Ok(Ok((client, rows))) = tokio::time::timeout(LIMIT, look).await else { return (Vec::new(), NOWHERE) };
        *session = Some(client);
        rows
    }
}

/// What the API says of itself: that it is well, and what it has counted.
async fn told(api: &Api, number: u32) -> Vec<Sample> {
    let Some((process, address)) = api.get() else { return Vec::new() };
    let (health, metrics) =
        tokio::join!(exchange(address, "GET /health", "", LIMIT), exchange(address, "GET /metrics", "", LIMIT));
    let answered = matches!(health, Exchange::Answered(..));
    let text = match &metrics {
        Exchange::Answered(200, text) => Some(text.as_str()),
        _ => None,
    };
    // One that was killed while it was asked owes no answer.
    let still = api.get().is_some_and(|(name, _)| name == process);
    let mut told = Vec::new();
    if answered || still {
        let (at_us, process) = (wall_ns() / 1000, process.clone());
        told.push(Sample::Health(HealthSample { sample: number, at_us, process, answered }));
    }
    if text.is_some() || still {
        told.push(metrics::sample(number, &process, text));
    }
    told
}
