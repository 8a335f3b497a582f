//! A real API process.

use crate::accounts::{self, Account};
use crate::bench::Bench;
use crate::crew::program_with;
use crate::error::{BenchError, Result};
use crate::ground::Room;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin};

/// What the API has to get ready, and to stop.
const LIMIT: Duration = Duration::from_secs(30);

/// `faultline serve`.
pub(crate) struct Api {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
}

impl Api {
    pub(crate) async fn start(bench: &Bench<'_>, room: &Room) -> Result<Self> {
        let mut command = program_with(&bench.options.program, &room.url);
        command.args(["serve", "--exit-with-parent", "--port", "0"]);
        command.stderr(Stdio::null());
        let mut child = command.spawn().map_err(BenchError::io("start the API"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let silent = || BenchError::Process("the API did not start".into());
        let mut lines = BufReader::new(stdout.ok_or_else(silent)?).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.map_err(|_| silent())?;
        let line = line.map_err(BenchError::io("read from the API"))?.ok_or_else(silent)?;
        let address = line.strip_prefix("ready http://").and_then(|address| address.parse().ok()).ok_or_else(silent)?;
        Ok(Self { child, stdin, address })
    }

    /// What it has used by now.
    pub(crate) fn account(&self) -> Option<Account> {
        self.child.id().and_then(accounts::of)
    }

    /// What it has used, and then its end.
    pub(crate) async fn end(mut self) -> Result<Option<Account>> {
        let account = self.account();
        self.stdin = None;
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        ended
            .map_err(|_| BenchError::Process("the API did not stop".into()))?
            .map_err(BenchError::io("stop the API"))?;
        Ok(account)
    }
}
