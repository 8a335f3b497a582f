//! Where the loops take their chances from, for ids and jitter: the system, or the seed of a simulation.

use faultline_store::Database;
#[cfg(feature = "simulation")]
use rand::SeedableRng;
use rand::{Rng, RngExt};
use std::ops::Range;
#[cfg(feature = "simulation")]
use std::sync::{Arc, Mutex, PoisonError};

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
