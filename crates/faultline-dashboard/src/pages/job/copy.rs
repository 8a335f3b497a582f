//! A job as a command that enqueues one like it: for curl, for `faultline`, and for SQL.
//!
//! What a job holds comes from anywhere and is pasted into shells and consoles of people who may do much. So each value is
//! quoted by the rules of where it goes, characters that would deceive the eye or drive a terminal are escaped, and
//! nothing is left out in silence.
//!
//! The key is not copied: with it, the copy would be taken for the same job. Neither is the trace context, which belongs to
//! the request that enqueued the original.

use crate::json::{is_deceptive, plain};
use faultline_core::durations::format_ms;
use faultline_core::{JobId, limits};
use faultline_store::read::Job;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Bytes of a payload that is put into a command: quoted, well below the 128 KiB that Linux takes as an argument. Longer ones
/// are copied inside the database.
const MAX_COPIED_BYTES: usize = 32 * 1024;
/// Headers of the request that enqueued the original.
pub(super) const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];

/// Where the API is, unless the page knows better: its script puts its own address here.
pub(crate) const SERVER: &str = "http://127.0.0.1:8000";

/// The commands.
pub(crate) struct Commands {
    /// For a shell with curl; none for a payload that is too large.
    pub(crate) curl: Option<String>,
    /// For a shell with `faultline`; none for a payload that is too large.
    pub(crate) cli: Option<String>,
    /// For psql or any other client.
    pub(crate) sql: String,
}

/// The commands that enqueue one like `job`. `server` is the address of the API, without a slash at its end.
pub(crate) fn commands(job: &Job, server: &str) -> Commands {
    let headers = job.headers.as_deref().and_then(kept_headers);
    if job.payload.get().len() > MAX_COPIED_BYTES {
        return Commands { curl: None, cli: None, sql: sql_from_row(job.id) };
    }
    Commands {
        curl: Some(curl(job, headers.as_deref(), server)),
        cli: Some(cli(job, headers.as_deref())),
        sql: sql(job, headers.as_deref()),
    }
}

/// The headers without trace context; none if nothing is left. Values keep their text.
pub(crate) fn kept_headers(headers: &RawValue) -> Option<Box<RawValue>> {
    let mut map: BTreeMap<String, &RawValue> = serde_json::from_str(headers.get()).ok()?;
    map.retain(|name, _| !TRACE_CONTEXT.contains(&name.as_str()));
    (!map.is_empty()).then(|| serde_json::value::to_raw_value(&map).ok()).flatten()
}

/// What differs from the defaults, for a request.
#[derive(Serialize)]
struct Request<'a> {
    kind: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<Backoff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Backoff {
    base: String,
    cap: String,
}

impl<'a> Request<'a> {
    fn of(job: &'a Job, headers: Option<&'a RawValue>) -> Self {
        let default_backoff = (limits::DEFAULT_BACKOFF_BASE_MS, limits::DEFAULT_BACKOFF_CAP_MS);
        let backoff =
            Backoff { base: format_ms(job.backoff_base_ms.into()), cap: format_ms(job.backoff_cap_ms.into()) };
        Self {
            kind: &job.kind,
            payload: &job.payload,
            queue: (job.queue != limits::DEFAULT_QUEUE).then_some(job.queue.as_str()),
            priority: (job.priority != limits::DEFAULT_PRIORITY).then_some(job.priority),
            max_attempts: (job.max_attempts != limits::DEFAULT_MAX_ATTEMPTS).then_some(job.max_attempts),
            timeout: (job.timeout_ms != limits::DEFAULT_TIMEOUT_MS).then(|| format_ms(job.timeout_ms.into())),
            backoff: ((job.backoff_base_ms, job.backoff_cap_ms) != default_backoff).then_some(backoff),
            headers,
        }
    }
}

fn curl(job: &Job, headers: Option<&RawValue>, server: &str) -> String {
    let body = serde_json::to_string(&Request::of(job, headers)).expect("strings, numbers and JSON are JSON");
    let url = shell(&format!("{server}/v1/jobs"));
    let token = "\"Authorization: Bearer $FAULTLINE_TOKEN\"";
    let start =
        format!("curl -sS -X POST {url} \\\n  -H {token} \\\n  -H 'Content-Type: application/json' \\\n  --data-raw ");
    format!("{start}{}", shell(&plain(&body)))
}

