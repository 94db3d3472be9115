//! Bearer tokens of WebSocket clients that can set no headers (browsers): one of the subprotocols they offer is
//! `base64url.bearer.authorization.k8s.io.` and the token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};

const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The subprotocols that a client offers.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(str::trim).filter(|p| !p.is_empty())
}

/// The token among the subprotocols. It must be the only one, and not the only subprotocol: the server has to confirm
/// one, and a token must not be repeated.
pub(crate) fn token(headers: &HeaderMap) -> Option<String> {
    let (tokens, others): (Vec<&str>, Vec<&str>) = offered(headers).partition(|p| p.starts_with(PREFIX));
    let [only] = tokens.as_slice() else { return None };
    let bytes = URL_SAFE_NO_PAD.decode(only.strip_prefix(PREFIX)?).ok()?;
    let token = String::from_utf8(bytes).ok()?;
    (!others.is_empty() && !token.is_empty()).then_some(token)
}

/// Takes tokens off the subprotocols, so that nobody behind sees or confirms them.
pub(crate) fn remove(headers: &mut HeaderMap) {
    if !offered(headers).any(|p| p.starts_with(PREFIX)) {
        return;
    }
    let others: Vec<&str> = offered(headers).filter(|p| !p.starts_with(PREFIX)).collect();
    match HeaderValue::from_str(&others.join(", ")) {
        Ok(value) if !others.is_empty() => drop(headers.insert(SEC_WEBSOCKET_PROTOCOL, value)),
        Ok(_) | Err(_) => drop(headers.remove(SEC_WEBSOCKET_PROTOCOL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_beside_another_protocol_is_taken() {
        // "good", "bad token" with a byte that is no text.
        let (good, broken) = (format!("{PREFIX}Z29vZA"), format!("{PREFIX}_w"));
        for (protocols, expected, left) in [
            (vec![format!("{good}, v4.channel.k8s.io")], Some("good"), Some("v4.channel.k8s.io")),
            (vec!["a".to_owned(), good.clone(), "b".to_owned()], Some("good"), Some("a, b")),
            (vec![good.clone()], None, None),
            (vec![format!("{good},{good},a")], None, Some("a")),
            (vec![format!("{broken},a")], None, Some("a")),
            (vec![format!("{PREFIX}*,a")], None, Some("a")),
            (vec![format!("{PREFIX},a")], None, Some("a")),
            (vec!["a".to_owned()], None, Some("a")),
            (vec![], None, None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &protocols {
                headers.append(SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
            }
            assert_eq!(token(&headers).as_deref(), expected, "{protocols:?}");
            remove(&mut headers);
            let rest = headers.get(SEC_WEBSOCKET_PROTOCOL).map(|v| v.to_str().unwrap());
            assert_eq!(rest, left, "{protocols:?}");
        }
    }
}
