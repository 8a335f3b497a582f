//! Other texts of shipped statements.

use super::chosen;
use crate::connect::SESSION_OPTIONS;
use crate::error::Result;
use crate::migrate::{MIGRATIONS, Migration};
use crate::reap::Reaped;
use crate::session::ClientWrapper;
use crate::statement::query;
use std::borrow::Cow;
use tokio_postgres::Client;

/// Stands in a text for the time that the client's clock shows: an hour ahead, as clocks are.
const CLIENT_CLOCK: &str = "{client_clock}";

/// One replacement of a text, wherever it stands.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// The text.
    pub of: Of,
    /// What is replaced.
    pub from: &'static str,
    /// By what.
    pub to: &'static str,
}

/// A text that a mutant changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The statement of this text.
    Statement(&'static str),
    /// The SQL function of this name, replaced after the migrations.
    Function(&'static str),
    /// The settings of every session.
    SessionOptions,
}

impl Edit {
    /// Whether there is something to replace in what is shipped.
    pub fn fits(&self) -> bool {
        match self.of {
            Of::Statement(sql) => sql.contains(self.from),
            Of::Function(name) => {
                let body = MIGRATIONS.iter().filter_map(|migration| migration.sql.split(&head(name)).nth(1));
                body.filter_map(|rest| rest.split("\nend $$;").next()).any(|body| body.contains(self.from))
            }
            Of::SessionOptions => SESSION_OPTIONS.contains(self.from),
        }
    }

    fn apply(&self, text: &str) -> String {
        assert!(text.contains(self.from), "a mutant finds nothing to change: {self:?} in {text}");
        text.replace(self.from, self.to)
    }
}

fn edited<'a>(is: impl Fn(Of) -> bool, text: &'a str) -> Cow<'a, str> {
    let edits = chosen().map_or(&[][..], |mutant| mutant.edits).iter().filter(|edit| is(edit.of));
    let text = edits.fold(Cow::Borrowed(text), |text, edit| edit.apply(&text).into());
    if text.contains(CLIENT_CLOCK) {
        let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        return Cow::Owned(text.replace(CLIENT_CLOCK, &format!("'{ahead}'::timestamptz")));
    }
    text
}

/// The statement as the chosen mutant has it.
pub(crate) fn edited_statement(sql: &str) -> Cow<'_, str> {
    edited(|of| matches!(of, Of::Statement(text) if text == sql), sql)
}

/// The settings of a session as the chosen mutant has them.
pub(crate) fn edited_options(options: &str) -> String {
    edited(|of| of == Of::SessionOptions, options).into_owned()
}

/// Replaces the functions that the chosen mutant changes, once they were made by `applied`.
pub(crate) async fn edited_functions(client: &Client, applied: &[&Migration]) -> Result<()> {
    for edit in chosen().map_or(&[][..], |mutant| mutant.edits) {
        let Of::Function(name) = edit.of else { continue };
        if !applied.iter().any(|migration| migration.sql.contains(&head(name))) {
            continue;
        }
        let definition = "select pg_get_functiondef(p.oid) from pg_proc p
                           where p.pronamespace = 'faultline'::regnamespace and p.proname = $1";
        let text: String = client.query_one(definition, &[&name]).await?.get(0);
        client.batch_execute(&edit.apply(&text)).await?;
    }
    Ok(())
}

/// How a function begins in its migration.
fn head(name: &str) -> String {
    format!("create function faultline.{name}(")
}

/// Looks for expired leases, and ends them in another statement that believes the first.
pub(crate) async fn reap_in_two_statements(client: &ClientWrapper, queues: &[String]) -> Result<Vec<Reaped>> {
    let look = "select id from faultline.jobs where queue = any ($1) and state = 'running'
                   and lease_expires_at < clock_timestamp() and attempts < max_attempts";
    let rows = query(client, look, &[&queues]).await?;
    let ids = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<uuid::Uuid>>>()?;
    let end = "with old as materialized (select * from faultline.jobs where id = any ($1)), back as (
            update faultline.jobs j
               set state = 'queued', lease_id = null, lease_owner = null, lease_expires_at = null, started_at = null
              from old where j.id = old.id and j.state = 'running'
            returning j.id, j.queue, j.next_run_at, j.attempts, old.started_at, old.lease_id, old.lease_owner
        ), logged as (
            insert into faultline.job_attempts (
                job_id, ended_at, started_at, next_run_at, lease_id, lease_owner, attempt, charged, outcome)
            select id, clock_timestamp(), started_at, next_run_at, lease_id, lease_owner, attempts, true, 'expired'
              from back
        )
        select id, 'queued' as state, queue, lease_owner, 'expired' as lease, 'expired' as reason, null::float8 as expired_s
          from back";
    query(client, end, &[&ids]).await?.iter().map(Reaped::of).collect()
}
