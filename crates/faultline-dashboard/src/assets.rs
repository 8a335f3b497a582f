//! Style, script and the vendored charts, held in the program. Their names hold their hashes, so that browsers may keep them
//! for ever and never show a page with the style of another version.

use crate::session::hex;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// A file that pages refer to.
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    media_type: &'static str,
    content: &'static str,
    hash: LazyLock<String>,
}

macro_rules! asset {
    ($name:ident, $stem:literal, $extension:literal, $media_type:literal, $path:literal) => {
        pub(crate) static $name: Asset = Asset {
            stem: $stem,
            extension: $extension,
            media_type: $media_type,
            content: include_str!($path),
            hash: LazyLock::new(|| hex(&Sha256::digest(include_bytes!($path))[..8])),
        };
    };
}

asset!(STYLE, "style", "css", "text/css; charset=utf-8", "../assets/style.css");
asset!(SCRIPT, "live", "js", "text/javascript; charset=utf-8", "../assets/live.js");
asset!(JOBS_CSS, "jobs", "css", "text/css; charset=utf-8", "../assets/jobs.css");
asset!(JOBS_JS, "jobs", "js", "text/javascript; charset=utf-8", "../assets/jobs.js");
asset!(CHARTS_CSS, "charts", "css", "text/css; charset=utf-8", "../assets/vendor/uplot/uPlot.min.css");
asset!(CHARTS_JS, "charts", "js", "text/javascript; charset=utf-8", "../assets/vendor/uplot/uPlot.iife.min.js");

const ALL: [&Asset; 6] = [&STYLE, &SCRIPT, &JOBS_CSS, &JOBS_JS, &CHARTS_CSS, &CHARTS_JS];

impl Asset {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}.{}", self.stem, *self.hash, self.extension)
    }
}

/// A file by its name. One of another version is not here: a page of that version is out of date and says so by its looks.
pub(crate) async fn get(Path(name): Path<String>) -> Response {
    let Some(asset) = ALL.into_iter().find(|asset| asset.name() == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers =
        [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, asset.content).into_response()
}
