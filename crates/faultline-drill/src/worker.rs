//! The worker of a drill: a real worker process whose handler leaves witnesses.
//!
//! Its effect outside of the database goes to a file, on the disk before the handler goes on; its effect inside goes to a table
//! without a unique constraint, in the transaction of the job's success. At some points it asks whether something is
//! ordered to happen to it there (`orders.rs`).

use crate::handler;
use crate::history::{History, Lines};
use crate::metrics;
use crate::orders::{Orders, Point};
use crate::work::{How, Work};
use faultline::tokio_postgres::types::Type;
use faultline::tokio_postgres::{self, NoTls};
use faultline::{Client, Error, Failure, Run, Worker};
use faultline_check::witness::{Action, Answer, Effect, Phase};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From its finish on, a handler's transaction holds the job's row: nobody can take the job over from a worker that was
/// stopped there, unless the server ends its session.
const LET_GO: &str = "set local idle_in_transaction_session_timeout = '1s'";
/// Between the starts of two workers of one process: a hundred at once are a storm of their own.
const START_APART: Duration = Duration::from_millis(60);
/// Between two tries to find out about a commit.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Where the supervisor leaves the [`Settings`] of the workers, in the run's directory.
pub(crate) const SETTINGS: &str = "worker.json";

/// What the workers of a run are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// How long their leases last.
    pub(crate) lease_ttl: Duration,
    /// Where the jobs are.
    pub(crate) queue: String,
    /// Jobs at once.
    pub(crate) slots: usize,
    /// How long running handlers may go on when the worker is told to stop.
    pub(crate) grace: Duration,
    /// Whether handlers stop at the deadline of their lease.
    #[serde(default)]
    pub(crate) strict: bool,
    /// Workers in one process; more than one look to the database like as many processes.
    #[serde(default = "one")]
    pub(crate) incarnations: usize,
    /// Addresses that the process may use, MiB.
    #[serde(default)]
    pub(crate) memory_mib: Option<u64>,
}

fn one() -> usize {
    1
}

struct Shared {
    url: String,
    client: Client,
    history: History,
    effects: Lines,
    orders: Orders,
}

/// Runs a drill's worker until `stop`, with its witnesses in `dir`.
///
/// # Errors
/// When the witnesses cannot be opened or the worker cannot start.
pub async fn work(
    url: &str,
    dir: &Path,
    process: &str,
    stop: impl Future<Output = ()>,
) -> Result<(), crate::DrillError> {
    // One that is stopped, or stops itself, hears of the supervisor's end by nothing else.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| crate::DrillError::io("follow the supervisor")(error.into()))?;
    let settings =
        std::fs::read(dir.join(SETTINGS)).map_err(crate::DrillError::io("read the settings of the workers"))?;
    let settings: Settings =
        serde_json::from_slice(&settings).map_err(|error| crate::DrillError::Witness(error.to_string()))?;
    if let Some(mib) = settings.memory_mib {
        let limit = Rlimit { current: Some(mib << 20), maximum: Some(mib << 20) };
        let limited = setrlimit(Resource::As, limit);
        limited.map_err(|error| crate::DrillError::io("limit the memory of a worker")(error.into()))?;
    }
    let failed = |error: Error| crate::DrillError::Process(format!("the worker cannot run: {error}"));
    let client = Client::lazy(url).map_err(failed)?;
    let shared = Arc::new(Shared {
        url: url.to_owned(),
        client: client.clone(),
        history: History::open(dir, process)?,
        effects: Lines::open(&dir.join("effects_ext.jsonl"), true)?,
        orders: Orders::of(dir, process),
    });
    let (watching, ttl) = (shared.clone(), settings.lease_ttl);
    tokio::spawn(async move { handler::watch_for_stalls(&watching.history, ttl).await });
    let stopped = CancellationToken::new();
    let workers = (0..settings.incarnations).zip(0..).map(|(_, nth): (usize, u32)| {
        let shared = shared.clone();
        let worker = Worker::new(&client)
            .queue(settings.queue.clone(), settings.slots)
            .lease_ttl(settings.lease_ttl)
            .grace(settings.grace)
            .strict(settings.strict)
            .on(move |work: Work, run: Run| {
                let shared = shared.clone();
                async move { shared.handle(&work, &run).await.map(|()| work.result.and_then(handler::Odd::json)) }
            });
        let stopped = stopped.clone();
        async move {
            tokio::time::sleep(START_APART * nth).await;
            worker.run_until(stopped.cancelled_owned()).await
        }
    });
    let workers = futures_util::future::try_join_all(workers);
    tokio::pin!(workers);
    tokio::select! {
        () = stop => stopped.cancel(),
        ended = &mut workers => return ended.map(drop).map_err(failed),
    }
    workers.await.map_err(failed)?;
    let counted = metrics::sample(0, process, Some(&client.metrics().encode()));
    let samples = Lines::open(&dir.join("samples.jsonl"), false)?;
    samples.write(&counted).map_err(crate::DrillError::io("write what was counted"))
}

