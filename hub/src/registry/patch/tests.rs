//! Patches: input, patch and expectation; then what holds for every patch.

use super::*;
use crate::registry::schema::Schema;
use proptest::prelude::*;
use serde_json::{Map, json};

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn patched(definition: &str, target: Value, patch: Value) -> Result<Value, PatchError> {
    let mut patched = target.clone();
    match strategic(Schema::builtin(), definition, &mut patched, &patch) {
        Ok(()) => Ok(patched),
        Err(error) => {
            assert_eq!(patched, target, "a failed patch changes nothing");
            Err(error)
        }
    }
}

fn containers(items: Value) -> Value {
    json!({"spec": {"containers": items}})
}

#[test]
fn maps_merge_and_nulls_delete() {
    let target = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "name": "x"}});
    let patch = json!({"metadata": {"labels": {"a": "9", "b": null, "c": "3"}, "annotations": {"n": null}}});
    let expected = json!({"metadata": {"labels": {"a": "9", "c": "3"}, "name": "x", "annotations": {}}});
    assert_eq!(patched(POD, target, patch), Ok(expected));
}

#[test]
fn lists_merge_by_key() {
    let target = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    for (patch, expected) in [
        (json!([{"name": "b", "image": "2"}]), json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])),
        (
            json!([{"name": "c", "image": "3"}]),
            json!([{"name": "c", "image": "3"}, {"name": "a", "image": "1"}, {"name": "b", "image": "1"}]),
        ),
        (json!([{"name": "a", "$patch": "delete"}]), json!([{"name": "b", "image": "1"}])),
        (json!([{"$patch": "replace"}, {"name": "z"}]), json!([{"name": "z"}])),
        (json!([{"name": "a", "image": null}]), json!([{"name": "a"}, {"name": "b", "image": "1"}])),
        (
            json!([{"name": "a", "$patch": "delete"}, {"name": "c"}]),
            json!([{"name": "c"}, {"name": "b", "image": "1"}]),
        ),
    ] {
        assert_eq!(patched(POD, target.clone(), containers(patch)), Ok(containers(expected)));
    }
}

#[test]
fn nested_lists_merge_by_their_own_keys() {
    let target =
        containers(json!([{"name": "a", "ports": [{"containerPort": 80}], "env": [{"name": "X", "value": "1"}]}]));
    let patch =
        containers(json!([{"name": "a", "ports": [{"containerPort": 81}], "env": [{"name": "X", "value": "2"}]}]));
    let expected = containers(json!([
        {"name": "a", "ports": [{"containerPort": 81}, {"containerPort": 80}], "env": [{"name": "X", "value": "2"}]}
    ]));
    assert_eq!(patched(POD, target, patch), Ok(expected));
}

#[test]
fn other_lists_are_replaced() {
    let target = containers(json!([{"name": "a", "args": ["x", "y"]}]));
    let patch = containers(json!([{"name": "a", "args": ["z"]}]));
    assert_eq!(patched(POD, target, patch), Ok(containers(json!([{"name": "a", "args": ["z"]}]))));
    let tolerations = |key: &str| json!({"spec": {"tolerations": [{"key": key}]}});
    assert_eq!(patched(POD, tolerations("a"), tolerations("b")), Ok(tolerations("b")));
}

#[test]
fn element_order_is_kept() {
    let target = containers(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "n"}, {"name": "a"}],
        "containers": [{"name": "n", "image": "1"}],
    }});
    let expected = containers(json!([{"name": "b"}, {"name": "c"}, {"name": "n", "image": "1"}, {"name": "a"}]));
    assert_eq!(patched(POD, target.clone(), patch), Ok(expected));
    let only_order = json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}]}});
    assert_eq!(patched(POD, target, only_order), Ok(containers(json!([{"name": "c"}, {"name": "b"}, {"name": "a"}]))));
}

#[test]
fn scalar_lists_merge_and_lose_items() {
    let finalizers = |items: Value| json!({"metadata": {"finalizers": items}});
    for (patch, expected) in [
        (finalizers(json!(["b", "c"])), json!(["a", "b", "c"])),
        (json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}), json!(["b"])),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}}),
            json!(["c", "b"]),
        ),
    ] {
        assert_eq!(patched(POD, finalizers(json!(["a", "b"])), patch), Ok(finalizers(expected)));
    }
}

