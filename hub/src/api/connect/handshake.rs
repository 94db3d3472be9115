//! The change of protocols: what a client asks for, and the answer that accepts it.

use hyper::header::{CONNECTION, HeaderName, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;

use crate::api::respond::{self, Body};
use crate::api::router::Call;
use crate::api::server::ended;
use crate::api::status::Status;
use crate::api::websocket::accept_key;

/// A connection that has changed its protocol.
pub(super) type Io = TokioIo<Upgraded>;

const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_VERSIONS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// A request to change the protocol.
#[derive(Debug)]
pub(crate) struct Handshake {
    upgrade: OnUpgrade,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    WebSocket { key: String, protocols: Vec<String> },
    Spdy { versions: Vec<String> },
}

/// An accepted change.
#[derive(Debug)]
pub(super) struct Accepted {
    upgrade: OnUpgrade,
    headers: Vec<(HeaderName, String)>,
}

impl Handshake {
    /// Whether a request asks for a WebSocket.
    pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
        let has = |name: &HeaderName, word: &str| words(headers, name).iter().any(|w| w.eq_ignore_ascii_case(word));
        has(&CONNECTION, "upgrade") && has(&UPGRADE, "websocket")
    }

    /// The subprotocols of a client that asks for a WebSocket.
    pub(super) fn protocols(&self) -> &[String] {
        match &self.asked {
            Asked::WebSocket { protocols, .. } => protocols,
            Asked::Spdy { .. } => &[],
        }
    }

    /// Reads the request's headers.
    pub(super) fn read(call: &Call) -> Result<Self, Status> {
        let required = || Status::bad_request("Upgrade request required");
        let asked = Asked::read(&call.headers)?.ok_or_else(required)?;
        // HTTP/2 has no such thing.
        let upgrade = call.upgrade.clone().ok_or_else(required)?;
        Ok(Self { upgrade, asked })
    }

    /// Accepts a WebSocket with the first of the client's subprotocols that is offered, or with `default` where it
    /// names none; `None` where it asks for SPDY.
    pub(super) fn websocket<T: Copy>(
        &self,
        offered: &[(&str, T)],
        default: Option<T>,
    ) -> Result<Option<(Accepted, T)>, Status> {
        let Asked::WebSocket { key, protocols } = &self.asked else { return Ok(None) };
        let mut headers = vec![(UPGRADE, "websocket".to_owned()), (ACCEPT, accept_key(key))];
        let chosen = match (choose(protocols, offered), default) {
            (Some((name, protocol)), _) => {
                headers.push((PROTOCOL, name.to_owned()));
                protocol
            }
            (None, Some(default)) if protocols.is_empty() => default,
            (None, _) => {
                let supported = names(offered).join(" ");
                return Err(Status::bad_request(format!(
                    "requested protocol(s) are not supported: [{}]; supports [{supported}]",
                    protocols.join(" ")
                )));
            }
        };
        Ok(Some((Accepted { upgrade: self.upgrade.clone(), headers }, chosen)))
    }

    /// Accepts SPDY with the first of the client's versions that is offered, or with `default` where it names none; the
    /// error is the answer to a client that has none of them.
    pub(super) fn spdy<T: Copy>(
        &self,
        offered: &[(&str, T)],
        default: Option<T>,
    ) -> Result<(Accepted, T), Box<Response<Body>>> {
        let none = Vec::new();
        let versions = match &self.asked {
            Asked::Spdy { versions } => versions,
            Asked::WebSocket { .. } => &none,
        };
        let mut headers = vec![(UPGRADE, "SPDY/3.1".to_owned())];
        let chosen = match (choose(versions, offered), default) {
            (Some((name, version)), _) => {
                headers.push((STREAM_VERSION, name.to_owned()));
                version
            }
            (None, Some(default)) if versions.is_empty() => default,
            (None, _) => return Err(Box::new(no_version(versions, &names(offered)))),
        };
        Ok((Accepted { upgrade: self.upgrade.clone(), headers }, chosen))
    }
}

