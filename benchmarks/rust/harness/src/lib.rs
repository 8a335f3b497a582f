//! What every Rust adapter has in common: the commands, the lines it prints, and the meter that its handlers touch.
//!
//! The protocol is described in `benchmarks/README.md`. An adapter implements [`Peer`] and calls [`main`]; whatever is
//! measured around the peer is here, so that all of them pay the same for it: one atomic addition a job, and a thread of its
//! own that prints the count every 50 ms.

use anyhow::{Context, Result, bail};
pub use serde;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

/// How often the count is printed.
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// The workload's one job: about a hundred bytes of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Payload {
    /// Its number.
    pub n: u64,
    /// When it was enqueued, in nanoseconds of the machine's monotonic clock; 0 if nobody measures its latency.
    pub t: u64,
    /// Something to carry.
    pub text: String,
}

impl Payload {
    fn new(n: u64, t: u64) -> Self {
        Self { n, t, text: "x".repeat(64) }
    }
}

/// Which settings a worker runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings {
    /// The best that the peer's documentation describes; `benchmarks/README.md` says which and why.
    Best,
    /// The fastest recovery from a crash that the documentation describes, else as by default.
    Recovery,
    /// What somebody gets who sets nothing that need not be set.
    Default,
}

impl Settings {
    fn of(args: &Args) -> Result<Self> {
        match args.text("--settings") {
            Some("best") => Ok(Self::Best),
            Some("recovery") => Ok(Self::Recovery),
            Some("default") | None => Ok(Self::Default),
            Some(other) => bail!("no such settings: {other}"),
        }
    }

    /// Whether these are the best ones.
    pub fn is_best(self) -> bool {
        self == Self::Best
    }
}

/// What handlers touch. There is one in a process.
pub struct Meter {
    count: AtomicU64,
    first: AtomicU64,
    latencies_us: Mutex<Vec<u64>>,
    hold: bool,
}

static METER: std::sync::OnceLock<Meter> = std::sync::OnceLock::new();

/// The meter of this process, for handlers that are plain functions.
///
/// # Panics
/// In a process that is not `work`.
pub fn meter() -> &'static Meter {
    METER.get().expect("only handlers ask for the meter, and only the command work runs handlers")
}

impl Meter {
    /// What each handler does first and last: counts itself, notes the latency if that is asked for, and with `--hold` never
    /// returns.
    pub async fn run(&self, payload: &Payload) {
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.store(now_ns(), Ordering::Relaxed);
        }
        if payload.t != 0 {
            let latency = now_ns().saturating_sub(payload.t) / 1000;
            self.latencies_us.lock().expect("nobody panics while holding it").push(latency);
        }
        if self.hold {
            std::future::pending::<()>().await;
        }
    }

    fn report(&self) {
        let mut told = 0;
        loop {
            std::thread::sleep(REPORT_EVERY);
            let (t, count) = (now_ns(), self.count.load(Ordering::Relaxed));
            if count == told {
                continue;
            }
            told = count;
            let latencies = std::mem::take(&mut *self.latencies_us.lock().expect("nobody panics while holding it"));
            let first = self.first.load(Ordering::Relaxed);
            say(&serde_json::json!({"event": "count", "n": count, "t": t, "first": first, "latencies_us": latencies}));
        }
    }
}

/// One queue as the runner sees it. `Self` is what a producer holds.
pub trait Peer: Sized + Send + Sync + 'static {
    /// Jobs in one call of [`Peer::enqueue_many`].
    const BATCH: usize = 1000;

    /// Makes the schema in an empty database.
    fn setup(url: &str, settings: Settings) -> impl Future<Output = Result<()>>;

    /// A producer with this many connections.
    fn producer(url: &str, connections: u32) -> impl Future<Output = Result<Self>>;

    /// The peer's bulk call; committed when it returns.
    fn enqueue_many(&self, jobs: Vec<Payload>) -> impl Future<Output = Result<()>>;

    /// One job; committed when it returns.
    fn enqueue_one(&self, job: Payload) -> impl Future<Output = Result<()>> + Send;

    /// Connects, calls [`ready`], then works until the process is killed.
    fn work(url: &str, settings: Settings) -> impl Future<Output = Result<()>>;
}

