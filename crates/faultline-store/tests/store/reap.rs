//! Reaping: no lease ends early, none of a live worker, none that was renewed; nothing is lost or hidden.

use crate::common::{
    DEADLINE, Db, EXPIRED, LONG, LOOK_AT, QUEUE, SUCCEEDED, complete, connect, count, end, facts, facts_of, job, lease,
    put, put_many, reap, running, take, take_for, until, value, worker,
};
use faultline_core::{JobId, NewJob, State, WorkerId};
use faultline_store::lease::{Floors, claim, renew};
use faultline_store::presence::{WorkerFacts, register, stop};
use faultline_store::reap::{LookFloors, REAP_LIMIT, Reaped, bury, reap as reap_of, rehearse, watch, watch_from};
use faultline_store::{Database, Error, Plans, Session};
use std::collections::HashSet;

fn queues() -> Vec<String> {
    vec![QUEUE.into()]
}

fn told(reaped: &[Reaped]) -> Vec<(JobId, State)> {
    reaped.iter().map(|one| (one.id, one.state)).collect()
}

async fn buried(session: &Session, id: WorkerId) -> Vec<(JobId, State)> {
    let mut reaped = Vec::new();
    bury(session, &queues(), &[id], LOOK_AT, &mut reaped).await.unwrap();
    told(&reaped)
}

async fn reaper(db: &Db) -> Session {
    db.session_with(Plans::InOrder).await
}

/// A worker whose session can be ended.
async fn present(db: &Db, id: WorkerId) -> Session {
    let session = db.session_with(Plans::ById).await;
    register(&session, &facts_of(id), session.is_direct()).await.unwrap();
    session
}

/// Ends a session and waits until its backend is gone.
async fn leave(observer: &Session, session: Session) {
    let pid: i32 = value(&session, "select pg_backend_pid()", &[]).await;
    drop(session);
    until(observer, "select not exists (select from pg_stat_activity where pid = $1)", &[&pid]).await;
}

/// Out of a connection that was given up, packets may still arrive.
#[tokio::test]
async fn a_registration_that_comes_late_does_not_replace_the_session_that_has_taken_over() {
    let db = Db::migrated();
    let (observer, worker) = (reaper(&db).await, worker());
    let given_up = present(&db, worker).await;
    let taken_over = present(&db, worker).await;
    register(&given_up, &facts_of(worker), true).await.unwrap();
    leave(&observer, given_up).await;
    assert_eq!(watch(&observer, &queues(), LOOK_AT).await.unwrap().absent, []);
    leave(&observer, taken_over).await;
    assert_eq!(watch(&observer, &queues(), LOOK_AT).await.unwrap().absent, [worker]);
}

#[tokio::test]
async fn a_lease_that_lasts_is_not_reaped_however_often_one_tries() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let held = running(&session, &job(), LONG).await;
    for absent in [vec![], vec![worker()]] {
        assert_eq!(reap(&session, &queues(), &absent, LOOK_AT).await.unwrap(), []);
    }
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().expired, []);
    assert_eq!(end(&session, &held, complete()).await, SUCCEEDED);
}

#[tokio::test]
async fn an_expired_lease_that_was_renewed_is_not_reaped() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let held = running(&session, &job(), EXPIRED).await;
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().expired.len(), 1);
    assert_eq!(renew(&session, QUEUE, &[(held.id, held.lease_id)], LONG).await.unwrap().len(), 1);
    assert_eq!(reap(&session, &queues(), &[], LOOK_AT).await.unwrap(), []);
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().expired, []);
}

