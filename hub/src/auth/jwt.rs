//! Signed tokens: ES256 JSON web tokens, their key, and the documents by which others verify them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

/// Who issues the tokens of service accounts.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Longest token looked at: with every claim at its longest, a token stays far below.
const MAX_TOKEN: usize = 16 * 1024;
/// What comes before the point in a P-256 `SubjectPublicKeyInfo` (RFC 5480).
const SPKI_PREFIX: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No P-256 key in PKCS #8 form.
    #[error("the key for signing tokens is no P-256 key")]
    Malformed,
}

/// Signs and verifies tokens.
pub struct Signer {
    key: EcdsaKeyPair,
    id: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// With a P-256 key (PKCS #8, DER).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|_| KeyError::Malformed)?;
        let mut spki = STANDARD.decode(SPKI_PREFIX).map_err(|_| KeyError::Malformed)?;
        // The prefix ends with the first byte of the point.
        spki.extend_from_slice(key.public_key().as_ref().get(1..).unwrap_or_default());
        let id = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &spki));
        Ok(Self { key, id })
    }

    /// A token with these claims; `None` when the system gives no random numbers.
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({"alg": "ES256", "kid": self.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this key has signed. Whether they still hold is for others to say.
    pub fn verify(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.').filter(|_| token.len() <= MAX_TOKEN)?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        part(header).filter(|h| h["alg"] == "ES256")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key());
        key.verify(signed.as_bytes(), &signature).ok()?;
        part(claims)
    }

    /// The public keys (`/openid/v1/jwks`).
    pub fn keys(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let part = |range| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": part(1..33), "y": part(33..65),
        }]})
    }

    /// `/.well-known/openid-configuration`, for others who reach the API at this `HOST:PORT`.
    pub fn configuration(address: &str) -> Value {
        json!({
            "issuer": ISSUER, "jwks_uri": format!("https://{address}/openid/v1/jwks"), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A signer with a key of its own.
    pub(crate) fn signer() -> Signer {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Signer::new(key.as_ref()).unwrap()
    }

    #[test]
    fn a_token_verifies_with_its_key_alone() {
        let (ours, other) = (signer(), signer());
        let claims = json!({"sub": "x"});
        let token = ours.sign(&claims).unwrap();
        assert_eq!(ours.verify(&token), Some(claims));
        assert_eq!(other.verify(&token), None);
    }

    #[test]
    fn what_is_no_token_of_ours_is_refused() {
        let signer = signer();
        let token = signer.sign(&json!({"sub": "x"})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let changed = URL_SAFE_NO_PAD.encode(r#"{"sub":"y"}"#);
        let header = signed.split_once('.').unwrap().0;
        let long = format!("{token}{}", "A".repeat(MAX_TOKEN));
        for text in [
            "",
            ".",
            "..",
            "a.b.c",
            signed,
            &format!("{none}.{changed}."),
            &format!("{header}.{changed}.{signature}"),
            &long,
        ] {
            assert_eq!(signer.verify(text), None, "{text}");
        }
    }

    #[test]
    fn the_published_key_is_the_signing_key() {
        let signer = signer();
        let key = &signer.keys()["keys"][0];
        let mut point = vec![4];
        for coordinate in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(key[coordinate].as_str().unwrap()).unwrap());
        }
        assert_eq!(point, signer.key.public_key().as_ref());
        assert_eq!(STANDARD.decode(SPKI_PREFIX).unwrap().len(), 27);
        assert_eq!(STANDARD.decode(SPKI_PREFIX).unwrap()[26], 4);
    }
}
