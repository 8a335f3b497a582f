//! One HTTP exchange a connection, sorted by what may be concluded from its end.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer that is read, bytes.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// How an exchange ended.
pub(crate) enum Exchange {
    /// With this status and body.
    Answered(u16, String),
    /// Nothing was sent.
    Unsent,
    /// It may have been read, and was not answered.
    Silence,
}

/// Sends a request; waits for the answer for `limit` at most.
pub(crate) async fn exchange(address: SocketAddr, request: &str, body: &str, limit: Duration) -> Exchange {
    exchange_bytes(address, request, body.as_bytes(), limit).await
}

/// The same with a body that need not be text.
pub(crate) async fn exchange_bytes(address: SocketAddr, request: &str, body: &[u8], limit: Duration) -> Exchange {
    let Ok(Ok(stream)) = tokio::time::timeout(limit, TcpStream::connect(address)).await else {
        return Exchange::Unsent;
    };
    let answered = tokio::time::timeout(limit, talk(stream, address, request, body)).await;
    answered.ok().and_then(Result::ok).flatten().map_or(Exchange::Silence, |(s, b)| Exchange::Answered(s, b))
}

async fn talk(
    stream: TcpStream,
    address: SocketAddr,
    request: &str,
    body: &[u8],
) -> std::io::Result<Option<(u16, String)>> {
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let (read, mut write) = stream.into_split();
    let send = async {
        // A server may answer before it has read everything, and then hang up.
        if write.write_all(head.as_bytes()).await.is_ok() {
            let _ = write.write_all(body).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let mut read = read.take(MAX_ANSWER_BYTES);
    tokio::select! {
        // What came before a reset counts: its length is judged below.
        _ = read.read_to_end(&mut answer) => {}
        () = send => {}
    }
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Ok(None) };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())
        })
        .flatten();
    // A body that was cut is no answer.
    let whole = length.is_none_or(|length| body.len() == length);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(status.filter(|_| whole).map(|status| (status, body.to_owned())))
}