#[tokio::test]
async fn of_renewal_and_reap_at_one_instant_each_job_goes_to_exactly_one() {
    let db = Db::migrated();
    let queues = queues();
    let (reaper, keeper) = (reaper(&db).await, db.session_with(Plans::ById).await);
    for _ in 0..20 {
        put_many(&keeper, 200).await;
        let claimed = take(&keeper, 200, EXPIRED).await;
        assert_eq!(claimed.len(), 200);
        let held: Vec<_> = claimed.iter().map(|job| (job.id, job.lease_id)).collect();
        let (renewed, reaped) = tokio::join!(renew(&keeper, QUEUE, &held, LONG), reap(&reaper, &queues, &[], LOOK_AT));
        let renewed: HashSet<JobId> = renewed.unwrap().iter().map(|one| one.id).collect();
        let reaped: HashSet<JobId> = reaped.unwrap().iter().map(|one| one.id).collect();
        assert!(renewed.is_disjoint(&reaped), "told that it is renewed, and reaped");
        assert_eq!(count(&keeper, "faultline.jobs where state = 'running'").await, renewed.len() as i64);
        keeper.batch_execute("truncate faultline.jobs").await.unwrap();
    }
}

#[tokio::test]
async fn many_reapers_at_once_reap_each_job_once() {
    let db = Db::migrated();
    let sessions = futures_util::future::join_all((0..8).map(|_| reaper(&db))).await;
    put_many(&sessions[0], 300).await;
    take(&sessions[0], 300, EXPIRED).await;
    let queues = queues();
    let calls = sessions.iter().map(|session| reap(session, &queues, &[], LOOK_AT));
    let mut reaped: Vec<JobId> = Vec::new();
    for answer in futures_util::future::join_all(calls).await {
        reaped.extend(answer.unwrap().into_iter().map(|one| one.id));
    }
    // What one of them went around because another held it, the next round finds.
    reaped.extend(reap(&sessions[0], &queues, &[], LOOK_AT).await.unwrap().into_iter().map(|one| one.id));
    assert_eq!((reaped.len(), reaped.iter().collect::<HashSet<_>>().len()), (300, 300));
    assert_eq!(count(&sessions[0], "faultline.job_attempts").await, 300);
}

#[tokio::test]
async fn a_row_that_somebody_has_locked_is_skipped_and_the_others_are_reaped() {
    let db = Db::migrated();
    let (session, holder) = (reaper(&db).await, db.session().await);
    put_many(&session, 3).await;
    let claimed = take(&session, 3, EXPIRED).await;
    holder.batch_execute("begin").await.unwrap();
    assert_eq!(end(&holder, &claimed[1], complete()).await, SUCCEEDED);
    let reaped = tokio::time::timeout(DEADLINE, reap(&session, &queues(), &[], LOOK_AT)).await.unwrap().unwrap();
    let reaped: HashSet<JobId> = reaped.into_iter().map(|one| one.id).collect();
    assert_eq!(reaped, HashSet::from([claimed[0].id, claimed[2].id]));
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(told(&reap(&session, &queues(), &[], LOOK_AT).await.unwrap()), [(claimed[1].id, State::Queued)]);
}

#[tokio::test]
async fn a_reaped_job_keeps_its_place_in_the_queue() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let ids = put_many(&session, 5).await;
    let order: Vec<JobId> = take(&session, 5, EXPIRED).await.iter().map(|job| job.id).collect();
    assert_eq!(order.iter().collect::<HashSet<_>>(), ids.iter().collect());
    put_many(&session, 5).await;
    reap(&session, &queues(), &[], LOOK_AT).await.unwrap();
    let again: Vec<JobId> = take(&session, 5, EXPIRED).await.iter().map(|job| job.id).collect();
    assert_eq!(again, order);
}

#[tokio::test]
async fn a_job_without_an_attempt_left_ends_as_a_crash_loop() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let new = NewJob { max_attempts: 2, ..job() };
    put(&session, &new).await;
    for expected in [State::Queued, State::Failed] {
        assert_eq!(take(&session, 1, EXPIRED).await.len(), 1);
        let reaped = reap(&session, &queues(), &[], LOOK_AT).await.unwrap();
        assert_eq!((reaped.len(), reaped[0].id, reaped[0].state), (1, new.id, expected));
    }
    let ended = facts(&session, new.id).await;
    assert_eq!(ended.short(), "failed 2/2 [1:expired]");
    assert_eq!(ended.reason.as_deref(), Some("crash_loop"));
    assert_eq!(ended.last_error.as_deref(), Some("the lease expired"));
}

