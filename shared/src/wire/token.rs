//! Join tokens: `skiff1.<CA fingerprint>.<id>.<secret>`, what `skiff-hub token create` prints and an agent is given once.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

const PREFIX: &str = "skiff1";

/// SHA-256 of a certificate's DER.
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, der).as_ref());
    out
}

/// A join token. Its `Debug` form leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// [`fingerprint`] of the hub's CA certificate: the agent trusts no other hub.
    pub ca: [u8; 32],
    /// Names the token to its hub; no secret.
    pub id: String,
    /// Proves it.
    pub secret: String,
}

/// The text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the join token is malformed: expected `skiff1.<fingerprint>.<id>.<secret>` as `skiff-hub token create` prints it"
)]
pub struct MalformedToken;

impl JoinToken {
    /// Parses a token; white space around it is ignored.
    ///
    /// # Errors
    /// [`MalformedToken`].
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [PREFIX, ca, id, secret] = parts[..] else { return Err(MalformedToken) };
        let ca = URL_SAFE_NO_PAD.decode(ca).ok().and_then(|ca| ca.try_into().ok()).ok_or(MalformedToken)?;
        if !is_word(id) || !is_word(secret) {
            return Err(MalformedToken);
        }
        Ok(Self { ca, id: id.to_owned(), secret: secret.to_owned() })
    }

    /// What is sent to the hub: `<id>.<secret>`.
    pub fn proof(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

/// Whether a part is safe as a file name and within reason: 1 to 64 of `[A-Za-z0-9_-]`.
pub fn is_word(s: &str) -> bool {
    (1..=64).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", URL_SAFE_NO_PAD.encode(self.ca), self.id, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_form_and_anything_else_is_refused() {
        let token = JoinToken { ca: [7; 32], id: "a1b2".into(), secret: "s_e-cret".into() };
        assert_eq!(JoinToken::parse(&format!(" {token}\n")), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("cret\""));
        for bad in ["", "skiff1", "skiff2.x.y.z", "skiff1.AAAA.id.secret", "skiff1...", &format!("{token}.more")] {
            assert_eq!(JoinToken::parse(bad), Err(MalformedToken), "{bad}");
        }
        let slash = JoinToken { id: "../x".into(), ..token };
        assert_eq!(JoinToken::parse(&slash.to_string()), Err(MalformedToken));
    }
}
