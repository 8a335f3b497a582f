//! Fills a database as years would: five million jobs in the history and a million that wait, with attempts, workers, rollups and
//! errors. For looking at the dashboard, and for `measure_dashboard`.
//!
//! ```text
//! createdb large && export DATABASE_URL=postgres://localhost/large && faultline migrate
//! cargo run --release -p faultline-store --example seed_large [HISTORY [QUEUED]]
//! ```
//!
//! Takes some minutes and 4 GB. Only for a database of its own: it is refused one that has jobs.

use faultline_store::migrate;
use std::error::Error;
use std::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to a migrated database without jobs")?;
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let history = numbers.next().transpose()?.unwrap_or(5_000_000).max(1);
    let queued = numbers.next().transpose()?.unwrap_or(1_000_000).max(1);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    migrate::check(&client).await?;
    let used = "select exists (select from faultline.jobs) or exists (select from faultline.job_history)";
    if client.query_one(used, &[]).await?.get(0) {
        return Err("this database has jobs: seed one of its own".into());
    }
    let script = include_str!("large/seed.sql")
        .replace("$history", &history.to_string())
        .replace("$queued", &queued.to_string());
    // One statement after the other: vacuum refuses to run beside others in one message.
    for statement in statements(&script) {
        let began = Instant::now();
        client.batch_execute(statement).await?;
        let first = statement.lines().find(|line| !line.starts_with("--")).unwrap_or_default();
        println!("{:>7.1} s  {first}", began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The statements of a script whose function bodies are quoted with dollars: each ends with a semicolon at the end of a line outside
/// of those.
fn statements(script: &str) -> Vec<&str> {
    let (mut statements, mut from, mut at) = (Vec::new(), 0, 0);
    for line in script.split_inclusive('\n') {
        at += line.len();
        let so_far = &script[from..at];
        if line.trim_end().ends_with(';')
            && so_far.matches("$$").count().is_multiple_of(2)
            && so_far.matches("$partitions$").count().is_multiple_of(2)
        {
            statements.push(so_far.trim());
            from = at;
        }
    }
    statements
}