impl Shared {
    async fn handle(self: &Arc<Self>, work: &Work, run: &Run) -> Result<(), Failure> {
        self.note(run, self.history.op(), Action::HandlerStart, Phase::Ok, None);
        self.reach(Point::HandlerStart, run);
        if !work.light {
            self.effects.write(&Effect { job: run.id().0, lease: run.lease_id().0 })?;
        }
        if let Some(how) = work.fail.filter(|_| run.attempt() <= work.times) {
            return self.fail(how, run).await;
        }
        if work.blocking {
            // Never yields: only the fence can refuse what such a handler finishes too late.
            let ran = || tokio::runtime::Handle::current().block_on(self.succeed(work, run));
            tokio::task::block_in_place(ran)
        } else {
            self.succeed(work, run).await
        }
    }

    async fn succeed(self: &Arc<Self>, work: &Work, run: &Run) -> Result<(), Failure> {
        if work.block_ms > 0 {
            handler::block(work);
        }
        if work.sessions_ms > 0 {
            handler::take_sessions(&self.client, Duration::from_millis(work.sessions_ms), &self.history).await;
        }
        let again_ms = if run.attempt() > 1 { work.again_ms } else { 0 };
        let half = Duration::from_millis((work.ms + again_ms) / 2);
        if work.step_ms > 0 {
            handler::work_in_steps(half, Duration::from_millis(work.step_ms), run, &self.history).await;
        } else {
            tokio::time::sleep(half).await;
        }
        if !work.tx {
            self.reach(Point::MidHandler, run);
        }
        tokio::time::sleep(half).await;
        if work.tx {
            return self.succeed_in_transaction(work, run).await;
        }
        self.note(run, self.history.op(), Action::HandlerEnd, Phase::Ok, Some(Answer::Returned));
        Ok(())
    }

    async fn succeed_in_transaction(self: &Arc<Self>, work: &Work, run: &Run) -> Result<(), Failure> {
        let mut client = self.connect().await?;
        let tx = client.transaction().await?;
        let effect = "insert into faultline_drill.effects (job, lease) values ($1, $2)";
        tx.query_typed(effect, &[(&run.id().0, Type::UUID), (&run.lease_id().0, Type::UUID)]).await?;
        self.reach(Point::AfterEffect, run);
        tokio::time::sleep(Duration::from_millis(work.hold_ms)).await;
        self.note(run, self.history.op(), Action::HandlerEnd, Phase::Ok, Some(Answer::Returned));
        let op = self.history.op();
        self.note(run, op, Action::Finish, Phase::Invoke, None);
        let finished = self.finish(run, tx).await;
        match &finished {
            Ok(()) => self.note(run, op, Action::Finish, Phase::Ok, Some(Answer::Succeeded)),
            Err(Ended::Lost) => self.note(run, op, Action::Finish, Phase::Fail, Some(Answer::LeaseLost)),
            Err(Ended::Refused(_)) => self.note(run, op, Action::Finish, Phase::Fail, None),
            Err(Ended::Unknown(_)) => {
                self.note(run, op, Action::Finish, Phase::Info, None);
                tokio::spawn(self.clone().resolve(run.clone(), op));
            }
        }
        if matches!(finished, Err(Ended::Refused(_) | Ended::Unknown(_))) {
            // The engine will end the attempt as failed, of which nothing is heard in here.
            self.note(run, self.history.op(), Action::Finish, Phase::Invoke, None);
        }
        finished.map_err(|ended| match ended {
            Ended::Lost => Failure::new("the lease was lost"),
            Ended::Refused(error) => Failure::new(error),
            Ended::Unknown(error) => Failure::new(error),
        })
    }

