//! The database: what endangers it or slows it down, and what to do; then what it says of itself.

mod concerns;

use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, badge, bytes, count, figure, span};
use concerns::{Concern, Days};
use faultline_store::Error;
use faultline_store::dashboard::database::{
    self, Facts, PartitionFacts, SessionFacts, SettingFacts, StandbyFacts, TableFacts,
};
use maud::{Markup, html};

pub(crate) const ENTRY: Entry = Entry { title: "Database", path: "/database", routes: page::routes::<Database> };

/// The page.
pub(crate) struct Database;

impl Page for Database {
    const ROUTE: &'static str = "/database";
    const NAV: &'static str = "/database";
    /// None without a schema.
    type Data = Option<Facts>;

    fn asked(_: &Fields) -> Result<Self, String> {
        Ok(Self)
    }

    fn title(&self, _: Option<&Option<Facts>>) -> String {
        "Database".into()
    }

    async fn load(&self, source: &Source) -> Result<Option<Facts>, Error> {
        source.call(async |client| database::facts(client).await).await
    }

    fn view(&self, facts: &Option<Facts>, cx: &Context) -> Markup {
        let Some(facts) = facts else {
            return html! {
                h1 { "Database" }
                (parts::empty("There is no schema yet", &html! { p { "Bring it up to date:" } pre { "faultline migrate" } }))
            };
        };
        let server = &facts.server;
        html! {
            div.head {
                h1 { "Database" }
                p.muted { (server.database) " on PostgreSQL " (server.version) ", up since " (server.started_at.strftime("%F %T UTC")) }
            }
            (cx.region("figures", figures(facts)))
            (cx.region("concerns", concerns(&concerns::of(facts))))
            (cx.region("tables", tables(&facts.tables, cx)))
            (cx.region("partitions", partitions(facts)))
            (cx.region("sessions", sessions(&facts.sessions)))
            (cx.region("standbys", standbys(&facts.standbys)))
            (cx.region("settings", settings(facts, cx)))
        }
    }
}

fn figures(facts: &Facts) -> Markup {
    let server = &facts.server;
    let hot = facts.tables.iter().find(|table| table.name == "jobs");
    let oldest = concerns::oldest(&facts.oldest_xmin);
    html! {
        dl.figures {
            (figure("Size", &html! { (bytes(server.bytes)) }, &html! { "of the whole database" }))
            (figure("Sessions", &html! { (count(server.connections, false)) }, &html! { "of " (count(server.max_connections, false)) " that the server allows" }))
            @match oldest {
                Some((age_s, holder)) => (figure("Oldest snapshot", &html! { (span(age_s)) }, &html! { (concerns::who(holder)) })),
                None => (figure("Oldest snapshot", &html! { "none" }, &html! { "nothing keeps dead rows from being removed" })),
            }
            @if let Some(jobs) = hot {
                (figure("Dead rows among the jobs", &html! { (count(jobs.dead_rows, false)) }, &html! { "beside " (count(jobs.live_rows, false)) " that live" }))
            }
            (figure("Schema", &html! { (server.schema_version) }, &html! { "this program needs " (server.schema_needed) }))
        }
    }
}

fn concerns(concerns: &[Concern]) -> Markup {
    html! {
        section.card aria-labelledby="concerns-title" {
            h2 #concerns-title { "What needs attention" }
            @if concerns.is_empty() {
                p { (badge(parts::Tone::Good, "nothing")) " No old snapshot, no dangerous setting, partitions for the days to come, sessions to spare." }
            }
            ul.concerns {
                @for concern in concerns {
                    li {
                        (badge(concern.tone, concern.word))
                        div { p { (concern.what) } p.muted { (concern.todo) } @if let Some(sql) = &concern.sql { pre { (sql) } } }
                    }
                }
            }
        }
    }
}

fn section(title: &'static str, id: &'static str, head: &Markup, body: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2.over id=(id) { (title) }
            div.scroll { table.stacked { thead { tr { (head) } } tbody { (body) } } }
        }
    }
}

fn tables(tables: &[TableFacts], cx: &Context) -> Markup {
    let head = html! {
        th scope="col" { "Table" } th.num scope="col" { "Rows, about" } th.num scope="col" { "Dead rows" } th.num scope="col" { "Size" }
        th.num scope="col" { "Indexes" } th scope="col" { "Vacuumed" } th scope="col" { "Analyzed" }
    };
    let age = |at| html! { @if let Some(at) = at { (cx.age(at)) } @else { span.muted { "never" } } };
    let body = html! {
        @for table in tables {
            tr id={ "table-" (table.name) } {
                th scope="row" { (table.name) @if table.partitions > 0 { span.muted { " in " (parts::of_them(table.partitions, "partition", "partitions")) } } }
                td.num data-label="Rows, about" { (count(table.live_rows, false)) }
                td.num data-label="Dead rows" { (count(table.dead_rows, false)) }
                td.num data-label="Size" { (bytes(table.table_bytes)) }
                td.num data-label="Indexes" { (bytes(table.index_bytes)) }
                td data-label="Vacuumed" { (age(table.vacuumed_at)) }
                td data-label="Analyzed" { (age(table.analyzed_at)) }
            }
        }
    };
    section("Tables", "tables-title", &head, &body)
}

