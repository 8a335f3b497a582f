//! The way of every request: whose session it is, what its token allows, and for a form, that it is one of ours.
//!
//! [`Visitor`] is asked for by whatever shows something, [`Act`] by whatever does something. A form is taken only with a
//! session, the session's CSRF token, an `Origin` that is ours where the browser names one, and the role `operate`.

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::gate::{Holder, Refused};
use crate::layout;
use crate::live;
use crate::session::{SESSION_S, Session};
use axum::body::to_bytes;
use axum::extract::{FromRef, FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use faultline_store::tokens::Role;
use faultline_store::{ClientWrapper, Error};
use maud::{Markup, html};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a form: a thousand ids and more.
const MAX_FORM_BYTES: usize = 128 * 1024;
/// How long a form may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(10);
/// How long a notice waits for the page that shows it, in seconds.
const NOTICE_S: u64 = 20;
/// Bytes of a notice at most, as the cookie holds it.
const MAX_NOTICE_BYTES: usize = 2048;
/// Who acts when there are no tokens, in the audit log.
const ANYBODY: &str = "dashboard";

/// Who is looking.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) dashboard: Arc<Dashboard>,
    pub(crate) session: Session,
    /// Whose token it is, where they are demanded.
    pub(crate) holder: Option<Holder>,
    /// What was done just now, to be shown once.
    pub(crate) notice: Option<String>,
    /// How the page is lit: `light`, `dark`, or as the system says.
    pub(crate) theme: Option<&'static str>,
    /// The page of ours that they come from, as a path below the dashboard's.
    pub(crate) from: Option<String>,
    cookies: Cookies,
    /// Whether the browser needs to be given the session.
    is_new: bool,
}

/// Why somebody can't come in.
pub(crate) enum Barred {
    /// Nobody has signed in.
    SignIn,
    /// The token does not allow to look.
    Role(Role),
    /// The tokens can't be read, or the token is gone.
    Closed(Refused),
}

impl Visitor {
    /// Whose session it is; a new one where none is needed or there is none.
    pub(crate) fn of(dashboard: &Arc<Dashboard>, headers: &HeaderMap) -> Self {
        let cookies = Cookies::of(headers);
        let found = cookies.get(headers, "session").and_then(|cookie| dashboard.sessions.read(cookie));
        let (session, is_new) = match found {
            Some(session) => match session.renewed() {
                Some(renewed) => (renewed, true),
                None => (session, false),
            },
            None => (Session::new(None), true),
        };
        let notice =
            cookies.get(headers, "notice").and_then(|text| Fields::parse(text.as_bytes()).get("n").map(Into::into));
        let theme = match cookies.get(headers, "theme") {
            Some("light") => Some("light"),
            Some("dark") => Some("dark"),
            _ => None,
        };
        let from = headers.get(header::REFERER).and_then(|from| {
            let below = from.to_str().ok()?.split_once("://")?.1.split_once(crate::PATH)?.1;
            Some(if below.starts_with('/') { below.to_owned() } else { format!("/{below}") })
        });
        let holder = session.token.and_then(|token| dashboard.gate.holder(&token).ok());
        Self { dashboard: dashboard.clone(), session, holder, notice, theme, from, cookies, is_new }
    }

    /// Whether they may look, now.
    pub(crate) fn standing(&self, dashboard: &Dashboard) -> Result<(), Barred> {
        if !dashboard.gate.demands_tokens() {
            return Ok(());
        }
        let token = self.session.token.ok_or(Barred::SignIn)?;
        let holder = dashboard.gate.holder(&token).map_err(|refused| match refused {
            Refused::Unknown => Barred::SignIn,
            refused @ Refused::Unreadable => Barred::Closed(refused),
        })?;
        match holder.role {
            Role::Read | Role::Operate => Ok(()),
            role @ (Role::Enqueue | Role::Work) => Err(Barred::Role(role)),
        }
    }

    /// Whether they may act.
    pub(crate) fn may_operate(&self) -> bool {
        !self.dashboard.gate.demands_tokens() || self.holder.as_ref().is_some_and(|holder| holder.role == Role::Operate)
    }

    /// What their forms bring along.
    pub(crate) fn csrf(&self) -> String {
        self.dashboard.sessions.csrf(&self.session)
    }

