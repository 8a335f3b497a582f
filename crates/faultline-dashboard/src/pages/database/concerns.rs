//! What of the database's facts needs somebody's attention, why, and what to do. Pure, so that each is tested.

use crate::parts::{Tone, bytes, count, of_them, span};
use faultline_store::dashboard::database::Facts;
use faultline_store::observe::Holder;
use std::collections::BTreeMap;

/// A snapshot this old is worth a look, in seconds, and one this old slows everything down.
const OLD_SNAPSHOT_S: f64 = 60.0;
const ANCIENT_SNAPSHOT_S: f64 = 600.0;
/// Transactions that a holder may be behind, where its age is not known.
const MANY_XIDS: i64 = 1_000_000;
/// A transaction in which nothing was done for this long, in seconds.
const IDLE_TRANSACTION_S: f64 = 60.0;
/// Of the sessions that the server allows, in percent.
const MANY_SESSIONS: i64 = 80;
/// Days with a partition, today included: tomorrow's must be there before tomorrow.
const DAYS_AHEAD: usize = 2;
/// Write-ahead log that an unused slot may hold back, and that a standby may be behind, in bytes.
const MUCH_WAL: i64 = 256 * 1024 * 1024;
/// Dead rows among the jobs, for each that lives, and at least: beyond, vacuum does not keep up.
const DEAD_FACTOR: i64 = 5;
const MANY_DEAD: i64 = 50_000;

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Concern {
    pub(super) tone: Tone,
    pub(super) word: &'static str,
    /// What is, and what follows from it.
    pub(super) what: String,
    /// What to do.
    pub(super) todo: &'static str,
    /// How, where SQL or a command does it.
    pub(super) sql: Option<String>,
}

impl Concern {
    fn new(tone: Tone, word: &'static str, what: String, todo: &'static str) -> Self {
        Self { tone, word, what, todo, sql: None }
    }
}

/// All of them, the worst first.
pub(super) fn of(facts: &Facts) -> Vec<Concern> {
    let mut concerns: Vec<Concern> = [
        snapshots(facts),
        settings(facts),
        partitions(facts),
        sessions(facts),
        upkeep(facts),
        replication(facts),
        versions(facts),
    ]
    .concat();
    concerns.sort_by_key(|concern| concern.tone != Tone::Bad);
    concerns
}

/// The holder with the oldest snapshot, as far as ages are known, and that age in seconds.
pub(super) fn oldest(holders: &[Holder]) -> Option<(f64, &Holder)> {
    let known = holders.iter().filter_map(|holder| Some((holder.age_s?.max(0.0), holder)));
    known.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Who it is, in words.
pub(super) fn who(holder: &Holder) -> String {
    let what = match holder.holder.as_str() {
        "session" if holder.application.is_empty() => return "a session without a name".to_owned(),
        "prepared_transaction" => return "a prepared transaction".to_owned(),
        "session" => "a session of",
        "standby" => "the standby",
        "replication_slot" => "the replication slot",
        other => other,
    };
    format!("{what} {}", holder.application)
}

fn snapshots(facts: &Facts) -> Vec<Concern> {
    let is_old = |holder: &&Holder| {
        let xids = holder.age_xids.unwrap_or(0);
        holder.age_s.map_or(xids > MANY_XIDS, |age_s| age_s > OLD_SNAPSHOT_S)
    };
    let mut holders: Vec<&Holder> = facts.oldest_xmin.iter().filter(is_old).collect();
    // The oldest in seconds and the oldest in transactions may be the same.
    holders.dedup_by_key(|holder| (&holder.holder, &holder.application));
    holders
        .into_iter()
        .map(|holder| {
            let age = match (holder.age_s, holder.age_xids) {
                (Some(age_s), _) => format!("for {}", span(age_s)),
                (None, xids) => format!("for {}", of_them(xids.unwrap_or(0), "transaction", "transactions")),
            };
            let is_ancient = holder.age_s.is_some_and(|age_s| age_s > ANCIENT_SNAPSHOT_S);
            let what = format!(
                "{} has held back vacuum {age}. Until it lets go, no row that died since can be removed: the job tables grow, \
                 and claims get slower.",
                capital(&who(holder))
            );
            let (todo, sql) = match holder.holder.as_str() {
                "session" => (
                    "Find out what it does (a report, a dump, a forgotten psql?), then end it or let it end:",
                    "select pid, usename, application_name, xact_start, state, left(query, 80) as query\n  from pg_stat_activity \
                     where backend_xmin is not null or backend_xid is not null order by xact_start;\nselect pg_terminate_backend(PID);"
                        .to_owned(),
                ),
                "standby" => (
                    "A long query runs there, and hot_standby_feedback keeps its rows here. End it on the standby:",
                    "select pid, xact_start, left(query, 80) as query from pg_stat_activity order by xact_start;".to_owned(),
                ),
                "prepared_transaction" => (
                    "Its coordinator has forgotten it. Commit it or roll it back:",
                    "select gid, owner, prepared from pg_prepared_xacts order by prepared;\nrollback prepared 'GID';".to_owned(),
                ),
                _ => (
                    "If what reads it is gone for good, drop it; it holds back the write-ahead log as well:",
                    format!("select pg_drop_replication_slot({});", quoted(&holder.application)),
                ),
            };
            let tone = if is_ancient || holder.age_s.is_none() { Tone::Bad } else { Tone::Warn };
            Concern { sql: Some(sql), ..Concern::new(tone, "old snapshot", what, todo) }
        })
        .collect()
}

fn settings(facts: &Facts) -> Vec<Concern> {
    let dangerous = facts.settings.iter().filter_map(|setting| {
        let why = setting.warning?;
        let what = format!("{} is {}: {why}.", setting.name, setting.value);
        let todo = "Set it for the server, unless this data may be lost:";
        let sql = Some(format!("alter system set {} = on;\nselect pg_reload_conf();", setting.name));
        Some(Concern { sql, ..Concern::new(Tone::Bad, "setting", what, todo) })
    });
    dangerous.collect()
}

/// The days that a table has partitions for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) parent: String,
    pub(super) days: usize,
    pub(super) first: String,
    pub(super) last: String,
    /// Days from today on, today included.
    pub(super) ahead: usize,
    /// Rows for whose day there was no partition.
    pub(super) stray: i64,
}

