//! Maintenance: partitions come and go in time, whatever went wrong before; rows that nobody needs are removed, others stay.

use crate::common::{DEADLINE, Db, LONG, complete, count, end, facts, facts_of, job, put, running, value, worker};
use faultline_store::maintain::{partitions, prune};
use faultline_store::presence::register;
use futures_util::future::join_all;
use tokio_postgres::Client;

/// The name of a day's partition, so many days from now.
fn day(parent: &str, days: i32) -> String {
    format!("to_char((now() at time zone 'utc')::date + ({days}), '\"{parent}_\"YYYYMMDD')")
}

async fn has(client: &Client, parent: &str, days: i32) -> bool {
    value(client, &format!("select to_regclass('faultline.' || {}) is not null", day(parent, days)), &[]).await
}

async fn drop_day(client: &Client, parent: &str, days: i32) {
    let name: String = value(client, &format!("select {}", day(parent, days)), &[]).await;
    client.batch_execute(&format!("drop table faultline.{name}")).await.unwrap();
}

async fn add_day(client: &Client, parent: &str, days: i32) {
    let sql = format!(
        "select format('create table faultline.%I partition of faultline.{parent} for values from (%L) to (%L)', {},
             (now() at time zone 'utc')::date + ({days}) || ' 00:00+00', (now() at time zone 'utc')::date + ({days} + 1) || ' 00:00+00')",
        day(parent, days)
    );
    let create: String = value(client, &sql, &[]).await;
    client.batch_execute(&create).await.unwrap();
}

const PARENTS: [&str; 2] = ["job_history", "job_attempts"];

#[tokio::test]
async fn there_are_partitions_for_today_and_a_week_ahead_and_they_are_used() {
    let db = Db::migrated();
    let session = db.session().await;
    assert!(partitions(&session).await.unwrap());
    for parent in PARENTS {
        for days in 0..=7 {
            assert!(has(&session, parent, days).await, "{parent} {days}");
        }
        assert!(!has(&session, parent, 8).await && !has(&session, parent, -1).await);
    }
    let claimed = running(&session, &job(), LONG).await;
    end(&session, &claimed, crate::common::fail()).await;
    let claimed = crate::common::take(&session, 1, LONG).await.remove(0);
    end(&session, &claimed, complete()).await;
    assert_eq!(count(&session, "faultline.job_history").await, 1);
    assert_eq!(count(&session, "faultline.job_attempts").await, 1);
    assert_eq!(count(&session, "only faultline.job_history_default").await, 0);
    assert_eq!(count(&session, "only faultline.job_attempts_default").await, 0);
}

#[tokio::test]
async fn a_partition_goes_when_all_of_its_day_is_older_than_the_retention() {
    let db = Db::migrated();
    let session = db.session().await;
    for parent in PARENTS {
        for days in [-40, -15, -14, -13] {
            add_day(&session, parent, days).await;
        }
    }
    assert!(partitions(&session).await.unwrap());
    for parent in PARENTS {
        let kept: Vec<bool> = join_all([-40, -15, -14, -13, 0].map(|days| has(&session, parent, days))).await;
        assert_eq!(kept, [false, false, true, true, true], "{parent}");
    }
    session.batch_execute("update faultline.settings set history_retention = '1 day'").await.unwrap();
    assert!(partitions(&session).await.unwrap());
    for parent in PARENTS {
        let kept: Vec<bool> = join_all([-14, -13, 0].map(|days| has(&session, parent, days))).await;
        assert_eq!(kept, [false, false, true], "{parent}");
    }
}

#[tokio::test]
async fn many_processes_that_maintain_at_once_do_it_once_and_none_fails() {
    let db = Db::migrated();
    let sessions = join_all((0..8).map(|_| db.session())).await;
    for days in 3..=7 {
        drop_day(&sessions[0], "job_history", days).await;
    }
    let answers = join_all(sessions.iter().map(|session| partitions(session))).await;
    assert!(answers.into_iter().any(Result::unwrap));
    for days in 3..=7 {
        assert!(has(&sessions[0], "job_history", days).await);
    }
}

