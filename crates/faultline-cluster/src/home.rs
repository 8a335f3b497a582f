//! The directories of a cluster, and who may use them.
//!
//! A home is a directory with `postgres` (the data), `postgres.log` and `postgres.lock`. The lock is held for as long as the
//! cluster lives and is freed by the kernel with its holder, so a left-over file means nothing.
//!
//! The data is initialised beside its place, as `postgres.new-<pid>`, and renamed once it is complete: a first start that is
//! interrupted at any moment leaves no half-made cluster, only a directory that the next start removes.
//!
//! When we are root, the server runs under another account, which cannot enter a home below a directory such as a 0700
//! `/root`. The data then lies in `/var/lib/faultline/<name>-<random>`, and `postgres` is a link to it. The name is random, not
//! derived from the path: a checkout that moved keeps its data, and a new one in its old place does not inherit it. The link is
//! the only reference; who removes a home that has one removes the data by hand.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ClusterError;
use crate::account::Account;
use crate::process;
use crate::programs::Programs;

/// Where data goes that the server's account could not reach otherwise.
const REACHABLE: &str = "/var/lib/faultline";
/// A log that has grown beyond this starts again, so that years of `faultline dev` do not fill a disk.
const LOG_LIMIT_BYTES: u64 = 8 << 20;
/// How long the guard of an owner that was killed may still need to stop its server: it kills after 17 s.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(20);

/// How long a child of this process may take from its fork to its program, on a machine with much else to do.
const FORK_LIMIT: Duration = Duration::from_secs(2);

pub(crate) struct Home {
    /// What the user asked for, resolved.
    pub(crate) dir: PathBuf,
    /// The data directory; no link.
    pub(crate) data: PathBuf,
    /// Where `initdb` makes it.
    pub(crate) fresh: PathBuf,
    pub(crate) log: PathBuf,
    /// Held, not read: the kernel frees it with the process.
    _lock: File,
}

impl Home {
    /// Makes the directory if need be, and locks it.
    pub(crate) fn open(dir: &Path) -> Result<Self, ClusterError> {
        fs::create_dir_all(dir).map_err(ClusterError::io("create", dir))?;
        let dir = dir.canonicalize().map_err(ClusterError::io("resolve", dir))?;
        let lock = lock(&dir)?;
        let place = dir.join("postgres");
        let data = match fs::read_link(&place) {
            Ok(target) => target,
            Err(_) => place,
        };
        Ok(Home { fresh: fresh_name(&data), data, log: dir.join("postgres.log"), dir, _lock: lock })
    }

