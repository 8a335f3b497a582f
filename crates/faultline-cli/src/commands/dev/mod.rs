//! `faultline dev`: everything on this machine - a private Postgres, the API with its maintenance, a worker with the
//! demonstration kinds.
//!
//! Jobs that play parts keep it moving (`load.rs`), unless told otherwise.
//!
//! A worker is a process of its own, because `demo.crash` kills it: another one is started (`child.rs`). So is Postgres,
//! which is started again as well when somebody kills it (`postgres.rs`).
//!
//! Stopping goes against the order of starting: the worker drains, the API answers what is under way, Postgres stops. If this
//! process is killed, nobody is left to do that in order, but nothing stays behind: the cluster's guard stops Postgres, and the
//! worker ends when its standard input does.

mod child;
mod drill;
mod load;
mod postgres;

use crate::cli::Global;
use crate::commands::{database, serve};
use crate::connection::Connection;
use crate::demo;
use crate::exit::Done;
use crate::output;
use crate::signals::stop_token;
use anyhow::{Context, anyhow};
use clap::Args;
use faultline::Metrics;
use faultline_server::DrillSettings;
use faultline_store::Database;
use postgres::Postgres;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "\
Needs the PostgreSQL server programs (15 or newer), no running server, no configuration. Data stays
in the data directory. The worker runs demo.echo, demo.sleep, demo.fail and demo.crash. So that the
dashboard has something to show, a few jobs a second play healthy, slow, failing and crashing ones,
in queues of their own.

Examples:
  faultline dev
  faultline dev --port 8001 --data-dir /tmp/second
  faultline dev --no-demo-load
  FAULTLINE_PG_BIN=/usr/lib/postgresql/16/bin faultline dev";

/// Flags of `faultline dev`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The port of the API on 127.0.0.1
    #[arg(long, default_value_t = 8000, env = "FAULTLINE_PORT", hide_env_values = true)]
    port: u16,

    /// Where the data is kept
    #[arg(long, value_name = "DIR", default_value = ".faultline", env = "FAULTLINE_DATA_DIR", hide_env_values = true)]
    data_dir: PathBuf,

    /// The port of Postgres on 127.0.0.1; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0, env = "FAULTLINE_PG_PORT", hide_env_values = true)]
    pg_port: u16,

    /// Enqueue nothing: no jobs that play parts
    #[arg(long, env = "FAULTLINE_NO_DEMO_LOAD", hide_env_values = true)]
    no_demo_load: bool,
}

/// Slots for the jobs of users: demonstrations mostly wait.
const QUEUES: &str = "default:100";

/// Runs `faultline dev`.
pub(crate) async fn run(options: &Options, global: &Global) -> Done {
    let listener = serve::listen("127.0.0.1", options.port, "--port").await?;
    let address = serve::address(&listener)?;
    let stop = stop_token(|| ())?;
    let postgres = Postgres::start(options.data_dir.clone(), options.pg_port).await?;
    let url = postgres.url();
    // What starts now is stopped in order, whether by a signal or by an error.
    let ran = async {
        if stop.is_cancelled() {
            return Ok(());
        }
        let connection = Connection::to(&url)?;
        let applied = database::apply(&connection).await.map_err(|error| connection.explain(&error))?;
        output::line(&format!("schema   up to date, {} migrations applied just now", applied.len()))?;
        let api_stop = CancellationToken::new();
        let metrics = Metrics::new();
        let runner = drill::Runner::new(options.data_dir.join("drills"), stop.clone())?;
        let mut api = tokio::spawn(serve_api(listener, url.clone(), metrics.clone(), runner.clone(), api_stop.clone()));
        let mut beside = JoinSet::new();
        work(&mut beside, &url, &metrics, !options.no_demo_load, global, &stop)?;
        output::line(&welcome(&address.to_string(), &url))?;
        let early = tokio::select! {
            () = postgres.keep_up(&stop) => None,
            ended = &mut api => Some(ended),
        };
        stop.cancel();
        while let Some(ended) = beside.join_next().await {
            ended.context("what runs beside the API has failed")?;
        }
        runner.ended().await;
        api_stop.cancel();
        let ended = if let Some(ended) = early { ended } else { api.await };
        ended.context("the API has failed")?
    };
    let ran = ran.await;
    postgres.stop().await?;
    ran?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the workers, and the load that they share where there is one.
fn work(
    beside: &mut JoinSet<()>,
    url: &str,
    metrics: &Metrics,
    has_load: bool,
    global: &Global,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let queues = if has_load { format!("{QUEUES},{}", load::QUEUES) } else { QUEUES.to_owned() };
    let worker = child::Demo::new("worker", queues, url, global)?;
    beside.spawn(child::supervise(worker, metrics.clone(), stop.clone()));
    output::line(&format!("worker   queue default, kinds {}", demo::KINDS.join(" ")))?;
    if has_load {
        let actor = child::Demo::new("actor", load::ALL_QUEUES.to_owned(), url, global)?;
        beside.spawn(child::supervise(actor, metrics.clone(), stop.clone()));
        let database = Database::new(url, "faultline dev load", 1)?.counted_in(metrics)?;
        beside.spawn(load::run(database, stop.clone()));
        output::line("load     a few jobs a second play parts, in queues of their own; none with --no-demo-load")?;
    }
    Ok(())
}

async fn serve_api(
    listener: tokio::net::TcpListener,
    url: String,
    metrics: Metrics,
    runner: drill::Runner,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let drills = DrillSettings { reports: Some(runner.reports().to_owned()), runner: Some(Arc::new(runner)) };
    serve::serve_private(listener, &url, &metrics, drills, stop)
        .await
        .map_err(|error| anyhow!("the API has stopped: {error:#}"))
}

fn welcome(address: &str, url: &str) -> String {
    format!(
        "dashboard http://{address}/dashboard\n\
         ready http://{address}\n\
         \n\
         try:\n\
         \x20 curl -s http://{address}/v1/jobs -H 'content-type: application/json' -d '{{\"kind\":\"demo.echo\",\"payload\":{{\"hello\":\"world\"}}}}'\n\
         \x20 curl -s 'http://{address}/v1/jobs/ID?wait=10s'      with the id that the first one answered\n\
         \x20 psql {url}"
    )
}
