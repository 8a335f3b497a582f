//! Who may do what: bearer tokens and their roles.
//!
//! The list of tokens is held in memory as hashes and read again every few seconds, and at once (but not more than once a
//! second) when somebody presents a token that is not in it, so that a new token works immediately. While the database is
//! away the last list is good for [`TOKENS_MAX_AGE`]; after that, nobody is let in, because nobody can tell whether a token
//! was revoked.
//!
//! A token is looked up by its SHA-256. It holds 256 random bits, so that neither a slow hash nor a comparison in constant
//! time would add anything: the time of a look-up tells about the hash, not about the token.

use crate::limits::{TOKENS_INTERVAL, TOKENS_MAX_AGE, TOKENS_MIN_INTERVAL};
use crate::problem::{Answer, Kind};
use axum::http::{HeaderMap, Method, header};
use faultline_dashboard::{Fingerprint, Holder, Refused};
use faultline_store::tokens::{self, Role};
use faultline_store::{Database, Error};
use futures_util::future::BoxFuture;
use rand::Rng;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What every token begins with, so that people and secret scanners know one when they see it.
pub const TOKEN_PREFIX: &str = "flt_";
/// The actor in the audit log when there are no tokens.
const ANYBODY: &str = "api";
/// How long a request with an unknown token waits for a fresh list.
const FRESH_LIST_TIME: Duration = Duration::from_secs(2);

/// A new token of 256 random bits, and the hash that is stored in its stead.
///
/// ```
/// let (token, hash) = faultline_server::new_token();
/// assert!(token.starts_with("flt_"));
/// assert_eq!(hash.len(), 32);
/// ```
pub fn new_token() -> (String, Vec<u8>) {
    let mut random = [0u8; 32];
    rand::rng().fill_bytes(&mut random);
    let digits = random.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let token = format!("{TOKEN_PREFIX}{digits}");
    let hash = hash(&token);
    (token, hash.to_vec())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// What a route demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// To look.
    Read,
    /// To look at a job whose id one knows.
    ReadOne,
    /// To enqueue.
    Enqueue,
    /// To operate.
    Operate,
}

impl Access {
    fn allows(self, role: Role) -> bool {
        match self {
            Self::Read => matches!(role, Role::Read | Role::Operate),
            Self::ReadOne => matches!(role, Role::Read | Role::Enqueue | Role::Operate),
            Self::Enqueue => matches!(role, Role::Enqueue | Role::Operate),
            Self::Operate => role == Role::Operate,
        }
    }
}

/// Who is calling: the name of the token, for the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Actor(pub(crate) Arc<str>);

/// The tokens that are valid, by their hash.
pub(crate) struct List {
    roles: HashMap<[u8; 32], (Role, Arc<str>)>,
    /// The same tokens by what the dashboard's sessions hold of them.
    holders: HashMap<Fingerprint, Holder>,
    read_at: Instant,
}

/// Lets requests in, or not.
pub(crate) enum Gate {
    /// Everybody may do everything.
    Open,
    /// Only with a token.
    Tokens {
        /// The last list that could be read, if any.
        list: watch::Receiver<Option<Arc<List>>>,
        /// Told when a request presents an unknown token.
        wanted: Arc<Notify>,
    },
}

impl Gate {
    /// Reads the list, and starts the loop that keeps it fresh; it ends when nobody can ask any more.
    pub(crate) async fn with_tokens(database: Database) -> Self {
        let first = read(&database).await.ok().map(Arc::new);
        let (sender, list) = watch::channel(first);
        let wanted = Arc::new(Notify::new());
        tokio::spawn(keep_fresh(database, sender, wanted.clone()));
        Self::Tokens { list, wanted }
    }

    /// Lets a request in that may do what it asks for.
    pub(crate) async fn check(&self, headers: &HeaderMap, access: Access) -> Answer<Actor> {
        let Self::Tokens { list, wanted } = self else { return Ok(Actor(ANYBODY.into())) };
        let token = bearer(headers).ok_or_else(|| {
            Kind::Unauthorized
                .because("present a token as `Authorization: Bearer …`; `faultline token create` makes one")
        })?;
        let (role, name) = find_or_refresh(list, wanted, &hash(token)).await.map_err(|refused| match refused {
            Refused::Unknown => Kind::Unauthorized.because(refused.to_string()),
            Refused::Unreadable => Kind::DatabaseUnavailable.because(refused.to_string()),
        })?;
        if !access.allows(role) {
            return Err(Kind::Forbidden.because(format!("a token of the role {} may not do this", role.as_str())));
        }
        Ok(Actor(name))
    }
}

