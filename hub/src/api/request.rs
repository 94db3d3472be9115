//! What a request is about, read from its method and URL alone.

use std::fmt;

use hyper::Method;

use super::connect::is_connect;
use super::proxy::is_proxy;
use super::query::{Query, decode};

/// A request, as authorization and routing see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// What is to be done.
    pub verb: Verb,
    /// The path as sent.
    pub path: String,
    /// The resource, where the path names one; else the request is about the path itself (`/version`, `/apis`).
    pub resource: Option<ResourcePath>,
}

/// The resource a path names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group; empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace; empty when the path has none.
    pub namespace: String,
    /// `pods`.
    pub resource: String,
    /// Name; empty for collections.
    pub name: String,
    /// `status`, `log`, …; empty for the object itself.
    pub subresource: String,
}

/// What a request does, by RBAC's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads one object or a path.
    Get,
    /// Reads a collection.
    List,
    /// Follows a collection.
    Watch,
    /// Creates.
    Create,
    /// Replaces.
    Update,
    /// Patches.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes a collection.
    DeleteCollection,
    /// A method that Kubernetes gives no meaning.
    Unknown,
}

impl Verb {
    /// Its name in RBAC and discovery.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl RequestInfo {
    /// Reads method, path and query.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let parsed = resource_path(path);
        let named = parsed.as_ref().is_none_or(|(r, _)| !r.name.is_empty());
        let legacy_watch = parsed.as_ref().is_some_and(|(_, watch)| *watch);
        let reads = method == Method::GET || method == Method::HEAD;
        let verb =
            if reads && (legacy_watch || (!named && query.flag("watch"))) { Verb::Watch } else { verb(method, named) };
        Self { verb, path: path.to_owned(), resource: parsed.map(|(r, _)| r) }
    }

    /// Whether the request may stay open for as long as the client likes: watches, logs and connections to pods.
    pub fn is_long_running(&self) -> bool {
        let long = |r: &ResourcePath| r.subresource == "log" || is_connect(r) || is_proxy(r);
        self.verb == Verb::Watch || self.resource.as_ref().is_some_and(long)
    }
}

impl ResourcePath {
    /// `pods/log`, as messages of authorization name it.
    pub fn with_subresource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// `deployments.apps`.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }
}

fn verb(method: &Method, named: bool) -> Verb {
    match *method {
        Method::GET | Method::HEAD if named => Verb::Get,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => Verb::Unknown,
    }
}

