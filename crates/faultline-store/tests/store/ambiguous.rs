//! Answers that nobody may give too early: what was not committed, or was and is not on the standby yet.

use crate::common::{
    DEADLINE, Db, LONG, QUEUE, SUCCEEDED, complete, connect, count, job, keyed, running, until, value,
};
use faultline_cluster::{Cluster, Programs};
use faultline_core::NewJob;
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_again};
use faultline_store::finish::{Finish, finish};
use faultline_store::{ClientWrapper, Database, Error, Plans, Session, migrate};
use tokio_postgres::Client;

/// Ends the backend of a session while it waits.
async fn terminate(observer: &Client, pid: i32, waits: &str) {
    until(observer, &format!("select exists (select from pg_stat_activity where pid = $1 and {waits})"), &[&pid]).await;
    assert!(value::<bool>(observer, "select pg_terminate_backend($1)", &[&pid]).await);
}

async fn pid_of(session: &Session) -> i32 {
    value(session, "select pg_backend_pid()", &[]).await
}

#[tokio::test]
async fn an_enqueue_whose_session_died_before_its_commit_is_not_answered_as_done() {
    let db = Db::migrated();
    let (session, locker, observer) = (db.session().await, db.plain().await, db.plain().await);
    locker.batch_execute("begin; lock table faultline.jobs in share mode").await.unwrap();
    let pid = pid_of(&session).await;
    let jobs = [job(), keyed("a")];
    let (answer, ()) = tokio::join!(enqueue(&session, &jobs), terminate(&observer, pid, "wait_event_type = 'Lock'"));
    assert!(matches!(answer, Err(Error::Indeterminate { .. })), "{answer:?}");
    locker.batch_execute("rollback").await.unwrap();
    assert_eq!(count(&observer, "faultline.jobs").await, 0);
}

/// A cluster that waits for a standby which is not there.
struct Lonely {
    cluster: Cluster,
    store: Database,
    /// The same without waiting for a standby.
    local: Database,
    observer: Client,
}

const WAITS_FOR_STANDBY: &str = "wait_event = 'SyncRep'";

impl Lonely {
    async fn start() -> Self {
        let cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
        let url = cluster.url("postgres");
        let local = Database::with_settings(&url, "test", 1, "-c synchronous_commit=local").unwrap();
        local.run(async |client| migrate::migrate(client).await).await.unwrap();
        let observer = connect(&url).await;
        let lonely = Self { cluster, store: Database::new(&url, "test", 4).unwrap(), local, observer };
        lonely.wait_for("nobody");
        // The setting is there when commits begin to wait.
        let probe = lonely.store.session("test", Plans::Free).await.unwrap();
        let pid = pid_of(&probe).await;
        let commit =
            async { while probe.batch_execute("select pg_logical_emit_message(true, '', '')").await.is_ok() {} };
        tokio::join!(commit, terminate(&lonely.observer, pid, WAITS_FOR_STANDBY));
        lonely
    }

    /// Names the standby that commits wait for.
    fn wait_for(&self, standby: &str) {
        let name = format!("alter system set synchronous_standby_names = '{standby}'");
        for sql in [name.as_str(), "select pg_reload_conf()"] {
            self.cluster.psql("postgres", sql).unwrap();
        }
    }

    /// Makes a call whose commit waits for the standby until its session is killed: it is done, and nobody was told.
    async fn unanswered<T: std::fmt::Debug>(&self, call: impl AsyncFnOnce(&Session) -> Result<T, Error>) {
        let session = self.store.session("test", Plans::Free).await.unwrap();
        let pid = pid_of(&session).await;
        let (answer, ()) = tokio::join!(call(&session), terminate(&self.observer, pid, WAITS_FOR_STANDBY));
        assert!(matches!(answer, Err(Error::Indeterminate { .. })), "{answer:?}");
    }

    /// Calls again; must not be answered before the standby is there, or nobody waits for it any more.
    async fn answered_when_durable<T: std::fmt::Debug>(
        &self,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, Error>,
    ) -> T {
        let again = self.store.run(call);
        let waiting = format!("select exists (select from pg_stat_activity where {WAITS_FOR_STANDBY})");
        let mut again = std::pin::pin!(again);
        tokio::select! {
            biased;
            answer = &mut again => panic!("answered {:?} from what no standby has", answer.unwrap()),
            () = until(&self.observer, &waiting, &[]) => {}
        }
        self.wait_for("");
        tokio::time::timeout(DEADLINE, again).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_duplicate_is_answered_only_when_it_is_as_durable_as_the_first() {
    let lonely = Lonely::start().await;
    let new = keyed("a");
    lonely.unanswered(async |session| enqueue(session, std::slice::from_ref(&new)).await).await;
    let again = NewJob { id: job().id, ..new.clone() };
    let answer = lonely.answered_when_durable(async |client| enqueue(client, &[again]).await).await;
    assert_eq!(answer, [Enqueued::Duplicate(new.id)]);
}

#[tokio::test]
async fn a_second_try_without_a_key_is_answered_only_when_it_is_as_durable_as_the_first() {
    let lonely = Lonely::start().await;
    let new = [job()];
    lonely.unanswered(async |session| enqueue(session, &new).await).await;
    let answer = lonely.answered_when_durable(async |client| enqueue_again(client, &new).await).await;
    assert_eq!(answer, [Enqueued::Created(new[0].id)]);
}

#[tokio::test]
async fn a_repeated_finish_is_answered_only_when_it_is_as_durable_as_the_first() {
    let lonely = Lonely::start().await;
    let local = lonely.local.session("test", Plans::Free).await.unwrap();
    let held = running(&local, &job(), LONG).await;
    let one = [Finish { id: held.id, lease_id: held.lease_id, ending: complete() }];
    lonely.unanswered(async |session| finish(session, QUEUE, &one).await).await;
    let answer = lonely.answered_when_durable(async |client| finish(client, QUEUE, &one).await).await;
    assert_eq!(answer, [SUCCEEDED]);
}

/// A stopped process that sits in a transaction holds its rows, and reapers go around them.
#[tokio::test]
async fn every_session_of_the_engine_has_its_time_limits() {
    let db = Db::migrated();
    let limits = "select name, setting::bigint between 1 and 60000 as is_bounded from pg_settings
        where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')";
    let pooled = db.store.run(async |client| Ok(client.query(limits, &[]).await?)).await.unwrap();
    let mut all = vec![pooled];
    for plans in [Plans::Free, Plans::InOrder, Plans::ById] {
        all.push(db.session_with(plans).await.query(limits, &[]).await.unwrap());
    }
    for row in all.iter().flatten() {
        assert!(row.get::<_, bool>("is_bounded"), "no bound: {}", row.get::<_, String>("name"));
    }
    assert_eq!(all.iter().flatten().count(), 12);
}
