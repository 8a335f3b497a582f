//! Lists find what they are asked for, whole and in order, in steps of bounded size.

use crate::common::{Db, LONG, QUEUE, complete, count, end, fail, json, put, take, value};
use faultline_core::{JobId, NewJob, State};
use faultline_store::dashboard::bulk::{self, Action};
use faultline_store::dashboard::queues::Precision;
use faultline_store::operate::cancel;
use faultline_store::read::{Filter, StateFilter, list, page, page_within};
use faultline_store::{ClientWrapper, Session};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use uuid::Uuid;

/// Jobs of a history whose ids are made one a second, oldest first; every hundredth failed.
async fn history(session: &Session, jobs: i64) {
    let sql = "insert into faultline.job_history (id, finished_at, created_at, next_run_at, max_attempts, timeout_ms, backoff_base_ms,
                   backoff_cap_ms, attempts, crashes, state, priority, queue, kind, key, headers, payload, last_error)
               select (left(faultline.uuid_at(at)::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid, now(), at, at, 1, 1, 1, 1,
                      n % 5, 0, (case when n % 100 = 0 then 'failed' else 'succeeded' end)::faultline.job_state, 1, 'q' || n % 3, 'k' || n % 2,
                      'key' || n, case n % 1000 when 7 then '{\"tenant\": \"acme\"}'::jsonb when 8 then '{\"tenant\": [\"acme\", \"b\"]}' end,
                      '{}', case when n % 100 = 0 then 'Error ' || n end
                 from (select n, now() - interval '12 hours' + n * interval '1 second' as at from generate_series(1, $1::bigint) n) s";
    session.execute(sql, &[&jobs]).await.unwrap();
}

async fn ids(client: &ClientWrapper, filter: &Filter) -> Vec<JobId> {
    list(client, filter, 1000).await.unwrap().iter().map(|job| job.id).collect()
}

async fn expected(session: &Session, condition: &str) -> Vec<JobId> {
    let sql = format!("select id from faultline.all_jobs where {condition} order by id desc limit 1000");
    session.query(&sql, &[]).await.unwrap().iter().map(|row| JobId(row.get(0))).collect()
}

fn states(text: &str) -> Option<Vec<StateFilter>> {
    Some(text.split(',').map(|state| state.parse().unwrap()).collect())
}

/// A job with an id of now.
fn fresh() -> NewJob {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    let mut job = NewJob::new(JobId::new(now, &mut rand::rng()), "k1", json("{}"));
    job.queue = QUEUE.into();
    job
}

#[tokio::test]
async fn every_filter_finds_what_a_scan_of_everything_finds() {
    let db = Db::migrated();
    let session = db.session().await;
    history(&session, 10_000).await;
    for _ in 0..6 {
        put(&session, &fresh()).await;
    }
    let claimed = take(&session, 4, LONG).await;
    end(&session, &claimed[0], complete()).await;
    end(&session, &claimed[1], fail()).await;
    cancel(&session, "me", claimed[2].id).await.unwrap();
    let noon: Timestamp = value(&session, "select now() - interval '11 hours'", &[]).await;
    let some = Filter::default;
    let tag = |value: Option<&str>| Some(("tenant".to_owned(), value.map(str::to_owned)));
    for (filter, condition) in [
        (some(), "true".to_owned()),
        (Filter { queue: Some("q1".into()), kind: Some("k1".into()), ..some() }, "queue = 'q1' and kind = 'k1'".into()),
        (Filter { states: states("failed"), ..some() }, "state = 'failed'".into()),
        (Filter { states: states("failed,queued"), ..some() }, "state in ('failed', 'queued')".into()),
        (Filter { states: states("running"), ..some() }, "state = 'running'".into()),
        (Filter { states: states("retrying"), ..some() }, "state = 'queued' and attempts > 0".into()),
        (
            Filter { states: states("succeeded"), queue: Some(QUEUE.into()), ..some() },
            "state = 'succeeded' and queue = 'q'".into(),
        ),
        (Filter { key: Some("key77".into()), ..some() }, "key = 'key77'".into()),
        (Filter { tag: tag(None), ..some() }, "headers ? 'tenant'".into()),
        (Filter { tag: tag(Some("acme")), ..some() }, "headers ? 'tenant'".into()),
        (Filter { tag: tag(Some("b")), ..some() }, "headers -> 'tenant' ? 'b'".into()),
        (Filter { min_attempts: Some(4), ..some() }, "attempts >= 4".into()),
        (Filter { error: Some("eRRor 50".into()), ..some() }, "last_error like 'Error 50%'".into()),
        (
            Filter { created_from: Some(noon), created_before: Some(noon + SignedDuration::from_mins(5)), ..some() },
            format!("created_at >= '{noon}' and created_at < '{noon}'::timestamptz + interval '5 minutes'"),
        ),
    ] {
        let expected = expected(&session, &condition).await;
        assert!(!expected.is_empty(), "{condition}");
        assert_eq!(ids(&session, &filter).await, expected, "{condition}");
    }
}

#[tokio::test]
async fn pages_go_through_everything_once_in_both_directions() {
    let db = Db::migrated();
    let session = db.session().await;
    history(&session, 5000).await;
    put(&session, &fresh()).await;
    let all = expected(&session, "kind = 'k1'").await;
    let mut filter = Filter { kind: Some("k1".into()), ..Filter::default() };
    let mut down = Vec::new();
    while down.len() < all.len() {
        let page = page(&session, &filter, 300).await.unwrap();
        assert!(page.jobs.len() == 300 || !page.has_more, "{} jobs", page.jobs.len());
        down.extend(page.jobs.iter().map(|job| job.id));
        filter.before = page.next;
    }
    assert_eq!(down[..1000], all);
    let mut filter = Filter { after: Some(all[999]), kind: Some("k1".into()), ..Filter::default() };
    let mut up = Vec::new();
    loop {
        let page = page(&session, &filter, 300).await.unwrap();
        assert!(page.jobs.is_sorted_by_key(|job| std::cmp::Reverse(job.id)), "newest first");
        up.splice(0..0, page.jobs.iter().map(|job| job.id));
        filter.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(up, all[..999]);
}

#[tokio::test]
async fn a_filter_that_matches_nothing_says_how_far_it_has_searched_and_goes_on() {
    let db = Db::migrated();
    let session = db.session().await;
    history(&session, 9000).await;
    let mut filter = Filter { kind: Some("none".into()), ..Filter::default() };
    let (mut steps, mut last) = (0, Timestamp::MAX);
    loop {
        // No time at all: one step each.
        let page = page_within(&session, &filter, 50, Duration::ZERO).await.unwrap();
        assert!(page.jobs.is_empty());
        steps += 1;
        let Some(next) = page.next else {
            assert!(!page.has_more && page.searched_to.is_none());
            break;
        };
        let reached = page.searched_to.unwrap();
        assert!(page.has_more && reached < last, "{reached}");
        (last, filter.before) = (reached, Some(next));
    }
    assert_eq!(steps, 5, "2,000 jobs a step");
}

#[tokio::test]
async fn a_key_is_found_at_once_however_long_the_history_above_it_is() {
    let db = Db::migrated();
    let session = db.session().await;
    let mut keyed = fresh();
    keyed.id = JobId::new(1_600_000_000_000, &mut rand::rng());
    keyed.key = Some("order-1".into());
    put(&session, &keyed).await;
    history(&session, 9000).await;
    for queue in [None, Some(QUEUE.to_owned())] {
        let filter = Filter { key: keyed.key.clone(), queue, ..Filter::default() };
        let page = page_within(&session, &filter, 50, Duration::ZERO).await.unwrap();
        assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [keyed.id]);
    }
}

fn successor() -> JobId {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    JobId::new(now, &mut rand::rng())
}

#[tokio::test]
async fn everything_that_matches_is_retried_once_and_the_new_jobs_are_left_alone() {
    let db = Db::migrated();
    let session = db.session().await;
    history(&session, 30_000).await;
    let filter = Filter { states: states("failed"), kind: Some("k0".into()), ..Filter::default() };
    let counted = bulk::count(&session, &filter, Duration::from_secs(30)).await.unwrap();
    assert_eq!((counted.jobs, counted.precision), (300, Precision::Exact));
    for changed in [300, 0] {
        let (mut filter, mut sum) = (filter.clone(), bulk::Progress::default());
        loop {
            let step = db
                .store
                .run(async |client| {
                    bulk::step(client, "me", Action::Retry, &filter, Duration::from_secs(5), successor).await
                })
                .await
                .unwrap();
            sum.matched += step.matched;
            sum.changed += step.changed;
            filter.before = step.next;
            if step.next.is_none() {
                break;
            }
        }
        assert_eq!((sum.matched, sum.changed), (300, changed));
    }
    assert_eq!(count(&session, "faultline.jobs where retry_of is not null").await, 300);
    let noted = count(&session, "faultline.audit_log where actor = 'me' and action = 'jobs.retry'").await;
    assert_eq!(noted, 3, "an entry a batch");
}

#[tokio::test]
async fn what_waits_or_runs_is_cancelled_and_what_ended_is_left() {
    let db = Db::migrated();
    let session = db.session().await;
    for _ in 0..5 {
        put(&session, &fresh()).await;
    }
    let claimed = take(&session, 2, LONG).await;
    end(&session, &claimed[0], complete()).await;
    let all = Filter::default();
    let cancel_all = async || {
        db.store
            .run(async |client| bulk::step(client, "me", Action::Cancel, &all, Duration::from_secs(5), successor).await)
            .await
            .unwrap()
    };
    let done = cancel_all().await;
    assert_eq!((done.matched, done.changed, done.next), (5, 4, None));
    let ended: Vec<Uuid> = expected(&session, "state = 'cancelled'").await.iter().map(|id| id.0).collect();
    assert_eq!(ended.len(), 3);
    let running = list(&session, &Filter { states: states("running"), ..Filter::default() }, 10).await.unwrap();
    assert!(running.len() == 1 && running[0].cancel_requested && running[0].state == State::Running);
}