    /// A page for them, with their session where the browser does not have it yet.
    pub(crate) fn answer(&self, status: StatusCode, page: Markup) -> Response {
        let mut response = (status, Html(page.into_string())).into_response();
        if self.is_new {
            self.give_session(&mut response);
        }
        if self.notice.is_some() {
            self.set_cookie(&mut response, "notice", "", 0);
        }
        response
    }

    /// Sends them to a page, with a notice for it.
    pub(crate) fn send_to(&self, path: &str, notice: Option<&str>) -> Response {
        let mut response = Redirect::to(&self.dashboard.url(path)).into_response();
        if let Some(notice) = notice {
            let mut shown = notice;
            let mut field = encoded(shown);
            while field.len() > MAX_NOTICE_BYTES {
                shown = &shown[..shown.floor_char_boundary(shown.len() / 2)];
                field = encoded(shown);
            }
            self.set_cookie(&mut response, "notice", &field, NOTICE_S);
        }
        response
    }

    /// The same under a new session.
    pub(crate) fn as_holder(&self, holder: &Holder) -> Self {
        Self { session: Session::new(Some(holder.fingerprint)), holder: Some(holder.clone()), ..self.clone() }
    }

    /// Gives the browser the session.
    pub(crate) fn give_session(&self, response: &mut Response) {
        self.set_cookie(response, "session", &self.dashboard.sessions.cookie(&self.session), SESSION_S);
    }

    /// Gives the browser a cookie that only it and we see; without a time, it forgets it.
    pub(crate) fn set_cookie(&self, response: &mut Response, name: &str, value: &str, seconds: u64) {
        let name = self.cookies.name(name);
        let path = self.dashboard.cookie_path();
        let secure = if self.cookies.is_https { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
}

fn encoded(text: &str) -> String {
    let mut field = Fields::default();
    field.push("n", text);
    field.encode()
}

/// The names of cookies. Browsers don't tell the ports of a host apart, so that the names do.
#[derive(Clone)]
struct Cookies {
    port: String,
    is_https: bool,
}

impl Cookies {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let port = text(header::HOST.as_str()).rsplit_once(':').map_or("", |(_, port)| port);
        let port = if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
            format!("_{port}")
        } else {
            String::new()
        };
        Self { port, is_https: text("x-forwarded-proto").eq_ignore_ascii_case("https") }
    }

    fn name(&self, name: &str) -> String {
        format!("faultline_{name}{}", self.port)
    }

    fn get<'a>(&self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let name = self.name(name);
        let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        pairs.flat_map(|pairs| pairs.split(';')).find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        })
    }
}

impl<S> FromRequestParts<S> for Visitor
where
    Arc<Dashboard>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let dashboard = Arc::<Dashboard>::from_ref(state);
        let visitor = Self::of(&dashboard, &parts.headers);
        visitor.standing(&dashboard).map(|()| visitor.clone()).map_err(|barred| bar(&visitor, barred, parts))
    }
}

impl<S> OptionalFromRequestParts<S> for Visitor
where
    Arc<Dashboard>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Infallible> {
        Ok(<Self as FromRequestParts<S>>::from_request_parts(parts, state).await.ok())
    }
}

fn bar(visitor: &Visitor, barred: Barred, parts: &Parts) -> Response {
    let dashboard = &visitor.dashboard;
    match barred {
        Barred::SignIn if parts.method.is_safe() => {
            // The address as it is below the dashboard, to come back to.
            let whole = parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |uri| &uri.0);
            let path = whole.path_and_query().map_or("", |path| path.as_str());
            let below = path.split_once(crate::PATH).map_or("", |(_, below)| below);
            let mut next = Fields::default();
            next.push("next", if below.is_empty() { "/" } else { below });
            visitor.send_to(&format!("/login?{}", next.encode()), None)
        }
        Barred::SignIn => {
            let text = "Nothing was done. Sign in, then try again.";
            layout::message(dashboard, StatusCode::FORBIDDEN, "You are not signed in", text)
        }
        Barred::Role(role) => {
            let text = format!(
                "A token of the role {} may not see the dashboard; the roles read and operate may. Sign out to use another.",
                role.as_str()
            );
            layout::forbidden(visitor, "This token may not look", &text)
        }
        Barred::Closed(refused) => {
            let text = format!("The database does not answer, so that {refused}. Try again when it is back.");
            layout::message(dashboard, StatusCode::SERVICE_UNAVAILABLE, "Nobody can be let in now", &text)
        }
    }
}

/// A form that is ours: with a session and its CSRF token. What it asks for may still need a role.
pub(crate) struct Form {
    pub(crate) visitor: Visitor,
    pub(crate) fields: Fields,
}

