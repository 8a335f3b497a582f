//! Every future is dropped after some polls.

use crate::catalogue::{Drill, Load};
use crate::guest::cancel::storm;
use faultline_check::witness::Required;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "cancellation-storm",
    summary: "calls of the library dropped after 0, 1, 2 … polls, transactions cut in their commit, requests that hang up",
    duration: Duration::from_secs(15),
    required: &[
        (Required::Success, 100),
        (Required::AmbiguousEnqueue, 15),
        (Required::ResolvedHappened, 3),
        (Required::ResolvedAbsent, 3),
    ],
    load: Load { clients: 1, ..Drill::CALM.load },
    guest: Some(|visit| Box::pin(storm(visit))),
    settle: |run| {
        run.uncounted = true;
        run.unhurt = true;
        run.idle_in_transaction_bound_us = 3_000_000;
    },
    fast: false,
    ..Drill::CALM
};