#[tokio::test]
async fn rows_that_came_while_a_partition_was_missing_do_not_stop_maintenance() {
    let db = Db::migrated();
    let session = db.session().await;
    for parent in PARENTS {
        drop_day(&session, parent, 0).await;
        drop_day(&session, parent, 5).await;
    }
    let claimed = running(&session, &job(), LONG).await;
    end(&session, &claimed, complete()).await;
    assert_eq!(count(&session, "faultline.job_history_default").await, 1);
    assert!(partitions(&session).await.unwrap());
    assert!(has(&session, "job_history", 5).await, "the coming days have theirs");
    assert!(has(&session, "job_attempts", 0).await, "what is not in the way has its own");
    assert_eq!(facts(&session, claimed.id).await.state, "succeeded");
}

#[tokio::test]
async fn rows_in_the_default_partition_go_with_the_retention_as_well() {
    let db = Db::migrated();
    let session = db.session().await;
    let insert = "insert into faultline.job_history (id, finished_at, created_at, next_run_at, max_attempts, timeout_ms,
                      backoff_base_ms, backoff_cap_ms, attempts, crashes, state, priority, queue, kind, payload)
                  select gen_random_uuid(), now() - age * interval '1 day', now(), now(), 1, 1, 1, 1, 1, 0, 'succeeded', 1,
                         'q', 'k', '{}' from unnest(array[20, 16, 10, 1]) age";
    session.batch_execute(insert).await.unwrap();
    assert_eq!(count(&session, "faultline.job_history_default").await, 4);
    assert!(partitions(&session).await.unwrap());
    assert_eq!(count(&session, "faultline.job_history_default").await, 2);
}

#[tokio::test]
async fn a_long_reader_makes_maintenance_wait_for_its_next_round_not_fail() {
    let db = Db::migrated();
    let (session, reader) = (db.session().await, db.plain().await);
    drop_day(&session, "job_history", 7).await;
    add_day(&session, "job_history", -40).await;
    // As a dump holds them for as long as it runs.
    reader.batch_execute("begin; select count(*) from faultline.job_history, faultline.job_attempts").await.unwrap();
    let answer = tokio::time::timeout(DEADLINE, partitions(&session)).await.unwrap();
    assert!(!answer.unwrap(), "it was not done");
    reader.batch_execute("rollback").await.unwrap();
    assert!(partitions(&session).await.unwrap());
    assert!(has(&session, "job_history", 7).await && !has(&session, "job_history", -40).await);
}

#[tokio::test]
async fn keys_go_after_their_window_and_workers_after_a_day_of_silence() {
    let db = Db::migrated();
    let session = db.session().await;
    let keys = "insert into faultline.idempotency_keys (job_id, expires_at, queue, key, fingerprint)
                select gen_random_uuid(), now() + case when n <= 2500 then interval '-2 hours' else interval '1 minute' end,
                       'q', n::text, '' from generate_series(1, 2600) n";
    session.batch_execute(keys).await.unwrap();
    for silence in ["0 s", "23 hours", "25 hours", "30 days"] {
        let id = worker();
        register(&session, &facts_of(id), false).await.unwrap();
        let sql = format!("update faultline.workers set heartbeat_at = now() - interval '{silence}' where id = $1");
        session.execute(&sql, &[&id.0]).await.unwrap();
    }
    assert_eq!(prune(&session).await.unwrap(), (2500, 2));
    assert_eq!(prune(&session).await.unwrap(), (0, 0));
    assert_eq!(count(&session, "faultline.idempotency_keys").await, 100);
    assert_eq!(count(&session, "faultline.workers").await, 2);
}

#[tokio::test]
async fn a_key_that_somebody_is_opening_again_is_not_pruned() {
    let db = Db::migrated();
    let (session, holder) = (db.session().await, db.session().await);
    put(&session, &crate::common::keyed("a")).await;
    session
        .batch_execute("update faultline.idempotency_keys set expires_at = now() - interval '2 hours'")
        .await
        .unwrap();
    holder.batch_execute("begin").await.unwrap();
    let again = crate::common::keyed("a");
    put(&holder, &again).await;
    assert_eq!(prune(&session).await.unwrap(), (0, 0));
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(prune(&session).await.unwrap(), (0, 0));
    assert_eq!(put(&session, &crate::common::keyed("a")).await.id(), again.id);
}