/// The dashboard lets people in by the same list.
impl faultline_dashboard::Gate for Gate {
    fn demands_tokens(&self) -> bool {
        matches!(self, Self::Tokens { .. })
    }

    fn admit<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Holder, Refused>> {
        Box::pin(async move {
            let Self::Tokens { list, wanted } = self else { return Err(Refused::Unknown) };
            let hash = hash(token);
            let (role, name) = find_or_refresh(list, wanted, &hash).await?;
            Ok(Holder { name, role, fingerprint: fingerprint(&hash) })
        })
    }

    fn holder(&self, fingerprint: &Fingerprint) -> Result<Holder, Refused> {
        let Self::Tokens { list, .. } = self else { return Err(Refused::Unknown) };
        let list = list.borrow();
        recent(&list)?.holders.get(fingerprint).cloned().ok_or(Refused::Unknown)
    }

    fn is_same_origin(&self, headers: &HeaderMap) -> bool {
        crate::router::check_origin(&Method::POST, headers).is_ok()
    }
}

/// Names a token without being of use for anything: not even what is stored of it.
fn fingerprint(hash: &[u8; 32]) -> Fingerprint {
    Sha256::digest(hash).into()
}

/// Whose token it is. One that is not in the list may be new: it waits for a fresh one.
async fn find_or_refresh(
    list: &watch::Receiver<Option<Arc<List>>>,
    wanted: &Notify,
    hash: &[u8; 32],
) -> Result<(Role, Arc<str>), Refused> {
    let find = |list: &watch::Receiver<_>| recent(&list.borrow()).map(|list| list.roles.get(hash).cloned());
    if let Some(known) = find(list)? {
        return Ok(known);
    }
    let asked_at = Instant::now();
    let mut list = list.clone();
    wanted.notify_one();
    let fresh = list.wait_for(|list| list.as_ref().is_some_and(|list| list.read_at >= asked_at));
    // Without a fresh list in time the old one has the last word.
    let _ = tokio::time::timeout(FRESH_LIST_TIME, fresh).await;
    find(&list)?.ok_or(Refused::Unknown)
}

/// The list, unless it is too old to tell who was revoked.
fn recent(list: &Option<Arc<List>>) -> Result<&List, Refused> {
    list.as_deref().filter(|list| list.read_at.elapsed() < TOKENS_MAX_AGE).ok_or(Refused::Unreadable)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn keep_fresh(database: Database, sender: watch::Sender<Option<Arc<List>>>, wanted: Arc<Notify>) {
    while !sender.is_closed() {
        tokio::time::sleep(TOKENS_MIN_INTERVAL).await;
        let _ = tokio::time::timeout(TOKENS_INTERVAL - TOKENS_MIN_INTERVAL, wanted.notified()).await;
        match read(&database).await {
            Ok(list) => {
                sender.send_replace(Some(Arc::new(list)));
            }
            Err(error) => tracing::debug!(%error, "could not read the tokens"),
        }
    }
}

async fn read(database: &Database) -> Result<List, Error> {
    let read_at = Instant::now();
    let tokens = database.run_within(crate::limits::HEALTH_TIME, async |client| tokens::list(client).await).await?;
    let valid = tokens.into_iter().filter(|token| token.revoked_at.is_none());
    let roles: HashMap<_, _> =
        valid.filter_map(|token| Some((token.hash.try_into().ok()?, (token.role, token.name.into())))).collect();
    let holders = roles.iter().map(|(hash, (role, name)): (_, &(Role, Arc<str>))| {
        let fingerprint = fingerprint(hash);
        (fingerprint, Holder { name: name.clone(), role: *role, fingerprint })
    });
    Ok(List { holders: holders.collect(), roles, read_at })
}
