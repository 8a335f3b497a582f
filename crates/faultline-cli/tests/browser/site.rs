//! What the browser looks at: servers, workers and databases of a test's own.

use crate::chromium::Tab;
use crate::common::{Background, database, program, run};
use faultline_cluster::testing::TestDatabase;
use faultline_cluster::{Cluster, Mode, Programs};
use std::cell::RefCell;

/// Leases that run out soon, so that a worker which died is missed soon.
pub(crate) const LEASE: &str = "4s";

/// Where the jobs are.
enum Home {
    /// A database of the cluster that all tests share.
    Shared(TestDatabase),
    /// A cluster of its own, which may be broken.
    Own(Box<RefCell<Cluster>>),
}

/// A server with its dashboard.
pub(crate) struct Site {
    home: Home,
    _server: Background,
    pub(crate) url: String,
}

impl Site {
    /// Open to everybody.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::of(Home::Shared(database()), &[])
    }

    /// With these flags, and on a database that has been prepared.
    #[track_caller]
    pub(crate) fn prepared(flags: &[&str], prepare: impl FnOnce(&str)) -> Self {
        let home = database();
        prepare(&home.url());
        Self::of(Home::Shared(home), flags)
    }

    /// On a database that can be stopped.
    #[track_caller]
    pub(crate) fn breakable() -> Self {
        let cluster = Cluster::builder(Programs::find().unwrap()).start().unwrap();
        cluster.psql("postgres", "create database jobs").unwrap();
        run(program(&["migrate"]).env("DATABASE_URL", cluster.url("jobs"))).ok();
        Self::of(Home::Own(Box::new(RefCell::new(cluster))), &[])
    }

    #[track_caller]
    fn of(home: Home, flags: &[&str]) -> Self {
        let mut command = program(&[&["serve", "--port", "0", "--lease-ttl", LEASE], flags].concat());
        let mut server = Background::start(command.env("DATABASE_URL", home.url()));
        let url = server.line("ready http://").trim_start_matches("ready ").to_owned();
        Self { home, _server: server, url }
    }

    pub(crate) fn database(&self) -> String {
        self.home.url()
    }

    /// The address of a page of the dashboard.
    pub(crate) fn page(&self, path: &str) -> String {
        format!("{}/dashboard{path}", self.url)
    }

    /// A worker of the demonstration kinds on this queue.
    #[track_caller]
    pub(crate) fn worker(&self, queue: &str) -> Background {
        let flags = ["work", "--demo", "--queue", queue, "--lease-ttl", LEASE];
        let mut worker = Background::start(program(&flags).env("DATABASE_URL", self.database()));
        worker.line("the worker has started");
        worker
    }

    /// Enqueues a job; answers its id.
    #[track_caller]
    pub(crate) fn enqueue(&self, args: &[&str]) -> String {
        let mut command = program(&[&["job", "enqueue", "-o", "json"], args].concat());
        let answer = run(command.env("DATABASE_URL", self.database())).json();
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// Runs a command on its database.
    #[track_caller]
    pub(crate) fn faultline(&self, args: &[&str]) -> crate::common::Answer {
        run(program(args).env("DATABASE_URL", self.database())).ok()
    }

    pub(crate) fn stop_database(&self) {
        let Home::Own(cluster) = &self.home else { panic!("others use this database") };
        cluster.borrow_mut().stop(Mode::Immediate).unwrap();
    }

    pub(crate) fn start_database(&self) {
        let Home::Own(cluster) = &self.home else { panic!("others use this database") };
        cluster.borrow_mut().start_again().unwrap();
    }
}

impl Home {
    fn url(&self) -> String {
        match self {
            Self::Shared(database) => database.url(),
            Self::Own(cluster) => cluster.borrow().url("jobs"),
        }
    }
}

/// The addresses in the navigation of the page that a tab shows, from `/dashboard` on.
#[track_caller]
pub(crate) fn navigation(tab: &Tab) -> Vec<String> {
    let links = tab.eval("[...document.querySelectorAll('nav a')].map(link => link.href)");
    let links: Vec<String> = serde_json::from_value(links).unwrap();
    assert!(links.len() >= 3, "{links:?}");
    links
}

/// Waits until the page is being kept up to date.
#[track_caller]
pub(crate) fn until_live(tab: &Tab) {
    tab.eval("window.seenAt = document.getElementById('strip-time').textContent");
    tab.until("live updates", "document.getElementById('strip-time').textContent > window.seenAt");
}

/// Marks the document, so that [`is_same_document`] can tell whether it was loaded again.
pub(crate) fn mark(tab: &Tab) {
    tab.eval("window.marked = true");
}

#[track_caller]
pub(crate) fn is_same_document(tab: &Tab) {
    assert_eq!(tab.eval("window.marked === true"), true, "the page was loaded again");
}

/// Nothing that the browser complains about.
#[track_caller]
pub(crate) fn no_complaints(tab: &Tab) {
    assert_eq!(tab.complaints(), Vec::<String>::new());
}
