//! What one reaper does, look by look, against Postgres.

use super::*;
use faultline_cluster::{Cluster, Programs, testing};
use faultline_core::{JobId, LeaseId, State};
use faultline_store::ClientWrapper;
use faultline_store::lease::{Floors, claim};

/// As long as that no other look from the head follows one that costs so much.
const LONGEST: Duration = Duration::from_secs(60);
/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(30);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn migrate(url: &str) {
    runtime().block_on(async { Client::lazy(url).unwrap().migrate().await.unwrap() });
}

/// A job that a worker holds under a lease which has expired.
async fn expired(client: &Client) -> (JobId, WorkerId) {
    let id = client.enqueue_raw("k", ()).await.unwrap().id();
    let (lease, owner) = (LeaseId::new(&mut rand::rng()), WorkerId::new(&mut rand::rng()));
    let take = async |session: &mut ClientWrapper| {
        claim(session, "default", lease, owner, Duration::ZERO, 1, &Floors::head()).await
    };
    assert_eq!(client.database().run(take).await.unwrap().len(), 1);
    (id, owner)
}

async fn is_running(client: &Client, id: JobId) -> bool {
    client.get(id).await.unwrap().unwrap().state == State::Running
}

/// A worker that outlived an outage is as much behind with its renewals as one that died in it.
#[test]
fn nobody_reaps_by_the_lease_before_a_lease_time_of_contact() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let client = Client::lazy(&database.url()).unwrap();
        let (id, owner) = expired(&client).await;
        let mut reaper = Reaper::all_queues(&client).lease_ttl(Duration::from_secs(4));
        let began = Instant::now();
        while is_running(&client, id).await {
            assert!(began.elapsed() < LIMIT);
            reaper.next_look = Instant::now();
            assert_eq!(reaper.look(&|_| {}).await.unwrap().expired, [owner]);
            if reaper.contact_since.is_some_and(|since| since.elapsed() < reaper.lease_ttl) {
                assert!(is_running(&client, id).await, "a reaper that has just come must hold off");
            }
        }
    });
}

/// The lease of a worker that was refused its renewals has run out when it may renew again.
#[test]
fn nobody_reaps_by_the_lease_before_its_worker_had_time_to_renew() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let client = Client::lazy(&database.url()).unwrap();
        let mut reaper = Reaper::all_queues(&client).lease_ttl(Duration::from_secs(6));
        reaper.contact_since = Instant::now().checked_sub(LIMIT);
        let (id, _) = expired(&client).await;
        let began = Instant::now();
        while is_running(&client, id).await {
            assert!(began.elapsed() < LIMIT);
            reaper.next_look = Instant::now();
            reaper.look(&|_| {}).await.unwrap();
        }
        assert!(began.elapsed() >= reaper.lease_ttl / EXPIRY_GRACE);
    });
}

/// Nor could it renew a row that somebody has locked, such as a handler that ends its job in a transaction of its own and then
/// rolls back.
#[test]
fn nobody_reaps_by_the_lease_what_was_locked_until_a_moment_ago() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let client = Client::lazy(&database.url()).unwrap();
        let mut reaper = Reaper::all_queues(&client).lease_ttl(Duration::from_secs(4));
        reaper.contact_since = Instant::now().checked_sub(LIMIT);
        let (id, owner) = expired(&client).await;
        let holder = Link::new(&client, "test", Plans::Free);
        let run = async |sql: &str| holder.call(async |session| Ok(session.batch_execute(sql).await?)).await.unwrap();
        run("begin; select from faultline.jobs for update").await;
        let mut look = async || {
            reaper.next_look = Instant::now();
            assert_eq!(reaper.look(&|_| {}).await.unwrap().expired, [owner]);
        };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            look().await;
        }
        run("rollback").await;
        let free = Instant::now();
        while is_running(&client, id).await {
            assert!(free.elapsed() < LIMIT);
            look().await;
        }
        assert!(free.elapsed() >= Duration::from_secs(4) / EXPIRY_GRACE);
    });
}

