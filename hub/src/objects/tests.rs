//! The write path over a volatile store: requests and what becomes of them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    DeleteOptions, Error, FieldValidation, Networks, Objects, Patch, Propagation, Target, WriteOptions, Written,
};
use crate::registry::Registry;
use crate::store::MemoryStore;

mod deletion;

fn objects() -> Objects {
    let networks = Networks::new(Ipv4Addr::new(10, 43, 0, 0), 16);
    Objects::new(MemoryStore::new(), Arc::new(Registry::builtin()), networks)
}

fn target(objects: &Objects, api_version: &str, kind: &str, name: &str) -> Target {
    let kind = objects.registry().kind(api_version, kind).expect("a served kind").clone();
    let namespace = if kind.namespaced { "default".to_owned() } else { String::new() };
    Target { kind, namespace, name: name.into(), subresource: String::new() }
}

fn sub(target: &Target, subresource: &str) -> Target {
    Target { subresource: subresource.into(), ..target.clone() }
}

async fn with_namespace() -> Objects {
    let objects = objects();
    let namespaces = target(&objects, "v1", "Namespace", "");
    create(&objects, &namespaces, json!({"metadata": {"name": "default"}})).await.expect("a namespace");
    let accounts = target(&objects, "v1", "ServiceAccount", "");
    create(&objects, &accounts, json!({"metadata": {"name": "default"}})).await.expect("an account for pods");
    objects
}

async fn create(objects: &Objects, target: &Target, body: Value) -> Result<Written, Error> {
    objects.create(target, body, &WriteOptions::default()).await
}

async fn update(objects: &Objects, target: &Target, body: Value) -> Result<Written, Error> {
    objects.update(target, body, &WriteOptions::default()).await
}

async fn delete(objects: &Objects, target: &Target, grace: Option<i64>) -> Result<Written, Error> {
    let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
    objects.delete(target, &options).await
}

fn json_of(written: &Written) -> Value {
    written.object.parse().expect("stored objects are JSON")
}

fn pod() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
    }})
}

#[tokio::test]
async fn a_create_sets_what_the_server_owns() {
    let objects = with_namespace().await;
    let deployments = target(&objects, "apps/v1", "Deployment", "");
    let created = json_of(&create(&objects, &deployments, deployment()).await.expect("valid"));
    let metadata = &created["metadata"];
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["uid"].as_str().map(str::len), Some(36));
    assert_eq!(metadata["resourceVersion"], objects.snapshot().revision().to_string());
    assert_eq!(created["spec"]["replicas"], 1);
    let again = create(&objects, &deployments, deployment()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
}

#[tokio::test]
async fn names_are_generated_from_a_prefix() {
    let objects = with_namespace().await;
    let pods = target(&objects, "v1", "Pod", "");
    let mut body = pod();
    body["metadata"] = json!({"generateName": "web-"});
    let created = create(&objects, &pods, body).await.expect("valid");
    assert!(created.object.key.name.starts_with("web-") && created.object.key.name.len() == 9);
}

