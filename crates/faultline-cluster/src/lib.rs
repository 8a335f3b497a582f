//! Private Postgres clusters from the installed server programs, for `faultline dev`, tests and drills.
//!
//! A [`Cluster`] is one postmaster with its data, owned by this process: it is stopped when the value is
//! dropped and when the process dies in any way, `SIGKILL` included (the essay in `guard.rs` says how).
//! It can be broken on purpose: [`Cluster::kill`], [`Cluster::pause`], [`Cluster::stop`], [`Cluster::start_again`].
//!
//! ```no_run
//! use faultline_cluster::{Cluster, Mode, Programs};
//!
//! let mut cluster = Cluster::builder(Programs::find()?).durable(false).start()?;
//! assert_eq!(cluster.psql("postgres", "select 1 + 1")?, "2");
//! cluster.stop(Mode::Immediate)?;
//! cluster.start_again()?;
//! println!("connect to {}", cluster.url("postgres"));
//! # Ok::<(), faultline_cluster::ClusterError>(())
//! ```
//!
//! The superuser is `faultline` and needs no password, over a unix socket that only the owner can open and over
//! TCP on 127.0.0.1: whoever can log in to this machine can connect. Do not put secrets into such a cluster.
//!
//! | module | holds |
//! |---|---|
//! | `programs` | where `postgres` and `initdb` are |
//! | `account` | who runs the server when we are root, which it refuses |
//! | `home` | the directories, the lock, the first initialisation |
//! | `guard` | the shell that outlives us to stop what we started |
//! | `process` | signals and the process table, without unsafe code |
//! | `builder`, `cluster` | the life cycle |
//! | `disks` | small disks that can be filled |
//! | `replication` | standbys: made, cut off, promoted |
//! | `wire` | just enough of the Postgres protocol to run a statement |
//! | [`testing`] | one cluster per test process, one database per test |

mod account;
mod builder;
mod cluster;
mod disks;
mod error;
mod guard;
mod home;
mod process;
mod programs;
mod replication;
pub mod testing;
mod wire;

pub use builder::Builder;
pub use cluster::{Cluster, Mode};
pub use disks::Disk;
pub use error::ClusterError;
pub use programs::{OLDEST_MAJOR, Programs};
