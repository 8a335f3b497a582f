//! As much of the protocol between clients and Postgres (version 3) as it takes to know what commits, and when it was answered.
//!
//! A message is a type byte, a length that counts itself, and a body; only what a client says first has no type. The server
//! answers each `Sync` and each simple query with one `ReadyForQuery`. Whatever was executed before a `Sync` outside of a
//! transaction block is committed by it.

use serde::Serialize;
use std::collections::HashMap;

/// What commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statement {
    /// A worker takes jobs.
    Claim,
    /// The API enqueues.
    Enqueue,
    /// A worker ends attempts.
    Finish,
    /// A transaction of several statements ends: a handler's own.
    Commit,
}

impl Statement {
    pub(crate) const ALL: [Self; 4] = [Self::Claim, Self::Finish, Self::Commit, Self::Enqueue];

    /// By a part of its text that no other statement has. Should that part change, the drills which cut it miss what they require.
    fn of(sql: &str) -> Option<Self> {
        let sql: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let has = |part: &str| sql.contains(part);
        if has("attempts = j.attempts + 1") {
            Some(Self::Claim)
        } else if has("faultline.enqueue_batch(") || has("faultline.enqueue_alike(") {
            Some(Self::Enqueue)
        } else if has("j.lease_id = done.lease_id") || has("j.lease_id = e.lease_id") {
            Some(Self::Finish)
        } else {
            None
        }
    }
}

/// A message on its way to the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    /// Whether the server answers it with a `ReadyForQuery`.
    pub(super) is_asking: bool,
    /// What it commits.
    pub(super) commits: Option<Statement>,
    /// Whether the session listens from here on.
    pub(super) listens: bool,
}

/// Cuts what a client says into messages and remembers what was prepared, bound and executed.
#[derive(Default)]
pub(super) struct Requests {
    buffer: Vec<u8>,
    /// After the start-up message.
    started: bool,
    prepared: HashMap<Vec<u8>, Option<Statement>>,
    bound: Option<Statement>,
    executed: Option<Statement>,
}

const START_UP: u32 = 3 << 16;

impl Requests {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Option<Request> {
        let kind = if self.started { Some(*self.buffer.first()?) } else { None };
        let bytes = take(&mut self.buffer, usize::from(self.started))?;
        let Some(kind) = kind else {
            self.started = number(&bytes, 4) == Some(START_UP);
            return Some(Request { is_asking: self.started, bytes, commits: None, listens: false });
        };
        let body = &bytes[5..];
        let (mut commits, mut listens) = (None, false);
        match kind {
            b'P' => {
                let (name, rest) = text(body);
                let (sql, _) = text(rest);
                self.prepared.insert(name.to_vec(), Statement::of(&String::from_utf8_lossy(sql)));
            }
            b'B' => {
                let (_portal, rest) = text(body);
                let (name, _) = text(rest);
                self.bound = self.prepared.get(name).copied().flatten();
            }
            b'E' => self.executed = self.executed.or(self.bound),
            b'S' => commits = self.executed.take(),
            b'Q' => {
                let (sql, _) = text(body);
                let sql = String::from_utf8_lossy(sql).trim().to_ascii_lowercase();
                commits = (sql == "commit").then_some(Statement::Commit);
                listens = sql.starts_with("listen ");
            }
            _ => {}
        }
        Some(Request { bytes, is_asking: matches!(kind, b'S' | b'Q'), commits, listens })
    }
}

/// Cuts what a server says into messages.
#[derive(Default)]
pub(super) struct Replies {
    buffer: Vec<u8>,
    /// After the answer to a wish for encryption, which is a single byte, or when none was asked for.
    started: bool,
}

impl Replies {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message and its type.
    pub(super) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = *self.buffer.first()?;
        if !self.started && kind == b'N' {
            return Some((kind, self.buffer.drain(..1).collect()));
        }
        self.started = true;
        Some((kind, take(&mut self.buffer, 1)?))
    }
}

/// Takes a message off the front, whose length stands at `at`.
fn take(buffer: &mut Vec<u8>, at: usize) -> Option<Vec<u8>> {
    let length = number(buffer, at)? as usize;
    (buffer.len() >= at + length).then(|| buffer.drain(..at + length).collect())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A text that ends with a zero byte, and what follows.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    fn start_up() -> Vec<u8> {
        message(b' ', &[&START_UP.to_be_bytes()[..], b"user\0me\0\0"].concat()).split_off(1)
    }

    #[test]
    fn a_sync_commits_what_was_executed_under_a_statements_name() {
        let claim = b"s1\0update faultline.jobs j set attempts   =\n j.attempts + 1\0\0\0";
        let mut requests = Requests::default();
        for bytes in [
            vec![0, 0, 0, 8, 4, 210, 22, 47],
            start_up(),
            message(b'P', claim),
            message(b'S', b""),
            message(b'B', b"\0s1\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
            message(b'S', b""),
        ] {
            requests.push(&bytes);
        }
        let all: Vec<Request> = std::iter::from_fn(|| requests.next()).collect();
        let asking: Vec<usize> = (0..all.len()).filter(|at| all[*at].is_asking).collect();
        assert_eq!(asking, [1, 3, 6, 7]);
        let commits: Vec<_> = all.iter().map(|request| request.commits).collect();
        assert_eq!(commits, [None, None, None, None, None, None, Some(Statement::Claim), None]);
    }

    #[test]
    fn messages_that_come_in_pieces_are_put_together() {
        let mut requests = Requests::default();
        requests.push(&start_up());
        assert!(requests.next().is_some_and(|request| request.is_asking));
        let commit = message(b'Q', b"COMMIT\0");
        for byte in &commit[..commit.len() - 1] {
            requests.push(&[*byte]);
            assert_eq!(requests.next(), None);
        }
        requests.push(&commit[commit.len() - 1..]);
        assert!(requests.next().is_some_and(|request| request.commits == Some(Statement::Commit)));
        let mut replies = Replies::default();
        replies.push(&[&b"N"[..], &message(b'Z', b"I")].concat());
        assert_eq!(replies.next(), Some((b'N', b"N".to_vec())));
        assert_eq!(replies.next(), Some((b'Z', message(b'Z', b"I"))));
        assert_eq!(replies.next(), None);
    }
}