    async fn connect(&self) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config: tokio_postgres::Config = self.url.parse()?;
        let (client, connection) = config.application_name("faultline drill handler").connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn finish(&self, run: &Run, mut tx: tokio_postgres::Transaction<'_>) -> Result<(), Ended> {
        tx.batch_execute(LET_GO).await.map_err(|error| Ended::Refused(error.to_string()))?;
        match run.complete_in(&mut tx, &()).await {
            Ok(()) => {}
            Err(Error::LeaseLost) => return Err(Ended::Lost),
            Err(error) => return Err(Ended::Refused(error.to_string())),
        }
        self.reach(Point::FinishSent, run);
        tx.commit().await.map_err(Ended::Unknown)?;
        self.reach(Point::FinishAcknowledged, run);
        Ok(())
    }

    /// Finds out, for the checker alone, what became of a commit that was not answered.
    async fn resolve(self: Arc<Self>, run: Run, of: u64) {
        let op = self.history.op();
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            let Ok(client) = crate::database::connect(&self.url).await else { continue };
            let Ok(happened) = crate::database::succeeded_under(&client, run.id().0, run.lease_id().0).await else {
                continue;
            };
            let mut record = self.history.record(op, Action::Resolve, Phase::Ok);
            record.of = Some(of);
            record.answer = Some(if happened { Answer::Happened } else { Answer::Absent });
            return self.history.write(&record);
        }
    }

    async fn fail(&self, how: How, run: &Run) -> Result<(), Failure> {
        if how == How::Slow {
            // Longer than the time-out that the job was enqueued with; the engine drops us, and we say so before.
            self.note(run, self.history.op(), Action::HandlerEnd, Phase::Ok, Some(Answer::Erred));
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        match how {
            How::Abort => std::process::abort(),
            How::Overflow => {
                overflow(1);
            }
            How::Memory => use_up_memory(),
            _ => {}
        }
        self.note(run, self.history.op(), Action::HandlerEnd, Phase::Ok, Some(Answer::Erred));
        Err(match how {
            How::Panic => panic!("a drill's handler panics"),
            How::Fatal => Failure::fatal("never again"),
            How::Huge => Failure::new("x".repeat(1_000_000)),
            How::Nul => Failure::new("before\0after"),
            How::Vast => Failure::new("x".repeat(300 << 20)),
            _ => Failure::new("once more"),
        })
    }

    fn note(&self, run: &Run, op: u64, action: Action, phase: Phase, answer: Option<Answer>) {
        let mut record = self.history.record(op, action, phase);
        record.job = Some(run.id().0);
        record.lease = Some(run.lease_id().0);
        record.owner = Some(run.worker_id().0);
        record.attempt = Some(run.attempt());
        record.answer = answer;
        self.history.write(&record);
    }

    fn reach(&self, point: Point, run: &Run) {
        self.orders.reach(point, Some(run.id().0), Some(run.lease_id().0));
    }
}

/// Calls itself until no stack is left; the numbers keep the compiler from making a loop of it.
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 128]);
    if depth == 0 { 0 } else { overflow(depth + 1) + std::hint::black_box(frame)[7] }
}

/// Takes memory until the limit of the process ends it.
fn use_up_memory() {
    const PART_BYTES: usize = 64 << 20;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        // Not touched: the limit is on addresses, and the machine's memory is for others.
        taken.push(std::hint::black_box(Vec::with_capacity(PART_BYTES)));
    }
}

/// How a transaction ended that did not commit for certain.
enum Ended {
    /// Refused: the lease is another's.
    Lost,
    /// Nothing was committed.
    Refused(String),
    /// The commit was not answered.
    Unknown(tokio_postgres::Error),
}