fn partitions(facts: &Facts) -> Markup {
    let head = html! {
        th scope="col" { "Partitions of" } th.num scope="col" { "Days" } th scope="col" { "First day" } th scope="col" { "Last day" }
        th.num scope="col" { "From today on" } th.num scope="col" { "Rows, about" } th.num scope="col" { "Size" } th.num scope="col" { "Rows without a day" }
    };
    let body = html! {
        @for Days { parent, days, first, last, ahead, stray, .. } in concerns::days(facts) {
            @let of_it: Vec<&PartitionFacts> = facts.partitions.iter().filter(|partition| partition.parent == parent).collect();
            tr id={ "partitions-" (parent) } {
                th scope="row" { (parent) }
                td.num data-label="Days" { (days) }
                td data-label="First day" { (first) }
                td data-label="Last day" { (last) }
                td.num data-label="From today on" { (ahead) }
                td.num data-label="Rows, about" { (count(of_it.iter().map(|partition| partition.live_rows).sum(), false)) }
                td.num data-label="Size" { (bytes(of_it.iter().map(|partition| partition.bytes).sum())) }
                td.num data-label="Rows without a day" { (count(stray, false)) }
            }
        }
    };
    html! {
        (section("Partitions", "partitions-title", &head, &body))
        p.muted.legend { "What ended is kept for " (span(retention_s(facts))) ", then its day is dropped." }
    }
}

fn retention_s(facts: &Facts) -> f64 {
    std::time::Duration::from_secs(u64::try_from(facts.server.history_retention_s).unwrap_or(0)).as_secs_f64()
}

fn sessions(sessions: &[SessionFacts]) -> Markup {
    let head = html! {
        th scope="col" { "Sessions of" } th scope="col" { "What they do" } th.num scope="col" { "How many" } th.num scope="col" { "Waiting for a lock" }
        th.num scope="col" { "Oldest transaction" }
    };
    let body = html! {
        @for session in sessions {
            tr data-key={ (session.application) "/" (session.state) } {
                th scope="row" { @if session.application.is_empty() { span.muted { "(no name)" } } @else { (session.application) } }
                td data-label="What they do" { @if session.state.is_empty() { span.muted { "not to be seen" } } @else { (session.state) } }
                td.num data-label="How many" { (count(session.sessions, false)) }
                td.num data-label="Waiting for a lock" { (count(session.waiting, false)) }
                td.num data-label="Oldest transaction" { @if let Some(age_s) = session.oldest_transaction_s { (span(age_s.max(0.0))) } @else { "–" } }
            }
        }
    };
    section("Sessions of this database", "sessions-title", &head, &body)
}

fn standbys(standbys: &[StandbyFacts]) -> Markup {
    if standbys.is_empty() {
        return html! {
            section aria-labelledby="standbys-title" {
                h2.over #standbys-title { "Replication" }
                p.muted { "No standby and no replication slot: what is acknowledged lies on this server's disk alone." }
            }
        };
    }
    let head = html! {
        th scope="col" { "Standby or slot" } th scope="col" { "What it does" } th scope="col" { "Synchronous" } th.num scope="col" { "Behind by" }
        th.num scope="col" { "Behind for" }
    };
    let body = html! {
        @for standby in standbys {
            tr data-key={ (standby.what) "/" (standby.name) } {
                th scope="row" { (standby.name) " " span.muted { (standby.what) } }
                td data-label="What it does" { (standby.state) }
                td data-label="Synchronous" { @if standby.sync.is_empty() { "–" } @else { (standby.sync) } }
                td.num data-label="Behind by" { @if let Some(behind) = standby.behind_bytes { (bytes(behind)) } @else { "–" } }
                td.num data-label="Behind for" { @if let Some(behind_s) = standby.behind_s { (span(behind_s.max(0.0))) } @else { "–" } }
            }
        }
    };
    section("Replication", "standbys-title", &head, &body)
}

fn settings(facts: &Facts, cx: &Context) -> Markup {
    let head = html! { th scope="col" { "Setting" } th scope="col" { "Value" } th scope="col" { "From" } };
    let body = html! {
        @for SettingFacts { name, value, unit, source, warning } in &facts.settings {
            tr id={ "setting-" (name) } {
                th.mono scope="row" { (name) }
                td data-label="Value" {
                    @if value.is_empty() { span.muted { "(empty)" } } @else { (value) " " (unit) }
                    @if let Some(warning) = warning { div.bad { (warning) } }
                }
                td data-label="From" { (source) }
            }
        }
    };
    html! {
        (section("Settings that decide about durability and room", "settings-title", &head, &body))
        p.muted.legend {
            "Write-ahead log at " span.mono { (facts.server.wal_position) } "."
            @if let Some(since) = facts.server.audit_on_since { " The transition log is on since " (cx.age(since)) "." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_schema_it_says_what_to_do() {
        let cx = Context::for_test();
        assert!(Database.view(&None, &cx).into_string().contains("faultline migrate"));
    }

    #[test]
    fn names_of_others_are_escaped_and_every_fact_is_shown() {
        let mut facts = concerns::samples::facts();
        facts.sessions[0].application = "<script>alert(1)</script>".into();
        facts.settings[0].value = "<b>".into();
        let cx = Context::for_test();
        let html = Database.view(&Some(facts), &cx).into_string();
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
        for shown in ["3 partitions", "2026-03-02", "nothing keeps dead rows", "No standby", "12.0 MB"] {
            assert!(html.contains(shown), "{shown}: {html}");
        }
    }
}
