//! The headers of proxied requests and answers: what is between two neighbours stays there, the client's credentials
//! stay with the hub, and `Location` leads back through the proxy.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// What concerns one connection only (RFC 9110, 7.6.1), and what neighbours still say though it was never standard.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Beginnings of headers that tell the hub who asks.
const CREDENTIALS: [&str; 5] = ["impersonate-", "x-remote-user", "x-remote-uid", "x-remote-group", "x-remote-extra-"];

/// Whether a client wants another protocol.
pub(super) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && words(headers, &CONNECTION).iter().any(|w| w == "upgrade")
}

/// The words of a header that holds lists, in small letters.
fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|w| w.trim().to_ascii_lowercase()).filter(|w| !w.is_empty()).collect()
}

/// Drops what concerns one connection only; `upgrade` leaves a change of protocols in.
pub(super) fn end_to_end(headers: &mut HeaderMap, upgrade: bool) {
    let protocol = headers.get(UPGRADE).cloned().filter(|_| upgrade);
    for name in words(headers, &CONNECTION) {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

/// The headers with which a client's request goes on. `uri` is its path at the hub, `host` where it goes if the client
/// named none.
pub(super) fn onwards(client: &HeaderMap, upgrade: bool, address: Option<IpAddr>, uri: &str, host: &str) -> HeaderMap {
    let mut headers = client.clone();
    end_to_end(&mut headers, upgrade);
    headers.remove(AUTHORIZATION);
    // The hub has agreed, or will, on its own.
    headers.remove(EXPECT);
    let credentials = |name: &&HeaderName| CREDENTIALS.iter().any(|start| name.as_str().starts_with(start));
    let secret: Vec<HeaderName> = headers.keys().filter(credentials).cloned().collect();
    for name in secret {
        headers.remove(name);
    }
    if let Some(address) = address {
        let before = words(client, &FORWARDED_FOR);
        let all = before.into_iter().chain([address.to_string()]).collect::<Vec<_>>().join(", ");
        set(&mut headers, FORWARDED_FOR, &all);
    }
    set(&mut headers, FORWARDED_URI, uri);
    if !headers.contains_key(HOST) {
        set(&mut headers, HOST, host);
    }
    headers
}

/// The headers with which a pod's answer goes back.
pub(super) fn back(headers: &mut HeaderMap, upgrade: bool, prefix: &str, pod: &str, asked_host: &str) {
    end_to_end(headers, upgrade);
    let location = headers.get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
    if let Some(location) = location {
        set(headers, LOCATION, &through(&location, prefix, pod, asked_host));
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A pod's URL as it is seen from before the proxy: one with an absolute path, of the pod or of the host that the client
/// asked for, gets the proxy's path before its own; others are left alone.
fn through(location: &str, prefix: &str, pod: &str, asked_host: &str) -> String {
    let (origin, host, path) = parts(location);
    let foreign = !host.is_empty() && host != pod && host != asked_host;
    if foreign || !path.starts_with('/') {
        return location.to_owned();
    }
    let origin = if !host.is_empty() && host == asked_host { origin } else { "" };
    let prefix = if path.starts_with(prefix) { "" } else { prefix };
    format!("{origin}{prefix}{path}")
}

/// A URL's scheme and host as they stand before its path, its host, and the path with all that follows.
fn parts(url: &str) -> (&str, &str, &str) {
    let is_scheme = |s: &&str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme).map_or(0, |s| s.len() + 1);
    let Some(rest) = url[scheme..].strip_prefix("//") else { return ("", "", url) };
    let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (origin, path) = url.split_at(scheme + 2 + host.len());
    (origin, host, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn text(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn locations_lead_back_through_the_proxy() {
        let through = |l| through(l, "/api/v1/namespaces/a/pods/web/proxy", "10.42.0.2:80", "hub:6443");
        for (location, expected) in [
            ("/login?next=/#top", "/api/v1/namespaces/a/pods/web/proxy/login?next=/#top"),
            ("login", "login"),
            ("?page=2", "?page=2"),
            ("http://10.42.0.2:80/x/", "/api/v1/namespaces/a/pods/web/proxy/x/"),
            ("//10.42.0.2:80/x", "/api/v1/namespaces/a/pods/web/proxy/x"),
            ("https://hub:6443/x", "https://hub:6443/api/v1/namespaces/a/pods/web/proxy/x"),
            ("https://example.com/x", "https://example.com/x"),
            ("http://10.42.0.2:80", "http://10.42.0.2:80"),
            ("/api/v1/namespaces/a/pods/web/proxy/x", "/api/v1/namespaces/a/pods/web/proxy/x"),
            ("/go?to=http://example.com/", "/api/v1/namespaces/a/pods/web/proxy/go?to=http://example.com/"),
        ] {
            assert_eq!(through(location), expected, "{location}");
        }
    }

    #[test]
    fn requests_go_on_without_what_is_the_hubs() {
        let client = map(&[
            ("host", "hub:6443"),
            ("accept", "text/html"),
            ("authorization", "Bearer secret"),
            ("connection", "keep-alive, X-Mine, Upgrade"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("impersonate-user", "x"),
            ("impersonate-extra-a", "x"),
            ("x-remote-user", "x"),
            ("x-forwarded-for", "192.0.2.1"),
        ]);
        let plain = onwards(&client, false, Some([198, 51, 100, 1].into()), "/p/proxy/x", "10.42.0.2:80");
        let mut expected = vec![
            "accept: text/html",
            "host: hub:6443",
            "x-forwarded-for: 192.0.2.1, 198.51.100.1",
            "x-forwarded-uri: /p/proxy/x",
        ];
        assert_eq!(text(&plain), expected);
        let upgrade = onwards(&client, true, Some([198, 51, 100, 1].into()), "/p/proxy/x", "10.42.0.2:80");
        expected.extend(["connection: Upgrade", "upgrade: websocket"]);
        expected.sort_unstable();
        assert_eq!(text(&upgrade), expected);
        let bare = onwards(&HeaderMap::new(), false, None, "/p", "10.42.0.2:80");
        assert_eq!(text(&bare), ["host: 10.42.0.2:80", "x-forwarded-uri: /p"]);
    }

    #[test]
    fn an_upgrade_is_asked_for_by_two_headers() {
        for (pairs, expected) in [
            (vec![("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], true),
            (vec![("upgrade", "websocket")], false),
            (vec![("connection", "Upgrade")], false),
        ] {
            assert_eq!(asks_for_upgrade(&map(&pairs)), expected, "{pairs:?}");
        }
    }
}
