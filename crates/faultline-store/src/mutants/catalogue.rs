//! The mutants, and who kills each.

use super::edit::{Edit, Of};

/// One deliberate defect.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// Its name in the environment.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// What a user would lose by it.
    pub breaks: &'static str,
    /// What it changes in statements; empty for a defect of the programs.
    pub edits: &'static [Edit],
    /// Each of these must fail with it, and pass without.
    pub killers: &'static [Killer],
}

/// A test or a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killer {
    /// A test.
    Test {
        /// Its package.
        package: &'static str,
        /// The file or directory in `tests/`, or `lib`.
        target: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A drill with a seed.
    Drill {
        /// Its name.
        name: &'static str,
        /// Of its schedule.
        seed: u64,
    },
}

impl std::fmt::Display for Killer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Test { package, target, name } => write!(f, "{package} {target} `{name}`"),
            Self::Drill { name, seed } => write!(f, "drill `{name}`, seed {seed}"),
        }
    }
}

const CLAIM: Of = Of::Statement(include_str!("../../sql/claim.sql"));
const RENEW: Of = Of::Statement(include_str!("../../sql/renew.sql"));
const COMPLETE: Of = Of::Statement(include_str!("../../sql/complete.sql"));
const FAIL: Of = Of::Statement(include_str!("../../sql/fail.sql"));
const PUT_BACK: Of = Of::Statement(include_str!("../../sql/put_back.sql"));
const REAP: Of = Of::Statement(include_str!("../../sql/reap.sql"));
const COMPLETE_IN_TX: Of = Of::Function("complete_in_tx");
const ENQUEUE_BATCH: Of = Of::Function("enqueue_batch");

const fn explorer(name: &'static str) -> Killer {
    Killer::Test { package: "faultline-store", target: "interleavings", name }
}

const fn store(name: &'static str) -> Killer {
    Killer::Test { package: "faultline-store", target: "store", name }
}

const fn library(target: &'static str, name: &'static str) -> Killer {
    Killer::Test { package: "faultline", target, name }
}

const fn edit(of: Of, from: &'static str, to: &'static str) -> Edit {
    Edit { of, from, to }
}

