//! Small disks, to be filled: one for a table space, one for the write-ahead log.
//!
//! They are tmpfs in a mount namespace of the guard's own, where the server runs. The kernel removes a namespace with its last
//! process, so that no mount outlives the server, however its owner and its guard went. Only root may mount; the server is then
//! given to its account inside of the namespace. From outside the directories look empty.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ClusterError;
use crate::account::Account;
use crate::cluster::Cluster;

pub(crate) const SCRIPT: &str = include_str!("disks.sh");
/// What takes up the space.
const FILLER: &str = "filler";

/// One of the small disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Holds a table space; see [`Cluster::disk`].
    Tables,
    /// Holds the write-ahead log.
    Wal,
}

impl Disk {
    /// Its directory, below that of the cluster.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Wal => "wal",
        }
    }
}

/// Sizes, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) tables: u32,
    pub(crate) wal: u32,
}

impl Sizes {
    /// The command that a guard's command line is appended to.
    pub(crate) fn wrapper(self, runtime: &Path, account: &Account) -> Result<Command, ClusterError> {
        for disk in [Disk::Tables, Disk::Wal] {
            let dir = runtime.join(disk.name());
            std::fs::create_dir(&dir).map_err(ClusterError::io("create", &dir))?;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "/bin/sh", "-c", SCRIPT, "faultline-disks"]);
        command.arg(runtime);
        command.args([account.uid, account.gid, self.tables, self.wal].map(|number| number.to_string()));
        command.env("FAULTLINE_DISKS", "1");
        Ok(command)
    }
}

impl Cluster {
    /// Where a small disk is, for the server: `create tablespace … location` takes the one for tables.
    #[must_use]
    pub fn disk(&self, disk: Disk) -> PathBuf {
        self.socket_dir().join(disk.name())
    }

    /// Takes all space that is left on a small disk.
    ///
    /// # Errors
    /// [`ClusterError::Io`] if there are no small disks.
    pub fn fill(&self, disk: Disk) -> Result<(), ClusterError> {
        // It ends when nothing is left, which is no error of ours.
        self.inside("cat /dev/zero >\"$0\"; [ -s \"$0\" ]", disk)
    }

    /// Gives that space back.
    ///
    /// # Errors
    /// As [`Cluster::fill`].
    pub fn clear(&self, disk: Disk) -> Result<(), ClusterError> {
        self.inside("rm \"$0\"", disk)
    }

    fn inside(&self, script: &str, disk: Disk) -> Result<(), ClusterError> {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.guard_pid().to_string(), "--", "/bin/sh", "-c", script]);
        command.arg(self.disk(disk).join(FILLER));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let failed = ClusterError::os("change what a small disk holds");
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(std::io::Error::other(format!("nsenter ended with {status}")))),
            Err(error) => Err(failed(error)),
        }
    }
}
