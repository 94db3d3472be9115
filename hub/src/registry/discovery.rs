//! Discovery documents: which groups, versions and resources there are and what can be done with them. kubectl reads
//! the aggregated form (one request each for `/api` and `/apis`), older clients the lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Kind, Registry};

/// Version of the aggregated discovery document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregated {
    /// `application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`.
    V2,
    /// The same with `v=v2beta1`: kubectl up to 1.29.
    V2Beta1,
}

/// What a subresource is and what can be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subresource {
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Group, version and kind of what it exchanges; `None` for the kind it belongs to.
    pub exchanges: Option<(&'static str, &'static str, &'static str)>,
    /// Definition name of what it exchanges; `None` for the kind it belongs to, empty for what is no object.
    pub schema: Option<&'static str>,
}

/// What the subresource of this name (URL segment) is.
pub fn subresource(parent: &Kind, name: &str) -> Subresource {
    const CHANGE: &[&str] = &["get", "patch", "update"];
    const CONNECT: &[&str] = &["create", "get"];
    let own = |verbs| Subresource { verbs, exchanges: None, schema: None };
    let other = |verbs, exchanges, schema| Subresource { verbs, exchanges: Some(exchanges), schema: Some(schema) };
    match name {
        "scale" => other(CHANGE, ("autoscaling", "v1", "Scale"), "io.k8s.api.autoscaling.v1.Scale"),
        "binding" => other(&["create"], ("", "v1", "Binding"), "io.k8s.api.core.v1.Binding"),
        "eviction" => other(&["create"], ("policy", "v1", "Eviction"), "io.k8s.api.policy.v1.Eviction"),
        "token" => other(
            &["create"],
            ("authentication.k8s.io", "v1", "TokenRequest"),
            "io.k8s.api.authentication.v1.TokenRequest",
        ),
        "exec" => other(CONNECT, ("", "v1", "PodExecOptions"), ""),
        "attach" => other(CONNECT, ("", "v1", "PodAttachOptions"), ""),
        "portforward" => other(CONNECT, ("", "v1", "PodPortForwardOptions"), ""),
        "proxy" => other(&["create", "delete", "get", "patch", "update"], ("", "v1", proxy_options(parent)), ""),
        "log" => Subresource { verbs: &["get"], exchanges: None, schema: Some("") },
        "finalize" => own(&["update"]),
        _ => own(CHANGE),
    }
}

fn proxy_options(parent: &Kind) -> &'static str {
    match parent.kind {
        "Service" => "ServiceProxyOptions",
        "Node" => "NodeProxyOptions",
        _ => "PodProxyOptions",
    }
}

/// What can be done with objects of a kind, sorted. A kind without a list (a review) can only be created.
pub fn verbs(kind: &Kind) -> &'static [&'static str] {
    if kind.list_kind.is_empty() {
        &["create"]
    } else if kind.group.is_empty() && kind.plural == "componentstatuses" {
        // Asked for, and never stored.
        &["get", "list"]
    } else if kind.group.is_empty() && kind.plural == "namespaces" {
        // Namespaces go one at a time.
        &["create", "delete", "get", "list", "patch", "update", "watch"]
    } else {
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }
}

/// `/api`. The address is `HOST:PORT`.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": server_address }],
    })
}

