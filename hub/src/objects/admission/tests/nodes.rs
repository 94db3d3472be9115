//! New nodes, and what nodes may write.

use super::*;

#[tokio::test]
async fn a_new_node_is_not_ready() {
    let world = World::of(vec![]).await;
    let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
    let not_ready = taint("node.kubernetes.io/not-ready", "NoSchedule");
    for (name, given, expected) in [
        ("plain", Value::Null, json!([not_ready])),
        ("tainted", json!([taint("a", "NoExecute")]), json!([taint("a", "NoExecute"), not_ready])),
        ("knows", json!([not_ready]), json!([not_ready])),
    ] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": given}});
        assert_eq!(world.put(node).await.unwrap()["spec"]["taints"], expected, "{name}");
    }
}

#[tokio::test]
async fn the_mirror_pods_of_a_node_refer_to_nothing() {
    let world = World::of(vec![json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge"}})]).await;
    let edge = User { name: "system:node:edge".into(), groups: vec!["system:nodes".into()], ..User::default() };
    let uid = world.get("nodes", "", "edge")["metadata"]["uid"].clone();
    let owner = |fields: Value| {
        let mut owner = json!({"apiVersion": "v1", "kind": "Node", "name": "edge", "uid": uid, "controller": true});
        json_patch::merge(&mut owner, &fields);
        owner
    };
    let mirror = |owners: Value, spec: Value| {
        let mut pod = pod("x", json!({"nodeName": "edge"}));
        json_patch::merge(&mut pod["spec"], &spec);
        let annotations = json!({"kubernetes.io/config.mirror": "x"});
        json_patch::merge(&mut pod["metadata"], &json!({"ownerReferences": owners, "annotations": annotations}));
        pod
    };
    let own = || json!([owner(json!({}))]);
    let reads = |variable: Value| json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "E", "valueFrom": variable}]}]});
    for (owners, spec, expected) in [
        (json!([]), json!({}), "can only create pods with an owner reference set to itself"),
        (
            json!([owner(json!({})), owner(json!({"name": "x"}))]),
            json!({}),
            "can only create pods with a single owner reference set to itself",
        ),
        (
            json!([owner(json!({"name": "far"}))]),
            json!({}),
            "can only create pods with an owner reference set to itself",
        ),
        (
            json!([owner(json!({"controller": null}))]),
            json!({}),
            "can only create pods with a controller owner reference set to itself",
        ),
        (
            json!([owner(json!({"blockOwnerDeletion": true}))]),
            json!({}),
            "must not set blockOwnerDeletion on an owner reference",
        ),
        (json!([owner(json!({"uid": "u"}))]), json!({}), "UID mismatch"),
        (own(), json!({"imagePullSecrets": [{"name": "s"}]}), "can not create pods that reference secrets"),
        (
            own(),
            reads(json!({"secretKeyRef": {"name": "s", "key": "k"}})),
            "can not create pods that reference secrets",
        ),
        (
            own(),
            reads(json!({"configMapKeyRef": {"name": "s", "key": "k"}})),
            "can not create pods that reference configmaps",
        ),
        (
            own(),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            "can not create pods that reference secrets",
        ),
        (
            own(),
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]}),
            "can not create pods that reference persistentvolumeclaims",
        ),
    ] {
        let refused = world.put_as(&edge, mirror(owners, spec.clone())).await.map(|_| ());
        let refused = refused.unwrap_err().replace("node edge ", "node \"edge\" ");
        let expected = format!("pods \"x\" is forbidden: node \"edge\" {expected}");
        assert!(refused.starts_with(&expected), "{spec}: {refused}");
    }
}

#[tokio::test]
async fn a_node_says_no_more_of_its_pods_and_itself_than_it_should() {
    let bound = pod("x", json!({"nodeName": "edge"}));
    let world = World::of(vec![json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge"}}), bound]).await;
    let edge = User { name: "system:node:edge".into(), groups: vec!["system:nodes".into()], ..User::default() };
    let mut told = world.get("pods", "a", "x");
    told["status"]["message"] = "m".into();
    let mut told = world.update_as(&edge, "status", told).await.unwrap();
    told["metadata"]["labels"] = json!({"app": "web"});
    let expected = r#"pods "x" is forbidden: node "edge" cannot update labels through pod status"#;
    assert_eq!(world.update_as(&edge, "status", told).await.map(|_| ()), Err(expected.to_owned()));
    let mut node = world.get("nodes", "", "edge");
    node["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": "edge", "uid": "u"}]);
    let expected = r#"nodes "edge" is forbidden: node "edge" is not allowed to modify ownerReferences"#;
    assert_eq!(world.update_as(&edge, "", node).await.map(|_| ()), Err(expected.to_owned()));
}
