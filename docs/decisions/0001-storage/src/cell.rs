//! The options of one cell and the SQL that follows from them.

use std::collections::HashMap;

const GENERIC: &str = "plan_cache_mode = force_generic_plan";

#[derive(Clone)]
pub struct Cell(HashMap<String, String>);

impl Cell {
    /// Reads `key=value` options; a word without `=` is an error.
    pub fn parse(options: &[String]) -> Result<Cell, String> {
        let pair = |option: &String| {
            let (key, value) = option.split_once('=').ok_or(format!("{option}?"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        options.iter().map(pair).collect::<Result<_, String>>().map(Cell)
    }
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }
    pub fn num(&self, key: &str, default: usize) -> usize {
        self.0.get(key).map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{key}={v}?")))
    }
    pub fn on(&self, key: &str) -> bool {
        self.num(key, 0) == 1
    }
    pub fn design(&self) -> &str {
        self.text("design", "e")
    }
    pub fn hot(&self) -> bool {
        "def".contains(self.design())
    }
    pub fn narrow(&self) -> bool {
        "cf".contains(self.design())
    }
    pub fn floor(&self) -> bool {
        self.num("floor", usize::from("ef".contains(self.design()))) == 1
    }

    pub fn key(&self) -> &str {
        self.text("key", "id")
    }

    pub fn schema(&self) -> String {
        let lease = "lease_id uuid, lease_owner uuid, lease_expires_at timestamptz, started_at timestamptz";
        let body = "kind text not null, payload jsonb not null, headers jsonb not null default '{}',
            created_at timestamptz not null default clock_timestamp(), timeout interval";
        let inline = if self.narrow() { String::new() } else { format!(", {body}") };
        let with = if self.hot() { format!("with (fillfactor = {})", self.num("ff", 45)) } else { String::new() };
        let mut sql = format!(
            "drop schema if exists spike cascade; create schema spike; set search_path = spike;
            create table jobs (id uuid primary key, queue text not null, priority smallint not null default 2,
              state text not null default 'queued', attempts int not null default 0, max_attempts int not null default 25,
              next_run_at timestamptz not null, {lease}, finished_at timestamptz, last_error text {inline}) {with};"
        );
        if self.key() == "tie" {
            sql += "alter table jobs add tie int not null default (random() * 2147483647)::int;";
        }
        if self.hot() {
            sql += &format!("create index jobs_order on jobs (queue, priority, next_run_at, {});", self.key());
        } else {
            sql += "create index jobs_claimable on jobs (queue, priority, next_run_at, id) where state = 'queued';
                create index jobs_running on jobs (lease_expires_at) where state = 'running';";
        }
        let past = "id uuid not null, queue text not null, priority smallint not null, state text not null,
            attempts int not null, max_attempts int not null, lease_id uuid, started_at timestamptz,
            finished_at timestamptz not null, last_error text";
        let (name, more) =
            if self.narrow() { ("job_outcomes", String::new()) } else { ("job_history", format!(", {body}")) };
        if self.design() != "a" {
            sql += &format!(
                "create table {name} ({past}{more}) partition by range (finished_at);
                create table {name}_now partition of {name} for values from ('2020-01-01') to ('2100-01-01');
                create index on {name} (id);"
            );
        }
        if self.narrow() {
            sql += &format!("create table job_payloads (id uuid primary key, {body});");
        }
        if self.on("hist") {
            sql += &format!("create index on {name} (queue, finished_at, id);");
        }
        sql
    }

    pub fn enqueue(&self) -> String {
        let at = if self.on("idle") { "clock_timestamp() + interval '1 day'" } else { "clock_timestamp()" };
        let input = "unnest($1::uuid[], $2::text[]) as i(id, payload)";
        if self.narrow() {
            format!(
                "with i as materialized (select * from {input}), p as (insert into job_payloads (id, kind, payload)
                select id, 'noop', payload::jsonb from i)
                insert into jobs (id, queue, next_run_at) select id, 'default', {at} from i"
            )
        } else {
            format!(
                "insert into jobs (id, queue, kind, payload, next_run_at)
                select id, 'default', 'noop', payload::jsonb, {at} from {input}"
            )
        }
    }

    pub fn claim(&self) -> String {
        let clock = self.text("clock", "statement_timestamp()");
        // Without a floor the parameters stay, so that both forms take the same arguments.
        let (key, kind) = (self.key(), if self.key() == "id" { "uuid" } else { "int" });
        let floor = if self.floor() {
            format!("(next_run_at, {key}) > ($3, $4)")
        } else {
            format!("($3::timestamptz, $4::{kind}) is not null")
        };
        let (more, rows) = match self.text("join", "ctid") {
            "id" => ("from (select id as due from due) due", "j.id = due"),
            "array" => ("", "j.id = any(array(select id from due))"),
            _ => ("", "j.ctid = any(array(select ctid from due))"),
        };
        let body = if self.narrow() { "" } else { ", j.kind, j.payload::text as payload, j.created_at, j.timeout" };
        let update = format!(
            "due as materialized (select ctid, id from jobs
               where queue = $1 and priority = $2 and {floor} and next_run_at <= {clock} and state = 'queued'
               order by next_run_at, {key} limit $5 for update skip locked),
             claimed as (update jobs j set state = 'running', lease_id = $6, lease_owner = $7,
               lease_expires_at = clock_timestamp() + interval '15 s', started_at = clock_timestamp(), attempts = j.attempts + 1 {more}
               where {rows} and j.state = 'queued' returning j.id, j.next_run_at, {key} as key, j.attempts, j.max_attempts {body})"
        );
        if self.narrow() {
            format!(
                "with {update} select c.*, p.kind, p.payload::text as payload, p.created_at, p.timeout
                from claimed c join job_payloads p on p.id = c.id"
            )
        } else {
            format!("with {update} select * from claimed")
        }
    }

    pub fn finish(&self) -> String {
        let input = "unnest($1::uuid[], $2::uuid[]) as f(id, lease_id)";
        let ids = if self.text("finish", "join") == "any" { "and j.id = any($1)" } else { "" };
        let owned = format!("j.id = f.id and j.lease_id = f.lease_id {ids}");
        let past = "id, queue, priority, attempts, max_attempts, lease_id, started_at, last_error";
        let body = "kind, payload, headers, created_at, timeout";
        let gone = format!("with gone as (delete from jobs j using {input} where {owned} returning j.*)");
        match self.design() {
            "a" => format!(
                "update jobs j set state = 'succeeded', finished_at = clock_timestamp(), lease_owner = null,
                lease_expires_at = null from {input} where {owned}"
            ),
            "c" | "f" => format!(
                "{gone} insert into job_outcomes ({past}, state, finished_at)
                select {past}, 'succeeded', clock_timestamp() from gone"
            ),
            _ => format!(
                "{gone} insert into job_history ({past}, {body}, state, finished_at)
                select {past}, {body}, 'succeeded', clock_timestamp() from gone"
            ),
        }
    }

    pub fn settings(&self) -> Vec<String> {
        let joins = if self.text("finish", "join") == "any" {
            "enable_nestloop = off"
        } else {
            "enable_hashjoin = off; enable_mergejoin = off"
        };
        let nodes = format!("enable_seqscan = off; enable_bitmapscan = off; {joins}");
        let wanted = match self.text("pins", "session") {
            "none" => String::new(),
            "generic" => GENERIC.into(),
            "nodes" => nodes,
            _ => format!("{nodes}; {GENERIC}"),
        };
        wanted.split(';').map(str::trim).filter(|s| !s.is_empty()).map(String::from).collect()
    }
}
