//! The HTTP client: for the handlers of `work --http`, and for the collector of traces.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::time::Duration;

/// How long opening a connection may take; the answer has a limit of its own.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Idle connections are kept for the next request this long, shorter than the usual limit of servers.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// Speaks HTTP/1.1.
pub(crate) type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client; `secure` if it needs https.
///
/// # Errors
/// When no root certificates are found.
pub(crate) fn client(secure: bool) -> Result<Https> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_LIMIT));
    tcp.set_nodelay(true);
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = if secure {
        let roots = builder.with_provider_and_native_roots(ring::default_provider());
        roots.context("no root certificates for https; install ca-certificates")?
    } else {
        builder.with_tls_config(without_tls()?)
    };
    let https = builder.https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_LIMIT).build(https))
}

/// For http only: no certificates are looked for, which an image may not have. The provider is named here and above,
/// because the default is ambiguous in a build in which somebody else chose another one.
fn without_tls() -> Result<ClientConfig> {
    let config =
        ClientConfig::builder_with_provider(ring::default_provider().into()).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// What hyper's client says of itself, without its own words around the cause.
pub(crate) fn connection_error(error: Error) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    match error.chain().last() {
        Some(cause) => anyhow::anyhow!("{cause}"),
        None => error,
    }
}