/// Every mutant.
pub const ALL: &[Mutant] = &[
    Mutant {
        name: "finish-without-lease-id",
        does: "complete, fail, release and complete_in_tx name the job and the state, but no lease",
        breaks: "a zombie ends the attempt of the next holder (G4)",
        edits: &[
            edit(COMPLETE, "       and j.lease_id = done.lease_id\n", ""),
            edit(FAIL, " and j.lease_id = e.lease_id", ""),
            edit(PUT_BACK, " and j.lease_id = e.lease_id", ""),
            edit(COMPLETE_IN_TX, " and j.lease_id = complete_in_tx.lease_id", ""),
        ],
        killers: &[
            explorer("leases::a_zombie_a_reaper_and_the_next_holder_in_any_order"),
            store("transitions::a_zombie_is_refused_and_harmless_while_its_job_waits_and_while_another_runs_it"),
            Killer::Drill { name: "zombie", seed: 1 },
        ],
    },
    Mutant {
        name: "finish-with-attempt-only",
        does: "the fence is the number of the attempt",
        breaks: "after a release the next attempt has the same number, and the old holder ends it (G4)",
        edits: &[
            edit(
                CLAIM,
                "lease_id         = $2,",
                "lease_id = case when $2::uuid is not null then lpad((j.attempts + 1)::text, 32, '0')::uuid end,",
            ),
            edit(CLAIM, "j.headers, j.payload", "j.headers, j.payload, j.lease_id"),
        ],
        killers: &[explorer("leases::a_holder_that_gave_back_and_finishes_after_all_ends_nobody_elses_attempt")],
    },
    Mutant {
        name: "finish-with-owner-only",
        does: "the fence is the worker",
        breaks: "a worker that claims its own lost job again has two handlers that may end it (G4)",
        edits: &[
            edit(CLAIM, "lease_id         = $2,", "lease_id = case when $2::uuid is not null then $3::uuid end,"),
            edit(CLAIM, "j.headers, j.payload", "j.headers, j.payload, j.lease_id"),
        ],
        killers: &[explorer(
            "leases::a_worker_that_claims_its_own_lost_job_again_is_not_finished_by_its_first_handler",
        )],
    },
    Mutant {
        name: "reap-in-two-statements",
        does: "one statement finds expired leases, another ends them by id",
        breaks: "a lease that was renewed in between is ended under a worker that lives (G7)",
        edits: &[],
        killers: &[explorer("leases::a_renewal_a_reaper_and_the_next_holder_in_any_order")],
    },
    Mutant {
        name: "reap-by-worker-rows",
        does: "only jobs of workers that have a row are reaped",
        breaks: "a job whose worker left no row runs for ever (G7)",
        edits: &[edit(
            REAP,
            "     where c.state = 'running'\n",
            "     where c.state = 'running' and exists (select from faultline.workers w where w.id = c.lease_owner)\n",
        )],
        killers: &[store("reap::a_job_whose_worker_left_no_row_is_reaped_all_the_same")],
    },
    Mutant {
        name: "client-clock-in-lease",
        does: "claims and renewals compute the end of the lease by the worker's clock, which is an hour ahead",
        breaks: "a skewed clock makes leases that end at once or never (G7)",
        edits: &[
            edit(CLAIM, "clock_timestamp() + $4::bigint", "{client_clock} + $4::bigint"),
            edit(RENEW, "clock_timestamp() + $4::bigint", "{client_clock} + $4::bigint"),
        ],
        killers: &[store("claims::a_lease_lasts_as_long_as_asked_on_the_databases_clock")],
    },
    Mutant {
        name: "now-guard",
        does: "complete_in_tx is guarded by lease_expires_at > now() instead of by the lease",
        breaks: "now() stands still in a transaction: a zombie's effects commit over the next holder (G5)",
        edits: &[edit(COMPLETE_IN_TX, "j.lease_id = complete_in_tx.lease_id", "j.lease_expires_at > now()")],
        killers: &[explorer("leases::a_zombies_transaction_a_reaper_and_the_next_holders_transaction_in_any_order")],
    },
    Mutant {
        name: "attempt-charged-at-finish",
        does: "a reap gives the attempt back: only finishes cost one",
        breaks: "a job that kills its worker does so for ever (G3)",
        edits: &[
            edit(REAP, "attempts = j.attempts - case when g.charged then 0 else 1 end,", "attempts = j.attempts - 1,"),
            edit(REAP, "and (not g.charged or g.attempts < g.max_attempts)", ""),
            edit(REAP, " or g.charged and g.attempts >= g.max_attempts", ""),
        ],
        killers: &[store("crashes::a_poison_alone_is_charged_each_time")],
    },
    Mutant {
        name: "no-maximum-on-reap",
        does: "a reap puts a job back whose attempts are used up",
        breaks: "the table refuses such a row, and the reaper of its queue stands still (G3)",
        edits: &[
            edit(REAP, "and (not g.charged or g.attempts < g.max_attempts)", ""),
            edit(REAP, " or g.charged and g.attempts >= g.max_attempts", ""),
        ],
        killers: &[store("reap::a_job_without_an_attempt_left_ends_as_a_crash_loop")],
    },
    Mutant {
        name: "do-nothing-deduplication",
        does: "a duplicate is found with on conflict do nothing and a look",
        breaks: "it is answered before the first is replicated, or with a job that is not there (G2)",
        edits: &[
            edit(ENQUEUE_BATCH, DO_UPDATE, "        on conflict (queue, key) do nothing\n"),
            edit(ENQUEUE_BATCH, "left join keys k on", LOOK_FOR_KEYS),
            edit(
                ENQUEUE_BATCH,
                "k.fingerprint is distinct from i.fingerprint and i.key is not null as conflict",
                "coalesce(k.fingerprint <> i.fingerprint, false) as conflict",
            ),
            edit(
                ENQUEUE_BATCH,
                "(k.job_id = i.id and k.hits = 0) as created",
                "coalesce(k.job_id = i.id and k.hits = 0, false) as created",
            ),
        ],
        killers: &[
            store("ambiguous::a_duplicate_is_answered_only_when_it_is_as_durable_as_the_first"),
            explorer("keys::enqueues_under_one_key_in_any_order"),
        ],
    },
    Mutant {
        name: "blind-commit-retry",
        does: "an enqueue whose commit was not answered is sent again as a new one",
        breaks: "two jobs for one request (G1, G8)",
        edits: &[],
        killers: &[store("enqueue_again::a_second_try_after_a_commit_answers_as_the_first_and_adds_nothing")],
    },
    Mutant {
        name: "failed-commit-is-success",
        does: "an enqueue whose commit was not answered is reported as done",
        breaks: "an acknowledged job that does not exist (G1, G8)",
        edits: &[],
        killers: &[store("ambiguous::an_enqueue_whose_session_died_before_its_commit_is_not_answered_as_done")],
    },
    Mutant {
        name: "no-reap-holdoff",
        does: "a reaper reaps with its first look",
        breaks: "after an outage workers that outlived it lose their jobs (G7)",
        edits: &[],
        killers: &[library("lib", "reaper::tests::nobody_reaps_by_the_lease_before_a_lease_time_of_contact")],
    },
    Mutant {
        name: "no-second-look",
        does: "a reaper ends expired leases with the first look that sees them, and does not ask whether they could be renewed",
        breaks: "when a full disk has space again, workers that live lose their jobs; those of a dead one are judged apart (G7, G3)",
        edits: &[],
        killers: &[
            library("lib", "reaper::tests::who_may_have_been_refused_its_renewals_is_not_missed"),
            library("lib", "reaper::tests::nobody_reaps_by_the_lease_before_its_worker_had_time_to_renew"),
        ],
    },
    Mutant {
        name: "renewals-on-the-job-pool",
        does: "renewals borrow a session of the pool that handlers use",
        breaks: "handlers that take every session lose their leases (G7)",
        edits: &[],
        killers: &[library("failure", "handlers_that_take_every_session_of_the_pool_keep_their_leases")],
    },
    Mutant {
        name: "renewals-on-the-shared-runtime",
        does: "renewals are a task beside the handlers",
        breaks: "handlers that block the runtime lose their leases (G7)",
        edits: &[],
        killers: &[library("failure", "handlers_that_block_the_runtime_keep_their_leases")],
    },
    Mutant {
        name: "no-jitter",
        does: "pauses and delays are exactly their bound",
        breaks: "what failed together comes back together, again and again (G7)",
        edits: &[],
        killers: &[
            library("lib", "link::tests::a_fleet_does_not_come_back_at_one_instant"),
            library("worker", "jobs_that_fail_together_are_not_tried_again_together"),
        ],
    },
    Mutant {
        name: "claim-without-recheck",
        does: "a claim chooses rows without locking them, and takes them by id",
        breaks: "two workers take one job; the table's trigger refuses the second (G4)",
        edits: &[
            edit(CLAIM, "           for update skip locked\n", ""),
            edit(CLAIM, "select j.ctid as tid", "select j.id as tid"),
            edit(CLAIM, "where j.ctid = any", "where j.id = any"),
            edit(CLAIM, "   and j.state = 'queued'\nreturning", "returning"),
        ],
        killers: &[explorer("leases::claims_of_one_job_in_any_order")],
    },
    Mutant {
        name: "effect-before-finish",
        does: "complete_in commits the handler's writes, then finishes",
        breaks: "an effect without its success, or twice (G5)",
        edits: &[],
        killers: &[library("enqueue", "complete_in_ties_the_effect_to_the_success")],
    },
    Mutant {
        name: "reap-without-skip-locked",
        does: "a reap waits for rows that are locked",
        breaks: "one handler's open transaction stops the recovery of every job (G7)",
        edits: &[edit(REAP, "       for update skip locked\n", "       for update\n")],
        killers: &[
            store("reap::a_row_that_somebody_has_locked_is_skipped_and_the_others_are_reaped"),
            explorer("leases::a_renewal_a_reaper_and_the_next_holder_in_any_order"),
        ],
    },
    Mutant {
        name: "error-text-unsanitised",
        does: "errors of handlers are stored as they are",
        breaks: "a NUL in a text is refused by Postgres: what the handler said is lost",
        edits: &[],
        killers: &[library("worker", "a_failing_job_is_tried_again_until_it_succeeds")],
    },
    Mutant {
        name: "owner-is-host-name",
        does: "a worker's id is its host's name",
        breaks: "workers of one host, and one before and after a crash, are taken for one another (G7)",
        edits: &[],
        killers: &[library("worker", "workers_on_one_host_are_told_apart")],
    },
    Mutant {
        name: "no-idle-in-transaction-timeout",
        does: "sessions may stay in a transaction for ever",
        breaks: "a stopped worker holds its row, unseen by reapers that skip it, until somebody finds out (G7)",
        edits: &[edit(Of::SessionOptions, "-c idle_in_transaction_session_timeout=30s", "")],
        killers: &[store("ambiguous::every_session_of_the_engine_has_its_time_limits")],
    },
];

