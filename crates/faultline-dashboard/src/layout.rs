//! The document around a page.

use crate::assets::{Asset, CHARTS_CSS, CHARTS_JS, JOBS_CSS, JOBS_JS, SCRIPT, STYLE};
use crate::dashboard::Dashboard;
use crate::page::Context;
use crate::pages;
use crate::parts;
use crate::visit::Visitor;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page: `content` is what it shows, or why there is nothing to show.
pub(crate) fn document(
    visitor: &Visitor,
    nav: &str,
    title: &str,
    content: Result<Markup, String>,
    cx: &Context,
) -> Markup {
    let (as_of, failure) = match &content {
        Ok(_) => (Some(parts::clock(cx.now)), None),
        Err(reason) => (None, Some(reason.as_str())),
    };
    let body = html! {
        header.top {
            a.skip href="#main" { "Skip to the content" }
            a.brand href=(cx.url("/")) { (mark()) span { "Faultline" } }
            nav aria-label="Pages" {
                ul {
                    @for entry in pages::ENTRIES {
                        li { a href=(cx.url(entry.path)) aria-current=[(entry.path == nav).then_some("page")] { (entry.title) } }
                    }
                }
            }
            div.who {
                (theme_switch(visitor, cx))
                @if let Some(holder) = &visitor.holder {
                    span.muted title="The token you are signed in with, and its role" { (holder.name) " · " (holder.role.as_str()) }
                    (cx.form("/logout", &html! { button.quiet type="submit" { "Sign out" } }))
                }
            }
        }
        div.strip #strip data-stale[failure.is_some()] {
            div.strip-say {
                span.dot aria-hidden="true" {}
                span #strip-text role="status" {
                    @if let Some(reason) = failure { (reason) } @else { "The database answers." }
                }
            }
            span.strip-time { "as of " time #strip-time { (as_of.as_deref().unwrap_or("never")) } " UTC" }
            noscript { span.muted { "Load the page again to see what is new: live updates need JavaScript." } }
        }
        @if let Some(notice) = &visitor.notice { div.notice role="status" { (notice) } }
        main #main tabindex="-1" data-now-ms=(cx.now.as_millisecond()) data-empty[content.is_err()] {
            @match content {
                Ok(content) => (content),
                Err(_) => {
                    h1 { (title) }
                    (parts::empty("Nothing to show yet", &html! {
                        p { "What this page shows is read from the database, which could not be read. The page fills itself as soon as it can." }
                    }))
                }
            }
        }
    };
    shell(&visitor.dashboard, title, visitor.theme, cx.has_charts() || as_of.is_none(), &body)
}

fn shell(dashboard: &Dashboard, title: &str, theme: Option<&str>, has_charts: bool, body: &Markup) -> Markup {
    let url = |asset: &Asset| dashboard.url(&format!("/assets/{}", asset.name()));
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content=(theme.unwrap_or("light dark"));
                title { (title) " · Faultline" }
                link rel="icon" href=(ICON);
                @if has_charts {
                    link rel="stylesheet" href=(url(&CHARTS_CSS));
                    script src=(url(&CHARTS_JS)) defer {}
                }
                link rel="stylesheet" href=(url(&STYLE));
                link rel="stylesheet" href=(url(&JOBS_CSS));
                script type="module" src=(url(&SCRIPT)) {}
                script type="module" src=(url(&JOBS_JS)) {}
            }
            body data-base=(dashboard.url("/")) { (body) }
        }
    }
}

/// Two halves of a line that a fault has moved.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%233b5bdb'/%3E%3Cpath d='M2 6.5h6l-2 3h8' stroke='%23fff' stroke-width='2' fill='none'/%3E%3C/svg%3E";

fn mark() -> Markup {
    PreEscaped(
        r#"<svg class="mark" viewBox="0 0 16 16" width="18" height="18" aria-hidden="true"><rect width="16" height="16" rx="4"/><path d="M2 6.5h6l-2 3h8"/></svg>"#
            .to_owned(),
    )
}

fn theme_switch(visitor: &Visitor, cx: &Context) -> Markup {
    let (now, next, name) = match visitor.theme {
        None => ("Auto", "light", "as the system says"),
        Some("light") => ("Light", "dark", "light"),
        Some(_) => ("Dark", "", "dark"),
    };
    let button = html! {
        input type="hidden" name="theme" value=(next);
        button.quiet type="submit" title={ "Colours: " (name) ". Press to change." } { span.sr { "Colours: " } (now) }
    };
    cx.form("/theme", &button)
}

/// A page that is only a message.
pub(crate) fn message(dashboard: &Dashboard, status: StatusCode, title: &str, text: &str) -> Response {
    let content = html! {
        main.alone #main {
            a.brand href=(dashboard.url("/")) { (mark()) span { "Faultline" } }
            h1 { (title) }
            p { (text) }
            p { a.button href=(dashboard.url("/")) { "To the overview" } }
        }
    };
    (status, Html(shell(dashboard, title, None, false, &content).into_string())).into_response()
}

/// The same for somebody who is signed in, and may sign out.
pub(crate) fn forbidden(visitor: &Visitor, title: &str, text: &str) -> Response {
    let dashboard = &visitor.dashboard;
    let content = html! {
        main.alone #main {
            a.brand href=(dashboard.url("/")) { (mark()) span { "Faultline" } }
            h1 { (title) }
            p { (text) }
            p { a.button href=(dashboard.url("/")) { "To the overview" } }
            form method="post" action=(dashboard.url("/logout")) {
                input type="hidden" name="csrf" value=(visitor.csrf());
                button.quiet type="submit" { "Sign out" }
            }
        }
    };
    (StatusCode::FORBIDDEN, Html(shell(dashboard, title, visitor.theme, false, &content).into_string())).into_response()
}

/// A page that is only a question, or an answer.
pub(crate) fn alone(visitor: &Visitor, title: &str, content: &Markup) -> Response {
    let dashboard = &visitor.dashboard;
    let body = html! {
        main.alone #main {
            a.brand href=(dashboard.url("/")) { (mark()) span { "Faultline" } }
            (content)
        }
    };
    visitor.answer(StatusCode::OK, shell(dashboard, title, visitor.theme, false, &body))
}

/// The page to sign in.
pub(crate) fn sign_in(visitor: &Visitor, next: &str, wrong: Option<&str>) -> Response {
    let dashboard = &visitor.dashboard;
    let content = html! {
        main.alone #main {
            span.brand { (mark()) span { "Faultline" } }
            h1 { "Sign in" }
            @if let Some(wrong) = wrong { p.bad role="alert" { (wrong) } }
            form.stack method="post" action=(dashboard.url("/login")) {
                input type="hidden" name="csrf" value=(visitor.csrf());
                input type="hidden" name="next" value=(next);
                label for="token" { "API token" }
                input #token type="password" name="token" autocomplete="current-password" required autofocus spellcheck="false"
                    placeholder="flt_…" aria-describedby="token-help";
                p.muted #token-help {
                    "Of the role read to look, or operate to act as well. " code { "faultline token create NAME --role operate" } " makes one."
                }
                button.primary type="submit" { "Sign in" }
            }
        }
    };
    let status = if wrong.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    visitor.answer(status, shell(dashboard, "Sign in", visitor.theme, false, &content))
}
