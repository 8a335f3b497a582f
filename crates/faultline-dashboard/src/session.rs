//! Sessions: what a cookie says, and how it is known to be ours.
//!
//! A cookie holds no token. It holds which token the session was begun with (its fingerprint), until when it is good, a random
//! number, and an HMAC over these under the server's key; nothing is stored. With every request the token behind it is looked
//! up again, so that a revoked one ends its sessions. The key is random for each process unless one is given, which servers
//! behind one balancer must share.
//!
//! The CSRF token of a session is an HMAC over its random number: a page of another site can neither read nor guess it.
//! Without tokens every visitor has such a session too, of nobody.

use crate::gate::Fingerprint;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::Sha256;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a session lasts without a visit, in seconds: a working day.
pub(crate) const SESSION_S: u64 = 12 * 3600;
/// Sessions that were ended by signing out and are remembered as such.
const MAX_ENDED: usize = 10_000;

type Nonce = [u8; 16];

/// A session, as its cookie says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// The token it was begun with; none without tokens, and before signing in.
    pub(crate) token: Option<Fingerprint>,
    /// Until when it is good, in seconds since 1970.
    expires_at_s: u64,
    nonce: Nonce,
}

impl Session {
    /// A new one.
    pub(crate) fn new(token: Option<Fingerprint>) -> Self {
        let mut nonce = [0; 16];
        rand::rng().fill_bytes(&mut nonce);
        Self { token, expires_at_s: now_s() + SESSION_S, nonce }
    }

    /// The same for another while, if half of its time is over.
    pub(crate) fn renewed(&self) -> Option<Self> {
        let is_old = self.expires_at_s < now_s() + SESSION_S / 2;
        is_old.then(|| Self { expires_at_s: now_s() + SESSION_S, ..self.clone() })
    }

    fn signed_part(&self) -> String {
        let token = self.token.map_or_else(|| "-".to_owned(), |token| hex(&token));
        format!("{token}.{}.{}", self.expires_at_s, hex(&self.nonce))
    }
}

/// Makes and knows sessions.
pub(crate) struct Sessions {
    key: Vec<u8>,
    ended: Mutex<VecDeque<Nonce>>,
}

impl Sessions {
    /// With a key of its own, or the one that several servers share.
    pub(crate) fn new(shared_key: Option<&str>) -> Self {
        let key = shared_key.map_or_else(
            || {
                let mut key = vec![0; 32];
                rand::rng().fill_bytes(&mut key);
                key
            },
            |key| key.as_bytes().to_vec(),
        );
        Self { key, ended: Mutex::default() }
    }

    /// The value of a session's cookie.
    pub(crate) fn cookie(&self, session: &Session) -> String {
        let signed = session.signed_part();
        let mac = hex(&self.mac("session", signed.as_bytes()).finalize().into_bytes());
        format!("{signed}.{mac}")
    }

    /// The session of a cookie that is ours, has not expired and was not ended.
    pub(crate) fn read(&self, cookie: &str) -> Option<Session> {
        let (signed, mac) = cookie.rsplit_once('.')?;
        self.mac("session", signed.as_bytes()).verify_slice(&unhex(mac)?).ok()?;
        let mut parts = signed.split('.');
        let token = match parts.next()? {
            "-" => None,
            token => Some(unhex(token)?.try_into().ok()?),
        };
        let expires_at_s = parts.next()?.parse().ok()?;
        let nonce: Nonce = unhex(parts.next()?)?.try_into().ok()?;
        let is_over = expires_at_s < now_s() || self.ended().contains(&nonce);
        (!is_over).then_some(Session { token, expires_at_s, nonce })
    }

    /// Ends a session before its time, in this process.
    pub(crate) fn end(&self, session: &Session) {
        let mut ended = self.ended();
        if ended.len() == MAX_ENDED {
            ended.pop_front();
        }
        ended.push_back(session.nonce);
    }

    /// What forms of this session must bring along.
    pub(crate) fn csrf(&self, session: &Session) -> String {
        hex(&self.mac("csrf", &session.nonce).finalize().into_bytes())
    }

    /// Whether a form brought it.
    pub(crate) fn knows_csrf(&self, session: &Session, given: &str) -> bool {
        unhex(given).is_some_and(|given| self.mac("csrf", &session.nonce).verify_slice(&given).is_ok())
    }

    fn mac(&self, purpose: &str, text: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(text);
        mac
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, VecDeque<Nonce>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{Session, Sessions, now_s};

    #[test]
    fn a_cookie_is_read_back_by_those_who_share_the_key_only() {
        let (one, other) = (Sessions::new(Some("shared")), Sessions::new(Some("shared")));
        for token in [None, Some([7; 32])] {
            let session = Session::new(token);
            assert_eq!(other.read(&one.cookie(&session)), Some(session.clone()));
            assert_eq!(Sessions::new(None).read(&one.cookie(&session)), None);
        }
    }

    #[test]
    fn a_changed_expired_or_ended_cookie_is_nobodys() {
        let sessions = Sessions::new(None);
        let session = Session::new(Some([7; 32]));
        let cookie = sessions.cookie(&session);
        for at in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(sessions.read(std::str::from_utf8(&changed).expect("ASCII")), None);
        }
        let old = Session { expires_at_s: now_s() - 1, ..session.clone() };
        assert_eq!(sessions.read(&sessions.cookie(&old)), None);
        sessions.end(&session);
        assert_eq!(sessions.read(&cookie), None);
        for broken in ["", ".", "..", "-.1.2", "é.é"] {
            assert_eq!(sessions.read(broken), None);
        }
    }

    #[test]
    fn a_csrf_token_is_good_for_its_session_and_outlives_a_renewal() {
        let sessions = Sessions::new(None);
        let (session, other) = (Session::new(None), Session::new(None));
        let csrf = sessions.csrf(&session);
        assert!(sessions.knows_csrf(&session, &csrf));
        assert!(!sessions.knows_csrf(&other, &csrf));
        assert!(!sessions.knows_csrf(&session, ""));
        assert_eq!(session.renewed(), None);
        let old = Session { expires_at_s: now_s() + 60, ..session };
        assert!(sessions.knows_csrf(&old.renewed().expect("it is old"), &csrf));
    }
}
