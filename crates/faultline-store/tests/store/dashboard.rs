//! What the pages read is what happened.

use crate::common::{
    Db, EXPIRED, LONG, LOOK_AT, QUEUE, count, end, facts_of, fail, job, keyed, put, put_many, running, take, take_for,
    worker,
};
use faultline_core::{JobId, State};
use faultline_store::dashboard::errors::{GroupFilter, count_failed, failed_jobs, group, groups};
use faultline_store::dashboard::queues::{Precision, queues};
use faultline_store::dashboard::{bulk, database, job as story, overview, workers};
use faultline_store::finish::Ending;
use faultline_store::operate::{Retry, pause, retry};
use faultline_store::presence::register;
use faultline_store::read::COUNT_LIMIT;
use std::time::Duration;

#[tokio::test]
async fn a_queue_is_told_by_state_with_its_oldest_due_job_its_pause_and_its_workers() {
    let db = Db::migrated();
    let session = db.session().await;
    let someone = worker();
    register(&session, &facts_of(someone), false).await.unwrap();
    put_many(&session, 5).await;
    take_for(&session, someone, 2, LONG).await;
    let mut later = job();
    later.start = faultline_core::Start::After(Duration::from_secs(3600));
    put(&session, &later).await;
    let failed = take(&session, 1, LONG).await.remove(0);
    let again = faultline_store::finish::Ending::Fail { error: "boom".into(), delay: Duration::from_secs(60) };
    end(&session, &failed, again).await;
    pause(&session, "me", QUEUE, Some("because")).await.unwrap();
    let seen = queues(&session, None, 10).await.unwrap();
    assert_eq!(seen.known, 1);
    let q = &seen.queues[0];
    let numbers = [q.due, q.scheduled, q.retrying, q.running];
    assert!(numbers.iter().all(|count| count.precision == Precision::Exact), "{numbers:?}");
    assert_eq!(numbers.map(|count| count.jobs), [2, 1, 1, 2]);
    assert_eq!((q.workers, q.slots, q.paused_reason.as_deref()), (1, 10, Some("because")));
    let oldest: Option<jiff::Timestamp> =
        crate::common::value(&session, "select min(next_run_at) from faultline.jobs where state = 'queued'", &[]).await;
    assert_eq!(q.oldest_due_at, oldest);
    assert_eq!(seen.totals(), numbers);
}

#[tokio::test]
async fn a_long_queue_is_counted_as_far_as_the_bound_and_estimated_once_there_are_statistics() {
    let db = Db::migrated();
    let session = db.session().await;
    let many = "insert into faultline.jobs (id, queue, kind, payload, priority, created_at, next_run_at, max_attempts,
                    timeout_ms, backoff_base_ms, backoff_cap_ms)
                select gen_random_uuid(), 'q', 'k', '{}', 2, now(), now() - interval '1 h', 20, 1000, 1000, 1000
                  from generate_series(1, 30000)";
    session.batch_execute("alter table faultline.jobs set (autovacuum_enabled = false)").await.unwrap();
    session.batch_execute(many).await.unwrap();
    let seen = queues(&session, None, 0).await.unwrap();
    let due = seen.queues[0].due;
    assert_eq!(due.precision, Precision::AtLeast);
    assert!((100..COUNT_LIMIT).contains(&due.jobs), "{due:?}");
    session.batch_execute("analyze faultline.jobs").await.unwrap();
    let due = queues(&session, Some(QUEUE), 0).await.unwrap().queues[0].due;
    assert_eq!(due.precision, Precision::About);
    assert!((29_000..=31_000).contains(&due.jobs), "{due:?}");
}

#[tokio::test]
async fn what_runs_is_told_with_its_worker_and_what_is_left_of_its_lease() {
    let db = Db::migrated();
    let session = db.session().await;
    put_many(&session, 3).await;
    let (alive, dead) = (worker(), worker());
    let held = take_for(&session, alive, 1, LONG).await.remove(0);
    let lost = take_for(&session, dead, 1, EXPIRED).await.remove(0);
    let mut seen = workers::running(&session, None, 10).await.unwrap();
    seen.sort_by_key(|job| job.id != held.id);
    assert_eq!(seen.iter().map(|job| (job.id, job.worker)).collect::<Vec<_>>(), [(held.id, alive), (lost.id, dead)]);
    assert!(seen[0].lease_left_ms > 0 && seen[1].lease_left_ms <= 0, "{seen:?}");
}

