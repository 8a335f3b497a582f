//! Signatures after the Standard Webhooks specification 1.0: HMAC-SHA256 over `{id}.{timestamp}.{body}`, in base64, as
//! `webhook-signature: v1,…`. During a change of secrets there are several, separated by spaces.

use crate::exit::usage;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::HeaderName;
use jiff::Timestamp;
use sha2::Sha256;

/// Bytes of a secret, as the specification bounds them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets to sign with; none, and nothing is signed.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Reads `whsec_<base64>`, several separated by spaces.
    ///
    /// # Errors
    /// A usage error that does not repeat the secret.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            usage(
                "FAULTLINE_WEBHOOK_SECRET must be whsec_ and base64 of 24 to 64 bytes; \
                 make one with: echo whsec_$(head -c 32 /dev/urandom | base64)",
            )
        };
        let secret = |word: &str| {
            let bytes = STANDARD.decode(word.strip_prefix("whsec_").unwrap_or(word)).ok()?;
            SECRET_BYTES.contains(&bytes.len()).then_some(bytes)
        };
        let secrets: Option<Vec<Vec<u8>>> = text.split_whitespace().map(secret).collect();
        secrets.map(Self).ok_or_else(wrong)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The three headers of a signed request; none without a secret.
    pub(super) fn sign(&self, id: &str, now: Timestamp, body: &str) -> Vec<(HeaderName, String)> {
        if self.is_empty() {
            return Vec::new();
        }
        let timestamp = now.as_second().to_string();
        let signatures: Vec<String> =
            self.0.iter().map(|secret| format!("v1,{}", signature(secret, id, &timestamp, body))).collect();
        vec![
            (HeaderName::from_static("webhook-id"), id.to_owned()),
            (HeaderName::from_static("webhook-timestamp"), timestamp),
            (HeaderName::from_static("webhook-signature"), signatures.join(" ")),
        ]
    }
}

fn signature(secret: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_that_of_the_reference_libraries() {
        let secrets = Secrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let headers = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, "{\"test\": 2432232314}");
        assert_eq!(headers[1].1, "1614265330");
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_of_the_wrong_form_is_refused_without_being_repeated() {
        for text in ["short", "whsec_AAAA", "whsec_?", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_x"] {
            let error = Secrets::parse(text).err().expect(text).to_string();
            assert!(error.contains("whsec_") && !error.contains("MfKQ"), "{error}");
        }
        assert!(Secrets::parse("").unwrap().is_empty());
    }
}
