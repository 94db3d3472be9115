//! Who asks, and whether they may.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use rustls::pki_types::CertificateDer;

use super::audit::Record;
use super::connect::Handshake;
use super::query::Query;
use super::request::RequestInfo;
use super::status::{Status, about};
use super::websocket_token;
use crate::auth::jwt::Signer;
use crate::auth::tokens::Reviewed;
use crate::auth::{AUTHENTICATED, Attributes, Decision};
use crate::objects::{Objects, User};

/// Knows bearer tokens. Implementations compare in constant time.
pub trait Authenticator: Send + Sync + 'static {
    /// The user of a token; `None` for an unknown or expired one.
    fn bearer(&self, token: &str) -> Option<User>;

    /// The user of a client certificate, which comes with those that lead to its CA; `None` for one that is not good.
    fn certificate(&self, chain: &[CertificateDer<'_>]) -> Option<User>;

    /// The user of a token that is meant for one of `audiences` (with none: for this API).
    ///
    /// # Errors
    /// Why the token is not good.
    fn review(&self, token: &str, audiences: &[String]) -> Result<Reviewed, String> {
        let user = self.bearer(token).ok_or("invalid bearer token")?;
        Ok(Reviewed { user, audiences: audiences.to_vec() })
    }

    /// What signs the tokens of service accounts, where there are any.
    fn signer(&self) -> Option<&Signer> {
        None
    }
}

/// The user of a request: the client certificate's, else the bearer token's, which WebSocket clients may send as a
/// subprotocol. Nobody is anonymous: what needs no user is answered before.
///
/// # Errors
/// 401 for anonymous requests and unknown tokens.
pub(crate) fn authenticate(
    certificate: Option<&User>,
    headers: &HeaderMap,
    tokens: &dyn Authenticator,
) -> Result<User, Status> {
    if let Some(user) = certificate {
        return Ok(authenticated(user.clone()));
    }
    let websocket = Handshake::is_websocket(headers).then(|| websocket_token::token(headers)).flatten();
    let mut shown = bearer_token(headers).into_iter().chain(websocket.as_deref());
    shown.find_map(|token| tokens.bearer(token)).map(authenticated).ok_or_else(Status::unauthorized)
}

/// The user with the group of everyone who is known.
pub(crate) fn authenticated(mut user: User) -> User {
    if !user.groups.iter().any(|g| g == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|t| !t.is_empty())
}

/// The user a verified client certificate (DER) names: common name and organizations, as Kubernetes reads them.
pub fn certificate_user(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    (!name.is_empty()).then_some(User { name, groups, ..User::default() })
}

/// Whether a user may do what a request asks, by the newest state; the audit log is told.
///
/// # Errors
/// 403 in Kubernetes' words.
pub(crate) fn authorize(
    user: &User,
    info: &RequestInfo,
    query: &Query,
    objects: &Objects,
    audit: Option<&Record>,
) -> Result<(), Status> {
    let wanted = attributes(info, query);
    let decision = if user.is_master() {
        Decision { allowed: true, reason: String::new() }
    } else {
        objects.authorizer().authorize(user, &wanted, &objects.snapshot())
    };
    if let Some(record) = audit {
        record.decided(&decision);
    }
    if decision.allowed { Ok(()) } else { Err(forbidden(user, &wanted, &decision.reason)) }
}

/// Whether a user may do something, by the newest state.
///
/// # Errors
/// 403 in Kubernetes' words.
pub(crate) fn check(user: &User, wanted: &Attributes<'_>, objects: &Objects) -> Result<(), Status> {
    let decision = objects.authorizer().authorize(user, wanted, &objects.snapshot());
    if decision.allowed { Ok(()) } else { Err(forbidden(user, wanted, &decision.reason)) }
}

fn attributes<'a>(info: &'a RequestInfo, query: &'a Query) -> Attributes<'a> {
    let Some(r) = &info.resource else {
        return Attributes { verb: verb(info), path: &info.path, ..Attributes::default() };
    };
    let confined = |field| if r.name.is_empty() { selected(query, field) } else { "" };
    Attributes {
        verb: info.verb.as_str(),
        group: &r.group,
        resource: &r.resource,
        subresource: &r.subresource,
        namespace: &r.namespace,
        // A list of one name is a request about that name.
        name: if r.name.is_empty() { confined("metadata.name") } else { &r.name },
        path: "",
        node: confined("spec.nodeName"),
    }
}

/// The value that the query's field selector requires of a field; empty when it requires none.
fn selected<'a>(query: &'a Query, field: &str) -> &'a str {
    required(query.get("fieldSelector").unwrap_or_default(), field)
}

/// The value that a field selector requires of a field; empty when it requires none.
pub(crate) fn required<'a>(selector: &'a str, field: &str) -> &'a str {
    let value = |term: &'a str| term.strip_prefix(field)?.strip_prefix('=').map(|v| v.strip_prefix('=').unwrap_or(v));
    selector.split(',').find_map(value).unwrap_or_default()
}

/// What a request does, as rules name it: of one about a path its HTTP method.
pub(crate) fn verb(info: &RequestInfo) -> &'static str {
    match (info.verb.as_str(), &info.resource) {
        ("create", None) => "post",
        ("update", None) => "put",
        (verb, _) => verb,
    }
}

