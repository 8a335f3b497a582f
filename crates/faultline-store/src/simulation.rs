//! What a simulation puts in the place of the world: a byte stream for each session instead of the network, and a seed instead
//! of the system's randomness. See crates/faultline-sim.

use std::sync::Arc;
use tokio::io::DuplexStream;

/// The world of one process under simulation. Everything of that process then runs on the runtime of its caller, whose clock
/// may be paused.
#[derive(Clone)]
pub struct Simulation {
    seed: u64,
    dial: Arc<dyn Fn() -> DuplexStream + Send + Sync>,
}

impl Simulation {
    /// `dial` answers the client's end of a new connection; `seed` decides whatever the process leaves to chance.
    pub fn new(seed: u64, dial: impl Fn() -> DuplexStream + Send + Sync + 'static) -> Self {
        Self { seed, dial: Arc::new(dial) }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn dial(&self) -> DuplexStream {
        (self.dial)()
    }
}