impl Asked {
    fn read(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let upgrades = words(headers, &CONNECTION).iter().any(|w| w.eq_ignore_ascii_case("upgrade"));
        let to = words(headers, &UPGRADE);
        let asks = |name: &str| upgrades && to.iter().any(|w| w.eq_ignore_ascii_case(name));
        if asks("spdy/3.1") {
            return Ok(Some(Self::Spdy { versions: words(headers, &STREAM_VERSION) }));
        }
        if !asks("websocket") {
            return Ok(None);
        }
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        if text(&VERSION) != Some("13") {
            return Err(Status::bad_request("the WebSocket version must be 13"));
        }
        let key = text(&KEY).filter(|k| !k.is_empty());
        let key = key.ok_or_else(|| Status::bad_request("Sec-WebSocket-Key is missing"))?.to_owned();
        Ok(Some(Self::WebSocket { key, protocols: words(headers, &PROTOCOL) }))
    }
}

impl Accepted {
    /// The answer; `serve` has the connection once the client has that. It ends with the hub.
    pub(super) fn serve<F>(self, call: &Call, serve: impl FnOnce(Io) -> F + Send + 'static) -> Response<Body>
    where
        F: Future<Output = ()> + Send,
    {
        let (upgrade, place, mut shutdown) = (self.upgrade, call.place.clone(), call.shutdown.clone());
        tokio::spawn(async move {
            let served = async {
                match upgrade.await {
                    Ok(connection) => serve(TokioIo::new(connection)).await,
                    Err(error) => tracing::debug!(%error, "a client did not change its protocol after all"),
                }
            };
            tokio::select! {
                () = served => {}
                () = ended(&mut shutdown) => {}
            }
            drop(place);
        });
        let mut response = respond::bytes(101, respond::TEXT, "");
        response.headers_mut().clear();
        respond::set(&mut response, CONNECTION, "Upgrade");
        for (name, value) in self.headers {
            respond::set(&mut response, name, &value);
        }
        response
    }
}

/// The words of a header that may come several times and hold lists.
fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect()
}

fn choose<'a, T: Copy>(asked: &[String], offered: &[(&'a str, T)]) -> Option<(&'a str, T)> {
    asked.iter().find_map(|asked| offered.iter().find(|(name, _)| name == asked)).copied()
}

fn names<'a, T>(offered: &[(&'a str, T)]) -> Vec<&'a str> {
    offered.iter().map(|(name, _)| *name).collect()
}

fn no_version(asked: &[String], offered: &[&str]) -> Response<Body> {
    let text = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
        asked.join(" "),
        offered.join(" ")
    );
    let mut response = respond::bytes(403, respond::TEXT, text);
    respond::set(&mut response, ACCEPTED_VERSIONS, &offered.join(", "));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        match Asked::read(&headers) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(Asked::WebSocket { key, protocols })) => format!("websocket {key} {protocols:?}"),
            Ok(Some(Asked::Spdy { versions })) => format!("spdy {versions:?}"),
            Err(status) => status.message,
        }
    }

    #[test]
    fn clients_ask_for_websocket_or_spdy() {
        let upgrade = ("connection", "keep-alive, Upgrade");
        let (version, key) = (("sec-websocket-version", "13"), ("sec-websocket-key", "k"));
        let websocket = ("upgrade", "WebSocket");
        for (headers, expected) in [
            (vec![], "nothing"),
            (vec![websocket], "nothing"),
            (vec![upgrade, ("upgrade", "h2c")], "nothing"),
            (vec![upgrade, websocket, key], "the WebSocket version must be 13"),
            (vec![upgrade, websocket, version], "Sec-WebSocket-Key is missing"),
            (vec![upgrade, websocket, version, key], "websocket k []"),
            (vec![upgrade, websocket, version, key, ("sec-websocket-protocol", "a, b")], r#"websocket k ["a", "b"]"#),
            (
                vec![
                    upgrade,
                    ("upgrade", "SPDY/3.1"),
                    ("x-stream-protocol-version", "a"),
                    ("x-stream-protocol-version", "b"),
                ],
                r#"spdy ["a", "b"]"#,
            ),
        ] {
            assert_eq!(read(&headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn the_clients_first_known_protocol_is_taken() {
        let asked = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let offered = [("v5", 5), ("v4", 4)];
        assert_eq!(choose(&asked(&["x", "v4", "v5"]), &offered), Some(("v4", 4)));
        assert_eq!(choose(&asked(&["x"]), &offered), None);
    }
}
