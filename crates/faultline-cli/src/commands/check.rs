//! `faultline check`: audits the invariants that can be seen in a database while it is in use.

use crate::cli::{self, Global};
use crate::connection::Connection;
use crate::exit::{Done, FAILURE};
use crate::output::{self, Table, printable};
use clap::Args;
use faultline_check::Status;
use faultline_check::live::{Limits, LiveOutcome, check_live};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Violations of one check that are printed; the JSON has up to a hundred.
const SHOWN: usize = 5;

const EXAMPLES: &str = "\
Reads only: each check is one read-only statement with limits on its rows and its time, so that it
can be run against production. Exit code 1 if something is violated; what could not be looked at is
said, and counts as neither. `faultline audit on` lets it check the history of transitions as well.

Examples:
  faultline check
  faultline check --window 24h --rows 100000 --statement-timeout 30s -o json";

/// Flags of `faultline check`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How far back to look in the history and the transition log
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = cli::duration)]
    window: Duration,

    /// Rows that one check looks at, at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rows: u32,

    /// How long one check may take; one that takes longer counts as not checked
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = cli::duration)]
    statement_timeout: Duration,

    /// How far past its lease a job may run before that is a violation
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = cli::duration)]
    reap_bound: Duration,
}

/// Runs `faultline check`.
pub(crate) async fn run(options: &Options, global: &Global) -> Done {
    let limits = Limits {
        statement_timeout: options.statement_timeout,
        rows: options.rows,
        window: options.window,
        reap_bound: options.reap_bound,
        ..Limits::default()
    };
    let connection = Connection::new(global)?;
    let outcomes = connection.run_long(async |client| Ok(check_live(client, &limits).await?)).await?;
    let violated = outcomes.iter().filter(|outcome| matches!(outcome.status, Status::Violated { .. })).count();
    let unchecked = outcomes.iter().filter(|outcome| matches!(outcome.status, Status::NotChecked { .. })).count();
    let text = format!(
        "{}\n{} held, {violated} violated, {unchecked} not checked",
        table(&outcomes),
        outcomes.len() - violated - unchecked
    );
    output::list(global.output, "checks", &outcomes, None, &text)?;
    Ok(if violated == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

fn table(outcomes: &[LiveOutcome]) -> String {
    let mut table = Table::new(&["CHECK", "WHAT SHOULD HOLD", "ROWS", "RESULT"]);
    let mut details = String::new();
    for outcome in outcomes {
        let result = match &outcome.status {
            Status::Passed => "held".to_owned(),
            Status::NotChecked { reason } => format!("not checked: {reason}"),
            Status::Violated { count, violations } => {
                for violation in violations.iter().take(SHOWN) {
                    let _ = write!(details, "\n{}: {}", outcome.name, printable(&violation.to_string()));
                }
                format!("VIOLATED {count} times")
            }
        };
        table.row(&[outcome.name.to_owned(), outcome.title.to_owned(), outcome.examined.to_string(), result]);
    }
    format!("{table}{details}")
}
