//! PgBouncer in transaction mode, between the processes of a run and its cluster.
//!
//! It refuses to be root and does not notice when we are gone. So a shell runs it, under the account of the server, and ends it
//! with the end of its own standard input, however that comes.

use crate::DrillError;
use crate::needs::find;
use faultline_cluster::Cluster;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// What it has to get ready.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Server sessions: fewer than there are clients, so that they are shared.
const SERVER_SESSIONS: u32 = 12;
const SCRIPT: &str =
    r#""$1" "$2" & pid=$!; read -r _; kill -TERM "$pid" 2>/dev/null; sleep 0.2; kill -KILL "$pid" 2>/dev/null"#;

/// A running pooler; it ends with this value.
pub(crate) struct Pooler {
    /// The shell, which waits for the end of its standard input.
    _shell: Child,
    pub(crate) port: u16,
}

impl Pooler {
    /// Starts it; it logs into `log`.
    pub(crate) async fn start(cluster: &Cluster, log: &Path) -> Result<Self, DrillError> {
        let program = find("pgbouncer").ok_or_else(|| DrillError::Needs("pgbouncer".into()))?;
        let io = || DrillError::io("start pgbouncer");
        // Free now; whoever takes it before pgbouncer does makes the drill fail to start.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).map_err(io())?.port();
        // The directory goes with the cluster, and belongs to the account that runs it.
        let config = cluster.socket_dir().join("pgbouncer.ini");
        let url: tokio_postgres::Config = cluster.url("postgres").parse()?;
        let text = configuration(cluster.port(), url.get_user().unwrap_or_default(), port);
        std::fs::write(&config, text).map_err(io())?;
        let owner = std::fs::metadata(cluster.data_dir()).map_err(io())?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "pooler"]).arg(program).arg(&config).current_dir("/");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&config, Some(owner.uid()), Some(owner.gid())).map_err(io())?;
            command.uid(owner.uid()).gid(owner.gid());
        }
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(log).map_err(io())?);
        let pooler = Self { _shell: command.spawn().map_err(io())?, port };
        let ready = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let late = |_| DrillError::Process(format!("pgbouncer did not start: see {}", log.display()));
        tokio::time::timeout(START_LIMIT, ready).await.map_err(late)?;
        Ok(pooler)
    }
}

fn configuration(postgres: u16, user: &str, port: u16) -> String {
    format!(
        "[databases]\n* = host=127.0.0.1 port={postgres} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {SERVER_SESSIONS}\nmax_client_conn = 500\n"
    )
}