#[tokio::test]
async fn a_story_has_the_attempts_the_lease_the_reasons_and_the_retries_both_ways() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = running(&session, &keyed("a"), LONG).await;
    end(&session, &first, fail()).await;
    let again = take(&session, 1, LONG).await.remove(0);
    let told = story::story(&session, first.id).await.unwrap().unwrap();
    assert_eq!(told.attempts.iter().map(|a| (a.attempt, a.lease_id)).collect::<Vec<_>>(), [(1, first.lease_id)]);
    assert_eq!(told.job.lease.map(|lease| lease.id), Some(again.lease_id));
    assert!(told.explanation.is_some() && told.relatives.is_empty());
    let fatal = faultline_store::finish::Ending::FailForGood { error: "no".into(), reason: "fatal" };
    end(&session, &again, fatal).await;
    let mut ids = vec![first.id];
    for _ in 0..2 {
        let last = *ids.last().unwrap();
        let successor = JobId::new(1_700_000_000_000, &mut rand::rng());
        let answer = retry(&session, "me", last, successor).await.unwrap();
        assert_eq!(answer, Retry::Successor { id: successor, created: true });
        let claimed = take(&session, 1, LONG).await.remove(0);
        end(&session, &claimed, crate::common::complete()).await;
        ids.push(successor);
    }
    for (at, id) in ids.iter().enumerate() {
        let told = story::story(&session, *id).await.unwrap().unwrap();
        let around: Vec<(JobId, i32)> = told.relatives.iter().map(|other| (other.id, other.step)).collect();
        let expected: Vec<(JobId, i32)> = (0..3)
            .filter(|n| *n != at)
            .map(|n| (ids[n], i32::try_from(n).unwrap() - i32::try_from(at).unwrap()))
            .collect();
        assert_eq!(around, expected);
        assert!(told.explanation.is_none());
    }
    assert_eq!(told_state(&session, ids[0]).await, State::Failed);
    assert_eq!(count(&session, "faultline.job_history").await, 3);
    let nobody = JobId::new(1, &mut rand::rng());
    assert!(story::story(&session, nobody).await.unwrap().is_none());
}

async fn told_state(session: &faultline_store::Session, id: JobId) -> State {
    story::story(session, id).await.unwrap().unwrap().job.state
}

#[tokio::test]
async fn errors_that_say_the_same_are_one_group_with_its_jobs_to_retry() {
    let db = Db::migrated();
    let session = db.session().await;
    let start = crate::rollups::now(&session).await;
    put_many(&session, 9).await;
    let fail = |error: String| Ending::FailForGood { error, reason: "fatal" };
    let mut timed_out = Vec::new();
    for n in 0..4 {
        let claimed = take(&session, 1, LONG).await.remove(0);
        end(&session, &claimed, fail(format!("timeout after {n}ms"))).await;
        timed_out.push(claimed.id);
    }
    let claimed = take(&session, 1, LONG).await.remove(0);
    end(&session, &claimed, fail("no such user 'x'".into())).await;
    let claimed = take(&session, 1, LONG).await.remove(0);
    end(&session, &claimed, Ending::Fail { error: "timeout after 99ms".into(), delay: Duration::from_secs(60) }).await;
    take(&session, 1, EXPIRED).await;
    crate::common::reap(&session, &[QUEUE.into()], &[], LOOK_AT).await.unwrap();
    crate::rollups::count_since(&db, start).await;
    let told = groups(&session, &GroupFilter::default(), 50, 24).await.unwrap();
    let mut said: Vec<_> = told.iter().map(|group| (group.pattern.as_str(), group.occurrences)).collect();
    said.sort_unstable();
    assert_eq!(said, [("no such user ?", 1), ("the lease expired", 1), ("timeout after Nms", 5)]);
    let timeout = told.iter().find(|group| group.occurrences == 5).unwrap();
    assert_eq!((timeout.kinds.as_slice(), timeout.queues.as_slice()), (&["k".into()][..], &[QUEUE.into()][..]));
    let (failed, retried) = timeout.counts.iter().fold((0, 0), |sum, at| (sum.0 + at.failed, sum.1 + at.retried));
    assert_eq!((failed, retried), (4, 1));
    assert!(timeout.first_seen >= start && timeout.first_seen <= timeout.last_seen);
    let again = group(&session, timeout.fingerprint, 24).await.unwrap().unwrap();
    assert_eq!(again.occurrences, 5);
    let narrow = GroupFilter { text: Some("TIMEOUT".into()), queue: Some(QUEUE.into()), ..GroupFilter::default() };
    assert_eq!(groups(&session, &narrow, 50, 24).await.unwrap().len(), 1);
    let elsewhere = GroupFilter { kind: Some("other".into()), ..GroupFilter::default() };
    assert!(groups(&session, &elsewhere, 50, 24).await.unwrap().is_empty());
    let last = told.last().unwrap();
    let behind = GroupFilter { behind: Some((last.last_seen, last.fingerprint)), ..GroupFilter::default() };
    assert!(groups(&session, &behind, 50, 24).await.unwrap().is_empty());

    let counted = count_failed(&session, timeout, Duration::from_secs(30)).await.unwrap();
    assert_eq!((counted.jobs, counted.precision), (4, Precision::Exact));
    let found = failed_jobs(&session, timeout, None).await.unwrap();
    assert_eq!((&found.jobs, found.retried, found.next), (&timed_out, 0, None));
    let next_id = || JobId::new(1_700_000_000_000, &mut rand::rng());
    let retry = async || {
        db.store
            .run(async |client| bulk::act(client, "me", bulk::Action::Retry, &found.jobs, next_id).await)
            .await
            .unwrap()
    };
    assert_eq!(retry().await.retried, 4);
    assert_eq!(retry().await.total(), 0, "a second time it is the same successors");
    let found = failed_jobs(&session, timeout, None).await.unwrap();
    assert_eq!((found.jobs.len(), found.retried), (0, 4));
}

