//! All rows in words, one line each, by the reference and by the database.

use crate::reference::{Place, Reference};
use std::fmt::Display;

/// Everything that a statement can change, times aside: of a waiting job, whether it is due.
pub(crate) const ROWS: &str = "
    select 'job ' || right(id::text, 4) || ' ' || state || ' ' || attempts || '/' || max_attempts || ' crashes ' || crashes
           || ' priority ' || priority || ' due ' || (state <> 'queued' or next_run_at <= clock_timestamp())
           || ' cancel ' || (cancel_requested_at is not null)
           || ' lease ' || coalesce(right(lease_id::text, 4), '-') || ' of ' || coalesce(right(lease_owner::text, 4), '-')
           || ' expired ' || coalesce((state = 'running' and lease_expires_at < clock_timestamp()), false)
           || ' key ' || coalesce(key, '-') || ' retry of ' || coalesce(right(retry_of::text, 4), '-')
           || ' reason ' || coalesce(reason, '-') || ' error ' || coalesce(last_error, '-')
           || ' result ' || coalesce(result::text, '-')
      from faultline.all_jobs
    union all
    select 'attempt ' || attempt || ' of ' || right(job_id::text, 4) || ' ' || outcome || ' charged ' || charged
           || ' lease ' || right(lease_id::text, 4) || ' of ' || right(lease_owner::text, 4)
           || ' error ' || coalesce(error, '-')
      from faultline.job_attempts
    union all
    select 'key ' || case queue when '$retry' then 'retry ' || right(key, 4) else key end
           || ' job ' || right(job_id::text, 4) || ' hits ' || hits
      from faultline.idempotency_keys
    union all
    select 'paused' from faultline.queues where paused_at is not null";

fn hex(n: usize) -> String {
    format!("{n:04x}")
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

impl Reference {
    /// The lines of [`ROWS`].
    pub(crate) fn rows(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let owner = |lease: usize| hex(self.leases[lease].into());
        for (id, job) in &self.jobs {
            let (state, lease, expired, reason) = match job.place {
                Place::Queued => ("queued", None, false, None),
                Place::Running { lease, expired } => ("running", Some(lease), expired, None),
                Place::Ended { state, lease, reason } => (state, lease, false, reason),
            };
            lines.push(format!(
                "job {} {state} {}/{} crashes {} priority {} due {} cancel {} lease {} of {} expired {expired} key {} \
                 retry of {} reason {} error {} result {}",
                hex(*id),
                job.attempts,
                job.request.max_attempts,
                job.crashes,
                job.request.priority,
                state != "queued" || !job.delayed,
                job.cancel_requested,
                or_dash(lease.map(hex)),
                or_dash(lease.map(owner)),
                or_dash(job.key),
                or_dash(job.retry_of.map(hex)),
                or_dash(reason),
                or_dash(job.last_error),
                if job.result { "1" } else { "-" },
            ));
            for attempt in &job.log {
                lines.push(format!(
                    "attempt {} of {} {} charged {} lease {} of {} error {}",
                    attempt.attempt,
                    hex(*id),
                    attempt.outcome,
                    attempt.charged,
                    hex(attempt.lease),
                    owner(attempt.lease),
                    or_dash(attempt.error),
                ));
            }
        }
        for (key, (job, _, hits)) in &self.keys {
            lines.push(format!("key {key} job {} hits {hits}", hex(*job)));
        }
        for (job, hits) in &self.retries {
            lines.push(format!(
                "key retry {} job {} hits {hits}",
                hex(*job),
                or_dash(self.jobs[job].successor.map(hex))
            ));
        }
        if self.paused {
            lines.push("paused".into());
        }
        lines.sort_unstable();
        lines
    }
}