#[tokio::test]
async fn bad_bodies_are_refused_by_kubernetes_reasons() {
    let objects = with_namespace().await;
    let pods = target(&objects, "v1", "Pod", "");
    let mut elsewhere = pods.clone();
    elsewhere.namespace = "nowhere".into();
    let missing = create(&objects, &elsewhere, pod()).await;
    assert!(matches!(&missing, Err(Error::NotFound { resource, .. }) if resource == "namespaces"), "{missing:?}");
    let cases = [
        json!([1]),
        json!({"kind": "Deployment", "apiVersion": "apps/v1"}),
        json!({"metadata": {"name": "a", "namespace": "other"}}),
        json!({"metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"containers": []}}),
    ];
    for body in cases {
        let refused = create(&objects, &pods, body.clone()).await;
        assert!(matches!(refused, Err(Error::BadRequest(_))), "{body}: {refused:?}");
    }
    let nameless = create(&objects, &pods, json!({"spec": {"containers": [{"name": "c", "image": "i"}]}})).await;
    assert!(matches!(nameless, Err(Error::Invalid { .. })), "{nameless:?}");
}

#[tokio::test]
async fn unknown_fields_are_dropped_warned_of_or_refused() {
    let objects = with_namespace().await;
    let pods = target(&objects, "v1", "Pod", "");
    let mut body = pod();
    body["spec"]["nonsense"] = json!(1);
    let strict = WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() };
    let refused = objects.create(&pods, body.clone(), &strict).await;
    let text = refused.expect_err("strict").to_string();
    assert!(text.contains(r#"strict decoding error: unknown field "spec.nonsense""#), "{text}");
    let warned = create(&objects, &pods, body).await.expect("only a warning");
    assert_eq!(warned.warnings, [r#"unknown field "spec.nonsense""#]);
    assert!(json_of(&warned)["spec"].get("nonsense").is_none());
}

#[tokio::test]
async fn kinds_warn_of_what_they_accept() {
    let objects = with_namespace().await;
    let named = target(&objects, "apps/v1", "Deployment", "web");
    let mut body = deployment();
    body["spec"]["template"]["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    let said = [
        r#"spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#,
    ];
    let created = create(&objects, &named, body).await.expect("valid");
    assert_eq!(created.warnings, said);
    let mut body = json_of(&created);
    let unchanged = update(&objects, &named, body.clone()).await.expect("valid");
    assert_eq!(unchanged.warnings, [""; 0]);
    body["spec"]["replicas"] = json!(3);
    assert_eq!(update(&objects, &named, body).await.expect("valid").warnings, said);
}

#[tokio::test]
async fn updates_compare_versions_and_count_generations() {
    let objects = with_namespace().await;
    let named = target(&objects, "apps/v1", "Deployment", "web");
    let first = create(&objects, &named, deployment()).await.expect("valid");
    let mut body = json_of(&first);
    body["spec"]["replicas"] = json!(3);
    let second = update(&objects, &named, body.clone()).await.expect("valid");
    assert_eq!(json_of(&second)["metadata"]["generation"], 2);
    let stale = update(&objects, &named, body).await;
    assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
    let same = update(&objects, &named, json_of(&second)).await.expect("valid");
    assert_eq!(same.object.revision, second.object.revision, "an update that changes nothing is no write");
    let mut labelled = json_of(&second);
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let third = update(&objects, &named, labelled).await.expect("valid");
    assert_eq!(json_of(&third)["metadata"]["generation"], 2, "metadata is not counted");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let objects = with_namespace().await;
    let named = target(&objects, "apps/v1", "Deployment", "web");
    let created = json_of(&create(&objects, &named, deployment()).await.expect("valid"));
    let mut body = created.clone();
    body["status"] = json!({"replicas": 2});
    body["spec"]["replicas"] = json!(9);
    let ignored = json_of(&update(&objects, &named, body.clone()).await.expect("valid"));
    assert_eq!((&ignored["status"]["replicas"], &ignored["spec"]["replicas"]), (&Value::Null, &json!(9)));
    body["metadata"]["resourceVersion"] = ignored["metadata"]["resourceVersion"].clone();
    body["spec"]["replicas"] = json!(4);
    let status = json_of(&update(&objects, &sub(&named, "status"), body).await.expect("valid"));
    assert_eq!((&status["status"]["replicas"], &status["spec"]["replicas"]), (&json!(2), &json!(9)));
}

#[tokio::test]
async fn subresources_take_labels_and_annotations_with_their_part() {
    let objects = objects();
    let conditions = json!({"conditions": [{"type": "Approved", "status": "True", "lastUpdateTime": "t", "lastTransitionTime": "t"}]});
    let finalizers = json!({"finalizers": ["example.com/last"]});
    for (api_version, kind, subresource, part, taken) in [
        ("certificates.k8s.io/v1", "CertificateSigningRequest", "approval", "status", &conditions),
        ("certificates.k8s.io/v1", "CertificateSigningRequest", "status", "status", &conditions),
        ("v1", "Namespace", "finalize", "spec", &finalizers),
        ("v1", "Namespace", "status", "status", &conditions),
    ] {
        let target = sub(&target(&objects, api_version, kind, "a"), subresource);
        let old = json!({"metadata": {"name": "a", "uid": "1", "labels": {"old": "yes"}}, "spec": {}, "status": {}});
        let metadata = json!({"name": "a", "uid": "2", "annotations": {"new": "yes"}});
        let body = json!({"metadata": metadata, "spec": finalizers, "status": conditions});
        let mut expected = old.clone();
        expected["metadata"] = json!({"name": "a", "uid": "1", "annotations": {"new": "yes"}});
        expected[part] = taken.clone();
        assert_eq!(super::subresource::merge(&target, &old, body).expect("valid"), expected, "{kind} {subresource}");
    }
}

#[tokio::test]
async fn a_scale_is_read_and_written_as_a_view() {
    let objects = with_namespace().await;
    let named = target(&objects, "apps/v1", "Deployment", "web");
    create(&objects, &named, deployment()).await.expect("valid");
    let scale = sub(&named, "scale");
    let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
    objects.patch(&scale, &patch, &WriteOptions::default()).await.expect("valid");
    let stored: Value = objects.current(&named).expect("there").parse().expect("JSON");
    assert_eq!(stored["spec"]["replicas"], 5);
    let view = super::subresource::scale_of(&named.kind, &stored);
    assert_eq!((&view["spec"]["replicas"], &view["status"]["selector"]), (&json!(5), &json!("app=web")));
    let negative =
        objects.patch(&scale, &Patch::Merge(json!({"spec": {"replicas": -1}})), &WriteOptions::default()).await;
    assert!(matches!(negative, Err(Error::Invalid { .. })), "{negative:?}");
}

#[tokio::test]
async fn ephemeral_containers_are_added_by_their_own_subresource() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "Pod", "a");
    create(&objects, &named, pod()).await.expect("valid");
    let part = sub(&named, "ephemeralcontainers");
    let add = |name: &str| {
        let container = json!({"name": name, "image": "x"});
        Patch::Strategic(
            json!({"metadata": {"labels": {"no": "no"}}, "spec": {"hostPID": true, "ephemeralContainers": [container]}}),
        )
    };
    let options = WriteOptions::default();
    assert!(objects.patch(&named, &add("d"), &options).await.is_err(), "the pod itself takes none");
    let before = json_of(&objects.patch(&part, &add("d"), &options).await.expect("valid"));
    let after = json_of(&objects.patch(&part, &add("e"), &options).await.expect("valid"));
    let names = |pod: &Value| pod["spec"]["ephemeralContainers"].as_array().expect("a list").len();
    assert_eq!((names(&before), names(&after), &after["metadata"]["generation"]), (1, 2, &json!(3)));
    assert_eq!(after["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File", "defaulted");
    assert_eq!((&after["spec"]["hostPID"], &after["metadata"]["labels"]), (&Value::Null, &Value::Null), "nothing else");

    let container = json!({"name": "f", "image": "x"});
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"no": "no"}},
        "spec": {"hostPID": true, "ephemeralContainers": [container]},
    });
    let options = WriteOptions { field_manager: "m".into(), ..options };
    let applied =
        objects.apply(&part, super::Configuration { object, force: false }, &options).await.expect("valid").written;
    let applied = json_of(&applied);
    assert_eq!((names(&applied), &applied["spec"]["hostPID"]), (3, &Value::Null));
    let fields = applied["metadata"]["managedFields"].as_array().expect("a list").iter();
    let own = fields.into_iter().find(|f| f["operation"] == "Apply").expect("it is remembered");
    assert_eq!(own["subresource"], "ephemeralcontainers");
    assert!(
        own["fieldsV1"]["f:spec"].get("f:hostPID").is_none() && own["fieldsV1"].get("f:metadata").is_none(),
        "{own}"
    );
}