#[tokio::test]
async fn a_worker_is_absent_only_while_its_session_is_gone() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let id = worker();
    let presence = present(&db, id).await;
    put(&session, &job()).await;
    let held = take_for(&session, id, 1, LONG).await.remove(0);
    let absent = async || watch(&session, &queues(), LOOK_AT).await.unwrap().absent;
    assert_eq!(absent().await, []);
    assert_eq!(reap(&session, &queues(), &[id], LOOK_AT).await.unwrap(), [], "a reaper that remembers wrongly");
    leave(&session, presence).await;
    assert_eq!(absent().await, [id]);
    let back = present(&db, id).await;
    assert_eq!(absent().await, []);
    assert_eq!(buried(&session, id).await, [], "it came back within its grace");
    leave(&session, back).await;
    assert_eq!(buried(&session, id).await, [(held.id, State::Queued)]);
    assert_eq!(facts(&session, held.id).await.short(), "queued 1/1 [1:lost]");
    let found = watch(&session, &queues(), LOOK_AT).await.unwrap();
    let floors = found.floors.clone();
    assert_eq!(found, faultline_store::reap::Watch { due: queues(), floors, ..Default::default() });
}

#[tokio::test]
async fn a_worker_whose_session_ended_with_its_server_is_not_back_until_it_registers_again() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let id = worker();
    let presence = present(&db, id).await;
    let seen = async || watch(&session, &queues(), LOOK_AT).await.unwrap();
    assert_eq!((seen().await.absent, seen().await.not_back), (vec![], vec![]));
    // What a restart or a failover leaves: a row that speaks of another server.
    let restarted = "update faultline.workers set presence_server = presence_server - interval '1 s' where id = $1";
    session.execute(restarted, &[&id.0]).await.unwrap();
    assert_eq!((seen().await.absent, seen().await.not_back), (vec![], vec![id]));
    let back = present(&db, id).await;
    assert_eq!((seen().await.absent, seen().await.not_back), (vec![], vec![]));
    leave(&session, back).await;
    leave(&session, presence).await;
    assert_eq!((seen().await.absent, seen().await.not_back), (vec![id], vec![]));
}

#[tokio::test]
async fn a_worker_without_presence_is_never_taken_for_absent() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let id = worker();
    register(&session, &facts_of(id), false).await.unwrap();
    put(&session, &job()).await;
    take_for(&session, id, 1, LONG).await;
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().absent, []);
    // It was seen missing when it still had a session of its own, and came back through a pooler.
    assert_eq!(buried(&session, id).await, []);
    assert_eq!(count(&session, "faultline.workers where stopped_at is null").await, 1);
}

#[tokio::test]
async fn only_who_was_missed_is_reaped() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let (missed, other) = (worker(), worker());
    put_many(&session, 2).await;
    let lost = take_for(&session, missed, 1, EXPIRED).await.remove(0);
    take_for(&session, other, 1, EXPIRED).await;
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().expired.len(), 2);
    let reaped = reap_of(&session, &queues(), &[missed], LOOK_AT).await.unwrap();
    assert_eq!(told(&reaped), [(lost.id, State::Queued)]);
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().expired, [other]);
}

/// What fell with one worker is judged together, whatever queues its reaper looks after.
#[tokio::test]
async fn a_missed_worker_loses_its_expired_jobs_in_every_queue_that_it_polls() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let id = worker();
    let polled = vec![QUEUE.to_owned(), "other".into()];
    register(&session, &WorkerFacts { queues: polled.clone(), ..facts_of(id) }, false).await.unwrap();
    for queue in &polled {
        let job = NewJob { queue: queue.clone(), ..job() };
        put(&session, &job).await;
        let claimed = claim(&session, queue, lease(), id, EXPIRED, 1, &Floors::head()).await.unwrap();
        assert_eq!(claimed.len(), 1);
    }
    assert_eq!(buried(&session, id).await.len(), 2);
    assert_eq!(count(&session, "faultline.workers where stopped_at is null").await, 1, "its session was not missed");
}

