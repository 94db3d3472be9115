//! Who asks, and whether they may.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::request::RequestInfo;
use super::status::{Status, about};
use crate::objects::User;

const AUTHENTICATED: &str = "system:authenticated";
const MASTERS: &str = "system:masters";

/// Knows bearer tokens. Implementations compare in constant time.
pub trait Authenticator: Send + Sync + 'static {
    /// The user of a token; `None` for an unknown or expired one.
    fn bearer(&self, token: &str) -> Option<User>;
}

/// The user of a request: the client certificate's, else the bearer token's.
///
/// # Errors
/// 401 for anonymous requests and unknown tokens.
pub(crate) fn authenticate(
    certificate: Option<&User>,
    headers: &HeaderMap,
    tokens: &dyn Authenticator,
) -> Result<User, Status> {
    let mut user = match certificate {
        Some(user) => user.clone(),
        None => bearer_token(headers).and_then(|t| tokens.bearer(t)).ok_or_else(Status::unauthorized)?,
    };
    if !user.groups.iter().any(|g| g == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    Ok(user)
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
    (!name.is_empty()).then_some(User { name, groups, uid: String::new() })
}

/// Whether a user may do what a request asks. For now `system:masters` may do everything, and everyone who is
/// authenticated may read discovery; roles come later, behind this same function.
///
/// # Errors
/// 403 in Kubernetes' words.
pub fn authorize(user: &User, info: &RequestInfo) -> Result<(), Status> {
    if user.groups.iter().any(|g| g == MASTERS) || is_discovery(info) {
        return Ok(());
    }
    Err(forbidden(user, info))
}

fn is_discovery(info: &RequestInfo) -> bool {
    let readable = ["/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"];
    let under = |p: &str| info.path.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    info.resource.is_none() && info.verb == super::request::Verb::Get && readable.iter().any(|p| under(p))
}

fn forbidden(user: &User, info: &RequestInfo) -> Status {
    let (name, verb) = (&user.name, info.verb);
    let Some(r) = &info.resource else {
        return Status::new(403, "Forbidden", format!("forbidden: User {name:?} cannot {verb} path {:?}", info.path));
    };
    let place = if r.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", r.namespace)
    };
    let subject = if r.name.is_empty() { r.group_resource() } else { format!("{} {:?}", r.group_resource(), r.name) };
    let (resource, group) = (r.with_subresource(), &r.group);
    let message = format!(
        "{subject} is forbidden: User {name:?} cannot {verb} resource {resource:?} in API group {group:?} {place}"
    );
    Status::new(403, "Forbidden", message).with(about(&r.group_resource(), &r.name))
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::super::query::Query;
    use super::*;

    struct Tokens;

    impl Authenticator for Tokens {
        fn bearer(&self, token: &str) -> Option<User> {
            (token == "good").then(|| User { name: "robot".into(), ..User::default() })
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
            ("/metrics", r#"forbidden: User "x" cannot get path "/metrics""#),
        ] {
            let info = RequestInfo::parse(&Method::GET, url, &Query::default());
            let status = authorize(&user, &info).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (403, expected));
        }
        let admin = User { groups: vec![MASTERS.into()], ..user.clone() };
        let info = RequestInfo::parse(&Method::DELETE, "/api/v1/nodes/a", &Query::default());
        assert_eq!(authorize(&admin, &info), Ok(()));
        assert_eq!(authorize(&user, &RequestInfo::parse(&Method::GET, "/apis/apps/v1", &Query::default())), Ok(()));
    }
}
