//! What each page of the dashboard costs the database, after `seed_large`: the time of its calls, and the buffers that they touch.
//!
//! ```text
//! cargo run --release -p faultline-store --example measure_dashboard [ROUNDS]
//! ```
//!
//! The budget of a page is 200 ms, and of one that is left open, read anew each two seconds, a hundredth of a core: 20 ms. The time of a
//! call is that of one session; what its backend computes for it is read from /proc where the server runs on this machine. Buffers are
//! those that the server counted in the whole database: let nobody else work in it.

use faultline_store::dashboard::{bulk, database, errors, job, overview, queues, series, workers};
use faultline_store::read::{Filter, StateFilter, page};
use faultline_store::{ClientWrapper, Database, observe, read, rollup};
use std::error::Error;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// How long a page may take.
const PAGE: Duration = Duration::from_millis(200);
/// What a page that is left open may cost each two seconds.
const OPEN: Duration = Duration::from_millis(20);

type Answer = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Answer {
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to a database that seed_large has filled")?;
    let rounds = std::env::args().nth(1).map_or(Ok(10), |arg| arg.parse())?;
    let database = Database::new(&url, "measure", 1)?;
    let (beside, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let session = database.session("pages", faultline_store::Plans::Free).await?;
    println!("{:<42} {:>9} {:>9} {:>9} {:>9}", "page", "median", "worst", "server", "buffers");
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await?.get(0);
    let meter = Meter { client: &session, beside, rounds, schedstat: format!("/proc/{pid}/schedstat") };
    pages(&meter).await?;
    lists(&meter).await
}

async fn pages(meter: &Meter<'_>) -> Answer {
    let slots = observe::fleet(meter.client).await?.slots;
    let job = page(meter.client, &Filter::default(), 1).await?.jobs.first().map(|job| job.id).ok_or("no jobs")?;
    meter.open("overview: queues", async |c| queues::queues(c, None, slots).await.map(drop)).await?;
    meter.open("overview: an hour", async |c| series::series(c, series::ALL_QUEUES, 60).await.map(drop)).await?;
    meter.page("overview: a day", async |c| series::series(c, series::ALL_QUEUES, 24 * 60).await.map(drop)).await?;
    meter.page("overview: 14 days", async |c| series::series(c, "queue0", 14 * 24 * 60).await.map(drop)).await?;
    meter.open("overview: recoveries", async |c| overview::recoveries(c).await.map(drop)).await?;
    meter.open("queues: rates of 10 minutes", async |c| series::by_queue(c, 10).await.map(drop)).await?;
    meter.open("workers: who", async |c| read::workers(c).await.map(drop)).await?;
    meter.open("workers: what runs", async |c| workers::running(c, None, slots).await.map(drop)).await?;
    meter.open("job: story", async |c| job::story(c, job).await.map(drop)).await?;
    let any = errors::GroupFilter::default();
    meter.page("errors: 50 groups", async |c| errors::groups(c, &any, 50, 24).await.map(drop)).await?;
    meter.page("database: facts", async |c| database::facts(c).await.map(drop)).await?;
    meter.page("rollups: prune", async |c| rollup::prune(c).await.map(drop)).await
}

async fn lists(meter: &Meter<'_>) -> Answer {
    let filter = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    let states = |states: &str| states.split(',').map(str::parse).collect::<Result<Vec<StateFilter>, _>>();
    for (name, filter) in [
        ("jobs: all", Filter::default()),
        ("jobs: one queue", filter(|f| f.queue = Some("queue3".into()))),
        ("jobs: failed", Filter { states: Some(states("failed")?), ..Filter::default() }),
        ("jobs: scheduled", Filter { states: Some(states("scheduled")?), ..Filter::default() }),
        ("jobs: running", Filter { states: Some(states("running")?), ..Filter::default() }),
        ("jobs: succeeded", Filter { states: Some(states("succeeded")?), ..Filter::default() }),
        (
            "jobs: failed with an error",
            Filter { states: Some(states("failed")?), error: Some("502".into()), ..Filter::default() },
        ),
    ] {
        meter.page(name, async |c| page(c, &filter, 50).await.map(drop)).await?;
    }
    // Nothing matches: the page ends when its time does, and a step of it is what the others wait for.
    let nothing = filter(|f| f.kind = Some("no-such-kind".into()));
    let step = async |c: &ClientWrapper| read::page_within(c, &nothing, 50, Duration::ZERO).await.map(drop);
    meter.page("jobs: nothing matches, one step", step).await?;
    let failed = Filter { states: Some(states("failed")?), ..Filter::default() };
    let count = async |c: &ClientWrapper| bulk::count(c, &failed, Duration::from_millis(100)).await.map(drop);
    meter.page("jobs: count what matches, 100 ms", count).await
}

struct Meter<'a> {
    client: &'a ClientWrapper,
    /// Another session, for the server's own numbers.
    beside: Client,
    rounds: usize,
    /// Where Linux says for how long the session's backend has computed.
    schedstat: String,
}

impl Meter<'_> {
    async fn page(&self, name: &str, call: impl AsyncFn(&ClientWrapper) -> faultline_store::Result<()>) -> Answer {
        self.measure(name, PAGE, call).await
    }

    async fn open(&self, name: &str, call: impl AsyncFn(&ClientWrapper) -> faultline_store::Result<()>) -> Answer {
        self.measure(name, OPEN, call).await
    }

    async fn measure(
        &self,
        name: &str,
        budget: Duration,
        call: impl AsyncFn(&ClientWrapper) -> faultline_store::Result<()>,
    ) -> Answer {
        // The first call prepares, and brings into memory what a page that is open keeps there.
        call(self.client).await?;
        let before = self.buffers().await?;
        let computed = self.computed();
        let mut times = Vec::new();
        for _ in 0..self.rounds.max(1) {
            let began = Instant::now();
            call(self.client).await?;
            times.push(began.elapsed());
        }
        let computed =
            computed.zip(self.computed()).map(|(from, to)| (to - from) / u32::try_from(times.len()).unwrap_or(1));
        let buffers = (self.buffers().await? - before) / i64::try_from(times.len())?;
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let cost = computed.unwrap_or(median);
        let verdict = if cost > budget { format!("  over its budget of {}", ms(budget)) } else { String::new() };
        let computed = computed.map_or("-".into(), ms);
        println!("{name:<42} {:>9} {:>9} {computed:>9} {buffers:>9}{verdict}", ms(median), ms(worst));
        Ok(())
    }

    fn computed(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(&self.schedstat).ok()?;
        Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
    }

    /// Blocks that this database has asked for since its statistics were reset, those of this session told at once.
    async fn buffers(&self) -> Result<i64, Box<dyn Error>> {
        self.client.batch_execute("select pg_stat_force_next_flush()").await?;
        let sql = "select blks_hit + blks_read from pg_stat_database where datname = current_database()";
        Ok(self.beside.query_one(sql, &[]).await?.get(0))
    }
}
