//! What tests of views show: a queue and a worker in order, at a time that stands still.

use faultline_core::{JobId, WorkerId};
use faultline_store::dashboard::overview::Recovery;
use faultline_store::dashboard::queues::{Count, QueueNow};
use faultline_store::dashboard::workers::RunningJob;
use faultline_store::read::Worker;
use jiff::{Timestamp, ToSpan};

pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

pub(crate) fn queue(name: &str) -> QueueNow {
    let none = Count::exact(0);
    QueueNow {
        name: name.into(),
        paused_at: None,
        paused_reason: None,
        due: none,
        scheduled: none,
        retrying: none,
        running: none,
        oldest_due_at: None,
        oldest_due_s: None,
        workers: 1,
        slots: 10,
    }
}

pub(crate) fn worker_id(number: u8) -> WorkerId {
    format!("00000000-0000-4000-8000-0000000000{number:02x}").parse().expect("an id")
}

pub(crate) fn job_id(number: u8) -> JobId {
    format!("01900000-0000-7000-8000-0000000000{number:02x}").parse().expect("an id")
}

pub(crate) fn worker(number: u8) -> Worker {
    Worker {
        id: worker_id(number),
        host: format!("host-{number}"),
        pid: 4000 + i32::from(number),
        version: "0.1.0".into(),
        queues: vec!["default".into()],
        kinds: vec!["*".into()],
        slots: 10,
        running: 0,
        draining: false,
        started_at: now() - 2.hours(),
        heartbeat_at: now() - 3.seconds(),
        stopped_at: None,
        alive: true,
    }
}

pub(crate) fn running(number: u8, worker: WorkerId) -> RunningJob {
    RunningJob {
        id: job_id(number),
        queue: "default".into(),
        kind: "invoice.send".into(),
        attempt: 1,
        max_attempts: 20,
        started_at: now() - 12.seconds(),
        worker,
        lease_expires_at: now() + 11.seconds(),
        lease_left_ms: 11_000,
        cancel_requested: false,
    }
}

pub(crate) fn recovery(number: u8, worker: WorkerId, recovered_at: Timestamp) -> Recovery {
    Recovery {
        job: job_id(number),
        queue: Some("default".into()),
        kind: Some("invoice.send".into()),
        state: Some("running".into()),
        attempt: 2,
        charged: true,
        outcome: "lost".into(),
        worker,
        host: Some("host-2".into()),
        started_at: recovered_at - 10.seconds(),
        last_heard_at: Some(recovered_at - 3.seconds()),
        recovered_at,
        resumed_at: Some(recovered_at + 1.second()),
    }
}

/// Renders a page for somebody who may act, an element a line.
pub(crate) fn shown<P: crate::page::Page>(page: &P, data: &P::Data) -> String {
    page.view(data, &crate::page::Context::for_test()).into_string().replace("><", ">\n<")
}
