//! What the dashboard asks of the server it is part of: the tokens are the server's, and there is one list of them.

use axum::http::HeaderMap;
use faultline_store::tokens::Role;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// SHA-256 of a token's stored hash: names a token in a session without being of any use elsewhere.
pub type Fingerprint = [u8; 32];

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The token's name, for the audit log.
    pub name: Arc<str>,
    /// What it allows.
    pub role: Role,
    /// Which token it is.
    pub fingerprint: Fingerprint,
}

/// Why nobody can be let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such token, or it was revoked.
    #[error("the token is not known, or was revoked")]
    Unknown,
    /// Whether there is can't be told now.
    #[error("the tokens can't be read, so that nobody can be let in")]
    Unreadable,
}

/// Lets people in, or not.
pub trait Gate: Send + Sync + 'static {
    /// Whether a token is needed to look and act.
    fn demands_tokens(&self) -> bool;

    /// Whose token this is. May wait a moment for a fresh list of tokens.
    fn admit<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Holder, Refused>>;

    /// Whose token a session was begun with, by the list in memory: a revoked token is found no more.
    ///
    /// # Errors
    /// As [`Refused`] says.
    fn holder(&self, fingerprint: &Fingerprint) -> Result<Holder, Refused>;

    /// Whether a request that changes something does not come from a page of another site.
    fn is_same_origin(&self, headers: &HeaderMap) -> bool;
}