/// Whoever is blamed must have been able to act: what its sign of life would write can be written.
#[tokio::test]
async fn a_rehearsal_fails_where_a_renewal_would_and_leaves_nothing() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let id = worker();
    register(&session, &facts_of(id), false).await.unwrap();
    put_many(&session, 2).await;
    take_for(&session, id, 1, EXPIRED).await;
    let rows = "select string_agg(j::text, ' ' order by j.id) || (select w::text from faultline.workers w) from faultline.jobs j";
    let before: String = value(&session, rows, &[]).await;
    rehearse(&session, &queues(), &[id], LOOK_AT).await.unwrap();
    assert_eq!(value::<String>(&session, rows, &[]).await, before);
    let refuse = "create function refuse() returns trigger language plpgsql
        as $$ begin raise exception 'no space left' using errcode = '53100'; end $$";
    session.batch_execute(refuse).await.unwrap();
    for table in ["jobs", "workers"] {
        let trigger = format!("create trigger refuse before update on faultline.{table}");
        session.batch_execute(&format!("{trigger} for each row execute function refuse()")).await.unwrap();
        let answer = rehearse(&session, &queues(), &[id], LOOK_AT).await;
        assert!(matches!(&answer, Err(Error::Refused { code, .. }) if code == "53100"), "{table}: {answer:?}");
        rehearse(&session, &queues(), &[worker()], LOOK_AT).await.unwrap();
        session.batch_execute(&format!("drop trigger refuse on faultline.{table}")).await.unwrap();
    }
    rehearse(&session, &queues(), &[id], LOOK_AT).await.unwrap();
}

#[tokio::test]
async fn a_rehearsal_waits_for_nobody() {
    let db = Db::migrated();
    let (session, holder) = (reaper(&db).await, db.session().await);
    let id = worker();
    register(&session, &facts_of(id), false).await.unwrap();
    put(&session, &job()).await;
    take_for(&session, id, 1, EXPIRED).await;
    holder
        .batch_execute("begin; select from faultline.jobs for update; select from faultline.workers for update")
        .await
        .unwrap();
    let locked = tokio::time::timeout(DEADLINE, rehearse(&session, &queues(), &[id], LOOK_AT)).await.unwrap();
    assert_eq!(locked.unwrap(), [id]);
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(rehearse(&session, &queues(), &[id], LOOK_AT).await.unwrap(), []);
}

/// Who could renew one of its expired leases and has not is missed, whatever rows are locked; and a locked row of a lease
/// that goes on says nothing.
#[tokio::test]
async fn a_rehearsal_tells_who_could_renew_no_expired_lease() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let [half, all, in_time] = [(); 3].map(|()| worker());
    put_many(&session, 6).await;
    let mut ids = Vec::new();
    for (id, lease) in [(half, EXPIRED), (all, EXPIRED), (in_time, LONG)] {
        ids.extend(take_for(&session, id, 2, lease).await.into_iter().map(|claimed| claimed.id.0));
    }
    let mut other = db.plain().await;
    let lock = other.transaction().await.unwrap();
    lock.execute("select from faultline.jobs where id = any ($1) for update", &[&&ids[1..]]).await.unwrap();
    assert_eq!(rehearse(&session, &queues(), &[half, all, in_time], LOOK_AT).await.unwrap(), [all]);
    assert_eq!(rehearse(&session, &queues(), &[half, in_time], LOOK_AT).await.unwrap(), []);
}

/// The row of the lease decides, whatever became of the row of its worker: it may have been pruned, or never written.
#[tokio::test]
async fn a_job_whose_worker_left_no_row_is_reaped_all_the_same() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let (unknown, alive) = (job(), job());
    let left = running(&session, &unknown, EXPIRED).await;
    assert_eq!(told(&reap(&session, &queues(), &[], LOOK_AT).await.unwrap()), [(left.id, State::Queued)]);
    let owner = worker();
    register(&session, &facts_of(owner), false).await.unwrap();
    put(&session, &alive).await;
    assert_eq!(take_for(&session, owner, 2, EXPIRED).await.len(), 2);
    session.batch_execute("delete from faultline.workers").await.unwrap();
    assert_eq!(reap(&session, &queues(), &[], LOOK_AT).await.unwrap().len(), 2);
}

