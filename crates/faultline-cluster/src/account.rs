//! Who runs the server. `postgres` and `initdb` refuse to be root, so root lends them another account.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::ClusterError;

/// Accounts that exist where there is a server to run, in the order of preference.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The account that runs the server in place of root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// `None` if this process is not root and runs the server as itself.
    ///
    /// `own_file` is one that this process has just made: its owner is our effective user, which nothing else in safe
    /// Rust tells on every Unix. `data` is the data directory, which may not exist yet: who owns it keeps it.
    pub(crate) fn instead_of_root(own_file: &Path, data: &Path) -> Result<Option<Self>, ClusterError> {
        let us = fs::metadata(own_file).map_err(ClusterError::io("look at", own_file))?.uid();
        if us != 0 {
            return Ok(None);
        }
        if let Ok(owner) = fs::metadata(data)
            && owner.uid() != 0
        {
            return Ok(Some(Account { uid: owner.uid(), gid: owner.gid() }));
        }
        let path = Path::new("/etc/passwd");
        let passwd = fs::read_to_string(path).map_err(ClusterError::io("read", path))?;
        CANDIDATES.iter().find_map(|name| find(&passwd, name)).map(Some).ok_or(ClusterError::Start {
            reason: "postgres refuses to run as root, and there is no account postgres or nobody".to_owned(),
            log: String::new(),
        })
    }

    /// Gives one file or directory to the account.
    pub(crate) fn own(&self, path: &Path) -> Result<(), ClusterError> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).map_err(ClusterError::io("chown", path))
    }

    /// Whether the account can enter `dir`; the kernel is asked, because it knows every parent and access list.
    pub(crate) fn can_enter(&self, dir: &Path) -> bool {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "cd -- \"$1\"", "sh"]).arg(dir);
        self.succeeds(&mut shell)
    }

    /// Whether the account can run `program`.
    pub(crate) fn can_run(&self, program: &Path) -> bool {
        self.succeeds(Command::new(program).arg("--version"))
    }

    /// Makes `command` run as the account; std drops the supplementary groups as well.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    fn succeeds(&self, command: &mut Command) -> bool {
        self.apply(command);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Reads `name:password:uid:gid:…`; an id may be written as a negative number.
fn find(passwd: &str, name: &str) -> Option<Account> {
    let id = |text: &str| text.parse::<i64>().ok().and_then(|id| u32::try_from(id & 0xffff_ffff).ok());
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let (uid, gid) = (id(fields.nth(1)?)?, id(fields.next()?)?);
        (found && uid != 0).then_some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_the_password_file_and_is_never_root() {
        let passwd =
            "# comment\nroot:x:0:0::/root:/bin/sh\nnobody:*:-2:-2::/:/bin/false\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(find(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(find(passwd, "nobody"), Some(Account { uid: 4_294_967_294, gid: 4_294_967_294 }));
        assert_eq!(find(passwd, "root"), None);
        assert_eq!(find(passwd, "post"), None);
    }
}
