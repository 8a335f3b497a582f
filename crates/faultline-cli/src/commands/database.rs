//! `faultline migrate`: the database's schema.

use crate::cli::{self, Global};
use crate::connection::Connection;
use crate::exit::Done;
use crate::output;
use clap::Args;
use faultline_store::{Database, Error, migrate};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two looks at a database that can't be reached yet.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Applies the migrations that are missing, each in one transaction, and prints them. Safe to run
twice, and from many processes at once: they take turns.

Examples:
  faultline migrate --database-url postgres://app@localhost/app
  faultline migrate --wait 30s          the database is still starting
  faultline migrate --check             exit code 1 when a migration is missing, for deployments
  faultline migrate --dump-sql | psql   by your own means";

/// Flags of `faultline migrate`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Only look: exit code 1 when a migration is missing
    #[arg(long, conflicts_with = "dump_sql")]
    check: bool,

    /// Print every migration as one SQL script; needs no database
    #[arg(long)]
    dump_sql: bool,

    /// How long to wait for a database that can't be reached yet
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = cli::duration, env = "FAULTLINE_WAIT", hide_env_values = true)]
    wait: Duration,
}

/// Runs `faultline migrate`.
pub(crate) async fn migrate(options: &Options, global: &Global) -> Done {
    if options.dump_sql {
        output::line(migrate::dump().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let connection = Connection::new(global)?;
    if options.check {
        let version = when_reachable(options.wait, async || {
            connection.run_on_any_schema(async |client| migrate::check(client).await).await
        });
        let version = version.await.map_err(|error| connection.explain(&error))?;
        output::line(&format!("the schema is up to date at version {version}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let applied = when_reachable(options.wait, async || apply(&connection).await);
    print(&applied.await.map_err(|error| connection.explain(&error))?)?;
    Ok(ExitCode::SUCCESS)
}

/// Applies what is missing; a migration whose answer was lost is found applied or not by the next try.
pub(crate) async fn apply(connection: &Connection) -> faultline_store::Result<Vec<&'static migrate::Migration>> {
    connection.run_on_any_schema(async |client| migrate::migrate(client).await).await
}

/// Calls again while the database can't be reached, until the given time. Both calls here may be repeated after an answer
/// that was lost: what a migration has done, its next run finds.
async fn when_reachable<T>(
    wait: Duration,
    call: impl AsyncFn() -> faultline_store::Result<T>,
) -> faultline_store::Result<T> {
    until(wait, |error| matches!(error, Error::Unreachable { .. } | Error::Indeterminate { .. }), call).await
}

/// Waits for a database that can be reached and has the schema.
pub(crate) async fn when_migrated(database: &Database, wait: Duration) -> faultline_store::Result<()> {
    let call = async || database.run(async |client| migrate::check(client).await).await;
    until(wait, Error::is_transient, call).await.map(|_| ())
}

async fn until<T>(
    wait: Duration,
    passes: impl Fn(&Error) -> bool,
    call: impl AsyncFn() -> faultline_store::Result<T>,
) -> faultline_store::Result<T> {
    let end = Instant::now() + wait;
    let mut told = false;
    loop {
        match call().await {
            Err(error) if passes(&error) && Instant::now() < end => {
                if !told {
                    tracing::warn!(%error, "waiting");
                    told = true;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            answer => return answer,
        }
    }
}

fn print(applied: &[&migrate::Migration]) -> anyhow::Result<()> {
    for migration in applied {
        output::line(&format!("applied {:04}_{}", migration.version, migration.name))?;
    }
    let news = if applied.is_empty() { "nothing to do, the schema is" } else { "the schema is now" };
    output::line(&format!("{news} at version {}", migrate::NEEDED))
}