impl<S> FromRequest<S> for Form
where
    Arc<Dashboard>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let dashboard = Arc::<Dashboard>::from_ref(state);
        let (parts, body) = request.into_parts();
        let visitor = Visitor::of(&dashboard, &parts.headers);
        let body = tokio::time::timeout(FORM_TIME, to_bytes(body, MAX_FORM_BYTES)).await;
        let sorry = |status, title, text| layout::message(&dashboard, status, title, text);
        let Ok(body) = body else {
            return Err(sorry(StatusCode::REQUEST_TIMEOUT, "The form took too long", "Nothing was done."));
        };
        let Ok(body) = body else {
            return Err(sorry(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large", "Nothing was done."));
        };
        let fields = Fields::parse(&body);
        if !dashboard.gate.is_same_origin(&parts.headers) {
            let text = "The form came from a page of another site, or the proxy in front changes the Host header. \
                        Nothing was done.";
            return Err(sorry(StatusCode::FORBIDDEN, "Not from here", text));
        }
        if !fields.get("csrf").is_some_and(|csrf| dashboard.sessions.knows_csrf(&visitor.session, csrf)) {
            let text = "The page with the form is older than your session, or the browser keeps no cookies. Nothing was \
                        done: load the page again, then try once more.";
            return Err(sorry(StatusCode::FORBIDDEN, "The form is not of this session", text));
        }
        Ok(Self { visitor, fields })
    }
}

/// A form of somebody who may operate.
pub(crate) struct Act {
    /// Who acts, for the audit log.
    pub(crate) actor: Arc<str>,
    /// What the form holds.
    pub(crate) fields: Fields,
    visitor: Visitor,
}

impl Act {
    /// Does it, or says why not.
    pub(crate) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, Error>,
    ) -> axum::response::Result<T> {
        self.visitor.dashboard.source.call(call).await.map_err(|error| self.failed(&error).into())
    }

    /// Where what was done is counted.
    pub(crate) fn metrics(&self) -> &faultline_metrics::EngineMetrics {
        self.visitor.dashboard.source.metrics().engine()
    }

    /// Shows a page with a notice of what was done.
    pub(crate) fn done(&self, path: &str, notice: &str) -> Response {
        self.visitor.send_to(path, Some(notice))
    }

    /// A form for the next step of what is done.
    pub(crate) fn form(&self, path: &str, content: &Markup) -> Markup {
        let visitor = &self.visitor;
        html! {
            form method="post" action=(visitor.dashboard.url(path)) {
                input type="hidden" name="csrf" value=(visitor.csrf());
                (content)
            }
        }
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        self.visitor.dashboard.url(path)
    }

    /// Shows a page that is only this, such as a question.
    pub(crate) fn show(&self, title: &str, content: &Markup) -> Response {
        layout::alone(&self.visitor, title, content)
    }

    /// Says that it can't be done as asked.
    pub(crate) fn refused(&self, title: &str, text: &str) -> Response {
        layout::message(&self.visitor.dashboard, StatusCode::UNPROCESSABLE_ENTITY, title, text)
    }

    fn failed(&self, error: &Error) -> Response {
        let (status, what) = match error {
            Error::Invalid(_) => return self.refused("This can't be done", &format!("{error}. Nothing was done.")),
            Error::Indeterminate { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "It may have been done: look, then try again.")
            }
            error if error.is_transient() => (StatusCode::SERVICE_UNAVAILABLE, "Nothing was done; try again."),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "Nothing was done."),
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(%error, "what the dashboard was asked to do has failed");
        }
        let text = format!("{} {what}", live::reason(error));
        layout::message(&self.visitor.dashboard, status, "This could not be done", &text)
    }
}

impl<S> FromRequest<S> for Act
where
    Arc<Dashboard>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let known = parts.clone();
        let Form { visitor, fields } = Form::from_request(Request::from_parts(parts, body), state).await?;
        visitor.standing(&visitor.dashboard).map_err(|barred| bar(&visitor, barred, &known))?;
        if !visitor.may_operate() {
            let text = "Your token may look, but not act: that takes one of the role operate. Nothing was done.";
            return Err(layout::forbidden(&visitor, "You may not do this", text));
        }
        let actor = visitor.holder.as_ref().map_or_else(|| ANYBODY.into(), |holder| holder.name.clone());
        Ok(Self { actor, fields, visitor })
    }
}