const DO_UPDATE: &str =
    "        -- A window that has ended opens the key for another job, never for the same one again.
        on conflict (queue, key) do update set
            hits        = case when k.expires_at <= statement_timestamp() and k.job_id <> excluded.job_id
                               then 0 else least(k.hits, 2147483646) + 1 end,
            job_id      = case when k.expires_at <= statement_timestamp()
                               then excluded.job_id else k.job_id end,
            fingerprint = case when k.expires_at <= statement_timestamp()
                               then excluded.fingerprint else k.fingerprint end,
            expires_at  = case when k.expires_at <= statement_timestamp()
                               then excluded.expires_at else k.expires_at end
";
const LOOK_FOR_KEYS: &str = "left join (select * from keys union all
            select o.queue, o.key, o.job_id, o.fingerprint, o.hits + 1 from faultline.idempotency_keys o) k on";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_edit_finds_what_it_changes() {
        for mutant in ALL {
            for edit in mutant.edits {
                assert!(edit.fits(), "{}: nothing to change: {:?}", mutant.name, edit.from);
            }
        }
    }

    /// The page is written by `make mutants`.
    #[test]
    fn the_page_lists_these_mutants_and_their_killers() {
        let page = include_str!("../../../../docs/mutants.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), ALL.len());
        for (row, mutant) in rows.iter().zip(ALL) {
            let killers: Vec<String> = mutant.killers.iter().map(ToString::to_string).collect();
            let Mutant { name, does, breaks, .. } = mutant;
            let expected = format!("| `{name}` | {does} | {breaks} | {} | ", killers.join("<br>"));
            assert!(row.starts_with(&expected), "run `make mutants`: {row} should begin with {expected}");
        }
    }

    #[test]
    fn every_mutant_has_a_name_of_its_own_and_a_killer() {
        let names: HashSet<&str> = ALL.iter().map(|mutant| mutant.name).collect();
        assert_eq!((names.len(), ALL.len()), (23, 23));
        assert!(ALL.iter().all(|mutant| !mutant.killers.is_empty()));
    }
}
