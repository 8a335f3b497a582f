//! Points in the life of a worker process at which the supervisor has something happen to it.
//!
//! The supervisor leaves an order, a file, in the run's directory. The first thread of the process that comes to the point
//! writes down where it is and carries the order out. Some points are in the drill's handler, which asks by [`Orders::reach`];
//! others are in the engine, which knows nothing of drills: it tells what it does by `tracing`, and [`Trap`] listens.

use crate::DrillError;
use faultline_check::witness::Place;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer};
use uuid::Uuid;

/// Between two looks whether an order is withdrawn.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Where a worker can be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// A claim was answered, none of its handlers has started.
    AfterClaim,
    /// The handler was called and has done nothing.
    HandlerStart,
    /// In the middle of its work, outside of a transaction.
    MidHandler,
    /// Its effect is written, its transaction is open.
    AfterEffect,
    /// The finish is done inside the transaction, the commit is not sent.
    FinishSent,
    /// The transaction was committed, the worker does not know yet.
    FinishAcknowledged,
    /// A renewal is on its way.
    InRenewal,
    /// After SIGTERM, while handlers end.
    InShutdown,
}

impl Point {
    pub(crate) const ALL: [Self; 8] = [
        Self::AfterClaim,
        Self::HandlerStart,
        Self::MidHandler,
        Self::AfterEffect,
        Self::FinishSent,
        Self::FinishAcknowledged,
        Self::InRenewal,
        Self::InShutdown,
    ];

    /// As it is written in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::AfterClaim => "after-claim",
            Self::HandlerStart => "handler-start",
            Self::MidHandler => "mid-handler",
            Self::AfterEffect => "after-effect",
            Self::FinishSent => "finish-sent",
            Self::FinishAcknowledged => "finish-acknowledged",
            Self::InRenewal => "in-renewal",
            Self::InShutdown => "in-shutdown",
        }
    }
}

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Deed {
    /// SIGKILL of the process by itself.
    Die,
    /// SIGSTOP of the process by itself; whoever withdraws the order continues it.
    Stop,
    /// The thread stays there until the order is withdrawn, and the process goes on.
    Hold,
    /// Nothing: the supervisor wants to know.
    Tell,
}

#[derive(Serialize, Deserialize)]
struct Order {
    at: Point,
    deed: Deed,
}

/// The orders of one process.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    order: PathBuf,
    reached: PathBuf,
}

impl Orders {
    pub(crate) fn of(dir: &Path, process: &str) -> Self {
        Self { order: dir.join(format!("order-{process}")), reached: dir.join(format!("reached-{process}")) }
    }

    /// The supervisor's: the first thread that comes to the point does the deed.
    pub(crate) fn give(&self, at: Point, deed: Deed) -> Result<(), DrillError> {
        let failed = || DrillError::io("write an order");
        if self.reached.exists() {
            std::fs::remove_file(&self.reached).map_err(failed())?;
        }
        let order = serde_json::to_vec(&Order { at, deed }).map_err(|error| DrillError::Witness(error.to_string()))?;
        // Renamed into its place: nobody reads half an order.
        let draft = self.order.with_extension("draft");
        std::fs::write(&draft, order).and_then(|()| std::fs::rename(&draft, &self.order)).map_err(failed())
    }

    /// The supervisor's: where the order was carried out.
    pub(crate) fn reached(&self) -> Option<Place> {
        serde_json::from_slice(&std::fs::read(&self.reached).ok()?).ok()
    }

