//! What all requests share, and the routes.

use crate::drills::DrillSettings;
use crate::gate::Gate;
use crate::live::Hub;
use crate::session::Sessions;
use crate::source::Source;
use crate::{assets, layout, login, pages};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Redirect, Response};
use axum::routing::get;
use faultline_metrics::Metrics;
use faultline_store::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where the dashboard is on the server's port.
pub const PATH: &str = "/dashboard";

/// What pages may do: nothing but what this server sends. No script or style in a page runs, whoever wrote it there.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The path under which a proxy shows the server: empty, or `/…` without a slash at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(String);

/// A base path that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a path such as /faultline: a slash, then letters, digits, `-`, `_`, `.` and slashes")]
pub struct InvalidBasePath;

impl FromStr for BasePath {
    type Err = InvalidBasePath;

    fn from_str(text: &str) -> Result<Self, InvalidBasePath> {
        let text = text.trim_end_matches('/');
        let is_plain = |part: &str| {
            let is_known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(is_known) && !part.chars().all(|c| c == '.')
        };
        match text.strip_prefix('/') {
            None if text.is_empty() => Ok(Self::default()),
            Some(parts) if parts.split('/').all(is_plain) => Ok(Self(text.to_owned())),
            _ => Err(InvalidBasePath),
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A dashboard's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database that it shows. The dashboard has a small pool of its own, so that it can't take the sessions of others.
    pub database_url: String,
    /// Where its calls are counted.
    pub metrics: Metrics,
    /// The path under which a proxy shows the server.
    pub base_path: BasePath,
    /// The key of sessions, which servers behind one balancer share; a random one otherwise.
    pub session_key: Option<String>,
    /// The drills that it shows.
    pub drills: DrillSettings,
}

/// What all requests share.
pub struct Dashboard {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) source: Source,
    pub(crate) sessions: Sessions,
    pub(crate) hub: Hub,
    /// Cancelled by the order to stop, which ends the streams.
    pub(crate) stopping: CancellationToken,
    base: BasePath,
}

impl Dashboard {
    /// A dashboard; nothing is connected before somebody looks.
    ///
    /// # Errors
    /// [`Error::Url`] for a URL that can't be used.
    pub fn new(settings: &Settings, gate: Arc<dyn Gate>, stopping: CancellationToken) -> Result<Self, Error> {
        Ok(Self {
            gate,
            source: Source::new(settings)?,
            sessions: Sessions::new(settings.session_key.as_deref()),
            hub: Hub::default(),
            stopping,
            base: settings.base_path.clone(),
        })
    }

    /// Its routes, from [`PATH`] on; also under the base path, for proxies that leave it in place.
    pub fn router<S>(self) -> Router<S> {
        let dashboard = Arc::new(self);
        let inner = Router::new()
            .merge(pages::routes())
            .merge(login::routes())
            .route("/assets/{name}", get(assets::get))
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_that_way);
        let root = dashboard.url("/");
        let mounted = |path: &str| {
            let to = root.clone();
            Router::new().nest(path, inner.clone()).route(&format!("{path}/"), get(async move || Redirect::to(&to)))
        };
        let mut router = mounted(PATH);
        if !dashboard.base.0.is_empty() {
            router = router.merge(mounted(&format!("{}{PATH}", dashboard.base)));
        }
        router.layer(from_fn(secure)).with_state(dashboard)
    }

    /// A path of the dashboard as browsers see it. `/` is its first page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{PATH}{}", self.base, if path == "/" { "" } else { path })
    }

    /// The path for its cookies.
    pub(crate) fn cookie_path(&self) -> String {
        format!("{}{PATH}", self.base)
    }
}

async fn nothing_here(State(dashboard): State<Arc<Dashboard>>) -> Response {
    layout::message(&dashboard, StatusCode::NOT_FOUND, "There is no such page", "The address may be mistyped, or old.")
}

async fn not_that_way(State(dashboard): State<Arc<Dashboard>>) -> Response {
    let text = "It is there for a form of another page. Nothing was done.";
    layout::message(&dashboard, StatusCode::METHOD_NOT_ALLOWED, "This is not a page", text)
}

/// Sets on every answer what browsers must know.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // A report of a drill has a policy of its own.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`, under which browsers send `Origin: null` with our own forms too; other sites learn nothing either way.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::BasePath;

    #[test]
    fn a_base_path_is_a_plain_path() {
        for (text, path) in [("", ""), ("/", ""), ("/a", "/a"), ("/a/b-c_d.e/", "/a/b-c_d.e")] {
            assert_eq!(text.parse::<BasePath>().map(|path| path.to_string()), Ok(path.to_owned()));
        }
        for text in ["a", "//evil.example", "/a//b", "/..", "/a/../b", "/a?b", "/{a}", "/a\"", "https://a"] {
            assert!(text.parse::<BasePath>().is_err(), "{text}");
        }
    }
}
