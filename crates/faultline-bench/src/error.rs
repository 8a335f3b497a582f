//! Why a measurement could not be made, or must not be believed.

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// No scenario has this name.
    #[error("there is no scenario {0}: see `faultline bench list`")]
    Unknown(String),
    /// The private cluster.
    #[error("the private cluster: {0}")]
    Cluster(#[from] faultline_cluster::ClusterError),
    /// The benchmark's own statements, and those of the hand-written ceiling.
    #[error("the database: {}", words(.0))]
    Database(#[from] faultline::tokio_postgres::Error),
    /// What is measured has failed.
    #[error("what is measured has failed: {0}")]
    Engine(#[from] faultline::Error),
    /// Files and processes.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A process did not do what it must.
    #[error("{0}")]
    Process(String),
    /// The jobs are not as they must be afterwards: what was measured is not what was meant.
    #[error("the measurement is void: {0}")]
    Void(String),
    /// Somebody asked it to end.
    #[error("the benchmark was interrupted; everything it started has been ended")]
    Interrupted,
}

/// What went well, or not.
pub type Result<T> = std::result::Result<T, BenchError>;

impl BenchError {
    /// For `map_err`: what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The driver's error says "db error"; what the server said stands behind it.
fn words(error: &faultline::tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| format!("{} ({})", db.message(), db.code().code()))
}
