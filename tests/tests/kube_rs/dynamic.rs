//! Discovery, and objects whose kind is known only from it.

use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::discovery::{self, Discovery, Scope, verbs};
use serde_json::json;

use super::{Server, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_discovery_find_the_same() {
    let server = Server::start().await;
    let plain = Discovery::new(server.client.clone()).run().await.unwrap();
    let aggregated = Discovery::new(server.client.clone()).run_aggregated().await.unwrap();
    let all = |discovery: &Discovery| {
        let groups = discovery.groups_alphabetical();
        let resources = groups.iter().flat_map(|g| g.recommended_resources());
        let mut found: Vec<_> = resources
            .map(|(resource, can)| {
                let mut verbs = can.operations.clone();
                verbs.sort();
                let mut sub: Vec<_> = can.subresources.iter().map(|(sub, _)| sub.plural.clone()).collect();
                sub.sort();
                (resource.api_version, resource.kind, resource.plural, can.scope == Scope::Namespaced, verbs, sub)
            })
            .collect();
        found.sort();
        found
    };
    let (plain, aggregated) = (all(&plain), all(&aggregated));
    assert!(plain.len() > 40, "{plain:?}");
    assert_eq!(plain, aggregated);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_found_one_by_one() {
    let server = Server::start().await;
    let apps = discovery::group(&server.client, "apps").await.unwrap();
    assert_eq!(apps.preferred_version_or_latest(), "v1");
    let (resource, can) = apps.recommended_kind("Deployment").unwrap();
    assert_eq!((resource.plural.as_str(), can.supports_operation(verbs::PATCH)), ("deployments", true));
    let (resource, can) =
        discovery::pinned_kind(&server.client, &GroupVersionKind::gvk("", "v1", "Node")).await.unwrap();
    assert_eq!((resource.plural.as_str(), can.scope), ("nodes", Scope::Cluster));
    assert!(discovery::group(&server.client, "example.com").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_objects_live() {
    let server = Server::start().await;
    let found = Discovery::new(server.client.clone()).filter(&["apps", ""]).run().await.unwrap();
    for (group, kind, body) in [
        ("", "ConfigMap", json!({"data": {"k": "v"}})),
        ("", "Service", json!({"spec": {"ports": [{"port": 80}]}})),
        ("apps", "ControllerRevision", json!({"revision": 1, "data": {"k": "v"}})),
    ] {
        let (resource, can) = found.resolve_gvk(&GroupVersionKind::gvk(group, "v1", kind)).unwrap();
        assert_eq!(can.scope, Scope::Namespaced);
        let api: Api<DynamicObject> = Api::default_namespaced_with(server.client.clone(), &resource);
        let object = DynamicObject::new("x", &resource).data(body);
        let applied = api.patch("x", &PatchParams::apply("dynamic"), &Patch::Apply(&object)).await.unwrap();
        assert_eq!(applied.types.as_ref().unwrap().kind, kind);
        assert_eq!(api.get("x").await.unwrap(), applied);
        let listed = api.list(&ListParams::default().fields("metadata.name=x")).await.unwrap();
        assert_eq!(listed.items[0].uid(), applied.uid());
        api.delete("x", &DeleteParams::default()).await.unwrap();
        assert_eq!(api.get_opt("x").await.unwrap(), None);
    }
    let unknown = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Thing"));
    let things: Api<DynamicObject> = Api::all_with(server.client.clone(), &unknown);
    let (code, _, message) = refusal(things.list(&ListParams::default()).await);
    assert_eq!((code, message.as_str()), (404, "the server could not find the requested resource"));
}
