//! `faultline serve`: the HTTP API, and beside it the maintenance.
//!
//! Who may call is decided by what the database holds: tokens that exist are demanded. Without any, everybody who reaches
//! the port may call, which is refused for an address that others can reach unless the user insists. A database that can't
//! be asked may hold tokens, so that they are demanded until it has answered: a server that restarts
//! during an outage must not open what was closed before.

use crate::cli::{self, Global};
use crate::commands::work::follow_parent;
use crate::connection::url;
use crate::exit::{Done, usage};
use crate::output;
use crate::signals::stop_token;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use faultline::{Client, DEFAULT_LEASE_TTL, Metrics, Observer, Reaper, Rollups};
use faultline_server::{Auth, BasePath, DrillSettings, ServerConfig};
use faultline_store::{Database, Error, tokens};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long the database may take to say whether there are tokens before it counts as away.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Between two such questions.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The maintenance asks one thing after the other.
const SESSIONS: usize = 2;

const EXAMPLES: &str = "\
The server starts, and goes on, while the database is away or not migrated: it then answers 503
with the reason. Once there are tokens (`faultline token create`), requests need one.
Traces go where OTEL_EXPORTER_OTLP_ENDPOINT says, as OTLP over HTTP.

Examples:
  faultline serve
  faultline serve --host 0.0.0.0            needs tokens
  faultline serve --port 0                  on a free port, which the line `ready` tells";

/// Flags of `faultline serve`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The port to listen on
    #[arg(long, default_value_t = 8000, env = "FAULTLINE_PORT", hide_env_values = true)]
    port: u16,

    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", env = "FAULTLINE_HOST", hide_env_values = true)]
    host: String,

    /// Listen on an address that others can reach although there are no tokens
    #[arg(long, env = "FAULTLINE_INSECURE_NO_AUTH", hide_env_values = true)]
    insecure_no_auth: bool,

    /// How long the leases of the workers last; the same for all workers and servers of a database
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = cli::duration, env = "FAULTLINE_LEASE_TTL", hide_env_values = true)]
    lease_ttl: Duration,

    /// The path under which a proxy shows this server, such as /faultline: for the addresses in the dashboard
    #[arg(
        long,
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        env = "FAULTLINE_BASE_PATH",
        hide_env_values = true
    )]
    base_path: BasePath,

    /// The key of the dashboard's sessions, any random text: the same for servers behind one balancer
    #[arg(long, value_name = "TEXT", env = "FAULTLINE_SESSION_KEY", hide_env_values = true)]
    session_key: Option<String>,

    /// Show the reports of drills in this directory, that of `faultline drill run --report`, in the dashboard
    #[arg(long, value_name = "DIR", env = "FAULTLINE_DRILL_REPORTS", hide_env_values = true)]
    drill_reports: Option<PathBuf>,

    /// Stop when standard input ends: the parent holds its other end
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// Runs `faultline serve`.
pub(crate) async fn run(options: &Options, global: &Global) -> Done {
    let url = url(global)?;
    let database = Database::new(&url, "faultline serve", SESSIONS).map_err(|error| usage(error.to_string()))?;
    let metrics = database.metrics().clone();
    let listener = listen(&options.host, options.port, "--port").await?;
    let address = address(&listener)?;
    let stop = stop_token(|| ())?;
    if options.exit_with_parent {
        tokio::spawn(follow_parent(stop.clone()));
    }
    let may_be_open = address.ip().is_loopback() || options.insecure_no_auth;
    let auth = match ask(&database).await {
        Tokens::None | Tokens::Unknown(Error::SchemaMissing) if may_be_open => Auth::None,
        Tokens::None => bail!(
            "refusing to listen on {}, which others can reach, without tokens: make one with \
             `faultline token create NAME --role operate`, or insist with --insecure-no-auth",
            address.ip()
        ),
        Tokens::Some => Auth::Tokens,
        Tokens::Unknown(why) => {
            tracing::warn!("tokens are demanded, whether there are any or not, until the database answers: {why}");
            Auth::Tokens
        }
    };
    if auth == Auth::None && !address.ip().is_loopback() {
        tracing::warn!(%address, "everybody who reaches this address may enqueue, look and operate");
    }
    let maintenance = maintain(&database, options.lease_ttl, &stop);
    output::line(&format!("ready http://{address}"))?;
    let (base_path, session_key) = (options.base_path.clone(), options.session_key.clone());
    let drills = DrillSettings { reports: options.drill_reports.clone(), runner: None };
    let api = Api { url, metrics, base_path, session_key, drills };
    serve(listener, &api, auth, may_be_open.then_some(&database), &stop).await?;
    maintenance.await.context("the maintenance has failed")?;
    Ok(ExitCode::SUCCESS)
}