/// Another reaper's rehearsal locks rows for a moment, as what a dead worker's session had begun does. Without its worker's row
/// only the end of its lease would tell of such a job.
#[tokio::test]
async fn nobody_says_goodbye_for_a_worker_while_one_of_its_jobs_is_locked() {
    let db = Db::migrated();
    let (session, id) = (reaper(&db).await, worker());
    let presence = present(&db, id).await;
    put_many(&session, 2).await;
    let held = take_for(&session, id, 2, LONG).await;
    leave(&session, presence).await;
    let mut other = db.plain().await;
    let lock = other.transaction().await.unwrap();
    lock.execute("select from faultline.jobs where id = $1 for no key update", &[&held[0].id.0]).await.unwrap();
    assert_eq!(buried(&session, id).await, [(held[1].id, State::Queued)]);
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().absent, [id]);
    lock.rollback().await.unwrap();
    assert_eq!(buried(&session, id).await, [(held[0].id, State::Queued)]);
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().absent, []);
}

#[tokio::test]
async fn a_worker_that_said_goodbye_is_not_missed() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let id = worker();
    let presence = present(&db, id).await;
    put(&session, &job()).await;
    take_for(&session, id, 1, LONG).await;
    stop(&presence, id).await.unwrap();
    leave(&session, presence).await;
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().absent, []);
    assert_eq!(reap(&session, &queues(), &[id], LOOK_AT).await.unwrap(), [], "its lease lasts");
}

#[tokio::test]
async fn a_role_that_may_not_see_other_sessions_takes_nobody_for_absent() {
    let db = Db::migrated();
    let admin = db.plain().await;
    let role = format!("reaper_of_{}", db.database.name());
    admin
        .batch_execute(&format!(
            "create role {role} login; grant usage on schema faultline to {role};
             grant all on all tables in schema faultline to {role}"
        ))
        .await
        .unwrap();
    let id = worker();
    let presence = present(&db, id).await;
    let store = Database::new(&db.database.url().replace("faultline@", &format!("{role}@")), "test", 1).unwrap();
    let session = store.session("reaper", Plans::InOrder).await.unwrap();
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().absent, []);
    leave(&session, presence).await;
    assert_eq!(watch(&session, &queues(), LOOK_AT).await.unwrap().absent, [id]);
    drop((session, store));
    admin.batch_execute(&format!("drop owned by {role}")).await.unwrap();
    until(&admin, "select not exists (select from pg_stat_activity where usename = $1)", &[&role]).await;
    admin.batch_execute(&format!("drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn more_leases_than_one_statement_reaps_are_reaped_in_rounds_each_worker_whole() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let of_each = REAP_LIMIT / 2 + 10;
    put_many(&session, 4 * of_each).await;
    for _ in 0..4 {
        assert_eq!(take(&session, of_each, EXPIRED).await.len(), of_each);
    }
    for workers in [2, 2, 0] {
        assert_eq!(reap(&session, &queues(), &[], LOOK_AT).await.unwrap().len(), workers * of_each);
    }
}

#[tokio::test]
async fn leases_beyond_the_window_of_a_look_are_reaped_as_those_before_them_end() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    put_many(&session, 30).await;
    take(&session, 30, EXPIRED).await;
    let mut ended = 0;
    while ended < 30 {
        assert_eq!(reap(&session, &queues(), &[], 10).await.unwrap().len(), 10);
        for claimed in take(&session, 10, LONG).await {
            assert_eq!(end(&session, &claimed, complete()).await, SUCCEEDED);
            ended += 1;
        }
    }
}

#[tokio::test]
async fn a_paused_queue_is_reaped_all_the_same() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let held = running(&session, &job(), EXPIRED).await;
    faultline_store::operate::pause(&session, "test", QUEUE, None).await.unwrap();
    let seen = watch(&session, &queues(), LOOK_AT).await.unwrap();
    assert_eq!((seen.due, seen.expired.len()), (vec![], 1));
    assert_eq!(told(&reap(&session, &queues(), &[], LOOK_AT).await.unwrap()), [(held.id, State::Queued)]);
}

