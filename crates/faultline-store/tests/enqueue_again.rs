//! The second try of an enqueue whose answer was lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline_cluster::testing;
use faultline_core::{JobId, NewJob};
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_again};
use faultline_store::{Database, maintain, migrate};
use serde_json::value::RawValue;

fn migrated(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::new(url, "test", 1).unwrap();
        database.run(async |client| migrate::migrate(client).await).await.unwrap();
    });
}

#[tokio::test]
async fn a_second_try_after_the_end_of_the_keys_window_is_the_same_job() {
    let test = testing::database(migrated);
    let database = Database::new(&test.url(), "test", 2).unwrap();
    let psql = |sql: &str| testing::cluster().psql(test.name(), sql).unwrap();
    let id = JobId::new(1_700_000_000_000, &mut rand::rng());
    let mut job = NewJob::new(id, "k", RawValue::from_string("{}".into()).unwrap());
    job.key = Some("a".into());
    let jobs = [job];
    let first = database.run(async |client| enqueue(client, &jobs).await).await.unwrap();
    assert_eq!(first, [Enqueued::Created(id)]);

    psql("update faultline.idempotency_keys set expires_at = clock_timestamp() - interval '1 minute'");
    let again = database.run(async |client| enqueue_again(client, &jobs).await).await.unwrap();
    assert_eq!(again, [Enqueued::Created(id)]);

    // Also when the job has ended since, and somebody has tidied up.
    psql("update faultline.idempotency_keys set expires_at = clock_timestamp() - interval '1 minute'");
    psql(&format!("select faultline.cancel('{id}')"));
    database.run(async |client| maintain::prune(client).await).await.unwrap();
    let again = database.run(async |client| enqueue_again(client, &jobs).await).await.unwrap();
    assert_eq!(again, [Enqueued::Created(id)]);
    assert_eq!(psql("select count(*) from faultline.all_jobs"), "1");
}
