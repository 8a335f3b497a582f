//! What a drill needs of the machine. Without it the drill is skipped, which is no pass.

use crate::DrillError;

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The rights of root, for what it says.
    #[expect(dead_code, reason = "the drills of disks come next")]
    Root(&'static str),
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
            Self::Program(name, package) if find(name).is_none() => {
                Err(DrillError::Needs(format!("{name} (Debian package {package})")))
            }
            _ => Ok(()),
        }
    }
}

/// Where a program is; `/usr/sbin` and `/sbin` are looked into as well, which are not on everybody's path.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(Into::into));
    places.map(|dir| dir.join(name)).find(|program| program.is_file())
}