/// Says that the worker is about to begin, and waits for the word to do so, so that no start of a process is measured.
pub async fn ready() {
    say(&serde_json::json!({"event": "ready"}));
    let waited = tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await;
    if !matches!(waited, Ok(Ok(1..))) {
        std::process::exit(1);
    }
}

/// The adapter's main function.
///
/// # Errors
/// Whatever the peer says.
pub async fn main<P: Peer>() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().context("usage: setup | enqueue | single | work")?;
    let args = Args(args.collect());
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    match command.as_str() {
        "setup" => P::setup(&url, Settings::of(&args)?).await?,
        "enqueue" => enqueue::<P>(&url, args.number("--jobs")?.context("--jobs")?).await?,
        "single" => single::<P>(&url, &args).await?,
        "work" => {
            let settings = Settings::of(&args)?;
            let meter = METER.get_or_init(|| Meter {
                count: AtomicU64::new(0),
                first: AtomicU64::new(0),
                latencies_us: Mutex::default(),
                hold: args.has("--hold"),
            });
            std::thread::spawn(|| meter.report());
            P::work(&url, settings).await?;
            bail!("the worker stopped by itself");
        }
        other => bail!("no such command: {other}"),
    }
    Ok(())
}

async fn enqueue<P: Peer>(url: &str, jobs: u64) -> Result<()> {
    let producer = P::producer(url, 1).await?;
    let began = now_ns();
    let mut next = 0;
    while next < jobs {
        let end = jobs.min(next + P::BATCH as u64);
        producer.enqueue_many((next..end).map(|n| Payload::new(n, 0)).collect()).await?;
        next = end;
    }
    done(jobs, began);
    Ok(())
}

/// Clients that enqueue one job after the other for `--seconds`; or, with `--paced`, one stamped job for each line that comes,
/// after a pause.
async fn single<P: Peer>(url: &str, args: &Args) -> Result<()> {
    let clients = args.number("--clients")?.unwrap_or(1);
    let producer = Arc::new(P::producer(url, u32::try_from(clients)?).await?);
    if args.has("--paced") {
        return paced(&*producer, Duration::from_millis(args.number("--pause-ms")?.unwrap_or(0))).await;
    }
    let seconds = args.number("--seconds")?.context("--seconds or --paced")?;
    // Every client's connection is made and warm before the clock starts.
    let mut warm = JoinSet::new();
    for n in 0..clients {
        let producer = producer.clone();
        warm.spawn(async move { producer.enqueue_one(Payload::new(n, 0)).await });
    }
    while let Some(warmed) = warm.join_next().await {
        warmed??;
    }
    let began = now_ns();
    let until = began + seconds * 1_000_000_000;
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let producer = producer.clone();
        running.spawn(async move {
            let mut enqueued = 0_u64;
            while now_ns() < until {
                producer.enqueue_one(Payload::new(enqueued, 0)).await?;
                enqueued += 1;
            }
            anyhow::Ok(enqueued)
        });
    }
    let mut jobs = 0;
    while let Some(enqueued) = running.join_next().await {
        jobs += enqueued??;
    }
    done(jobs, began);
    Ok(())
}

async fn paced<P: Peer>(producer: &P, pause: Duration) -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut n = 0;
    while lines.next_line().await?.is_some() {
        // Pauses of different lengths, so that no poll falls into step with them.
        tokio::time::sleep(pause.mul_f64(0.5 + (n % 11) as f64 / 10.0)).await;
        producer.enqueue_one(Payload::new(n, now_ns())).await?;
        n += 1;
    }
    Ok(())
}

fn done(jobs: u64, began: u64) {
    let seconds = (now_ns() - began) as f64 / 1e9;
    say(&serde_json::json!({"event": "done", "jobs": jobs, "seconds": seconds}));
}

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // Without a reader there is nobody left to measure for.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// The machine's monotonic clock, which all processes share.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

struct Args(Vec<String>);

impl Args {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|arg| arg == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|arg| arg == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        self.text(name).map(|text| text.parse().with_context(|| format!("{name} {text}"))).transpose()
    }
}
