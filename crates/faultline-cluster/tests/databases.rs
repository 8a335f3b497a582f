//! Every test gets a database of its own from one cluster.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::atomic::{AtomicU32, Ordering};

use faultline_cluster::testing;

static PREPARED: AtomicU32 = AtomicU32::new(0);

fn prepare(url: &str) {
    PREPARED.fetch_add(1, Ordering::Relaxed);
    let name = url.rsplit('/').next().unwrap();
    testing::cluster().psql(name, "create table job (id int)").unwrap();
}

fn count(database: &testing::TestDatabase) -> String {
    testing::cluster().psql(database.name(), "select count(*) from job").unwrap()
}

#[test]
fn databases_from_one_template_do_not_see_each_other_and_go_with_their_value() {
    let (a, b) = (testing::database(prepare), testing::database(prepare));
    testing::cluster().psql(a.name(), "insert into job values (1)").unwrap();
    assert_eq!((count(&a).as_str(), count(&b).as_str()), ("1", "0"));
    assert!(b.url().ends_with(b.name()));
    let name = a.name().to_owned();
    drop(a);
    let left = format!("select count(*) from pg_database where datname = '{name}'");
    assert_eq!(testing::cluster().psql("postgres", &left).unwrap(), "0");
}

#[test]
fn many_threads_share_one_template() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(count(&testing::database(prepare)), "0"));
        }
    });
    assert_eq!(PREPARED.load(Ordering::Relaxed), 1);
}