fn cli(job: &Job, headers: Option<&RawValue>) -> String {
    let request = Request::of(job, headers);
    let payload = plain(job.payload.get());
    let argument = shell(&payload);
    let mut command = format!("faultline job enqueue {} {argument}", shell(&job.kind));
    // With `=`, so that a value that begins with `-` is none the less a value.
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.push_str(&format!(" \\\n  --{name}={}", shell(&value)));
        }
    };
    option("queue", request.queue.map(Into::into));
    option("priority", request.priority.map(|priority| priority.to_string()));
    option("max-attempts", request.max_attempts.map(|most| most.to_string()));
    option("timeout", request.timeout);
    if let Some(Backoff { base, cap }) = request.backoff {
        option("backoff-base", Some(base));
        option("backoff-cap", Some(cap));
    }
    option("headers", headers.map(|headers| plain(headers.get())));
    command
}

fn sql(job: &Job, headers: Option<&RawValue>) -> String {
    let request = Request::of(job, headers);
    let mut arguments = vec![
        format!("kind => {}", literal(&job.kind)),
        format!("payload => {}::jsonb", literal(&plain(job.payload.get()))),
    ];
    let mut argument = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            arguments.push(format!("{name} => {value}"));
        }
    };
    let interval = |ms: i32| format!("interval '{ms} milliseconds'");
    argument("queue", request.queue.map(literal));
    argument("priority", request.priority.map(|priority| priority.to_string()));
    argument("max_attempts", request.max_attempts.map(|most| most.to_string()));
    argument("timeout", request.timeout.is_some().then(|| interval(job.timeout_ms)));
    argument("backoff_base", request.backoff.is_some().then(|| interval(job.backoff_base_ms)));
    argument("backoff_cap", request.backoff.is_some().then(|| interval(job.backoff_cap_ms)));
    argument("headers", headers.map(|headers| format!("{}::jsonb", literal(&plain(headers.get())))));
    format!("select faultline.enqueue(\n  {});", arguments.join(",\n  "))
}

/// Copies what the row holds, without its being sent anywhere.
fn sql_from_row(id: JobId) -> String {
    format!(
        "select faultline.enqueue(\n  kind => j.kind,\n  payload => j.payload,\n  queue => j.queue,\n  priority => j.priority,\n  \
         max_attempts => j.max_attempts,\n  timeout => j.timeout_ms * interval '1 millisecond',\n  \
         backoff_base => j.backoff_base_ms * interval '1 millisecond',\n  \
         backoff_cap => j.backoff_cap_ms * interval '1 millisecond',\n  \
         headers => j.headers - 'traceparent' - 'tracestate')\n  from faultline.all_jobs j\n where j.id = '{id}';"
    )
}

/// One word for a POSIX shell; with deceptive characters in it, for bash, zsh and ksh.
pub(crate) fn shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/,+-@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if !text.chars().any(is_deceptive) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            // As bytes, which means the same whatever the locale of the shell is.
            c if is_deceptive(c) => {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| word.push_str(&format!("\\x{byte:02x}")));
                // A hexadecimal digit that follows would be taken for a part of the escape.
                word.push_str("'$'");
            }
            c => word.push(c),
        }
    }
    word + "'"
}

