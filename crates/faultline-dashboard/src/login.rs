//! Signing in with a token, signing out, and the theme.

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::gate::Refused;
use crate::layout;
use crate::visit::{Form, Visitor};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use std::sync::Arc;

/// How long a browser remembers the theme, in seconds: a year.
const THEME_S: u64 = 365 * 24 * 3600;

pub(crate) fn routes() -> Router<Arc<Dashboard>> {
    Router::new().route("/login", get(form).post(sign_in)).route("/logout", post(sign_out)).route("/theme", post(theme))
}

async fn form(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let visitor = Visitor::of(&dashboard, &headers);
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let next = next(&fields);
    if visitor.standing(&dashboard).is_ok() {
        return visitor.send_to(&next, None);
    }
    layout::sign_in(&visitor, &next, None)
}

async fn sign_in(form: Form) -> Response {
    let Form { visitor, fields } = form;
    let next = next(&fields);
    let gate = visitor.dashboard.gate.clone();
    match gate.admit(fields.get("token").unwrap_or_default()).await {
        Ok(holder) => {
            tracing::info!(token = %holder.name, role = holder.role.as_str(), "signed in to the dashboard");
            // A new session: one that somebody else may know from before must not become theirs.
            let signed_in = visitor.as_holder(&holder);
            let mut response = signed_in.send_to(&next, None);
            signed_in.give_session(&mut response);
            response
        }
        Err(refused @ Refused::Unknown) => layout::sign_in(&visitor, &next, Some(&format!("Not let in: {refused}."))),
        Err(refused @ Refused::Unreadable) => {
            let text = format!("The database does not answer, so that {refused}. Try again when it is back.");
            let title = "Nobody can be let in now";
            layout::message(&visitor.dashboard, StatusCode::SERVICE_UNAVAILABLE, title, &text)
        }
    }
}

async fn sign_out(form: Form) -> Response {
    let visitor = form.visitor;
    visitor.dashboard.sessions.end(&visitor.session);
    let mut response = visitor.send_to("/login", None);
    visitor.set_cookie(&mut response, "session", "", 0);
    response
}

async fn theme(form: Form) -> Response {
    let Form { visitor, fields } = form;
    let mut response = visitor.send_to(visitor.from.as_deref().unwrap_or("/"), None);
    match fields.get("theme") {
        Some(theme @ ("light" | "dark")) => visitor.set_cookie(&mut response, "theme", theme, THEME_S),
        _ => visitor.set_cookie(&mut response, "theme", "", 0),
    }
    response
}

/// The page to go on with: one of ours, whatever the field says.
fn next(fields: &Fields) -> String {
    let path = fields.get("next").unwrap_or("/");
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if path.starts_with('/') && is_plain { path.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::next;
    use crate::fields::Fields;

    #[test]
    fn after_signing_in_one_stays_here() {
        for (asked, path) in [
            ("/jobs?state=failed", "/jobs?state=failed"),
            ("", "/"),
            ("https://evil.example", "/"),
            ("jobs", "/"),
            ("/a\r\nset-cookie: x", "/"),
            ("/\\evil.example", "/"),
        ] {
            let mut fields = Fields::default();
            fields.push("next", asked);
            assert_eq!(next(&fields), path);
        }
    }
}
