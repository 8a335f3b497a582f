//! The same limits on every way in: what the library refuses, the SQL functions refuse with the same field, and the other
//! way round. And what SQL refuses leaves nothing.

use crate::common::{Db, LONG, count, job, json, refusal, take};
use faultline_core::{Backoff, NewJob, Start, limits};
use std::time::Duration;
use tokio_postgres::Client;

/// A change of a valid job, and the same for `faultline.enqueue` (`payload` is passed as text and cast).
struct Probe {
    what: String,
    library: NewJob,
    sql: Vec<(&'static str, String)>,
}

fn probe(field: &'static str, sql: impl Into<String>, change: impl FnOnce(&mut NewJob)) -> Probe {
    let mut library = job();
    change(&mut library);
    let sql = sql.into();
    let shown: String = sql.chars().take(40).collect();
    Probe { what: format!("{field} => {shown}"), library, sql: vec![(field, sql)] }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn ms(ms: u64) -> String {
    format!("'{ms} milliseconds'")
}

fn names() -> Vec<Probe> {
    let longest = "x".repeat(limits::MAX_NAME_BYTES);
    let mut probes = Vec::new();
    for name in
        ["", "a", "-a", ".a", "a b", "a\n", "a.b_c:d/e-f", "ä", "A9", "9", "a%", &longest, &format!("{longest}x")]
    {
        probes.push(probe("queue", quoted(name), |job| job.queue = name.into()));
        probes.push(probe("kind", quoted(name), |job| job.kind = name.into()));
    }
    probes
}

fn keys() -> Vec<Probe> {
    let longest = "k".repeat(limits::MAX_KEY_BYTES);
    let wide = "ä".repeat(limits::MAX_KEY_BYTES / 2);
    let keys = [
        "",
        " ",
        "a",
        "a b",
        "a\nb",
        "a\tb",
        "\u{1}",
        "\u{1f}",
        "\u{7f}",
        "\u{80}",
        "\u{85}",
        "\u{9f}",
        "\u{a0}",
        "\u{2028}",
        "\u{200b}",
        "\u{feff}",
        "🦀",
        "'",
        "\\",
        &longest,
        &format!("{longest}k"),
        &wide,
        &format!("{wide}ä"),
    ];
    keys.iter().map(|key| probe("key", quoted(key), |job| job.key = Some((*key).into()))).collect()
}

fn numbers() -> Vec<Probe> {
    let mut probes = Vec::new();
    for priority in [-1, 0, 1, 2, 4, 5, i16::MAX] {
        probes.push(probe("priority", priority.to_string(), |job| job.priority = priority));
    }
    for attempts in [i32::MIN, -1, 0, 1, limits::MAX_ATTEMPTS, limits::MAX_ATTEMPTS + 1, i32::MAX] {
        probes.push(probe("max_attempts", attempts.to_string(), |job| job.max_attempts = attempts));
    }
    let day = 86_400_000;
    for ttl in [0, 1, 999, 1000, 365 * day, 365 * day + 1, 400 * day] {
        probes.push(probe("key_ttl", ms(ttl), |job| job.key_ttl = Duration::from_millis(ttl)));
    }
    for timeout in [0, 1, 7 * day, 7 * day + 1, 365 * day] {
        probes.push(probe("timeout", ms(timeout), |job| job.timeout = Duration::from_millis(timeout)));
    }
    for delay in [0, 1, 365 * day, 365 * day + 1] {
        probes.push(probe("delay", ms(delay), |job| job.start = Start::After(Duration::from_millis(delay))));
    }
    for base in [-1, 0, 1, limits::MAX_BACKOFF_BASE_MS, limits::MAX_BACKOFF_BASE_MS + 1] {
        let sql = format!("'{base} milliseconds'");
        probes.push(probe("backoff_base", sql, |job| job.backoff = Backoff { base_ms: base, ..job.backoff }));
    }
    for cap in [-1, 0, 1, limits::MAX_BACKOFF_CAP_MS, limits::MAX_BACKOFF_CAP_MS + 1] {
        let sql = format!("'{cap} milliseconds'");
        probes.push(probe("backoff_cap", sql, |job| job.backoff = Backoff { cap_ms: cap, ..job.backoff }));
    }
    let times = [
        "1970-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "1999-12-31T23:59:59.999Z",
        "2000-01-01T00:00:00Z",
        "2199-12-31T23:59:59Z",
        "2199-12-31T23:59:59.999Z",
        "2200-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z",
    ];
    for at in times {
        probes.push(probe("run_at", quoted(at), |job| job.start = Start::At(at.parse().unwrap())));
    }
    probes
}

fn documents() -> Vec<Probe> {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let deep_object = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let documents = [
        "null".into(),
        "0".into(),
        "\"\"".into(),
        "[]".into(),
        "{}".into(),
        r#"{"a": [1, {"b": null}]}"#.into(),
        deep(limits::MAX_JSON_DEPTH),
        deep(limits::MAX_JSON_DEPTH + 1),
        deep(1000),
        deep_object(limits::MAX_JSON_DEPTH),
        deep_object(limits::MAX_JSON_DEPTH + 1),
        text(limits::MAX_PAYLOAD_BYTES),
        text(limits::MAX_PAYLOAD_BYTES + 1),
        "1e308".into(),
        "-1e308".into(),
        "1e309".into(),
        "-1e309".into(),
        "1e400".into(),
        "[{\"a\": 1e400}]".into(),
        "1e-308".into(),
        "1e-400".into(),
        "-1e-400".into(),
        "0.0".into(),
        format!("\"{}\"", "1".repeat(400)),
        "9".repeat(308),
        "9".repeat(500),
    ];
    let mut probes: Vec<Probe> =
        documents.iter().map(|text| probe("payload", quoted(text), |job| job.payload = json(text))).collect();
    let object = |bytes: usize| format!(r#"{{"a": "{}"}}"#, "x".repeat(bytes - 9));
    let headers = [
        "{}".into(),
        r#"{"a": "b"}"#.into(),
        "[]".into(),
        "\"a\"".into(),
        "1".into(),
        "{\"a\": 1e400}".into(),
        format!("{{\"a\": {}}}", deep(limits::MAX_JSON_DEPTH)),
        format!("{{\"a\": {}}}", deep(limits::MAX_JSON_DEPTH - 1)),
        object(limits::MAX_HEADERS_BYTES),
        object(limits::MAX_HEADERS_BYTES + 1),
    ];
    probes.extend(headers.iter().map(|text| probe("headers", quoted(text), |job| job.headers = Some(json(text)))));
    probes
}

/// What `faultline.enqueue` says: the field that it refuses, or none.
async fn in_sql(client: &Client, probe: &Probe) -> Option<String> {
    let mut arguments = vec![("kind", "'k'".to_owned()), ("queue", "'q'".to_owned())];
    arguments.retain(|(name, _)| *name != probe.sql[0].0);
    arguments.extend(probe.sql.iter().cloned());
    let arguments: Vec<String> = arguments.iter().map(|(name, value)| format!("{name} => {value}")).collect();
    match client.query(&format!("select faultline.enqueue({})", arguments.join(", ")), &[]).await {
        Ok(_) => None,
        refused => {
            let (code, message, column) = refusal(refused);
            assert_eq!(code, "22023", "{}: {message}", probe.what);
            let column = column.unwrap();
            assert!(message.starts_with(&format!("{column}: ")), "{message}");
            Some(column)
        }
    }
}

#[tokio::test]
async fn the_library_and_sql_draw_every_line_at_the_same_place() {
    let db = Db::migrated();
    let client = db.plain().await;
    let mut differences = Vec::new();
    for probe in [names(), keys(), numbers(), documents()].into_iter().flatten() {
        let before = count(&client, "faultline.jobs").await;
        let library = probe.library.check().err().map(|invalid| invalid.field.to_owned());
        let sql = in_sql(&client, &probe).await;
        if library != sql {
            differences.push(format!("{}: library {library:?}, sql {sql:?}", probe.what));
        }
        let added = count(&client, "faultline.jobs").await - before;
        assert_eq!(added, i64::from(sql.is_none()), "{}", probe.what);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn the_server_takes_what_the_library_lets_through_and_gives_it_back() {
    let db = Db::migrated();
    let session = db.session().await;
    let accepted: Vec<NewJob> = [names(), keys(), numbers(), documents()]
        .into_iter()
        .flatten()
        .map(|probe| probe.library)
        .filter(|job| job.check().is_ok())
        .collect();
    for new in &accepted {
        let new = NewJob { queue: "q".into(), start: Start::After(Duration::ZERO), ..new.clone() };
        crate::common::put(&session, &new).await;
    }
    let claimed = take(&session, accepted.len(), LONG).await;
    assert_eq!(claimed.len(), accepted.len());
}

#[tokio::test]
async fn nulls_and_contradictions_that_only_sql_can_say_are_refused_with_their_field() {
    let db = Db::migrated();
    let client = db.plain().await;
    for (arguments, field) in [
        ("null", "kind"),
        ("'k', null", "payload"),
        ("'k', queue => null", "queue"),
        ("'k', key_ttl => null", "key_ttl"),
        ("'k', priority => null", "priority"),
        ("'k', max_attempts => null", "max_attempts"),
        ("'k', timeout => null", "timeout"),
        ("'k', backoff_base => null", "backoff.base"),
        ("'k', backoff_cap => null", "backoff.cap"),
        ("'k', delay => '1 s', run_at => now()", "run_at"),
        ("'k', run_at => 'infinity'", "run_at"),
        ("'k', run_at => '-infinity'", "run_at"),
        ("'k', delay => '-1 s'", "delay"),
        ("'k', timeout => '-1 s'", "timeout"),
        ("'k', key_ttl => '100 years'", "key_ttl"),
    ] {
        let (code, message, column) =
            refusal(client.query(&format!("select faultline.enqueue({arguments})"), &[]).await);
        assert_eq!((code.as_str(), column.as_deref()), ("22023", Some(field)), "{arguments}: {message}");
    }
    assert_eq!(count(&client, "faultline.jobs").await, 0);
}

#[tokio::test]
async fn json_that_jsonb_cannot_hold_is_refused_by_the_server_and_leaves_nothing() {
    let db = Db::migrated();
    let client = db.plain().await;
    for payload in [
        r#""\u0000""#,
        r#"{"\u0000": 1}"#,
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\u0041""#,
        "1e1000000",
        "{",
        "NaN",
        "",
    ] {
        for call in ["faultline.enqueue('k', PAYLOAD)", "faultline.enqueue('k', headers => PAYLOAD)"] {
            let sql = format!("select {}", call.replace("PAYLOAD", &quoted(payload)));
            let (code, ..) = refusal(client.query(&sql, &[]).await);
            assert!(code.starts_with("22"), "{sql}: {code}");
        }
    }
    assert_eq!(count(&client, "faultline.jobs").await, 0);
}

#[tokio::test]
async fn enqueue_many_names_the_element_and_the_field_and_leaves_nothing() {
    let db = Db::migrated();
    let client = db.plain().await;
    let too_many = format!("[{}]", vec!["{}"; limits::MAX_BATCH + 1].join(","));
    for (jobs, beginning) in [
        ("{}", "jobs: must be an array"),
        ("null", "jobs: must be an array"),
        (too_many.as_str(), "jobs: must have at most 10000"),
        (r#"[{"kind": "k"}, 5]"#, "jobs[1]: must be an object"),
        (r#"[{"kind": "k"}, {}]"#, "jobs[1].kind: "),
        (r#"[{"kind": "k", "prio": 1}]"#, "jobs[0].prio: is not a field"),
        (r#"[{"kind": "k"}, {"kind": "k", "priority": 9}]"#, "jobs[1].priority: must be 1 to 4"),
        (r#"[{"kind": "k", "priority": "high"}]"#, "jobs[0].priority: "),
        (r#"[{"kind": "k", "priority": 1e10}]"#, "jobs[0].priority: "),
        (r#"[{"kind": "k", "priority": 1.5}]"#, "jobs[0].priority: "),
        (r#"[{"kind": "k", "max_attempts": {}}]"#, "jobs[0].max_attempts: "),
        (r#"[{"kind": "k", "delay": "soon"}]"#, "jobs[0].delay: "),
        (r#"[{"kind": "k", "timeout": "100000000 years"}]"#, "jobs[0].timeout: "),
        (r#"[{"kind": "k", "run_at": "tomorrowish"}]"#, "jobs[0].run_at: "),
        (r#"[{"kind": "k", "backoff_base": "-1 s"}]"#, "jobs[0].backoff.base: "),
        (r#"[{"kind": "k", "headers": []}]"#, "jobs[0].headers: must be an object"),
        (r#"[{"kind": "k", "key": ""}]"#, "jobs[0].key: "),
        (r#"[{"kind": {"a": 1}}]"#, "jobs[0].kind: "),
    ] {
        let sql = format!("select * from faultline.enqueue_many({})", quoted(jobs));
        let (code, message, _) = refusal(client.query(&sql, &[]).await);
        let shown: String = jobs.chars().take(60).collect();
        assert!(message.starts_with(beginning) && code == "22023", "{shown}: {code} {message}");
    }
    assert_eq!(count(&client, "faultline.jobs").await, 0);
}

#[tokio::test]
async fn enqueue_many_takes_every_field_and_answers_in_order() {
    let db = Db::migrated();
    let client = db.plain().await;
    let jobs = r#"[{"kind": "a"},
        {"kind": "b", "payload": null, "queue": "other", "key": "x", "key_ttl": "1 hour", "priority": 1, "delay": "1 minute",
         "max_attempts": 3, "timeout": "5 seconds", "backoff_base": "2 seconds", "backoff_cap": "1 minute", "headers": {"t": 1}},
        {"kind": "b", "queue": "other", "key": "x", "payload": null, "priority": 1, "delay": "60 s", "max_attempts": 3,
         "timeout": "5 s", "backoff_base": "2 s", "backoff_cap": "60 s"},
        {"kind": "c", "run_at": "2030-01-01 00:00:00+00", "headers": null}]"#;
    let sql = format!("select ord, id, created from faultline.enqueue_many({})", quoted(jobs));
    let rows = client.query(&sql, &[]).await.unwrap();
    let ords: Vec<i64> = rows.iter().map(|row| row.get("ord")).collect();
    let created: Vec<bool> = rows.iter().map(|row| row.get("created")).collect();
    assert_eq!((ords, created), (vec![1, 2, 3, 4], vec![true, true, false, true]));
    assert_eq!(rows[1].get::<_, uuid::Uuid>("id"), rows[2].get::<_, uuid::Uuid>("id"));
    let stored =
        "faultline.jobs where kind = 'b' and queue = 'other' and key = 'x' and priority = 1 and max_attempts = 3
                  and timeout_ms = 5000 and backoff_base_ms = 2000 and backoff_cap_ms = 60000 and headers = '{\"t\": 1}'
                  and payload = 'null' and next_run_at > now() + interval '50 seconds'";
    assert_eq!(count(&client, stored).await, 1);
}

#[tokio::test]
async fn a_result_that_is_too_large_is_replaced_by_a_mark_in_sql_too() {
    let db = Db::migrated();
    let session = db.session().await;
    for (bytes, is_kept) in [(limits::MAX_RESULT_BYTES, true), (limits::MAX_RESULT_BYTES + 1, false)] {
        let claimed = crate::common::running(&session, &job(), LONG).await;
        let sql = "select faultline.complete_in_tx($1, $2, to_jsonb(repeat('x', $3)))";
        let letters = i32::try_from(bytes - 2).unwrap();
        session.query(sql, &[&claimed.id.0, &claimed.lease_id.0, &letters]).await.unwrap();
        let ended = crate::common::facts(&session, claimed.id).await;
        assert_eq!(ended.state, "succeeded");
        let result = ended.result.unwrap();
        assert!(result.len() <= limits::MAX_RESULT_BYTES);
        assert_eq!(result.contains("faultline_result_not_stored"), !is_kept);
    }
}
