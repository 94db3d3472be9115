//! Bootstrap tokens: Secrets of type `bootstrap.kubernetes.io/token` in `kube-system`, used as bearer tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::User;
use crate::store::{Key, Snapshot};

const GROUP: &str = "system:bootstrappers";

/// The user of a bootstrap token (`ID.SECRET`); `None` when it is unknown, expired or not for authentication.
pub fn user(token: &str, snapshot: &Snapshot, now: Timestamp) -> Option<User> {
    let (id, secret) = token.split_once('.')?;
    let word =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !word(id, 6) || !word(secret, 16) {
        return None;
    }
    let name = format!("bootstrap-token-{id}");
    let key = Key { resource: "secrets".into(), namespace: "kube-system".into(), name: name.into() };
    let stored = snapshot.get(&key).filter(|s| !s.meta.deleting)?;
    let stored: Value = stored.parse().ok()?;
    let field = |name: &str| {
        let text = STANDARD.decode(stored["data"][name].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(text).unwrap_or_default()
    };
    let known: bool = field("token-secret").as_bytes().ct_eq(secret.as_bytes()).into();
    let expiry = field("expiration");
    let alive = expiry.is_empty() || expiry.parse().is_ok_and(|end: Timestamp| now < end);
    let ours = stored["type"] == "bootstrap.kubernetes.io/token" && field("token-id") == id;
    if !known || !alive || !ours || field("usage-bootstrap-authentication") != "true" {
        return None;
    }
    let extra = field("auth-extra-groups");
    let extra = extra.split(',').map(str::trim).filter(|g| g.starts_with("system:bootstrappers:")).map(str::to_owned);
    let groups = std::iter::once(GROUP.to_owned()).chain(extra).collect();
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::tests::snapshot;

    #[test]
    fn a_token_is_good_for_authentication_until_it_expires() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let secret = |field: &str, value: &str| {
            let mut plain = json!({
                "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
                "expiration": "2026-01-01T00:00:01Z", "auth-extra-groups": "system:bootstrappers:a,other",
            });
            plain[field] = value.into();
            let data: serde_json::Map<String, Value> = plain
                .as_object()
                .unwrap()
                .iter()
                .map(|(k, v)| (k.clone(), STANDARD.encode(v.as_str().unwrap()).into()))
                .collect();
            snapshot(&[(
                "secrets",
                json!({
                    "metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
                    "type": "bootstrap.kubernetes.io/token", "data": data,
                }),
            )])
        };
        let token = "abcdef.0123456789abcdef";
        for (token, field, value, good) in [
            (token, "other", "", true),
            (token, "expiration", "", true),
            (token, "expiration", "2026-01-01T00:00:00Z", false),
            (token, "expiration", "soon", false),
            (token, "usage-bootstrap-authentication", "false", false),
            (token, "token-id", "fedcba", false),
            ("abcdef.0123456789abcdeg", "other", "", false),
            ("abcdef", "other", "", false),
            ("../../.0123456789abcdef", "other", "", false),
        ] {
            let user = user(token, &secret(field, value), now);
            let groups = good.then(|| vec![GROUP.to_owned(), "system:bootstrappers:a".to_owned()]);
            assert_eq!(user.map(|u| u.groups), groups, "{token} {field} {value}");
        }
    }
}