/// The days of each table with partitions.
pub(super) fn days(facts: &Facts) -> Vec<Days> {
    let today = facts.server.now.strftime("%F").to_string();
    let mut tables: BTreeMap<&str, (Vec<&str>, i64)> = BTreeMap::new();
    for partition in &facts.partitions {
        let (days, stray) = tables.entry(&partition.parent).or_default();
        match &partition.day {
            Some(day) => days.push(day),
            None => *stray += partition.live_rows,
        }
    }
    let table = |(parent, (mut days, stray)): (&str, (Vec<&str>, i64))| {
        days.sort_unstable();
        let ahead = days.iter().filter(|day| **day >= today.as_str()).count();
        let end = |day: Option<&&str>| day.map_or_else(|| "–".to_owned(), |day| (*day).to_owned());
        let (first, last) = (end(days.first()), end(days.last()));
        Days { parent: parent.to_owned(), days: days.len(), first, last, ahead, stray }
    };
    tables.into_iter().map(table).collect()
}

fn partitions(facts: &Facts) -> Vec<Concern> {
    let mut concerns = Vec::new();
    for Days { parent, ahead, stray, .. } in days(facts) {
        if ahead < DAYS_AHEAD {
            let what =
                format!("{parent} has a partition for {} from today on.", of_them(count_i64(ahead), "day", "days"));
            let todo =
                "Servers make them ahead of time: see that one runs and reaches the database, and what its log says.";
            concerns.push(Concern::new(if ahead == 0 { Tone::Bad } else { Tone::Warn }, "partitions", what, todo));
        }
        if stray > 0 {
            let what = format!(
                "About {} of {parent} had no partition for their day. They are found and counted, but not dropped with their day.",
                of_them(stray, "row", "rows")
            );
            let todo =
                "They came while no server made partitions. Once they are older than what you keep, delete them.";
            concerns.push(Concern::new(Tone::Warn, "partitions", what, todo));
        }
    }
    concerns
}

fn sessions(facts: &Facts) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let (used, allowed) = (facts.server.connections, facts.server.max_connections);
    if used * 100 > allowed * MANY_SESSIONS {
        let what = format!(
            "{} of {} sessions are in use. Who finds none left is refused.",
            count(used, false),
            count(allowed, false)
        );
        let todo = "See below whose they are. A pooler in front, or smaller pools, make room; max_connections needs a restart.";
        concerns.push(Concern::new(Tone::Bad, "sessions", what, todo));
    }
    let forgotten = facts.sessions.iter().filter(|session| {
        session.state.starts_with("idle in transaction")
            && session.oldest_transaction_s.is_some_and(|age_s| age_s > IDLE_TRANSACTION_S)
    });
    for session in forgotten {
        let what = format!(
            "{} has a transaction open for {} and does nothing in it. The rows that it locked are locked for everybody.",
            if session.application.is_empty() { "A session without a name" } else { &session.application },
            span(session.oldest_transaction_s.unwrap_or(0.0))
        );
        let todo = "A handler that waits for something else within its transaction, or a program that forgot to commit. End it:";
        let sql = "select pid, application_name, xact_start from pg_stat_activity\n where state like 'idle in transaction%' order by \
                   xact_start;\nselect pg_terminate_backend(PID);";
        concerns.push(Concern { sql: Some(sql.into()), ..Concern::new(Tone::Warn, "idle", what, todo) });
    }
    concerns
}