    pub(crate) fn open_log(&self) -> Result<File, ClusterError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(ClusterError::io("open", &self.log))?;
        if self.log_size() > LOG_LIMIT_BYTES {
            file.set_len(0).map_err(ClusterError::io("truncate", &self.log))?;
        }
        Ok(file)
    }

    pub(crate) fn log_size(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// The last `lines` lines of the log, looking no further back than `from`, in bytes.
    pub(crate) fn log_tail(&self, from: u64, lines: usize) -> String {
        let mut bytes = Vec::new();
        // A log that cannot be read is not worth hiding the error it was wanted for.
        let _ = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(from))?;
            log.read_to_end(&mut bytes)
        });
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Whether the data is still to be made.
    pub(crate) fn is_new(&self) -> bool {
        !self.data.join("PG_VERSION").exists()
    }

    /// Makes the directory for `initdb`, removing what an interrupted start left, and moves the data if the server's account
    /// could not reach it here.
    pub(crate) fn prepare(&mut self, account: Option<&Account>) -> Result<(), ClusterError> {
        if let Some(account) = account
            && self.data.starts_with(&self.dir)
            && !account.can_enter(&self.dir)
        {
            self.relocate()?;
        }
        let parent = self.data.parent().expect("the data directory is a joined path");
        fs::create_dir_all(parent).map_err(ClusterError::io("create", parent))?;
        for entry in parent.read_dir().map_err(ClusterError::io("list", parent))?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b"postgres.new-") {
                fs::remove_dir_all(entry.path()).map_err(ClusterError::io("remove", &entry.path()))?;
            }
        }
        fs::create_dir(&self.fresh).map_err(ClusterError::io("create", &self.fresh))?;
        account.map_or(Ok(()), |account| account.own(&self.fresh))
    }

    /// Puts the initialised data in its place.
    pub(crate) fn settle(&self) -> Result<(), ClusterError> {
        fs::rename(&self.fresh, &self.data).map_err(ClusterError::io("rename", &self.fresh))
    }

    /// Checks that existing data fits the programs, and that no server works on it.
    pub(crate) fn check(&self, programs: &Programs) -> Result<(), ClusterError> {
        let path = self.data.join("PG_VERSION");
        let data = fs::read_to_string(&path).map_err(ClusterError::io("read", &path))?.trim().to_owned();
        if data != programs.major().to_string() {
            return Err(ClusterError::OtherVersion { dir: self.dir.clone(), data, programs: programs.major() });
        }
        self.wait_for_predecessor()
    }

    /// The line of the server's own lock file, counted from 1.
    pub(crate) fn pid_file_line(&self, line: usize) -> Option<String> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        text.lines().nth(line - 1).map(|line| line.trim().to_owned())
    }

    /// We hold our lock, so a live server here can only be one that a guard is just stopping, or a stranger's. Its lock file
    /// without a live server is stale; it must go, because its pid may belong to some other process by now, and the server
    /// would refuse to start.
    fn wait_for_predecessor(&self) -> Result<(), ClusterError> {
        let Some(pid) = self.pid_file_line(1).and_then(|pid| pid.parse::<u32>().ok()) else {
            return Ok(());
        };
        if !process::wait_until(PREDECESSOR_LIMIT, || !process::works_in(pid, &self.data)) {
            return Err(ClusterError::InUse { dir: self.dir.clone(), holder: format!("a postmaster (pid {pid})") });
        }
        match fs::remove_file(self.pid_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ClusterError::io("remove", &self.pid_file())(error))
            }
            _ => Ok(()),
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.data.join("postmaster.pid")
    }

    fn relocate(&mut self) -> Result<(), ClusterError> {
        let reachable = Path::new(REACHABLE);
        fs::create_dir_all(reachable).map_err(ClusterError::io("create", reachable))?;
        let asked = self.dir.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy());
        let made = tempfile::Builder::new()
            .prefix(&format!("{}-", asked.trim_start_matches('.')))
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(reachable)
            .map_err(ClusterError::io("create a directory in", reachable))?;
        let target = made.path().join("postgres");
        symlink(&target, &self.data).map_err(ClusterError::io("link", &self.data))?;
        // Only a directory that the link leads to is kept.
        let _kept = made.keep();
        self.fresh = fresh_name(&target);
        self.data = target;
        Ok(())
    }
}

fn fresh_name(data: &Path) -> PathBuf {
    data.with_file_name(format!("postgres.new-{}", std::process::id()))
}

fn lock(dir: &Path) -> Result<File, ClusterError> {
    let path = dir.join("postgres.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(ClusterError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder's pid is a courtesy; without it the refusal is the same.
            let _ = file.read_to_string(&mut holder);
            // A process that another thread is just starting has our files until it runs its program.
            let own = holder.trim() == std::process::id().to_string();
            if !own || !process::wait_until(FORK_LIMIT, || file.try_lock().is_ok()) {
                let holder = format!("another process (pid {})", holder.trim());
                return Err(ClusterError::InUse { dir: dir.to_owned(), holder });
            }
        }
        Err(TryLockError::Error(error)) => return Err(ClusterError::io("lock", &path)(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(ClusterError::io("write", &path))?;
    Ok(file)
}
