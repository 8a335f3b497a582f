//! Where the loops take their chances from, for ids and jitter: the system, or the seed of a simulation. And whether its time
//! counts instead of that of the machine.

use faultline_store::Database;
#[cfg(feature = "simulation")]
use rand::SeedableRng;
use rand::{Rng, RngExt};
use std::ops::Range;
#[cfg(feature = "simulation")]
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where the boot clock of simulations begins; set with the first client of one.
#[cfg(feature = "simulation")]
static SIMULATED_FROM: OnceLock<std::time::Instant> = OnceLock::new();

/// The boot clock of a process that simulates: tokio's time, which may be paused, from far before the first simulation on, since
/// each has a time of its own.
#[cfg(feature = "simulation")]
pub(crate) fn simulated_ns() -> Option<u64> {
    const BEFORE: std::time::Duration = std::time::Duration::from_secs(1 << 32);
    let from = SIMULATED_FROM.get()?;
    let now = tokio::time::Instant::now().into_std();
    let since = BEFORE + now.saturating_duration_since(*from) - from.saturating_duration_since(now);
    u64::try_from(since.as_nanos()).ok()
}

#[derive(Clone)]
pub(crate) struct Chance {
    #[cfg(feature = "simulation")]
    seeded: Option<Arc<Mutex<rand::rngs::StdRng>>>,
}

impl Chance {
    #[cfg(not(feature = "simulation"))]
    pub(crate) fn of(_: &Database) -> Self {
        Self {}
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn of(database: &Database) -> Self {
        let seeded = database.simulation().map(|simulation| rand::rngs::StdRng::seed_from_u64(simulation.seed()));
        if seeded.is_some() {
            SIMULATED_FROM.get_or_init(std::time::Instant::now);
        }
        Self { seeded: seeded.map(|random| Arc::new(Mutex::new(random))) }
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
        #[cfg(feature = "simulation")]
        if let Some(seeded) = &self.seeded {
            return draw(&mut *seeded.lock().unwrap_or_else(PoisonError::into_inner));
        }
        draw(&mut rand::rng())
    }

    /// A uniform random number.
    pub(crate) fn within(&self, range: Range<f64>) -> f64 {
        self.draw(|random| random.random_range(range))
    }
}
