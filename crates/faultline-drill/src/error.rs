//! Why a drill could not be carried out, which is neither a pass nor a failure of what it drills.

/// A drill that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrillError {
    /// No drill has this name.
    #[error("there is no drill {0}: see `faultline drill list`")]
    Unknown(String),
    /// This machine lacks something: the drill is skipped, which is no pass.
    #[error("skipped: needs {0}")]
    Needs(String),
    /// Not on a database that is somebody's own.
    #[error("this drill cannot run against that database: {0}")]
    Against(String),
    /// The private cluster.
    #[error("the private cluster: {0}")]
    Cluster(#[from] faultline_cluster::ClusterError),
    /// The supervisor's own statements.
    #[error("the supervisor's look at the database failed: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// Files and processes.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A process under the supervisor's care did not do what it must.
    #[error("{0}")]
    Process(String),
    /// The witnesses could not be read.
    #[error("the witnesses cannot be read: {0}")]
    Witness(String),
    /// Somebody asked the drill to end.
    #[error("the drill was interrupted; everything it started has been ended")]
    Interrupted,
}

impl DrillError {
    /// For `map_err`: what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
