//! Just enough of the Postgres protocol (version 3.0, simple query, trust authentication) to run one statement.
//!
//! A driver would bring a runtime into a crate that every test links, and `psql` is missing from packages of the bare
//! server. The messages are those of the chapter "Message Formats" in the PostgreSQL documentation.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::ClusterError;

/// No statement of a test set-up takes longer; a server that is paused must not hang its caller for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A message that claims more than this is a protocol that we do not speak.
const MESSAGE_LIMIT_BYTES: usize = 64 << 20;
const PROTOCOL_3_0: u32 = 196_608;

/// Runs `sql` and renders the rows as `psql -At` does: fields joined by `|`, rows by a newline, null as nothing.
pub(crate) fn query(port: u16, user: &str, database: &str, sql: &str) -> Result<String, ClusterError> {
    let failed = ClusterError::os("talk to the server");
    match exchange(port, user, database, sql) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err((code, message))) => Err(ClusterError::Sql { message, code }),
        Err(error) => Err(failed(error)),
    }
}

/// SQLSTATE and message.
type Refusal = (String, String);

fn exchange(port: u16, user: &str, database: &str, sql: &str) -> io::Result<Result<String, Refusal>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;

    let mut startup = PROTOCOL_3_0.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, "application_name", "faultline-cluster"] {
        startup.extend_from_slice(&c_string(text)?);
    }
    startup.push(0);
    send(&mut stream, None, &startup)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    if let Err(refusal) = until_ready(&mut answers)? {
        return Ok(Err(refusal));
    }
    send(&mut stream, Some(b'Q'), &c_string(sql)?)?;
    let outcome = until_ready(&mut answers)?;
    // The server frees the session before it closes; without this, `drop database` would race with our own last session.
    send(&mut stream, Some(b'X'), &[])?;
    drop(answers.read(&mut [0]));
    Ok(outcome)
}

/// Reads up to ReadyForQuery, or to an error that ends the session.
fn until_ready(answers: &mut impl Read) -> io::Result<Result<String, Refusal>> {
    let mut rows = Vec::new();
    let mut refusal = None;
    loop {
        let (kind, body) = match receive(answers) {
            Ok(message) => message,
            // A fatal error is the server's last word.
            Err(error) => return refusal.map_or(Err(error), |refusal| Ok(Err(refusal))),
        };
        match kind {
            b'R' if body != [0; 4] => {
                return Err(io::Error::other("the server asks for a password"));
            }
            b'D' => rows.push(row(&body).ok_or_else(broken)?),
            b'E' => refusal = Some((field(&body, b'C'), field(&body, b'M'))),
            b'Z' => return Ok(refusal.map_or_else(|| Ok(rows.join("\n")), Err)),
            _ => {}
        }
    }
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    stream.write_all(&message)
}

fn receive(answers: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    answers.read_exact(&mut head).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let limit_s = ANSWER_LIMIT.as_secs();
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit_s} s"))
        }
        _ => error,
    })?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if !(4..=MESSAGE_LIMIT_BYTES).contains(&length) {
        return Err(broken());
    }
    let mut body = vec![0; length - 4];
    answers.read_exact(&mut body)?;
    Ok((head[0], body))
}

fn row(body: &[u8]) -> Option<String> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut fields = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (text, tail) = tail.split_at_checked(length)?;
        fields.push(String::from_utf8_lossy(text));
        rest = tail;
    }
    Some(fields.join("|"))
}

/// One field of an ErrorResponse: a letter, then text that ends with a zero.
fn field(body: &[u8], letter: u8) -> String {
    let found = body.split(|&byte| byte == 0).find_map(|field| field.strip_prefix(&[letter]));
    String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
}

fn c_string(text: &str) -> io::Result<Vec<u8>> {
    std::ffi::CString::new(text).map(std::ffi::CString::into_bytes_with_nul).map_err(io::Error::other)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the server's answer is not understood")
}
