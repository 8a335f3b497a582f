//! `faultline migrate`.

use crate::common::{Background, empty_database, faultline, program, run};
use faultline_cluster::testing::cluster;
use std::process::{Command, Stdio};

#[test]
fn the_first_run_applies_and_the_second_has_nothing_to_do() {
    let database = empty_database();
    assert!(faultline(&database, &["migrate", "--check"]).error(1).contains("run `faultline migrate`"));
    let first = faultline(&database, &["migrate"]).ok().out;
    assert!(first.starts_with("applied 0001_engine\n"), "{first}");
    let second = faultline(&database, &["migrate"]).ok().out;
    assert!(second.starts_with("nothing to do, the schema is at version "), "{second}");
    faultline(&database, &["migrate", "--check"]).ok();
}

#[test]
fn eight_processes_at_once_apply_each_migration_once() {
    let database = empty_database();
    let start = |_| program(&["migrate"]).env("DATABASE_URL", database.url()).stdout(Stdio::piped()).spawn().unwrap();
    let processes: Vec<_> = (0..8).map(start).collect();
    let outputs = processes.into_iter().map(|process| process.wait_with_output().unwrap());
    let mut applied: Vec<String> = Vec::new();
    for output in outputs {
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        applied.extend(text.lines().filter(|line| line.starts_with("applied")).map(str::to_owned));
    }
    let known = applied.len();
    applied.sort();
    applied.dedup();
    assert_eq!(applied.len(), known, "none twice");
    let rows = cluster().psql(database.name(), "select count(*) from faultline.migrations").unwrap();
    assert_eq!(rows, known.to_string());
}

#[test]
fn the_dumped_script_makes_the_same_schema() {
    let Some(psql) = psql() else { return };
    let (ours, theirs) = (empty_database(), empty_database());
    faultline(&ours, &["migrate"]).ok();
    let script = run(&mut program(&["migrate", "--dump-sql"])).ok().out;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let applied = Command::new(psql)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(file.path())
        .arg(theirs.url())
        .output()
        .unwrap();
    assert!(applied.status.success(), "{applied:?}");
    faultline(&theirs, &["migrate", "--check"]).ok();
    assert!(faultline(&theirs, &["migrate"]).ok().out.starts_with("nothing to do"));
    for facts in [
        "select string_agg(concat_ws(' ', table_name, column_name, data_type, column_default), e'\\n'
                  order by table_name, ordinal_position)
           from (select * from information_schema.columns where table_schema = 'faultline') c
          where table_name !~ '_p?\\d{6,}'",
        "select string_agg(md5(pg_get_functiondef(p.oid)), ' ' order by p.oid::regprocedure::text)
           from pg_proc p where pronamespace = 'faultline'::regnamespace",
        "select string_agg(version || name || encode(checksum, 'hex'), ' ' order by version) from faultline.migrations",
    ] {
        let same = |name: &str| cluster().psql(name, facts).unwrap();
        assert_eq!(same(ours.name()), same(theirs.name()));
    }
}

/// `psql`, where it is installed beside the server programs or on the PATH.
fn psql() -> Option<std::path::PathBuf> {
    let beside = cluster().programs().bin().join("psql");
    let runs = |path: &std::path::Path| Command::new(path).arg("--version").output().is_ok();
    [beside, "psql".into()].into_iter().find(|path| runs(path))
}

#[test]
fn a_database_that_comes_up_later_is_waited_for() {
    use faultline_cluster::{Cluster, Mode, Programs};
    let mut cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    cluster.stop(Mode::Fast).unwrap();
    let at_once = run(program(&["migrate"]).env("DATABASE_URL", &url)).error(1);
    assert!(at_once.contains("cannot reach the database at 127.0.0.1/postgres"), "{at_once}");
    let mut waiting = Background::start(program(&["migrate", "--wait", "60s"]).env("DATABASE_URL", &url));
    waiting.line("waiting");
    cluster.start_again().unwrap();
    assert_eq!(waiting.wait(), 0);
}