/// On a full disk looks are answered, and marks are committed for which the log of writes has room; and nobody can renew.
#[test]
fn who_may_have_been_refused_its_renewals_is_not_missed() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let client = Client::lazy(&database.url()).unwrap();
        let (id, owner) = expired(&client).await;
        let link = Link::new(&client, "test", Plans::Free);
        let run = async |sql: &str| link.call(async |session| Ok(session.batch_execute(sql).await?)).await.unwrap();
        run("create function faultline.refuse() returns trigger language plpgsql
                 as $$ begin raise exception 'no space left' using errcode = '53100'; end $$;
             create trigger refuse before update on faultline.jobs for each row execute function faultline.refuse()")
        .await;
        let mut reaper = Reaper::all_queues(&client);
        let refused = reaper.look(&|_| {}).await;
        assert!(
            matches!(&refused, Err(faultline_store::Error::Refused { code, .. }) if code == "53100"),
            "{refused:?}"
        );
        assert_eq!(reaper.contact_since, None);
        run("drop trigger refuse on faultline.jobs").await;
        assert_eq!(reaper.look(&|_| {}).await.unwrap().expired, [owner]);
        assert!(is_running(&client, id).await);
    });
}

/// Looks may lie far apart, and leases run out in between: who only sees the database before and after an outage must not
/// take that for contact.
#[test]
fn an_outage_between_two_looks_breaks_the_contact() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let mut reaper = Reaper::all_queues(&Client::lazy(&database.url()).unwrap());
        reaper.look(&|_| {}).await.unwrap();
        let first = reaper.contact_since.unwrap();
        reaper.look(&|_| {}).await.unwrap();
        assert_eq!(reaper.contact_since, Some(first), "contact lasts while the session does");
        let end = "select pg_terminate_backend(pg_backend_pid())";
        let ended = reaper.link.call(async |session| Ok(session.batch_execute(end).await?)).await;
        assert!(ended.is_err_and(|error| error.is_connection_fault()));
        reaper.look(&|_| {}).await.unwrap();
        assert!(reaper.contact_since.is_some_and(|since| since > first));
        assert!(!reaper.steady);
    });
}

/// Nothing arrives for a while, and then everything does, on the same session: leases that are shorter than that while have run out.
#[test]
fn an_answer_that_took_a_good_part_of_a_lease_breaks_the_contact() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let client = Client::lazy(&database.url()).unwrap();
        let mut reaper = Reaper::all_queues(&client).lease_ttl(Duration::from_millis(1500));
        reaper.look(&|_| {}).await.unwrap();
        let first = reaper.contact_since.unwrap();
        let other = Link::new(&client, "test", Plans::Free);
        let lock = "begin; lock table faultline.workers in access exclusive mode";
        other.call(async |session| Ok(session.batch_execute(lock).await?)).await.unwrap();
        let wait = other.call(async |session| Ok(session.batch_execute("select pg_sleep(0.8); commit").await?));
        let (looked, waited) = tokio::join!(reaper.look(&|_| {}), wait);
        looked.unwrap();
        waited.unwrap();
        assert!(reaper.contact_since.is_some_and(|since| since > first));
    });
}

/// A database that stands still for longer than a lease keeps live workers from renewing, and sees their leases expired when
/// it goes on.
#[test]
fn a_look_that_hung_for_as_long_as_a_lease_reaps_nobody() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let client = Client::lazy(&database.url()).unwrap();
        let mut reaper = Reaper::of(&client, vec!["default".into()], Arc::default()).lease_ttl(Duration::from_secs(2));
        reaper.look(&|_| {}).await.unwrap();
        reaper.contact_since = Some(Instant::now().checked_sub(Duration::from_secs(60)).unwrap());
        let connect = async || {
            let (client, connection) =
                tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        };
        let (mut stalled, other) = (connect().await, connect().await);
        let worker = "select faultline.enqueue(kind => 'work');
            update faultline.jobs set state = 'running', attempts = 1, lease_id = gen_random_uuid(),
                lease_owner = gen_random_uuid(), started_at = clock_timestamp(),
                lease_expires_at = clock_timestamp() + interval '2 seconds'";
        let stall = stalled.transaction().await.unwrap();
        stall.batch_execute("lock table faultline.workers").await.unwrap();
        other.batch_execute(worker).await.unwrap();
        let expired = async {
            let sql = "select pg_sleep_until((select max(lease_expires_at) from faultline.jobs) + interval '10 milliseconds')";
            other.batch_execute(sql).await.unwrap();
            stall.commit().await.unwrap();
        };
        reaper.next_look = Instant::now();
        let (looked, ()) = tokio::join!(reaper.look(&|_| {}), expired);
        assert!(!looked.unwrap().expired.is_empty(), "it saw the lease expired");
        let running = "select count(*) from faultline.jobs where state = 'running'";
        assert_eq!(other.query_one(running, &[]).await.unwrap().get::<_, i64>(0), 1);
    });
}

