//! Tokens of the HTTP API. Only their SHA-256 is stored.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use jiff::Timestamp;
use serde::Serialize;
use std::str::FromStr;

const CREATE: &str = include_str!("../sql/token_create.sql");
const REVOKE: &str = include_str!("../sql/token_revoke.sql");
const LIST: &str = include_str!("../sql/tokens.sql");

/// What a token allows. Each role stands for itself, but for `operate`, which includes the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See jobs, queues and workers.
    Read,
    /// Enqueue jobs, and see those it knows the id of.
    Enqueue,
    /// Run jobs.
    Work,
    /// Everything.
    Operate,
}

impl Role {
    /// The name as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Enqueue => "enqueue",
            Self::Work => "work",
            Self::Operate => "operate",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        [Self::Read, Self::Enqueue, Self::Work, Self::Operate]
            .into_iter()
            .find(|role| role.as_str() == s)
            .ok_or_else(|| format!("expected read, enqueue, work or operate, got {s:?}"))
    }
}

/// A token as it is stored.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// Its name, for people.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// SHA-256 of the token.
    #[serde(skip)]
    pub hash: Vec<u8>,
}

/// Stores a new token; false when the name is taken.
///
/// # Errors
/// Those of the connection.
pub async fn create(client: &ClientWrapper, name: &str, role: Role, hash: &[u8]) -> Result<bool> {
    faultline_core::job::check_name("name", name)?;
    Ok(query_opt(client, CREATE, &[&name, &role.as_str(), &hash]).await?.is_some())
}

/// Revokes a token; false when there is none of that name, or it was revoked before.
///
/// # Errors
/// Those of the connection.
pub async fn revoke(client: &ClientWrapper, name: &str) -> Result<bool> {
    Ok(query_opt(client, REVOKE, &[&name]).await?.is_some())
}

/// Every token, revoked ones included.
///
/// # Errors
/// Those of the connection.
pub async fn list(client: &ClientWrapper) -> Result<Vec<Token>> {
    query(client, LIST, &[])
        .await?
        .iter()
        .map(|row| {
            let role: &str = row.try_get("role")?;
            Ok(Token {
                name: row.try_get("name")?,
                role: role.parse().expect("a CHECK allows these roles only"),
                created_at: row.try_get("created_at")?,
                revoked_at: row.try_get("revoked_at")?,
                hash: row.try_get("hash")?,
            })
        })
        .collect()
}