#[tokio::test]
async fn pods_are_resized_by_their_own_subresource() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "Pod", "a");
    let mut body = pod();
    body["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    let name = body["spec"]["containers"][0]["name"].clone();
    let made = json_of(&create(&objects, &named, body).await.expect("valid"));
    let policy = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
    assert_eq!(made["spec"]["containers"][0]["resizePolicy"], policy);
    let container = json!({"name": name, "image": "other", "resources": {"requests": {"cpu": "0.2"}}});
    let patch = Patch::Strategic(json!({"metadata": {"labels": {"no": "no"}}, "spec": {"containers": [container]}}));
    let options = WriteOptions::default();
    assert!(objects.patch(&named, &patch, &options).await.is_err(), "the pod itself is not resized");
    let part = sub(&named, "resize");
    let resized = json_of(&objects.patch(&part, &patch, &options).await.expect("valid"));
    let own = &resized["spec"]["containers"][0];
    assert_eq!((&own["resources"]["requests"]["cpu"], &resized["metadata"]["generation"]), (&json!("200m"), &json!(2)));
    assert_eq!(
        (&own["image"], &resized["metadata"]["labels"]),
        (&made["spec"]["containers"][0]["image"], &Value::Null)
    );
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "Pod", "a");
    create(&objects, &named, pod()).await.expect("valid");
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    let bound = create(&objects, &sub(&named, "binding"), binding.clone()).await.expect("free");
    let pod = json_of(&bound);
    assert_eq!(pod["spec"]["nodeName"], "n1");
    assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
    let again = create(&objects, &sub(&named, "binding"), binding).await;
    assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
}

