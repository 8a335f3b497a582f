//! What a role gets with the grants that the documentation names, and that nobody can bend the functions that run with
//! their owner's rights.

use crate::common::{Db, LONG, connect, count, job, put, refusal, running, take, value};
use faultline_store::{Database, Plans};
use tokio_postgres::Client;

/// SQLSTATE of a missing privilege.
const FORBIDDEN: &str = "42501";

/// A role of this database's own, dropped with all it owns.
struct Role<'a> {
    db: &'a Db,
    admin: Client,
    name: String,
}

impl<'a> Role<'a> {
    async fn new(db: &'a Db) -> Self {
        let role = Self { db, admin: db.plain().await, name: format!("app_of_{}", db.database.name()) };
        role.admin.batch_execute(&format!("create role {} login", role.name)).await.unwrap();
        role
    }

    async fn grant(&self, what: &str) {
        self.admin.batch_execute(&format!("grant {what} to {}", self.name)).await.unwrap();
    }

    fn url(&self) -> String {
        self.db.database.url().replace("faultline@", &format!("{}@", self.name))
    }

    async fn connect(&self) -> Client {
        connect(&self.url()).await
    }

    async fn remove(self) {
        self.admin.batch_execute(&format!("drop owned by {0} cascade; drop role {0}", self.name)).await.unwrap();
    }
}

#[tokio::test]
async fn a_role_with_the_documented_grants_can_enqueue_and_nothing_else() {
    let db = Db::migrated();
    let role = Role::new(&db).await;
    role.grant("usage on schema faultline").await;
    role.grant("execute on function faultline.enqueue").await;
    let app = role.connect().await;
    let id: uuid::Uuid =
        value(&app, "select faultline.enqueue('k', '{\"a\": 1}', key => 'x', delay => '1 s')", &[]).await;
    assert_eq!(count(&role.admin, "faultline.jobs").await, 1);
    let some = "'00000000-0000-0000-0000-000000000000'";
    let mut forbidden = vec![
        "select * from faultline.enqueue_many('[]')".to_owned(),
        "select * from faultline.enqueue_batch('{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}')"
            .into(),
        "select faultline.enqueue_alike('{}','{}',null,'q','k',1::smallint,0,null,1,1,1,1)".into(),
        "select faultline.check_job('k','{}','q',null,'1 h',1,null,null,1,'1 h','1 s','1 s',null)".into(),
        "select faultline.uuid_v7()".into(),
        "select faultline.ms('1 s')".into(),
        "select faultline.maintain_partitions()".into(),
        format!("select faultline.cancel('{id}')"),
        format!("select faultline.complete_in_tx('{id}', {some})"),
        "create table faultline.x ()".into(),
        "create function faultline.x() returns int language sql return 1".into(),
    ];
    let tables = "select c.relname::text from pg_class c where c.relnamespace = 'faultline'::regnamespace
                  and c.relkind in ('r', 'p', 'v')";
    for row in role.admin.query(tables, &[]).await.unwrap() {
        let table: &str = row.get(0);
        forbidden.push(format!("select count(*) from faultline.{table}"));
        if table != "all_jobs" {
            forbidden.push(format!("delete from faultline.{table}"));
        }
    }
    for sql in forbidden {
        assert_eq!(refusal(app.query(&sql, &[]).await).0, FORBIDDEN, "{sql}");
    }
    drop(app);
    role.remove().await;
}

#[tokio::test]
async fn no_function_may_be_called_by_everybody() {
    let db = Db::migrated();
    let open = "pg_proc p where p.pronamespace = 'faultline'::regnamespace
                and has_function_privilege('public', p.oid, 'execute')";
    let client = db.plain().await;
    assert_eq!(count(&client, open).await, 0);
    assert!(!value::<bool>(&client, "select has_schema_privilege('public', 'faultline', 'usage')", &[]).await);
}

#[tokio::test]
async fn every_function_of_the_schema_pins_its_search_path() {
    let db = Db::migrated();
    // Those of SQL are inlined, and those of triggers only raise.
    let open = "select coalesce(string_agg(p.proname, ', '), '') from pg_proc p
                  join pg_language l on l.oid = p.prolang
                 where p.pronamespace = 'faultline'::regnamespace and l.lanname = 'plpgsql'
                   and p.prorettype <> 'trigger'::regtype
                   and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)";
    assert_eq!(value::<String>(&db.plain().await, open, &[]).await, "");
}