/// 403 in Kubernetes' words.
pub(crate) fn forbidden(user: &User, wanted: &Attributes<'_>, reason: &str) -> Status {
    let (name, verb) = (&user.name, wanted.verb);
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    if !wanted.is_resource() {
        let message = format!("forbidden: User {name:?} cannot {verb} path {:?}{because}", wanted.path);
        return Status::new(403, "Forbidden", message).with(about("", ""));
    }
    let place = if wanted.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", wanted.namespace)
    };
    let (group, dot) = (wanted.group, if wanted.group.is_empty() { "" } else { "." });
    let full = format!("{}{dot}{group}", wanted.resource);
    let subject = if wanted.name.is_empty() { full.clone() } else { format!("{full} {:?}", wanted.name) };
    let slash = if wanted.subresource.is_empty() { "" } else { "/" };
    let resource = format!("{}{slash}{}", wanted.resource, wanted.subresource);
    let message = format!(
        "{subject} is forbidden: User {name:?} cannot {verb} resource {resource:?} in API group {group:?} {place}{because}"
    );
    Status::new(403, "Forbidden", message).with(about(&full, wanted.name))
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;

    struct Tokens;

    impl Authenticator for Tokens {
        fn bearer(&self, token: &str) -> Option<User> {
            (token == "good").then(|| User { name: "robot".into(), ..User::default() })
        }

        fn certificate(&self, _chain: &[CertificateDer<'_>]) -> Option<User> {
            None
        }
    }

    fn who(header: Option<&str>, certificate: Option<&str>) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert(AUTHORIZATION, text.parse().unwrap());
        }
        let certificate = certificate.map(|n| User { name: n.into(), ..User::default() });
        authenticate(certificate.as_ref(), &headers, &Tokens)
            .map(|u| format!("{} {}", u.name, u.groups.join(",")))
            .map_err(|s| s.code)
    }

    #[test]
    fn certificates_and_tokens_authenticate() {
        for (header, certificate, expected) in [
            (None, None, Err(401)),
            (Some("Bearer bad"), None, Err(401)),
            (Some("Basic good"), None, Err(401)),
            (Some("Bearer "), None, Err(401)),
            (Some("bearer good"), None, Ok("robot system:authenticated".to_owned())),
            (None, Some("admin"), Ok("admin system:authenticated".to_owned())),
            (Some("Bearer bad"), Some("admin"), Ok("admin system:authenticated".to_owned())),
        ] {
            assert_eq!(who(header, certificate), expected, "{header:?} {certificate:?}");
        }
    }

    #[test]
    fn websocket_clients_may_send_their_token_as_a_protocol() {
        let good = "base64url.bearer.authorization.k8s.io.Z29vZA, v4.channel.k8s.io";
        let bad = "base64url.bearer.authorization.k8s.io.YmFk, v4.channel.k8s.io";
        for (upgrade, protocols, expected) in
            [("websocket", good, Ok("robot".to_owned())), ("websocket", bad, Err(401)), ("SPDY/3.1", good, Err(401))]
        {
            let mut headers = HeaderMap::new();
            for (name, value) in
                [("connection", "Upgrade"), ("upgrade", upgrade), ("sec-websocket-protocol", protocols)]
            {
                headers.insert(name, value.parse().unwrap());
            }
            let user = authenticate(None, &headers, &Tokens).map(|u| u.name).map_err(|s| s.code);
            assert_eq!(user, expected, "{upgrade} {protocols}");
        }
    }

    #[test]
    fn refusals_use_kubernetes_words() {
        let user = User { name: "x".into(), ..User::default() };
        for (url, expected) in [
            (
                "/api/v1/namespaces/default/pods",
                r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#,
            ),
            (
                "/apis/apps/v1/deployments",
                r#"deployments.apps is forbidden: User "x" cannot list resource "deployments" in API group "apps" at the cluster scope"#,
            ),
            (
                "/api/v1/namespaces/a/pods/web/log",
                r#"pods "web" is forbidden: User "x" cannot get resource "pods/log" in API group "" in the namespace "a""#,
            ),
            (
                "/api/v1/pods?fieldSelector=spec.nodeName%3De,metadata.name%3D%3Dweb",
                r#"pods "web" is forbidden: User "x" cannot list resource "pods" in API group "" at the cluster scope"#,
            ),
            ("/metrics", r#"forbidden: User "x" cannot get path "/metrics""#),
        ] {
            let query = Query::parse(url.split_once('?').map_or("", |(_, q)| q));
            let info = RequestInfo::parse(&Method::GET, url.split('?').next().unwrap(), &query);
            let status = forbidden(&user, &attributes(&info, &query), "");
            assert_eq!((status.code, status.message.as_str()), (403, expected));
        }
        let info = RequestInfo::parse(&Method::GET, "/metrics", &Query::default());
        let status = forbidden(&user, &attributes(&info, &Query::default()), "RBAC: nothing found");
        assert_eq!(status.message, r#"forbidden: User "x" cannot get path "/metrics": RBAC: nothing found"#);
    }
}