#[tokio::test]
async fn leases_are_judged_by_the_databases_clock_whatever_a_session_calls_time() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    running(&session, &job(), LONG).await;
    let elsewhere = connect(&format!("{}?options=-c%20TimeZone%3DPacific/Kiritimati", db.database.url())).await;
    assert_eq!(value::<String>(&elsewhere, "show timezone", &[]).await, "Pacific/Kiritimati");
    session.batch_execute("set timezone = 'Pacific/Kiritimati'").await.unwrap();
    assert_eq!(reap(&session, &queues(), &[], LOOK_AT).await.unwrap(), []);
}

#[tokio::test]
async fn a_look_from_its_floors_sees_each_job_until_it_ends_and_what_comes_after() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let look = async |floors: &LookFloors| {
        let found = watch_from(&session, floors, LOOK_AT).await.unwrap();
        ((found.due.len(), found.running, found.expired), found.floors)
    };
    put(&session, &NewJob { priority: 1, ..job() }).await;
    put_many(&session, 3).await;
    let (urgent, first) = (take_for(&session, worker(), 1, LONG).await, worker());
    let held = take_for(&session, first, 2, EXPIRED).await;
    let (seen, floors) = look(&LookFloors::head(&queues())).await;
    assert_eq!(seen, (1, true, vec![first]));
    assert_eq!(look(&floors).await.0, seen, "nothing has moved");

    assert_eq!(end(&session, &urgent[0], complete()).await, SUCCEEDED);
    assert_eq!(end(&session, &held[0], complete()).await, SUCCEEDED);
    let (again, floors) = look(&floors).await;
    assert_eq!(again, seen, "the other one goes on");
    assert_eq!(told(&reap(&session, &queues(), &[], LOOK_AT).await.unwrap()), [(held[1].id, State::Queued)]);
    let (waiting, floors) = look(&floors).await;
    assert_eq!(waiting, (1, false, vec![]), "it waits where it was");
    let both = take_for(&session, worker(), 2, LONG).await;
    assert!(both.iter().any(|job| job.id == held[1].id));
    for job in &both {
        assert_eq!(end(&session, job, complete()).await, SUCCEEDED);
    }
    let (empty, floors) = look(&floors).await;
    assert_eq!(empty, (0, false, vec![]));
    put(&session, &NewJob { priority: 4, ..job() }).await;
    put(&session, &job()).await;
    let (new, floors) = look(&floors).await;
    assert_eq!(new, (1, false, vec![]));
    assert_eq!(take_for(&session, worker(), 9, LONG).await.len(), 2);
    assert_eq!(look(&floors).await.0, (0, true, vec![]));
}

#[tokio::test]
async fn what_was_committed_late_is_seen_from_the_head_and_from_then_on_from_the_floors() {
    let db = Db::migrated();
    let session = reaper(&db).await;
    let empty = watch(&session, &queues(), LOOK_AT).await.unwrap();
    put_many(&session, 1).await;
    session.execute("update faultline.jobs set next_run_at = next_run_at - interval '1 minute'", &[]).await.unwrap();
    let owner = worker();
    assert_eq!(take_for(&session, owner, 1, EXPIRED).await.len(), 1);
    let behind = watch_from(&session, &empty.floors, LOOK_AT).await.unwrap();
    assert_eq!((behind.running, behind.expired), (false, vec![]));
    let from_head = watch(&session, &queues(), LOOK_AT).await.unwrap();
    assert_eq!(from_head.expired, [owner]);
    assert_eq!(watch_from(&session, &from_head.floors, LOOK_AT).await.unwrap().expired, [owner]);
}

#[test]
fn floors_are_of_their_queues_only() {
    let [a, b, both] = [vec!["a".into()], vec!["b".into()], vec!["b".into(), "a".into()]];
    let floors = LookFloors::head(&both);
    assert!(floors.are_of(&both) && floors.are_of(&["a".into(), "b".into()]));
    assert!(!floors.are_of(&a) && !LookFloors::head(&a).are_of(&b) && !LookFloors::default().are_of(&a));
}
