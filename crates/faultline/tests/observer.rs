//! What the observer says of the whole database is what is there.

mod common;

use common::{DEADLINE, client, database, plain};
use faultline::{Client, Observer};
use faultline_core::{LeaseId, WorkerId};
use faultline_store::finish::{Ending, Finish, finish};
use faultline_store::lease::{Floors, claim};
use faultline_store::observe::{self, Fleet, MAX_ROWS};
use faultline_store::operate::pause;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

fn observe(client: &Client) -> DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(Observer::new(client).run_until(stop.clone()));
    stop.drop_guard()
}

/// Waits until the metrics have a line that begins like this; answers its value.
async fn value(client: &Client, series: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    let mut text = String::new();
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            text = client.metrics().encode();
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            if let Some(value) = line.and_then(|value| value.parse().ok()).filter(|value| wanted(*value)) {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("no wanted {series} in {text}"))
}

#[tokio::test]
async fn depths_and_ages_are_those_of_the_queues() {
    let database = database();
    let client = client(&database);
    let enqueue = async |count: usize, delay: Duration| {
        let job = || client.enqueue_raw("k", json!({})).queue("q").delay(delay).into_new_job().unwrap();
        client.enqueue_all(&(0..count).map(|_| job()).collect::<Vec<_>>()).await.unwrap();
    };
    enqueue(6, Duration::ZERO).await;
    enqueue(4, Duration::from_secs(3600)).await;
    let lease = LeaseId::new(&mut rand::rng());
    let call = client.database().run(async |session| {
        let owner = WorkerId::new(&mut rand::rng());
        let taken = claim(session, "q", lease, owner, Duration::from_secs(60), 3, &Floors::head()).await?;
        let ending = Ending::Fail { error: "no".into(), delay: Duration::from_secs(3600) };
        finish(session, "q", &[Finish { id: taken[0].id, lease_id: lease, ending }]).await?;
        pause(session, "test", "paused", None).await
    });
    call.await.unwrap();

    let _observer = observe(&client);
    for (state, depth) in [("due", 3.0), ("scheduled", 4.0), ("retrying", 1.0), ("running", 2.0)] {
        let series = format!("faultline_queue_depth{{queue=\"q\",state=\"{state}\"}}");
        value(&client, &series, |value| value == depth).await;
    }
    value(&client, r#"faultline_queue_depth_bounded{queue="q"}"#, |value| value == 0.0).await;
    value(&client, r#"faultline_queue_oldest_due_age_seconds{queue="q"}"#, |value| value > 0.0).await;
    value(&client, r#"faultline_queue_paused{queue="paused"}"#, |value| value == 1.0).await;
    value(&client, r#"faultline_queue_paused{queue="q"}"#, |value| value == 0.0).await;
    value(&client, r#"faultline_queue_workers{queue="q"}"#, |value| value == 0.0).await;
    value(&client, "faultline_workers_alive", |value| value == 0.0).await;
    for table in ["job_history", "job_attempts"] {
        value(&client, &format!("faultline_history_partitions_ahead{{table=\"{table}\"}}"), |value| value == 8.0).await;
    }
}

#[tokio::test]
async fn a_snapshot_that_is_held_shows_with_its_holder_and_its_age() {
    let database = database();
    let client = client(&database);
    let holder = plain(&format!("{}?application_name=forgotten%20psql", database.url())).await;
    holder.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    let _observer = observe(&client);
    let series = r#"faultline_database_oldest_xmin_age_seconds{holder="session",application="forgotten psql"}"#;
    let first = value(&client, series, |value| value > 0.0).await;
    value(&client, series, |value| value > first).await;
    holder.batch_execute("rollback").await.unwrap();
    let none = r#"faultline_database_oldest_xmin_age_seconds{holder="none",application=""}"#;
    value(&client, none, |value| value == 0.0).await;
    assert!(!client.metrics().encode().contains("forgotten psql"), "one series at a time");
}

#[tokio::test]
async fn a_missing_partition_shows() {
    let database = database();
    let client = client(&database);
    let drop = "do $$ begin execute format('drop table faultline.job_history_%s',
        to_char((clock_timestamp() at time zone 'utc')::date + 2, 'YYYYMMDD')); end $$";
    plain(&database.url()).await.batch_execute(drop).await.unwrap();
    let _observer = observe(&client);
    value(&client, r#"faultline_history_partitions_ahead{table="job_history"}"#, |value| value == 2.0).await;
    value(&client, r#"faultline_history_partitions_ahead{table="job_attempts"}"#, |value| value == 8.0).await;
}

/// Depths are bounded counts; but running jobs, however many, don't hide the oldest due one.
#[tokio::test]
async fn counts_end_at_the_bound_and_what_runs_hides_nothing() {
    let database = database();
    let client = client(&database);
    let session = plain(&database.url()).await;
    let rows = "insert into faultline.jobs (id, created_at, next_run_at, max_attempts, timeout_ms, backoff_base_ms,
            backoff_cap_ms, priority, queue, kind, payload, state, attempts, started_at, lease_id, lease_owner, lease_expires_at)
        select gen_random_uuid(), now(), now() - interval '1 hour' + n * interval '1 ms', 9, 1, 0, 0, 2, 'q', 'k', '{}',
               case when n <= 12000 then 'running' else 'queued' end::faultline.job_state, case when n <= 12000 then 1 else 0 end,
               case when n <= 12000 then now() end, case when n <= 12000 then gen_random_uuid() end,
               case when n <= 12000 then gen_random_uuid() end, case when n <= 12000 then now() end
          from generate_series(1, 24000) n";
    session.batch_execute(rows).await.unwrap();
    let fleet = Fleet { alive: 1, slots: 12_000 };
    let look = client.database().run(async |session| observe::queues(session, fleet).await).await.unwrap();
    let queue = look.iter().find(|queue| queue.name == "q").unwrap();
    assert_eq!((queue.running, queue.due, queue.bounded), (12_000, 10_000, true));
    assert!(queue.oldest_due_s.unwrap() > 3500.0);
    assert!(queue.running + queue.due <= MAX_ROWS);
}