/// The resource of a path, and whether it has the old `/watch/` prefix.
fn resource_path(path: &str) -> Option<(ResourcePath, bool)> {
    // As in Go, an escaped slash is a slash.
    let path = decode(path, false);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        // `namespaces/NAME/status` is about the namespace itself, `namespaces/NAME/pods` about pods in it.
        ["namespaces", name] | ["namespaces", name, "status" | "finalize"] => (*name, rest),
        ["namespaces", name, rest @ ..] => (*name, rest),
        rest => ("", rest),
    };
    let (resource, rest) = rest.split_first().filter(|(resource, _)| !resource.is_empty())?;
    let mut found = ResourcePath {
        group: group.into(),
        version: version.into(),
        namespace: namespace.into(),
        resource: (*resource).into(),
        name: rest.first().map_or(String::new(), |n| (*n).to_owned()),
        subresource: rest.get(1).map_or(String::new(), |s| (*s).to_owned()),
    };
    // What stands behind a proxy is the business of whom it leads to.
    if let Some(more) = rest.get(2..).filter(|more| !more.is_empty() && !is_proxy(&found)) {
        found.subresource = format!("{}/{}", found.subresource, more.join("/"));
    }
    Some((found, watch))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `verb group/version namespace resource name subresource`, with `-` for what is empty.
    fn describe(method: &Method, url: &str) -> String {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let info = RequestInfo::parse(method, path, &Query::parse(query));
        let dash = |s: &str| if s.is_empty() { "-".to_owned() } else { s.to_owned() };
        match info.resource {
            None => format!("{} path", info.verb),
            Some(r) => [
                info.verb.to_string(),
                dash(&r.group),
                r.version,
                dash(&r.namespace),
                r.resource,
                dash(&r.name),
                dash(&r.subresource),
            ]
            .join(" "),
        }
    }

    #[test]
    fn urls_name_verbs_and_resources() {
        let (get, post, put, patch, delete) = (Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
        for (method, url, expected) in [
            (&get, "/api/v1/pods", "list - v1 - pods - -"),
            (&get, "/api/v1/namespaces/default/pods", "list - v1 default pods - -"),
            (&get, "/api/v1/namespaces/default/pods?watch=true", "watch - v1 default pods - -"),
            (&get, "/api/v1/namespaces/default/pods?watch=0", "list - v1 default pods - -"),
            (&get, "/api/v1/watch/namespaces/default/pods", "watch - v1 default pods - -"),
            (&get, "/api/v1/watch/namespaces/default/pods/web", "watch - v1 default pods web -"),
            (&get, "/api/v1/namespaces/default/pods/web/log?follow=true", "get - v1 default pods web log"),
            (&get, "/api/v1/namespaces/default/pods/web/exec", "get - v1 default pods web exec"),
            (&post, "/api/v1/namespaces/default/pods/web/exec", "create - v1 default pods web exec"),
            (&post, "/api/v1/namespaces/default/pods/web/attach", "create - v1 default pods web attach"),
            (&delete, "/api/v1/namespaces/default/pods/web/exec", "delete - v1 default pods web exec"),
            (&get, "/api/v1/namespaces", "list - v1 - namespaces - -"),
            (&get, "/api/v1/namespaces/default", "get - v1 default namespaces default -"),
            (&put, "/api/v1/namespaces/default/finalize", "update - v1 default namespaces default finalize"),
            (&patch, "/api/v1/namespaces/default/status", "patch - v1 default namespaces default status"),
            (&get, "/api/v1/nodes/edge-1", "get - v1 - nodes edge-1 -"),
            (&post, "/apis/apps/v1/namespaces/a/deployments", "create apps v1 a deployments - -"),
            (&patch, "/apis/apps/v1/namespaces/a/deployments/web/scale", "patch apps v1 a deployments web scale"),
            (&delete, "/apis/apps/v1/namespaces/a/deployments/web", "delete apps v1 a deployments web -"),
            (&delete, "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps v1 a deployments - -"),
            (&post, "/api/v1/namespaces/a/pods/web/binding", "create - v1 a pods web binding"),
            (&get, "/api/v1/namespaces/a/pods/web:80/proxy", "get - v1 a pods web:80 proxy"),
            (
                &post,
                "/api/v1/namespaces/a/services/https:web:/proxy/x/y?watch=1",
                "create - v1 a services https:web: proxy",
            ),
            (&Method::OPTIONS, "/api/v1/nodes/edge-1/proxy/x", "unknown - v1 - nodes edge-1 proxy"),
            (&get, "/api/v1/namespaces/a/pods/web/log/x", "get - v1 a pods web log/x"),
            (&get, "/api/v1/namespaces/a/configmaps/x%2Fy", "get - v1 a configmaps x y"),
            (&Method::OPTIONS, "/api/v1/pods", "unknown - v1 - pods - -"),
            (&get, "/", "get path"),
            (&get, "/api", "get path"),
            (&get, "/api/v1", "get path"),
            (&get, "/api/v1/", "get path"),
            (&get, "/apis/apps", "get path"),
            (&get, "/apis/apps/v1", "get path"),
            (&get, "/openapi/v3/apis/apps/v1", "get path"),
            (&get, "/api/v1//pods", "get path"),
        ] {
            assert_eq!(describe(method, url), expected, "{method} {url}");
        }
    }
}