/// Functions, operators and tables with the names that the engine uses, which note whoever runs them.
const TRAP: &str = "
    create schema evil;
    create table evil.caught (who text, what text);
    grant usage on schema evil to public;
    grant insert on evil.caught to public;
    create function evil.note(what text) returns void language sql as
        $$ insert into evil.caught values (current_user, what) $$;
    create function evil.clock_timestamp() returns timestamptz language plpgsql as
        $$ begin perform evil.note('clock_timestamp'); return pg_catalog.clock_timestamp(); end $$;
    create function evil.format(text, text, text) returns text language plpgsql as
        $$ begin perform evil.note('format'); return pg_catalog.format($1, $2, $3); end $$;
    create function evil.format(text, text, text, text, text) returns text language plpgsql as
        $$ begin perform evil.note('format'); return pg_catalog.format($1, $2, $3, $4, $5); end $$;
    create function evil.times(bigint, interval) returns interval language plpgsql as
        $$ begin perform evil.note('*'); return $1::float8 operator(pg_catalog.*) $2; end $$;
    create operator evil.* (leftarg = bigint, rightarg = interval, function = evil.times);
    create table evil.jobs (id uuid);
    create table evil.idempotency_keys (id uuid);
    create table evil.pg_stat_activity (pid int, backend_start timestamptz);";

#[tokio::test]
async fn a_hostile_search_path_bends_no_function_that_runs_with_its_owners_rights() {
    let db = Db::migrated();
    let role = Role::new(&db).await;
    role.grant("usage on schema faultline").await;
    role.grant("execute on all functions in schema faultline").await;
    role.grant(&format!("create, temporary on database {}", db.database.name())).await;
    let app = role.connect().await;
    app.batch_execute(TRAP).await.unwrap();
    app.batch_execute("set search_path = evil, pg_catalog, public; create temporary table jobs (id uuid)")
        .await
        .unwrap();
    let session = db.session().await;
    let claimed = running(&session, &job(), LONG).await;
    let many = r#"select * from faultline.enqueue_many('[{"kind": "k", "key": "b", "delay": "1 s"}]')"#;
    for sql in [
        "select faultline.enqueue('k', key => 'a', delay => '1 s', timeout => '5 s')",
        many,
        &format!("select faultline.complete_in_tx('{}', '{}')", claimed.id, claimed.lease_id),
        &format!("select faultline.cancel('{}')", claimed.id),
    ] {
        app.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let caught = format!("evil.caught where who <> '{}'", role.name);
    assert_eq!(count(&role.admin, &caught).await, 0);
    assert_eq!(count(&role.admin, "evil.jobs").await, 0);
    drop(app);
    role.remove().await;
}

#[tokio::test]
async fn what_others_put_into_a_schema_that_the_engine_searches_is_not_run_by_the_engine() {
    let db = Db::migrated();
    let role = Role::new(&db).await;
    role.grant(&format!("create on database {}", db.database.name())).await;
    role.grant("usage on schema faultline").await;
    let app = role.connect().await;
    app.batch_execute(TRAP).await.unwrap();
    // As with objects in the schema public, which every session searches by default.
    let name = db.database.name();
    role.admin.batch_execute(&format!("alter database {name} set search_path = evil, public")).await.unwrap();
    let session = db.store.session("engine", Plans::InOrder).await.unwrap();
    put(&session, &crate::common::keyed("a")).await;
    assert_eq!(take(&session, 1, LONG).await.len(), 1);
    let store: &Database = &db.store;
    store.run(async |client| faultline_store::maintain::partitions(client).await).await.unwrap();
    store.run(async |client| faultline_store::maintain::prune(client).await).await.unwrap();
    let plain = db.plain().await;
    plain.batch_execute("select faultline.maintain_partitions(9)").await.unwrap();
    let caught = "select coalesce(string_agg(distinct what, ', '), '') from evil.caught";
    assert_eq!(value::<String>(&role.admin, caught, &[]).await, "");
    drop((app, session, plain));
    role.remove().await;
}
