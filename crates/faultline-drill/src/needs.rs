//! What a drill needs of the machine. Without it the drill is skipped, which is no pass.

use crate::DrillError;
use std::process::Stdio;

/// Something that not every machine has.
#[expect(dead_code, reason = "the drills of the network and of disks come next")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The rights of root, for what it says.
    Root(&'static str),
    /// The rights to mount, in a namespace of one's own: root has them, unless a container takes them.
    Mounts,
    /// A program, and the Debian package that has it.
    Program(&'static str, &'static str),
}

impl Need {
    /// # Errors
    /// [`DrillError::Needs`] when it is missing.
    pub(crate) fn check(self) -> Result<(), DrillError> {
        match self {
            Self::Root(purpose) if !rustix::process::geteuid().is_root() => {
                Err(DrillError::Needs(format!("root, for {purpose}")))
            }
            Self::Mounts if !can_mount() => Err(DrillError::Needs("root, for mounts".into())),
            Self::Program(name, package) if find(name).is_none() => {
                Err(DrillError::Needs(format!("{name} (Debian package {package})")))
            }
            _ => Ok(()),
        }
    }
}

/// Tries it, where nobody sees it.
fn can_mount() -> bool {
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "mount", "-t", "tmpfs", "none", "/mnt"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    rustix::process::geteuid().is_root() && command.status().is_ok_and(|status| status.success())
}

/// Where a program is; `/usr/sbin` and `/sbin` are looked into as well, which are not on everybody's path.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(Into::into));
    places.map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// Where the library is that moves clocks of processes.
///
/// # Errors
/// [`DrillError::Needs`] when it is missing.
pub(crate) fn moves_clocks() -> Result<std::path::PathBuf, DrillError> {
    let places = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let libraries = places.map(|place| place.join("faketime/libfaketimeMT.so.1"));
    let missing = || DrillError::Needs("libfaketime (Debian package libfaketime)".to_owned());
    libraries.into_iter().find(|library| library.is_file()).ok_or_else(missing)
}
