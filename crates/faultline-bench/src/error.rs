//! Why a measurement could not be made, or must not be believed.

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// No scenario has this name.
    #[error("there is no scenario {0}: see `faultline bench list`")]
    Unknown(String),
    /// The private cluster.
    #[error("the private cluster")]
    Cluster(#[from] faultline_cluster::ClusterError),
    /// The benchmark's own statements, and those of the hand-written ceiling.
    #[error("the database")]
    Database(#[from] faultline::tokio_postgres::Error),
    /// What is measured has failed.
    #[error("what is measured has failed")]
    Engine(#[from] faultline::Error),
    /// Files and processes.
    #[error("{what}")]
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

/// An error with its causes in one line, each once.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