#[tokio::test]
async fn a_recovery_tells_when_the_worker_was_last_heard_of_and_when_the_job_went_on() {
    let db = Db::migrated();
    let session = db.session().await;
    let dead = worker();
    register(&session, &facts_of(dead), false).await.unwrap();
    put_many(&session, 1).await;
    let lost = take_for(&session, dead, 1, EXPIRED).await.remove(0);
    crate::common::reap(&session, &[QUEUE.into()], &[], LOOK_AT).await.unwrap();
    let told = overview::recoveries(&session).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].job, told[0].worker, told[0].outcome.as_str()), (lost.id, dead, "expired"));
    assert_eq!(
        (told[0].host.as_deref(), told[0].state.as_deref(), told[0].resumed_at),
        (Some("h"), Some("queued"), None)
    );
    assert!(told[0].delay_ms().is_some_and(|ms| ms < 600_000), "{told:?}");
    let again = take(&session, 1, LONG).await.remove(0);
    let resumed = overview::recoveries(&session).await.unwrap()[0].resumed_at;
    assert!(resumed.is_some_and(|at| at >= told[0].recovered_at));
    end(&session, &again, crate::common::complete()).await;
    let told = overview::recoveries(&session).await.unwrap();
    assert_eq!((told[0].state.as_deref(), told[0].resumed_at), (Some("succeeded"), resumed));
}

#[tokio::test]
async fn the_database_tells_its_facts() {
    let db = Db::migrated();
    let session = db.session().await;
    put_many(&session, 10).await;
    session.batch_execute("analyze faultline.jobs").await.unwrap();
    let facts = database::facts(&session).await.unwrap().unwrap();
    assert_eq!(
        (facts.server.schema_version, facts.server.database.as_str()),
        (facts.server.schema_needed, db.database.name())
    );
    let history = facts.tables.iter().find(|table| table.name == "job_history").unwrap();
    assert_eq!(history.partitions, 9, "a week, today and the default one");
    assert!(
        facts.tables.iter().any(|table| table.name == "jobs" && table.table_bytes > 0 && table.analyzed_at.is_some())
    );
    assert_eq!(
        facts.indexes.iter().map(|index| index.name.as_str()).collect::<Vec<_>>(),
        ["jobs_claim_order", "jobs_pkey"]
    );
    assert_eq!(facts.partitions.len(), 18);
    assert_eq!(facts.partitions.iter().filter(|partition| partition.day.is_none()).count(), 2);
    let fsync = facts.settings.iter().find(|setting| setting.name == "fsync").unwrap();
    assert_eq!((fsync.value.as_str(), fsync.warning.is_some()), ("off", true), "as clusters of tests are");
    let holder = db.plain().await;
    holder.batch_execute("begin; select pg_current_xact_id(); set application_name = 'holder'").await.unwrap();
    let facts = database::facts(&session).await.unwrap().unwrap();
    let held = facts.sessions.iter().find(|sessions| sessions.application == "holder").unwrap();
    assert!(held.sessions == 1 && held.oldest_transaction_s.is_some(), "{held:?}");
    assert!(facts.oldest_xmin.iter().any(|holder| holder.age_s.is_some()));
}
