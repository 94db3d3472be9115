//! Create, read, list, replace, patch and delete.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, ServiceAccount};
use kube::api::{
    Api, DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
    ValidationDirective, VersionMatch,
};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Server, config_map, refusal, typed};

fn data(map: &ConfigMap) -> Value {
    json!(map.data.clone().unwrap_or_default())
}

fn names(list: &kube::api::ObjectList<ConfigMap>) -> Vec<String> {
    list.items.iter().map(ResourceExt::name_any).collect()
}

fn deployment(name: &str, replicas: i64) -> Deployment {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template});
    typed(json!({"metadata": {"name": name}, "spec": spec}))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_live() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let made = maps.create(&PostParams::default(), &config_map("a", json!({"k": "1"}))).await.unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some() && made.creation_timestamp().is_some());
    assert_eq!(maps.get("a").await.unwrap(), made);
    assert_eq!(maps.get_opt("b").await.unwrap(), None);
    assert_eq!(maps.get_with("a", &GetParams::any()).await.unwrap(), made);
    assert_eq!(refusal(maps.get("b").await), (404, "NotFound".into(), "configmaps \"b\" not found".into()));

    let mut changed = made.clone();
    changed.data = Some(BTreeMap::from([("k".into(), "2".into())]));
    let replaced = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(data(&replaced), json!({"k": "2"}));
    assert_eq!(refusal(maps.replace("a", &PostParams::default(), &changed).await).1, "Conflict");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert_eq!(maps.create(&dry, &config_map("dry", json!({}))).await.unwrap().name_any(), "dry");
    assert_eq!(refusal(maps.create(&PostParams::default(), &config_map("a", json!({}))).await).1, "AlreadyExists");

    let wrong = Preconditions { uid: Some("0".into()), resource_version: None };
    assert_eq!(refusal(maps.delete("a", &DeleteParams::default().preconditions(wrong)).await).1, "Conflict");
    let status = maps.delete("a", &DeleteParams::background()).await.unwrap().right().unwrap();
    assert!(status.is_success() && status.details.unwrap().uid == made.uid().unwrap());
    assert_eq!(maps.list(&ListParams::default().labels("app=x")).await.unwrap().items, []);

    let mut entry = maps.entry("entry").await.unwrap().or_insert(|| config_map("entry", json!({})));
    entry.get_mut().data = Some(BTreeMap::from([("k".into(), "3".into())]));
    entry.commit(&PostParams::default()).await.unwrap();
    assert_eq!(data(&maps.get("entry").await.unwrap()), json!({"k": "3"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_selected_and_reduced_to_metadata() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    for index in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("m{index}"), json!({"k": "v"}))).await.unwrap();
    }
    let mut params = ListParams::default().labels("app=x").limit(2);
    let mut seen = Vec::new();
    loop {
        let page = maps.list(&params).await.unwrap();
        seen.extend(names(&page));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4"]);

    let whole = maps.list(&ListParams::default().labels("app in (x, y),!z").fields("metadata.name!=m0")).await.unwrap();
    assert_eq!(names(&whole), ["m1", "m2", "m3", "m4"]);
    let version = whole.metadata.resource_version.unwrap();
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    let at = |how| ListParams::default().labels("app=x").at(&version).matching(how);
    assert_eq!(maps.list(&at(VersionMatch::Exact)).await.unwrap().items.len(), 5);
    assert_eq!(maps.list(&at(VersionMatch::NotOlderThan)).await.unwrap().items.len(), 4);
    assert_eq!(maps.list(&ListParams::default().labels("app=x").match_any()).await.unwrap().items.len(), 4);

    let metadata = maps.list_metadata(&ListParams::default().labels("app=x")).await.unwrap();
    assert_eq!(metadata.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["m0", "m1", "m2", "m3"]);
    let one = maps.get_metadata("m0").await.unwrap();
    assert_eq!((one.types.unwrap().kind, one.metadata.name.unwrap()), ("PartialObjectMetadata".into(), "m0".into()));
    let patch = Patch::Merge(json!({"metadata": {"labels": {"new": "1"}}}));
    let patched = maps.patch_metadata("m0", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.labels()["new"], "1");

    let one = ListParams::default().labels("new=1");
    let gone = maps.delete_collection(&DeleteParams::default(), &one).await.unwrap();
    assert_eq!(names(&gone.left().unwrap()), ["m0"]);
    assert_eq!(names(&maps.list(&ListParams::default().labels("app=x")).await.unwrap()), ["m1", "m2", "m3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_of_every_kind() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    maps.create(&PostParams::default(), &config_map("m", json!({"a": "1"}))).await.unwrap();
    let plain = PatchParams::default();
    let steps: Patch<()> = Patch::Json(typed(json!([{"op": "add", "path": "/data/b", "value": "2"}])));
    assert_eq!(data(&maps.patch("m", &plain, &steps).await.unwrap()), json!({"a": "1", "b": "2"}));
    let merge = Patch::Merge(json!({"data": {"a": null}}));
    assert_eq!(data(&maps.patch("m", &plain, &merge).await.unwrap()), json!({"b": "2"}));
    let strategic = Patch::Strategic(json!({"data": {"$patch": "replace", "c": "3"}}));
    assert_eq!(data(&maps.patch("m", &plain, &strategic).await.unwrap()), json!({"c": "3"}));

    let apply = |value: &str| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": {"k": value}}))
    };
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    assert_eq!(data(&maps.patch("s", &one, &apply("1")).await.unwrap()), json!({"k": "1"}));
    let (code, reason, message) = refusal(maps.patch("s", &two, &apply("2")).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"one\": .data.k");
    assert_eq!(data(&maps.patch("s", &two.clone().force(), &apply("2")).await.unwrap()), json!({"k": "2"}));
    let managers = maps.get("s").await.unwrap().managed_fields().iter().map(|m| m.manager.clone().unwrap()).collect();
    assert_eq!(Vec::<String>::from_iter::<Vec<_>>(managers), ["two"]);

    let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("one") };
    let unknown = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "colour": "red"});
    let (code, _, message) = refusal(maps.patch("s", &strict, &Patch::Apply(unknown)).await);
    assert!(code == 400 && message.contains("colour"), "{code} {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_of_deployments() {
    let server = Server::start().await;
    let api: Api<Deployment> = Api::default_namespaced(server.client.clone());
    api.create(&PostParams::default(), &deployment("web", 0)).await.unwrap();
    let mut scale = api.get_scale("web").await.unwrap();
    // Go leaves out a zero.
    assert_eq!(scale.spec.as_ref().unwrap().replicas, None);
    scale.spec.as_mut().unwrap().replicas = Some(2);
    // The controller may write a status at any time.
    scale.metadata.resource_version = None;
    api.replace_scale("web", &PostParams::default(), &scale).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"replicas": 1}}));
    let scaled = api.patch_scale("web", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(1));

    let condition = json!({"type": "Tested", "status": "True", "lastUpdateTime": null, "lastTransitionTime": null});
    let patch = Patch::Merge(json!({"spec": {"replicas": 7}, "status": {"conditions": [condition]}}));
    let patched = api.patch_status("web", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.spec.as_ref().unwrap().replicas, Some(1));
    let mut status = api.get_status("web").await.unwrap();
    status.metadata.resource_version = None;
    api.replace_status("web", &PostParams::default(), &status).await.unwrap();
    api.restart("web").await.unwrap();
    let template = api.get("web").await.unwrap().spec.unwrap().template;
    assert!(template.metadata.unwrap().annotations.unwrap().contains_key("kube.kubernetes.io/restartedAt"));

    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    let marked = api.delete("web", &orphan).await.unwrap().left().unwrap();
    assert_eq!(marked.finalizers(), ["orphan"]);
    let (code, reason, message) = refusal(api.create(&PostParams::default(), &deployment("bad", -1)).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert!(message.contains("spec.replicas: Invalid value: -1: must be greater than or equal to 0"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_and_other_kinds() {
    let server = Server::start().await;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client.clone());
    accounts.create(&PostParams::default(), &typed(json!({"metadata": {"name": "robot"}}))).await.unwrap();
    let request: TokenRequest = typed(json!({"spec": {"audiences": ["example.com"], "expirationSeconds": 600}}));
    let made = accounts.create_token_request("robot", &PostParams::default(), &request).await.unwrap();
    let token = made.status.unwrap().token;

    let reviews: Api<TokenReview> = Api::all(server.client.clone());
    let review = typed(json!({"metadata": {}, "spec": {"token": token, "audiences": ["example.com"]}}));
    let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    assert_eq!(status.user.unwrap().username.as_deref(), Some("system:serviceaccount:default:robot"));
    let who: Api<SelfSubjectReview> = Api::all(server.client.clone());
    let me = who.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
    assert_eq!(me.status.unwrap().user_info.unwrap().username.as_deref(), Some("kubernetes-admin"));
    let may: Api<SelfSubjectAccessReview> = Api::all(server.client.clone());
    let ask = typed(json!({"metadata": {}, "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}));
    assert!(may.create(&PostParams::default(), &ask).await.unwrap().status.unwrap().allowed);

    let secrets: Api<Secret> = Api::default_namespaced(server.client.clone());
    let secret = typed(json!({"metadata": {"generateName": "s-"}, "stringData": {"k": "text"}}));
    let made = secrets.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!((made.data.unwrap()["k"].0.as_slice(), made.type_.as_deref()), (b"text".as_slice(), Some("Opaque")));
    let pods: Api<Pod> = Api::all(server.client.clone());
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 0);
    let nodes: Api<Node> = Api::all(server.client.clone());
    let node = nodes.create(&PostParams::default(), &typed(json!({"metadata": {"name": "n"}}))).await.unwrap();
    nodes.cordon(&node.name_any()).await.unwrap();
    assert_eq!(nodes.get("n").await.unwrap().spec.unwrap().unschedulable, Some(true));
    nodes.uncordon("n").await.unwrap();

    let namespaces: Api<Namespace> = Api::all(server.client.clone());
    let default = namespaces.get("default").await.unwrap();
    assert_eq!(default.object_ref(&()).kind.as_deref(), Some("Namespace"));
    assert_eq!(server.client.apiserver_version().await.unwrap().major, "1");
}