/// As long as that, others that were stopped as well have lost none of their leases, however short these are.
#[test]
fn a_stall_of_most_of_a_lease_breaks_the_contact() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let mut reaper = Reaper::all_queues(&Client::lazy(&database.url()).unwrap()).lease_ttl(Duration::from_secs(2));
        reaper.look(&|_| {}).await.unwrap();
        let first = reaper.contact_since.unwrap();
        reaper.next_look = Instant::now() - Duration::from_millis(1500);
        reaper.look(&|_| {}).await.unwrap();
        assert!(reaper.contact_since.is_some_and(|since| since > first));
        assert!(!reaper.steady);
    });
}

/// Whoever only reads is answered all the same.
#[test]
fn commits_that_hang_break_the_contact_while_jobs_run() {
    let cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    migrate(&url);
    runtime().block_on(async {
        let client = Client::lazy(&url).unwrap();
        let mut reaper = Reaper::all_queues(&client).lease_ttl(Duration::from_millis(1500));
        client.enqueue_raw("kind", serde_json::json!({})).await.unwrap();
        let (lease, owner) = (LeaseId::new(&mut rand::rng()), WorkerId::new(&mut rand::rng()));
        let (long, floors) = (Duration::from_secs(600), Floors::head());
        let link = Link::new(&client, "test", Plans::InOrder);
        let claimed = link.call(async |s| claim(s, "default", lease, owner, long, 1, &floors).await).await;
        assert_eq!(claimed.unwrap().len(), 1);
        reaper.look(&|_| {}).await.unwrap();
        let first = reaper.contact_since.unwrap();
        cluster.configure("synchronous_standby_names", "nobody").unwrap();
        let hang = async {
            let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
            while cluster.psql("postgres", waits).unwrap() == "0" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Longer than the half of a lease after which contact is lost.
            tokio::time::sleep(Duration::from_millis(900)).await;
            cluster.configure("synchronous_standby_names", "").unwrap();
        };
        let (looked, ()) = tokio::join!(reaper.look(&|_| {}), hang);
        looked.unwrap();
        assert!(reaper.contact_since.is_some_and(|since| since > first));
    });
}

/// Where looks from the head are dear they are rare. What one of them finds behind the floors is kept in sight by those between.
#[test]
fn a_lease_that_expired_behind_the_floors_is_reaped() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let client = Client::lazy(&database.url()).unwrap();
        let mut reaper = Reaper::of(&client, vec!["default".into()], Arc::default()).lease_ttl(Duration::from_secs(2));
        let back = Link::new(&client, "test", Plans::Free);
        let back = async |sql: &str| back.call(async |session| Ok(session.batch_execute(sql).await?)).await.unwrap();
        let dear = |reaper: &mut Reaper| reaper.pace.after_head(LONGEST, 1, LONGEST, Instant::now());
        reaper.look(&|_| {}).await.unwrap();
        reaper.contact_since = Instant::now().checked_sub(LIMIT);
        dear(&mut reaper);
        let (id, owner) = expired(&client).await;
        back("update faultline.jobs set next_run_at = next_run_at - interval '1 hour'").await;
        let look = async |reaper: &mut Reaper| {
            reaper.next_look = Instant::now();
            reaper.look(&|_| {}).await.unwrap().expired
        };
        assert_eq!(look(&mut reaper).await, [], "it is behind the floors");
        reaper.floors = None;
        assert_eq!(look(&mut reaper).await, [owner]);
        dear(&mut reaper);
        let began = Instant::now();
        while is_running(&client, id).await {
            assert!(began.elapsed() < LIMIT);
            assert_eq!(look(&mut reaper).await, [owner]);
        }
        assert!(began.elapsed() >= reaper.lease_ttl / EXPIRY_GRACE);
    });
}

/// An outage, or another primary: rows may be back that had ended.
#[test]
fn after_an_outage_a_look_begins_at_the_head() {
    let runtime = runtime();
    let database = testing::database(migrate);
    runtime.block_on(async {
        let mut reaper = Reaper::all_queues(&Client::lazy(&database.url()).unwrap());
        reaper.look(&|_| {}).await.unwrap();
        assert!(reaper.floors.is_some());
        reaper.lose_contact();
        assert!(reaper.floors.is_none());
    });
}