/// A string constant, as `quote_literal` writes it: good whatever `standard_conforming_strings` is.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if !text.contains('\\') && !text.chars().any(is_deceptive) {
        return format!("'{quoted}'");
    }
    let mut constant = String::from("E'");
    for c in quoted.chars() {
        match c {
            '\\' => constant.push_str("\\\\"),
            c if is_deceptive(c) => constant.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => constant.push(c),
        }
    }
    constant + "'"
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_core::State;
    use std::process::Command;

    pub(crate) const NASTY: [&str; 12] = [
        "it's",
        "'; rm -rf / #",
        "$(touch pwned) `id` ${HOME} \\ \" !x",
        "a\nb\tc",
        "\u{1b}[31mred\u{7}",
        "\u{1b}abc",
        "x\u{202e}gnp.exe",
        "--help",
        "@/etc/passwd",
        "",
        "\\",
        "é😀<script>alert(1)</script>",
    ];

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in NASTY {
            let script = format!("printf %s {}", shell(text));
            let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "{script}");
            assert!(!script.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{script:?}");
        }
    }

    #[test]
    fn a_literal_is_what_the_database_would_write() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(literal("\u{1b}[0m\u{202e}"), r"E'\u001B[0m\u202E'");
    }

    /// A job with everything that could go wrong in it.
    fn nasty(text: &str) -> Job {
        let raw = |value: serde_json::Value| serde_json::value::to_raw_value(&value).unwrap();
        Job {
            kind: text.into(),
            queue: text.into(),
            payload: raw(serde_json::json!({"text": text, text: [text]})),
            headers: Some(raw(serde_json::json!({"traceparent": "00-1", "tag": text}))),
            key: Some(text.into()),
            max_attempts: 3,
            timeout_ms: 1500,
            ..super::super::timeline::tests::job(State::Failed)
        }
    }

    /// What a program called `name` is given when bash runs the command, each argument behind a zero.
    fn arguments(name: &str, command: &str) -> Vec<String> {
        let script = format!("{name}() {{ printf '\\0%s' \"$@\"; }}\n{command}");
        let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{script}");
        String::from_utf8(output.stdout).unwrap().split('\0').skip(1).map(Into::into).collect()
    }

    fn json(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_shell_hands_curl_and_faultline_what_the_job_holds_and_runs_nothing_of_it() {
        for text in NASTY.into_iter().filter(|text| !text.is_empty()) {
            let job = nasty(text);
            let commands = commands(&job, SERVER);
            let curl = arguments("curl", &commands.curl.unwrap());
            let body = json(curl.last().unwrap());
            assert_eq!((&body["kind"], &body["queue"]), (&text.into(), &text.into()));
            assert_eq!(body["payload"], json(job.payload.get()));
            assert_eq!(body["headers"], serde_json::json!({"tag": text}));
            assert!(body.get("key").is_none());
            let cli = arguments("faultline", &commands.cli.unwrap());
            assert_eq!(cli[..3], ["job", "enqueue", text]);
            assert_eq!(json(&cli[3]), json(job.payload.get()));
            assert_eq!(cli[4..7], [format!("--queue={text}"), "--max-attempts=3".into(), "--timeout=1500ms".into()]);
            assert!(!std::path::Path::new("pwned").exists());
        }
    }

    #[test]
    fn numbers_are_copied_digit_by_digit() {
        let payload = RawValue::from_string(r#"{"n": 12345678901234567890.10}"#.into()).unwrap();
        let job = Job { payload, ..nasty("x") };
        let commands = commands(&job, SERVER);
        for command in [commands.curl.unwrap(), commands.cli.unwrap(), commands.sql] {
            assert!(command.contains("12345678901234567890.10"), "{command}");
        }
    }

    #[test]
    fn a_payload_too_large_for_a_command_line_is_copied_inside_the_database() {
        let payload = RawValue::from_string(format!("\"{}\"", "x".repeat(MAX_COPIED_BYTES))).unwrap();
        let job = Job { payload, ..nasty("x") };
        let commands = commands(&job, SERVER);
        assert!(commands.curl.is_none() && commands.cli.is_none());
        assert!(commands.sql.len() < 1000 && commands.sql.contains(&job.id.to_string()), "{}", commands.sql);
    }

    #[test]
    fn headers_lose_their_trace_and_nothing_else() {
        let headers = |text: &str| RawValue::from_string(text.into()).unwrap();
        let kept = kept_headers(&headers(r#"{"traceparent": "00-1", "n": 12345678901234567890.10, "tags": ["a"]}"#));
        assert_eq!(kept.unwrap().get(), r#"{"n":12345678901234567890.10,"tags":["a"]}"#);
        assert!(kept_headers(&headers(r#"{"traceparent": "00-1"}"#)).is_none());
    }
}