#[test]
fn unions_retain_only_named_keys() {
    let target = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(patched(DEPLOYMENT, target.clone(), patch), Ok(json!({"spec": {"strategy": {"type": "Recreate"}}})));
    let volumes = |items: Value| json!({"spec": {"volumes": items}});
    let patch = volumes(json!([{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]));
    let expected = volumes(json!([{"name": "v", "hostPath": {"path": "/x"}}]));
    assert_eq!(patched(POD, volumes(json!([{"name": "v", "emptyDir": {}}])), patch), Ok(expected));
    let replaced = json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}});
    assert_eq!(patched(DEPLOYMENT, target, replaced), Ok(json!({"spec": {"strategy": {"type": "Recreate"}}})));
}

#[test]
fn malformed_patches_are_refused_as_kubernetes_does() {
    let target = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "a"}], "strategy": {}}});
    for (patch, expected) in [
        (containers(json!([{"image": "x"}])), "map: map[image:x] does not contain declared merge key: name"),
        (
            containers(json!([{"$patch": "delete"}])),
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            containers(json!([{"$patch": "explode", "name": "a"}])),
            "unknown patch type: explode in map: map[$patch:explode name:a]",
        ),
        (json!({"metadata": {"$patch": "nonsense"}}), "unknown patch type: nonsense in map: map[$patch:nonsense]"),
        (json!({"metadata": {"$retainKeys": "x"}}), "invalid patch format of retainKeys"),
        (json!({"metadata": {"$retainKeys": ["x"], "y": 1}}), "invalid patch format of retainKeys"),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "z"}], "containers": [{"name": "a"}]}}),
            "invalid patch format of setElementOrder list",
        ),
        (json!([]), "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (json!("x"), "json: cannot unmarshal string into Go value of type map[string]interface {}"),
    ] {
        assert_eq!(patched(POD, target.clone(), patch), Err(PatchError::BadRequest(expected.into())));
    }
    let mixed = containers(json!(["x"]));
    assert!(matches!(patched(POD, target, mixed), Err(PatchError::Unprocessable { .. })));
}

#[test]
fn json_patches_apply_as_a_whole_or_not_at_all() {
    let apply = |patch: Value| {
        let mut target = json!({"a": [1, 2], "b": "x"});
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
        apply_json(&mut target, &patch).map(|()| target)
    };
    assert_eq!(apply(json!([{"op": "add", "path": "/a/-", "value": 3}])), Ok(json!({"a": [1, 2, 3], "b": "x"})));
    for patch in [
        json!([{"op": "replace", "path": "/b", "value": "y"}, {"op": "test", "path": "/b", "value": "x"}]),
        json!([{"op": "remove", "path": "/nowhere"}]),
    ] {
        assert!(matches!(apply(patch), Err(PatchError::Unprocessable { .. })));
    }
    let doubling: Vec<Value> = (0..64).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
    assert!(matches!(apply(doubling.into()), Err(PatchError::TooLarge(_))));
    let many: Vec<Value> = (0..=MAX_OPERATIONS).map(|_| json!({"op": "test", "path": "/b", "value": "x"})).collect();
    let refusal = "The allowed maximum operations in a JSON patch is 10000, got 10001";
    assert_eq!(apply(many.into()), Err(PatchError::TooLarge(refusal.into())));
}

#[test]
fn merge_patches_replace_lists() {
    let mut target = json!({"a": [1, 2], "b": {"c": 1, "d": 2}});
    apply_merge(&mut target, &json!({"a": [3], "b": {"c": null}})).expect("applies");
    assert_eq!(target, json!({"a": [3], "b": {"d": 2}}));
    assert!(apply_merge(&mut target, &json!([])).is_err());
    assert_eq!(target, json!({"a": [3], "b": {"d": 2}}));
}

/// The patch is what `kubectl apply` (1.27, 1.30 and 1.33 alike) sends for this change.
#[test]
fn a_patch_of_kubectl_apply_brings_the_manifest_about() {
    let template = |spec: Value| json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
    let target = json!({"spec": {
        "replicas": 3,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
        "template": template(json!({
            "containers": [
                {"name": "a", "image": "old", "imagePullPolicy": "Always", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                {"name": "b", "image": "y"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "dnsPolicy": "ClusterFirst",
        })),
    }});
    let patch = json!({"spec": {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "template": {"spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "$setElementOrder/volumes": [{"name": "v"}],
            "containers": [
                {"$setElementOrder/ports": [{"containerPort": 80}, {"containerPort": 81}], "image": "new", "name": "a", "ports": [{"containerPort": 81}]},
                {"$patch": "delete", "name": "b"},
            ],
            "volumes": [{"$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/x"}, "name": "v"}],
        }},
    }});
    let expected = json!({"spec": {
        "replicas": 3,
        "strategy": {"type": "Recreate"},
        "template": template(json!({
            "containers": [{
                "name": "a", "image": "new", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81}],
            }],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
            "dnsPolicy": "ClusterFirst",
        })),
    }});
    assert_eq!(patched(DEPLOYMENT, target, patch), Ok(expected));
}

