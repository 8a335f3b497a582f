//! What operators did is told, by the database's clock.

use crate::common::{Db, QUEUE, facts_of, value, worker};
use faultline_store::dashboard::people::{now, paused_by};
use faultline_store::operate::{drain, pause, resume};
use faultline_store::presence::register;

#[tokio::test]
async fn who_paused_a_queue_first_is_told_until_it_is_resumed() {
    let db = Db::migrated();
    let session = db.session().await;
    pause(&session, "ada", QUEUE, Some("the bank is closed")).await.unwrap();
    pause(&session, "bob", QUEUE, Some("still closed")).await.unwrap();
    pause(&session, "bob", "other", None).await.unwrap();
    let by = paused_by(&session).await.unwrap();
    assert_eq!((by.len(), by[QUEUE].as_str(), by["other"].as_str()), (2, "ada", "bob"));
    resume(&session, "ada", QUEUE).await.unwrap();
    assert!(!paused_by(&session).await.unwrap().contains_key(QUEUE));
}

#[tokio::test]
async fn a_worker_that_is_there_is_asked_to_drain_and_that_is_noted() {
    let db = Db::migrated();
    let session = db.session().await;
    let (someone, nobody) = (worker(), worker());
    register(&session, &facts_of(someone), false).await.unwrap();
    assert!(drain(&session, "ada", someone).await.unwrap());
    assert!(!drain(&session, "ada", nobody).await.unwrap());
    let draining: bool = value(&session, "select draining from faultline.workers where id = $1", &[&someone.0]).await;
    assert!(draining);
    let noted: String = value(
        &session,
        "select string_agg(actor || ' ' || action || ' ' || subject, ',') from faultline.audit_log",
        &[],
    )
    .await;
    assert_eq!(noted, format!("ada worker.drain {someone}"));
}

#[tokio::test]
async fn the_time_is_the_databases() {
    let db = Db::migrated();
    let session = db.session().await;
    let before: jiff::Timestamp = value(&session, "select clock_timestamp()", &[]).await;
    let told = now(&session).await.unwrap();
    let after: jiff::Timestamp = value(&session, "select clock_timestamp()", &[]).await;
    assert!(before <= told && told <= after);
}
