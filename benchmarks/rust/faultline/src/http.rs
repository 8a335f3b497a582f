//! Faultline by its HTTP API: `single` only, each client with one connection that is kept alive.
//!
//! The API's address is in `FAULTLINE_API`, as `127.0.0.1:8000`. The client speaks just as much HTTP/1.1 as it takes to send a
//! request and read an answer of known length, so that what is measured is the server.

use anyhow::{Context, Result, bail};
use harness::{Payload, Peer, Settings};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

type Connection = BufReader<TcpStream>;

struct Api {
    idle: Mutex<Vec<Connection>>,
}

impl Peer for Api {
    async fn setup(_url: &str, _settings: Settings) -> Result<()> {
        bail!("the library's adapter makes the schema")
    }

    async fn producer(_url: &str, connections: u32) -> Result<Self> {
        let address = std::env::var("FAULTLINE_API").context("FAULTLINE_API is not set")?;
        let mut idle = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            idle.push(BufReader::new(stream));
        }
        Ok(Self { idle: Mutex::new(idle) })
    }

    async fn enqueue_many(&self, _jobs: Vec<Payload>) -> Result<()> {
        bail!("this adapter enqueues single jobs only")
    }

    async fn enqueue_one(&self, job: Payload) -> Result<()> {
        let mut connection = self.idle.lock().await.pop().context("there is a connection for each client")?;
        post(&mut connection, &serde_json::json!({"kind": "bench", "payload": job}).to_string()).await?;
        self.idle.lock().await.push(connection);
        Ok(())
    }

    async fn work(_url: &str, _settings: Settings) -> Result<()> {
        bail!("this adapter enqueues only")
    }
}

/// Sends one job and reads the whole answer, which must be 201: committed.
async fn post(connection: &mut Connection, body: &str) -> Result<()> {
    let request = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: faultline\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.get_mut().write_all(request.as_bytes()).await?;
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    let status = line.trim_end().to_owned();
    let mut length = None;
    while !line.trim_end().is_empty() {
        line.clear();
        connection.read_line(&mut line).await?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let mut answer = vec![0; length.context("an answer without a length")?];
    connection.read_exact(&mut answer).await?;
    if !status.starts_with("HTTP/1.1 201") {
        bail!("{status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    harness::main::<Api>().await
}
