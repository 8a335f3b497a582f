//! `faultline health`: ask a running API whether it is well. For the health checks of containers, whose images hold no
//! other HTTP client.

use crate::exit::{Done, FAILURE, say, usage};
use crate::output;
use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::process::ExitCode;
use std::time::Duration;

/// A health check that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Flags of `faultline health`.
#[derive(Args)]
pub(crate) struct Options {
    /// What to ask, over plain HTTP
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8000/health",
        env = "FAULTLINE_URL",
        hide_env_values = true
    )]
    url: http::Uri,
}

/// Runs `faultline health`: exit code 0 if the answer is a 2xx.
pub(crate) async fn run(options: &Options) -> Done {
    if options.url.scheme() != Some(&http::uri::Scheme::HTTP) {
        return Err(usage("--url must begin with http://"));
    }
    let (status, body) = match tokio::time::timeout(LIMIT, ask(&options.url, ANSWER_BYTES)).await {
        Ok(answer) => answer.with_context(|| format!("no answer from {}", options.url))?,
        Err(_) => anyhow::bail!("no answer from {} within {} s", options.url, LIMIT.as_secs()),
    };
    let line = format!("{} {}", status.as_u16(), output::printable(body.trim()));
    if status.is_success() {
        output::line(&line)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&line);
    Ok(ExitCode::from(FAILURE))
}

/// Asks for a page of `most` bytes at most.
pub(crate) async fn ask(url: &http::Uri, most: usize) -> anyhow::Result<(http::StatusCode, String)> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(url.clone()).await.map_err(crate::https::connection_error)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), most).collect().await.map_err(anyhow::Error::from_boxed)?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}