/// Listens, or says what to do with which flag.
pub(crate) async fn listen(host: &str, port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((host, port)).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("port {port} on {host} is in use: stop what uses it, or choose another with {flag}")
        }
        ErrorKind::PermissionDenied => {
            anyhow!("may not listen on port {port}: choose one above 1023 with {flag}")
        }
        _ => anyhow!("cannot listen on {host} port {port}: {error}"),
    })
}

/// Starts what runs beside a server: the maintenance, the observer for its metrics, the counts for its pages.
fn maintain(database: &Database, lease_ttl: Duration, stop: &CancellationToken) -> JoinHandle<()> {
    let client = Client::of(database.clone());
    let reaper = Reaper::all_queues(&client).lease_ttl(lease_ttl).run_until(stop.clone());
    let observer = Observer::new(&client).run_until(stop.clone());
    let rollups = Rollups::new(&client).run_until(stop.clone());
    tokio::spawn(async move {
        tokio::join!(reaper, observer, rollups);
    })
}

/// What a server serves.
struct Api {
    url: String,
    metrics: Metrics,
    base_path: BasePath,
    session_key: Option<String>,
    drills: DrillSettings,
}

/// Serves until the stop. A server that demands tokens only because nobody knows whether there are any is opened once
/// `undecided`, the database to ask, says that there are none.
async fn serve(
    listener: TcpListener,
    api: &Api,
    auth: Auth,
    undecided: Option<&Database>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let undecided = undecided.filter(|_| auth == Auth::Tokens);
    let Some(database) = undecided else { return serve_as(listener, api, auth, stop.clone()).await };
    let (first, second) = twice(listener)?;
    let closed = stop.child_token();
    let ask_on = async {
        let open = no_tokens(database).await;
        if open {
            closed.cancel();
        }
        open
    };
    let (served, open) = tokio::join!(serve_as(first, api, auth, closed.clone()), async {
        tokio::select! {
            open = ask_on => open,
            () = stop.cancelled() => false,
        }
    });
    served?;
    if !open {
        return Ok(());
    }
    tracing::info!("there are no tokens: none are demanded");
    serve_as(second, api, Auth::None, stop.clone()).await
}

async fn serve_as(listener: TcpListener, api: &Api, auth: Auth, stop: CancellationToken) -> anyhow::Result<()> {
    let mut config = ServerConfig::new(&api.url);
    config.auth = auth;
    config.metrics = api.metrics.clone();
    config.base_path = api.base_path.clone();
    config.session_key = api.session_key.clone();
    config.drills = api.drills.clone();
    faultline_server::serve(listener, config, stop).await.map_err(|error| usage(error.to_string()))
}

/// The same socket under two handles: while the first is being drained, new connections wait for the second.
fn twice(listener: TcpListener) -> anyhow::Result<(TcpListener, TcpListener)> {
    let first = listener.into_std()?;
    let second = first.try_clone()?;
    Ok((TcpListener::from_std(first)?, TcpListener::from_std(second)?))
}

/// Asks until the database answers: whether there are none.
async fn no_tokens(database: &Database) -> bool {
    loop {
        match ask(database).await {
            Tokens::Unknown(_) => tokio::time::sleep(ASK_EVERY).await,
            Tokens::None => return true,
            Tokens::Some => return false,
        }
    }
}

/// Whether there are tokens.
enum Tokens {
    Some,
    None,
    Unknown(Error),
}

async fn ask(database: &Database) -> Tokens {
    match database.run_within(ASK_LIMIT, async |client| tokens::list(client).await).await {
        Ok(tokens) if tokens.iter().any(|token| token.revoked_at.is_none()) => Tokens::Some,
        Ok(_) => Tokens::None,
        Err(error) => Tokens::Unknown(error),
    }
}

/// Serves the API of a private cluster on the loopback address, with its maintenance, until the stop.
pub(crate) async fn serve_private(
    listener: TcpListener,
    url: &str,
    metrics: &Metrics,
    drills: DrillSettings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let database = Database::new(url, "faultline dev", SESSIONS)?.counted_in(metrics)?;
    let maintenance = maintain(&database, DEFAULT_LEASE_TTL, &stop);
    let auth = if matches!(ask(&database).await, Tokens::Some) { Auth::Tokens } else { Auth::None };
    let (base_path, session_key) = (BasePath::default(), None);
    let api = Api { url: url.to_owned(), metrics: metrics.clone(), base_path, session_key, drills };
    serve_as(listener, &api, auth, stop).await?;
    maintenance.await.context("the maintenance has failed")
}

/// Where clients on this machine find the server.
pub(crate) fn address(listener: &TcpListener) -> anyhow::Result<SocketAddr> {
    listener.local_addr().context("cannot tell the port")
}