fn upkeep(facts: &Facts) -> Vec<Concern> {
    let jobs = facts.tables.iter().find(|table| table.name == "jobs");
    let is_behind = |dead: i64, live: i64| dead > MANY_DEAD && dead > live.saturating_mul(DEAD_FACTOR);
    let Some(jobs) = jobs.filter(|jobs| is_behind(jobs.dead_rows, jobs.live_rows)) else { return Vec::new() };
    let what = format!(
        "The table of waiting and running jobs holds {} dead rows beside {} that live: vacuum does not keep up.",
        count(jobs.dead_rows, false),
        count(jobs.live_rows, false)
    );
    let todo = "See whether an old snapshot keeps them (above), else whether autovacuum has enough workers. By hand:";
    vec![Concern {
        sql: Some("vacuum (verbose) faultline.jobs;".into()),
        ..Concern::new(Tone::Warn, "dead rows", what, todo)
    }]
}

fn replication(facts: &Facts) -> Vec<Concern> {
    let mut concerns = Vec::new();
    for standby in &facts.standbys {
        let Some(behind) = standby.behind_bytes.filter(|behind| *behind > MUCH_WAL) else { continue };
        if standby.what == "slot" && standby.state == "inactive" {
            let what = format!(
                "Nobody reads the slot {}, and it holds back {} of the write-ahead log.",
                standby.name,
                bytes(behind)
            );
            let todo = "It fills the disk in the end. If what read it is gone for good, drop it:";
            let sql = format!("select pg_drop_replication_slot({});", quoted(&standby.name));
            concerns.push(Concern { sql: Some(sql), ..Concern::new(Tone::Bad, "slot", what, todo) });
        } else if standby.what == "standby" {
            let what = format!(
                "The standby {} is {} behind: a failover to it now would lose that.",
                standby.name,
                bytes(behind)
            );
            let todo = "Look at its disk and its network, and at what it is asked to do.";
            concerns.push(Concern::new(Tone::Warn, "standby", what, todo));
        }
    }
    concerns
}

fn versions(facts: &Facts) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let server = &facts.server;
    if server.schema_version < server.schema_needed {
        let what =
            format!("The schema is at version {}, this program needs {}.", server.schema_version, server.schema_needed);
        let concern = Concern::new(Tone::Bad, "schema", what, "Bring it up to date:");
        concerns.push(Concern { sql: Some("faultline migrate".into()), ..concern });
    }
    if server.audit_on_since.is_some() {
        let what =
            "The transition log is on. It grows with every step of every job, and costs about half of the throughput.";
        let concern = Concern::new(Tone::Warn, "log", what.into(), "Switch it off when you have seen enough:");
        concerns.push(Concern { sql: Some("faultline audit off".into()), ..concern });
    }
    concerns
}

/// A text as a literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}