#[test]
fn what_is_new_comes_without_its_directives() {
    let patch = json!({"spec": {
        "containers": [{"$patch": "replace"}, {"name": "z", "env": [{"name": "X", "$patch": "delete"}], "args": null}],
        "$setElementOrder/volumes": [{"name": "v"}],
        "volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}],
    }});
    let expected =
        json!({"spec": {"containers": [{"name": "z", "env": []}], "volumes": [{"name": "v", "emptyDir": {}}]}});
    assert_eq!(patched(POD, json!({}), patch), Ok(expected));
}

#[test]
fn long_lists_merge_in_good_time() {
    let finalizers = |range: std::ops::Range<u32>| json!({"metadata": {"finalizers": range.map(|n| n.to_string()).collect::<Vec<_>>()}});
    let merged = patched(POD, finalizers(0..20_000), finalizers(10_000..30_000)).expect("applies");
    assert_eq!(merged["metadata"]["finalizers"].as_array().map(Vec::len), Some(30_000));
}

#[test]
fn patches_print_as_in_go() {
    assert_eq!(printed(&json!({"spec": {"replicas": "x", "a": [1, null]}})), "map[spec:map[a:[1 <nil>] replicas:x]]");
}

/// Pods of few names, so that patches often meet what is there.
fn pod() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let texts = || prop::collection::btree_map(name(), "[a-z]{0,2}", 0..3).prop_map(|map| json!(map));
    let env = prop::collection::btree_map(name(), "[a-z]{0,2}", 0..3)
        .prop_map(|env| env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>());
    let containers = prop::collection::btree_map(name(), (env, "[a-z]{0,2}"), 0..4).prop_map(|all| {
        all.iter().map(|(name, (env, image))| json!({"name": name, "env": env, "image": image})).collect::<Vec<_>>()
    });
    let finalizers = prop::collection::btree_set(name(), 0..3);
    (texts(), containers.prop_shuffle(), finalizers).prop_map(|(labels, containers, finalizers)| {
        json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"containers": containers}})
    })
}

/// The merge patch that turns one map of texts into another.
fn map_diff(from: &Map<String, Value>, to: &Map<String, Value>) -> Value {
    let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    Value::Object(gone.chain(to.iter().map(|(key, value)| (key.clone(), value.clone()))).collect())
}

proptest! {
    #[test]
    fn a_patch_applied_twice_is_the_same_as_once(target in pod(), patch in pod()) {
        let once = patched(POD, target, patch.clone()).expect("applies");
        prop_assert_eq!(patched(POD, once.clone(), patch).expect("applies"), once);
    }

    #[test]
    fn an_empty_patch_changes_nothing(target in pod()) {
        prop_assert_eq!(patched(POD, target.clone(), json!({})).expect("applies"), target.clone());
        let mut merged = target.clone();
        apply_merge(&mut merged, &json!({})).expect("applies");
        prop_assert_eq!(merged, target);
    }

    #[test]
    fn an_object_patched_with_itself_is_itself(target in pod()) {
        prop_assert_eq!(patched(POD, target.clone(), target.clone()).expect("applies"), target);
    }

    #[test]
    fn differences_of_maps_round_trip(from in pod(), to in pod()) {
        let labels = |pod: &Value| pod["metadata"]["labels"].as_object().expect("labels").clone();
        let patch = json!({"metadata": {"labels": map_diff(&labels(&from), &labels(&to))}});
        let strategic = patched(POD, from.clone(), patch.clone()).expect("applies");
        prop_assert_eq!(labels(&strategic), labels(&to));
        let mut merged = from;
        apply_merge(&mut merged, &patch).expect("applies");
        prop_assert_eq!(strategic, merged);
    }

    #[test]
    fn any_patch_is_applied_or_refused(target in pod(), key in "\\$?[a-zA-Z/$]{0,20}", patch in pod()) {
        let _applied_or_not = patched(POD, target, json!({"spec": {key: patch["spec"]["containers"].clone()}}));
    }
}