/// `/apis`: every group but the core group.
pub fn api_groups(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        groups(registry).into_iter().filter(|g| !g.is_empty()).map(|g| describe_group(registry, g)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`; `None` when there is no such group.
pub fn api_group(registry: &Registry, group: &str) -> Option<Value> {
    let group = groups(registry).into_iter().find(|g| *g == group && !g.is_empty())?;
    let mut document = describe_group(registry, group);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

/// `/api/v1` and `/apis/GROUP/VERSION`; `None` when there is no such version.
pub fn api_resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Kind> = in_version(registry, group, version).collect();
    let group_version = kinds.first()?.api_version();
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(resource(registry, kind));
        resources.extend(kind.subresources.iter().map(|name| listed_subresource(kind, name)));
    }
    Some(
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources }),
    )
}

/// The aggregated document of `/api` (`core`) or `/apis`.
pub fn aggregated(registry: &Registry, core: bool, version: Aggregated) -> Value {
    let api_version = match version {
        Aggregated::V2 => "apidiscovery.k8s.io/v2",
        Aggregated::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
    };
    let items: Vec<Value> = groups(registry)
        .into_iter()
        .filter(|group| group.is_empty() == core)
        .map(|group| aggregated_group(registry, group))
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items })
}

/// All groups, in the order of the registry.
fn groups(registry: &Registry) -> Vec<&'static str> {
    distinct(registry.kinds().iter().map(|kind| kind.group))
}

/// The versions of a group, in the order of the registry: the first is preferred.
fn versions(registry: &Registry, group: &str) -> Vec<&'static str> {
    distinct(registry.kinds().iter().filter(|kind| kind.group == group).map(|kind| kind.version))
}

fn distinct(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut out = Vec::new();
    for name in names {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

fn in_version<'a>(registry: &'a Registry, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    registry
        .kinds()
        .iter()
        .map(AsRef::as_ref)
        .filter(move |kind: &&Kind| kind.group == group && kind.version == version)
}

fn describe_group(registry: &Registry, group: &str) -> Value {
    let versions: Vec<Value> = versions(registry, group)
        .into_iter()
        .map(|version| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    json!({ "name": group, "preferredVersion": versions.first(), "versions": versions })
}

fn resource(registry: &Registry, kind: &Kind) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), kind.plural.into());
    out.insert("singularName".into(), kind.singular.into());
    out.insert("namespaced".into(), kind.namespaced.into());
    out.insert("kind".into(), kind.kind.into());
    out.insert("verbs".into(), verbs(kind).into());
    insert_names(&mut out, kind);
    if verbs(kind).contains(&"watch") {
        out.insert("storageVersionHash".into(), storage_version_hash(registry, kind).into());
    }
    Value::Object(out)
}

fn insert_names(out: &mut Map<String, Value>, kind: &Kind) {
    if !kind.short_names.is_empty() {
        out.insert("shortNames".into(), kind.short_names.into());
    }
    if !kind.categories.is_empty() {
        out.insert("categories".into(), kind.categories.into());
    }
}

fn listed_subresource(parent: &Kind, name: &str) -> Value {
    let Subresource { verbs, exchanges, schema: _ } = subresource(parent, name);
    let (group, version, kind) = exchanges.unwrap_or((parent.group, parent.version, parent.kind));
    let mut out = json!({
        "name": format!("{}/{name}", parent.plural),
        "singularName": "",
        "namespaced": parent.namespaced,
        "kind": kind,
        "verbs": verbs,
    });
    if (group, version) != (parent.group, parent.version) {
        out["group"] = group.into();
        out["version"] = version.into();
    }
    out
}

/// Clients see by it that the stored form has changed.
fn storage_version_hash(registry: &Registry, kind: &Kind) -> String {
    let stored = registry.kinds().iter().find(|row| row.group_resource() == *kind.storage).map_or(kind, AsRef::as_ref);
    let name = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    STANDARD.encode(&digest.as_ref()[..8])
}

fn aggregated_group(registry: &Registry, group: &str) -> Value {
    let versions: Vec<Value> = versions(registry, group)
        .into_iter()
        .map(|version| {
            let resources: Vec<Value> = in_version(registry, group, version).map(aggregated_resource).collect();
            json!({ "version": version, "resources": resources, "freshness": "Current" })
        })
        .collect();
    let mut metadata = json!({ "creationTimestamp": null });
    if !group.is_empty() {
        metadata["name"] = group.into();
    }
    json!({ "metadata": metadata, "versions": versions })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut out = Map::new();
    out.insert("resource".into(), kind.plural.into());
    out.insert("responseKind".into(), response_kind((kind.group, kind.version, kind.kind)));
    out.insert("scope".into(), if kind.namespaced { "Namespaced" } else { "Cluster" }.into());
    out.insert("singularResource".into(), kind.singular.into());
    out.insert("verbs".into(), verbs(kind).into());
    insert_names(&mut out, kind);
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|name| {
            let Subresource { verbs, exchanges, schema: _ } = subresource(kind, name);
            let exchanged = exchanges.unwrap_or((kind.group, kind.version, kind.kind));
            json!({ "subresource": name, "responseKind": response_kind(exchanged), "verbs": verbs })
        })
        .collect();
    if !subresources.is_empty() {
        out.insert("subresources".into(), subresources.into());
    }
    Value::Object(out)
}

fn response_kind((group, version, kind): (&str, &str, &str)) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::openapi::samples::registry;

    #[test]
    fn groups_are_listed_without_the_core_group() {
        assert_eq!(
            api_groups(&registry()),
            json!({
                "kind": "APIGroupList", "apiVersion": "v1", "groups": [
                    {"name": "apps", "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}, "versions": [{"groupVersion": "apps/v1", "version": "v1"}]},
                    {"name": "events.k8s.io", "preferredVersion": {"groupVersion": "events.k8s.io/v1", "version": "v1"}, "versions": [{"groupVersion": "events.k8s.io/v1", "version": "v1"}]},
                ],
            })
        );
        let group = api_group(&registry(), "apps").expect("there is apps");
        assert_eq!(
            (&group["kind"], &group["apiVersion"], &group["name"]),
            (&json!("APIGroup"), &json!("v1"), &json!("apps"))
        );
        assert_eq!(api_group(&registry(), ""), None);
        assert_eq!(api_group(&registry(), "nonsense"), None);
    }

    #[test]
    fn resources_are_listed_with_their_subresources() {
        let list = api_resources(&registry(), "", "v1").expect("there is v1");
        assert_eq!(list["groupVersion"], "v1");
        let find =
            |name: &str| list["resources"].as_array().and_then(|all| all.iter().find(|r| r["name"] == name)).cloned();
        assert_eq!(
            find("pods"),
            Some(json!({
                "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "shortNames": ["po"], "categories": ["all"],
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                // As every Kubernetes cluster has it.
                "storageVersionHash": "xPOwRZ+Yhw8=",
            }))
        );
        assert_eq!(
            find("pods/log"),
            Some(json!({
                "name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"],
            }))
        );
        assert_eq!(
            find("pods/binding"),
            Some(json!({
                "name": "pods/binding", "singularName": "", "namespaced": true, "kind": "Binding", "verbs": ["create"],
            }))
        );
        let verbs = find("namespaces").map(|namespaces| namespaces["verbs"].clone());
        assert_eq!(verbs, Some(json!(["create", "delete", "get", "list", "patch", "update", "watch"])));
        let apps = api_resources(&registry(), "apps", "v1").expect("there is apps/v1");
        assert_eq!(
            apps["resources"][2],
            json!({
                "name": "deployments/scale", "singularName": "", "namespaced": true, "group": "autoscaling", "version": "v1",
                "kind": "Scale", "verbs": ["get", "patch", "update"],
            })
        );
        assert_eq!(api_resources(&registry(), "apps", "v1beta1"), None);
    }

    #[test]
    fn two_views_of_the_same_objects_have_one_storage_version() {
        let hash = |group: &str| {
            let list = api_resources(&registry(), group, "v1").expect("served");
            let all = list["resources"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|r| r["name"] == "events").map(|events| events["storageVersionHash"].clone())
        };
        assert_eq!(hash(""), hash("events.k8s.io"));
        assert_eq!(hash(""), Some(json!("r2yiGXH7wu8=")));
    }

    #[test]
    fn aggregated_discovery_holds_everything_in_one_document() {
        let document = aggregated(&registry(), false, Aggregated::V2);
        assert_eq!(
            (&document["kind"], &document["apiVersion"]),
            (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
        );
        assert_eq!(
            document["items"][0],
            json!({
                "metadata": {"name": "apps", "creationTimestamp": null},
                "versions": [{"version": "v1", "freshness": "Current", "resources": [{
                    "resource": "deployments", "singularResource": "deployment", "scope": "Namespaced", "shortNames": ["deploy"], "categories": ["all"],
                    "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                    "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                    "subresources": [
                        {"subresource": "status", "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "verbs": ["get", "patch", "update"]},
                        {"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get", "patch", "update"]},
                    ],
                }]}],
            })
        );
        let core = aggregated(&registry(), true, Aggregated::V2Beta1);
        assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        assert_eq!(core["items"][0]["metadata"], json!({"creationTimestamp": null}));
        assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
    }
}
