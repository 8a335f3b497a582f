//! The dashboard of Faultline: pages for people, served beside the API under `/dashboard`.
//!
//! Pages are HTML rendered here, complete without JavaScript. With it, a page watches its own *live view*: the server reads
//! what the page shows once a second or so for all who look at it, and sends the *regions* that have changed. Nothing is
//! shown as a fact that is not: every page says as of when it is, and greys what it could not read again.
//!
//! | module | holds |
//! |---|---|
//! | `page` | what a page is, and what its view may use: begin here to add one |
//! | `pages` | the pages, a file each, in the order of the navigation |
//! | `source` | where pages read, and by which clock |
//! | `live` | live views: read once, sent to all who watch |
//! | `parts`, `chart` | what pages are made of |
//! | `drills` | reports of drills, and the drill that can be run from here |
//! | `trouble` | what is wrong with a queue or a worker, in words |
//! | `layout` | the document around a page, and pages that are only a message |
//! | `gate`, `session`, `visit` | who may look and act: tokens, sessions, the way of every request |
//! | `login` | signing in and out, the theme |
//! | `assets` | style, script and the vendored charts, with their hashes in their names |
//!
//! Only `faultline-store` holds SQL; a page calls its functions.

mod assets;
mod chart;
mod dashboard;
mod drills;
mod fields;
mod gate;
mod json;
mod layout;
mod live;
mod login;
mod page;
mod pages;
mod parts;
#[cfg(test)]
mod samples;
mod session;
mod source;
mod trouble;
mod visit;

pub use dashboard::{BasePath, Dashboard, InvalidBasePath, PATH, Settings};
pub use drills::{DrillRun, DrillRunner, DrillSettings};
pub use gate::{Fingerprint, Gate, Holder, Refused};