    /// The supervisor's: nothing more is to happen, and what waits goes on.
    pub(crate) fn withdraw(&self) -> Result<(), DrillError> {
        match std::fs::remove_file(&self.order) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DrillError::io("remove an order")(error)),
            _ => Ok(()),
        }
    }

    fn ordered(&self, point: Point) -> Option<Deed> {
        let order: Order = serde_json::from_slice(&std::fs::read(&self.order).ok()?).ok()?;
        (order.at == point).then_some(order.deed)
    }

    /// The worker is at this point.
    pub(crate) fn reach(&self, point: Point, job: Option<Uuid>, lease: Option<Uuid>) {
        let Some(deed) = self.ordered(point) else { return };
        // Created by the first; an order is for one.
        let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(&self.reached) else { return };
        let place = Place { point: point.name().to_owned(), job, lease };
        if serde_json::to_writer(&file, &place).and_then(|()| file.flush().map_err(serde_json::Error::io)).is_err() {
            return;
        }
        match deed {
            Deed::Die => {
                let _ = kill_process(getpid(), Signal::KILL);
            }
            Deed::Stop => {
                let _ = kill_process(getpid(), Signal::STOP);
                // The signal may take a moment to reach this thread, which must not go on before.
                self.wait(point);
            }
            Deed::Hold => self.wait(point),
            Deed::Tell => {}
        }
    }

    fn wait(&self, point: Point) {
        while self.ordered(point).is_some() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Listens to what the engine of a drill's worker tells of itself, for the points that are in the engine.
#[derive(Debug)]
pub struct Trap {
    orders: Orders,
}

impl Trap {
    /// For the process of this name in the run of this directory.
    #[must_use]
    pub fn new(dir: &Path, process: &str) -> Self {
        Self { orders: Orders::of(dir, process) }
    }

    /// The events that it needs: all of the engine's.
    #[must_use]
    pub fn filter() -> Targets {
        Targets::new().with_target("faultline", LevelFilter::TRACE)
    }
}

impl<S: tracing::Subscriber> Layer<S> for Trap {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        match event.metadata().name() {
            "claimed" => {
                let mut claim = Claim::default();
                event.record(&mut claim);
                // A claim that found nothing has no handlers to start.
                if claim.jobs > 0 {
                    self.orders.reach(Point::AfterClaim, None, claim.lease);
                }
            }
            "renewing" if self.orders.ordered(Point::InRenewal) == Some(Deed::Die) => {
                // The event comes right before the statement is sent: another thread kills while it is on its way.
                let orders = self.orders.clone();
                std::thread::spawn(move || orders.reach(Point::InRenewal, None, None));
            }
            "renewing" => self.orders.reach(Point::InRenewal, None, None),
            "draining" => self.orders.reach(Point::InShutdown, None, None),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Claim {
    lease: Option<Uuid>,
    jobs: u64,
}

impl Visit for Claim {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "jobs" {
            self.jobs = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "lease" {
            self.lease = format!("{value:?}").parse().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> (tempfile::TempDir, Orders) {
        let dir = tempfile::tempdir().expect("a directory");
        let orders = Orders::of(dir.path(), "worker-1");
        (dir, orders)
    }

    #[test]
    fn an_order_is_carried_out_once_at_its_point_and_says_where() {
        let (_dir, orders) = orders();
        let (job, lease) = (Uuid::from_u128(1), Uuid::from_u128(2));
        orders.reach(Point::MidHandler, Some(job), Some(lease));
        assert_eq!(orders.reached(), None, "nothing was ordered");
        orders.give(Point::MidHandler, Deed::Tell).expect("written");
        orders.reach(Point::AfterEffect, Some(job), Some(lease));
        assert_eq!(orders.reached(), None, "another point");
        orders.reach(Point::MidHandler, Some(job), Some(lease));
        orders.reach(Point::MidHandler, None, None);
        let place = Place { point: "mid-handler".into(), job: Some(job), lease: Some(lease) };
        assert_eq!(orders.reached(), Some(place), "the first that came");
        orders.give(Point::MidHandler, Deed::Tell).expect("written");
        assert_eq!(orders.reached(), None, "a new order");
    }

    #[test]
    fn who_is_held_goes_on_when_the_order_is_withdrawn() {
        let (_dir, orders) = orders();
        orders.give(Point::InRenewal, Deed::Hold).expect("written");
        let held = std::thread::spawn({
            let orders = orders.clone();
            move || orders.reach(Point::InRenewal, None, None)
        });
        while orders.reached().is_none() {
            std::thread::yield_now();
        }
        assert!(!held.is_finished());
        orders.withdraw().expect("removed");
        held.join().expect("it went on");
    }

    #[test]
    fn the_engine_tells_the_lease_of_a_claim() {
        use tracing_subscriber::layer::SubscriberExt;
        let (dir, orders) = orders();
        orders.give(Point::AfterClaim, Deed::Tell).expect("written");
        let lease = Uuid::from_u128(7);
        let subscriber = tracing_subscriber::registry().with(Trap::new(dir.path(), "worker-1"));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(name: "claimed", %lease, jobs = 0_usize, "claimed");
            assert!(orders.reached().is_none(), "nothing was claimed");
            tracing::debug!(name: "claimed", %lease, jobs = 2_usize, "claimed");
        });
        assert_eq!(orders.reached().and_then(|place| place.lease), Some(lease));
    }
}