#[tokio::test]
async fn pods_are_deleted_with_grace_once_they_are_bound() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "Pod", "a");
    create(&objects, &named, pod()).await.expect("valid");
    assert!(delete(&objects, &named, None).await.expect("there").removed, "never bound: gone at once");
    let mut body = pod();
    body["spec"]["nodeName"] = json!("n1");
    create(&objects, &named, body).await.expect("valid");
    let marked = delete(&objects, &named, None).await.expect("there");
    assert!(!marked.removed);
    assert_eq!(json_of(&marked)["metadata"]["deletionGracePeriodSeconds"], 30);
    let longer = delete(&objects, &named, Some(60)).await.expect("there");
    assert_eq!(longer.object.revision, marked.object.revision, "grace is never lengthened");
    let shorter = delete(&objects, &named, Some(5)).await.expect("there");
    assert_eq!(json_of(&shorter)["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(delete(&objects, &named, Some(0)).await.expect("there").removed);
    let missing = delete(&objects, &named, Some(0)).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_status_that_is_taken_away_has_its_defaults() {
    let objects = with_namespace().await;
    let volume = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let cases = [
        ("Pod", pod()["spec"].clone(), json!({"qosClass": "BestEffort"})),
        ("PersistentVolume", volume, json!({"phase": "Pending"})),
        ("PersistentVolumeClaim", claim, json!({"phase": "Pending"})),
        ("Service", json!({"ports": [{"port": 80}]}), json!({"loadBalancer": {}})),
    ];
    for (kind, spec, left) in cases {
        let named = target(&objects, "v1", kind, "a");
        create(&objects, &named, json!({"metadata": {"name": "a"}, "spec": spec})).await.expect(kind);
        let none = Patch::Merge(json!({"status": null}));
        let written = objects.patch(&sub(&named, "status"), &none, &WriteOptions::default()).await.expect(kind);
        assert_eq!(json_of(&written)["status"], left, "{kind}");
    }
}

#[tokio::test]
async fn a_limit_range_needs_no_name() {
    let objects = with_namespace().await;
    let ranges = target(&objects, "v1", "LimitRange", "");
    for (metadata, prefix, length) in [(json!({}), "", 36), (json!({"generateName": "limits-"}), "limits-", 12)] {
        let written = create(&objects, &ranges, json!({"metadata": metadata, "spec": {"limits": []}})).await;
        let name = json_of(&written.expect("valid"))["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        assert!(name.starts_with(prefix) && name.len() == length, "{name}");
    }
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_removed() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "ConfigMap", "c");
    create(&objects, &named, json!({"metadata": {"name": "c", "finalizers": ["a.b/c"]}})).await.expect("valid");
    let marked = delete(&objects, &named, None).await.expect("there");
    assert!(!marked.removed);
    let add = Patch::Merge(json!({"metadata": {"finalizers": ["a.b/c", "a.b/d"]}}));
    let refused = objects.patch(&named, &add, &WriteOptions::default()).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    assert!(objects.patch(&named, &release, &WriteOptions::default()).await.expect("there").removed);
    assert!(objects.current(&named).is_err());
}

#[tokio::test]
async fn deletion_has_preconditions_and_propagation() {
    let objects = with_namespace().await;
    let named = target(&objects, "apps/v1", "Deployment", "web");
    create(&objects, &named, deployment()).await.expect("valid");
    let wrong = DeleteOptions { uid: Some("other".into()), ..DeleteOptions::default() };
    let refused = objects.delete(&named, &wrong).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let marked = objects.delete(&named, &foreground).await.expect("there");
    assert_eq!(json_of(&marked)["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let immortal = delete(&objects, &target(&objects, "v1", "Namespace", "default"), None).await;
    assert!(matches!(immortal, Err(Error::Forbidden { .. })), "{immortal:?}");
}

#[tokio::test]
async fn the_oldest_kinds_let_their_dependents_go_unless_told_otherwise() {
    let objects = with_namespace().await;
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let controller = json!({"metadata": {"name": "rc"}, "spec": {"selector": {"app": "web"}, "template": template}});
    for (propagation, finalizers) in [
        (None, json!(["orphan"])),
        (Some(Propagation::Foreground), json!(["foregroundDeletion"])),
        (Some(Propagation::Background), Value::Null),
    ] {
        let mut named = target(&objects, "v1", "ReplicationController", "rc");
        named.name = format!("{propagation:?}").to_lowercase().replace(['(', ')'], "");
        let mut body = controller.clone();
        body["metadata"]["name"] = named.name.clone().into();
        create(&objects, &named, body).await.expect("valid");
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        let deleted = objects.delete(&named, &options).await.expect("there");
        assert_eq!(json_of(&deleted)["metadata"]["finalizers"], finalizers, "{propagation:?}");
    }
}

#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_is_being_deleted() {
    let objects = with_namespace().await;
    let namespace = target(&objects, "v1", "Namespace", "work");
    create(&objects, &namespace, json!({"metadata": {"name": "work"}})).await.expect("valid");
    let marked = delete(&objects, &namespace, None).await.expect("there");
    assert_eq!(json_of(&marked)["status"]["phase"], "Terminating");
    assert!(json_of(&marked)["metadata"].get("deletionGracePeriodSeconds").is_none());
    let mut pods = target(&objects, "v1", "Pod", "");
    pods.namespace = "work".into();
    let refused = create(&objects, &pods, pod()).await;
    assert!(
        matches!(&refused, Err(Error::NamespaceTerminating { namespace, .. }) if namespace == "work"),
        "{refused:?}"
    );
    let finalized =
        update(&objects, &sub(&namespace, "finalize"), json!({"metadata": {"name": "work"}, "spec": {}})).await;
    assert!(finalized.expect("there").removed);
}

#[tokio::test]
async fn a_dry_run_answers_and_changes_nothing() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "ConfigMap", "c");
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let before = objects.snapshot().revision();
    let answer = objects.create(&named, json!({"metadata": {"name": "c"}, "data": {"a": "b"}}), &dry).await;
    assert_eq!(json_of(&answer.expect("valid"))["data"]["a"], "b");
    assert_eq!(objects.snapshot().revision(), before);
}

#[tokio::test]
async fn services_get_addresses_of_their_own_and_keep_them() {
    let objects = with_namespace().await;
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let (a, b) = (target(&objects, "v1", "Service", "a"), target(&objects, "v1", "Service", "b"));
    let first = json_of(&create(&objects, &a, service("a")).await.expect("valid"));
    let second = json_of(&create(&objects, &b, service("b")).await.expect("valid"));
    assert_ne!(first["spec"]["clusterIP"], second["spec"]["clusterIP"]);
    assert_ne!(first["spec"]["ports"][0]["nodePort"], second["spec"]["ports"][0]["nodePort"]);
    let kept = json_of(&update(&objects, &a, service("a")).await.expect("valid"));
    assert_eq!(kept["spec"], first["spec"]);
    let mut taken = service("c");
    taken["spec"]["clusterIP"] = first["spec"]["clusterIP"].clone();
    let refused = create(&objects, &target(&objects, "v1", "Service", "c"), taken).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

#[tokio::test]
async fn concurrent_patches_without_a_version_all_land() {
    let objects = with_namespace().await;
    let named = target(&objects, "v1", "ConfigMap", "c");
    create(&objects, &named, json!({"metadata": {"name": "c"}})).await.expect("valid");
    let writers = (0..20).map(|i| {
        let (objects, named) = (objects.clone(), named.clone());
        tokio::spawn(async move {
            let patch = Patch::Merge(json!({"data": {format!("k{i}"): "v"}}));
            objects.patch(&named, &patch, &WriteOptions::default()).await.map(|_| ())
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic").expect("patched");
    }
    let stored: Value = objects.current(&named).expect("there").parse().expect("JSON");
    assert_eq!(stored["data"].as_object().map(serde_json::Map::len), Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_made_at_the_same_time_get_different_addresses() {
    let objects = with_namespace().await;
    let makers = (0..20).map(|i| {
        let objects = objects.clone();
        tokio::spawn(async move {
            let name = format!("s{i}");
            let named = target(&objects, "v1", "Service", &name);
            let body = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
            json_of(&create(&objects, &named, body).await.expect("valid"))["spec"]["clusterIP"].clone()
        })
    });
    let mut addresses = Vec::new();
    for maker in makers.collect::<Vec<_>>() {
        addresses.push(maker.await.expect("no panic").to_string());
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 20);
}
