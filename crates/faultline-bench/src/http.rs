//! As much of HTTP as an enqueue needs, on a connection that stays open. Lean, because it shares the machine with what is measured.

use crate::error::{BenchError, Result};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of an answer, bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// A connection to the API.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.map_err(BenchError::io("connect to the API"))?;
        stream.set_nodelay(true).map_err(BenchError::io("connect to the API"))?;
        Ok(Self { stream, address, buffer: Vec::new() })
    }

    /// Posts a document; answers the status once the whole answer is there.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Result<u16> {
        let (address, length) = (self.address, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.map_err(BenchError::io("send a request"))?;
        self.buffer.clear();
        let head_bytes = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(BenchError::Process("the API says too much".into()));
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_bytes]);
        let unreadable = || BenchError::Process("the API's answer can't be read".into());
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(unreadable)?;
        let length = head.lines().filter_map(|line| line.split_once(':'));
        let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize =
            length.map(|(_, n)| n).next_back().and_then(|n| n.trim().parse().ok()).ok_or_else(unreadable)?;
        while self.buffer.len() < head_bytes + length {
            self.more().await?;
        }
        Ok(status)
    }

    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await.map_err(BenchError::io("read an answer"))?;
        if read == 0 {
            return Err(BenchError::Process("the API has hung up".into()));
        }
        Ok(())
    }
}
