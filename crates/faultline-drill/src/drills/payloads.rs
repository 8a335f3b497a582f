//! What nobody can store, from every side.

use crate::catalogue::{Drill, Load};
use crate::guest::payloads::{REFUSED, send_odd_things};
use faultline_check::witness::Required;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "payloads",
    summary: "NUL, lone surrogates, numbers beyond a double, deep nesting, 300 MB, long keys: as payloads, results and errors",
    duration: Duration::from_secs(15),
    required: &[(Required::Success, 30), (Required::Refused, REFUSED), (Required::Retry, 3)],
    load: Load { clients: 1, pause: Duration::from_millis(200), ..Drill::CALM.load },
    guest: Some(|visit| Box::pin(send_odd_things(visit))),
    settle: |run| {
        run.uncounted = true;
        run.unhurt = true;
    },
    touches_only_processes: true,
    ..Drill::CALM
};