fn count_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod samples {
    use faultline_store::dashboard::database::{Facts, PartitionFacts, Server, SessionFacts, SettingFacts, TableFacts};

    /// A database in order.
    pub(crate) fn facts() -> Facts {
        let now = crate::samples::now();
        let part = |day: Option<&str>| PartitionFacts {
            parent: "job_history".into(),
            name: "job_history_x".into(),
            day: day.map(Into::into),
            live_rows: if day.is_some() { 1000 } else { 0 },
            bytes: 8192,
        };
        Facts {
            server: Server {
                version: "15.1".into(),
                started_at: now,
                database: "jobs".into(),
                bytes: 12_000_000,
                max_connections: 100,
                connections: 20,
                schema_version: 4,
                schema_needed: 4,
                migrated_at: Some(now),
                audit_on_since: None,
                history_retention_s: 7 * 86_400,
                wal_position: "0/15D6F50".into(),
                now,
            },
            oldest_xmin: Vec::new(),
            tables: vec![TableFacts {
                name: "job_history".into(),
                partitions: 3,
                table_bytes: 1_000_000,
                index_bytes: 2_000,
                live_rows: 2000,
                dead_rows: 0,
                vacuumed_at: None,
                analyzed_at: Some(now),
            }],
            indexes: Vec::new(),
            partitions: vec![part(Some("2026-03-01")), part(Some("2026-03-02")), part(None)],
            sessions: vec![SessionFacts {
                application: "faultline serve".into(),
                state: "idle".into(),
                sessions: 4,
                waiting: 0,
                oldest_transaction_s: None,
            }],
            settings: vec![SettingFacts {
                name: "fsync".into(),
                value: "on".into(),
                unit: String::new(),
                source: "default".into(),
                warning: None,
            }],
            standbys: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::facts;
    use super::*;
    use faultline_store::dashboard::database::StandbyFacts;

    #[track_caller]
    fn only(facts: &Facts) -> Concern {
        let [concern] = &of(facts)[..] else { panic!("{:#?}", of(facts)) };
        concern.clone()
    }

    fn holder(holder: &str, application: &str, age_s: Option<f64>, age_xids: Option<i64>) -> Holder {
        Holder { holder: holder.into(), application: application.into(), age_s, age_xids }
    }

    #[test]
    fn a_database_in_order_needs_nothing() {
        assert_eq!(of(&facts()), []);
    }

    #[test]
    fn an_old_snapshot_is_told_with_its_holder_and_what_to_do() {
        let mut facts = facts();
        facts.oldest_xmin = vec![holder("session", "pg_dump", Some(59.0), Some(10))];
        assert_eq!(of(&facts), []);
        facts.oldest_xmin = vec![holder("session", "pg_dump", Some(720.0), Some(10))];
        let concern = only(&facts);
        assert!(
            concern.tone == Tone::Bad
                && concern.what.starts_with("A session of pg_dump has held back vacuum for 12 min")
        );
        assert!(concern.sql.unwrap().contains("pg_terminate_backend"));
        facts.oldest_xmin = vec![holder("replication_slot", "o'brien", None, Some(2_000_000))];
        assert_eq!(only(&facts).sql.unwrap(), "select pg_drop_replication_slot('o''brien');");
        facts.oldest_xmin = vec![holder("prepared_transaction", "", Some(90.0), None)];
        assert_eq!(only(&facts).tone, Tone::Warn);
        assert!(only(&facts).what.starts_with("A prepared transaction has held back"));
        // The oldest in seconds and the oldest in transactions may be the same.
        facts.oldest_xmin =
            vec![holder("session", "pg_dump", Some(720.0), None), holder("session", "pg_dump", None, Some(2_000_000))];
        only(&facts);
    }

    #[test]
    fn settings_that_endanger_what_was_acknowledged_are_bad() {
        let mut facts = facts();
        facts.settings[0].value = "off".into();
        facts.settings[0].warning = Some("a crash of the host can destroy the database");
        let concern = only(&facts);
        assert_eq!(concern.what, "fsync is off: a crash of the host can destroy the database.");
        assert_eq!(concern.tone, Tone::Bad);
    }

    #[test]
    fn missing_partitions_are_noticed_before_their_day() {
        let mut facts = facts();
        facts.partitions.retain(|partition| partition.day.as_deref() != Some("2026-03-02"));
        assert_eq!(only(&facts).tone, Tone::Warn);
        facts.partitions.retain(|partition| partition.day.is_none());
        assert_eq!(only(&facts).tone, Tone::Bad);
        let mut facts = self::facts();
        facts.partitions[2].live_rows = 3;
        assert!(only(&facts).what.starts_with("About 3 rows of job_history had no partition"));
    }

    #[test]
    fn sessions_that_run_out_and_transactions_that_stand_still_are_told() {
        let mut facts = facts();
        facts.server.connections = 81;
        assert_eq!((only(&facts).word, only(&facts).tone), ("sessions", Tone::Bad));
        let mut facts = self::facts();
        facts.sessions[0].state = "idle in transaction".into();
        facts.sessions[0].oldest_transaction_s = Some(300.0);
        assert!(only(&facts).what.starts_with("faultline serve has a transaction open for 5 min"));
    }

    #[test]
    fn replication_that_falls_behind_is_told() {
        let standby = |what: &str, state: &str, behind: i64| StandbyFacts {
            what: what.into(),
            name: "one".into(),
            state: state.into(),
            sync: String::new(),
            behind_bytes: Some(behind),
            behind_s: None,
        };
        let mut facts = facts();
        facts.standbys = vec![standby("slot", "active", MUCH_WAL * 2), standby("standby", "streaming", 1000)];
        assert_eq!(of(&facts), []);
        facts.standbys = vec![standby("slot", "inactive", MUCH_WAL * 2)];
        assert_eq!(only(&facts).tone, Tone::Bad);
        facts.standbys = vec![standby("standby", "streaming", MUCH_WAL * 2)];
        assert_eq!(only(&facts).tone, Tone::Warn);
    }

    #[test]
    fn the_worst_comes_first() {
        let mut facts = facts();
        facts.server.audit_on_since = Some(facts.server.now);
        facts.server.schema_needed = 5;
        let words: Vec<&str> = of(&facts).iter().map(|concern| concern.word).collect();
        assert_eq!(words, ["schema", "log"]);
    }
}
