//! The HTTP API of Faultline: JSON under `/v1`, health, and the description of both at `/openapi.json`. Beside it, on the same
//! port, [the dashboard](faultline_dashboard) under `/dashboard`.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use faultline_server::{ServerConfig, serve};
//! use tokio_util::sync::CancellationToken;
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
//! let shutdown = CancellationToken::new();
//! serve(listener, ServerConfig::new("postgres://localhost/app"), shutdown).await?;
//! # Ok(()) }
//! ```
//!
//! The server keeps nothing that is not in the database, so that any number of them may serve the same one.
//!
//! | module | holds |
//! |---|---|
//! | `serve`, `stall` | connections: accepting, bounding, draining |
//! | `router` | the routes and what each demands |
//! | `api` | the requests and answers of each route |
//! | `body` | bodies on their way in, and their mistakes |
//! | `problem` | the table of errors |
//! | `coalesce`, `commit` | the way of jobs into the database: shared commits, their outcomes |
//! | `wait` | requests that wait for a job's end |
//! | `health` | whether the database is there |
//! | `metrics` | what was counted, and counting requests |
//! | `trace` | spans of requests that enqueue |
//! | `auth` | tokens and roles |
//! | [`limits`] | every bound |

mod api;
mod app;
mod auth;
mod body;
mod coalesce;
mod commit;
mod config;
mod health;
pub mod limits;
mod metrics;
mod openapi;
mod problem;
mod router;
mod serve;
mod stall;
mod trace;
mod wait;

pub use api::view::JobView;
pub use auth::{TOKEN_PREFIX, new_token};
pub use config::{Auth, ServerConfig};
pub use faultline_dashboard::{BasePath, DrillRun, DrillRunner, DrillSettings, InvalidBasePath};
pub use faultline_metrics::Metrics;
pub use metrics::serve_metrics;
pub use openapi::openapi;
pub use serve::{ServeError, serve};
