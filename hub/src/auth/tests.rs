//! Roles, bindings and nodes as tables of requests.

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::*;
use crate::store::{Expected, Key, MemoryStore, Op, Store, Write};

/// A state of the world with these objects, by storage name.
pub(crate) fn snapshot(objects: &[(&'static str, Value)]) -> Snapshot {
    let store = MemoryStore::new();
    for (resource, object) in objects {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let key = Key { resource: (*resource).into(), namespace: text("namespace").into(), name: text("name").into() };
        let write = Write { key, expected: Expected::Absent, op: Op::Put(object.clone()) };
        store.commit(vec![write]).now_or_never().expect("the memory store does not wait").unwrap();
    }
    store.snapshot()
}

const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const ROLES: &str = "roles.rbac.authorization.k8s.io";
const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "resourceNames": names})
}

fn role(resource: &'static str, namespace: &str, name: &str, rules: Value) -> (&'static str, Value) {
    (resource, json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules}))
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subject: Value) -> (&'static str, Value) {
    let resource = if namespace.is_empty() { CLUSTER_ROLE_BINDINGS } else { ROLE_BINDINGS };
    let metadata = json!({"namespace": namespace, "name": name});
    (resource, json!({"metadata": metadata, "roleRef": {"kind": role.0, "name": role.1}, "subjects": [subject]}))
}

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
}

/// `verb group/resource/subresource namespace name`, with `-` for what is empty; or `verb /path`.
fn wanted(text: &str) -> Attributes<'_> {
    let words: Vec<&str> = text.split(' ').map(|w| if w == "-" { "" } else { w }).collect();
    if let [verb, path] = words[..] {
        return Attributes { verb, path, ..Attributes::default() };
    }
    let mut parts = words[1].split('/');
    let mut part = || parts.next().unwrap_or_default();
    Attributes {
        verb: words[0],
        group: part(),
        resource: part(),
        subresource: part(),
        namespace: words[2],
        name: words[3],
        ..Attributes::default()
    }
}

fn world() -> Snapshot {
    snapshot(&[
        role(ROLES, "a", "reader", json!([rule(&["get", "list"], "", &["pods", "pods/log"], &[])])),
        role(ROLES, "a", "one", json!([rule(&["*"], "apps", &["deployments"], &["web"])])),
        role(CLUSTER_ROLES, "", "scaler", json!([rule(&["update"], "*", &["*/scale"], &[])])),
        role(CLUSTER_ROLES, "", "all", json!([rule(&["*"], "*", &["*"], &[])])),
        role(CLUSTER_ROLES, "", "paths", json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]}])),
        binding("a", "bob-reads", ("Role", "reader"), json!({"kind": "User", "name": "bob"})),
        binding("a", "ops-one", ("Role", "one"), json!({"kind": "Group", "name": "ops"})),
        binding(
            "b",
            "robot-all",
            ("ClusterRole", "all"),
            json!({"kind": "ServiceAccount", "name": "robot", "namespace": "a"}),
        ),
        binding("", "bob-scales", ("ClusterRole", "scaler"), json!({"kind": "User", "name": "bob"})),
        binding("", "bob-paths", ("ClusterRole", "paths"), json!({"kind": "User", "name": "bob"})),
        binding("", "lost", ("ClusterRole", "missing"), json!({"kind": "User", "name": "eve"})),
    ])
}

#[test]
fn roles_allow_what_their_rules_say() {
    let world = world();
    let authorizer = Authorizer::default();
    let (bob, ops) = (user("bob", &[]), user("carol", &["ops"]));
    let robot = user("system:serviceaccount:a:robot", &[]);
    for (user, request, allowed) in [
        (&bob, "get /pods a x", true),
        (&bob, "get /pods/log a x", true),
        (&bob, "get /pods/exec a x", false),
        (&bob, "get /pods b x", false),
        (&bob, "list /pods - -", false),
        (&bob, "delete /pods a x", false),
        (&bob, "get apps/pods a x", false),
        (&bob, "update apps/deployments/scale z web", true),
        (&bob, "update apps/deployments z web", false),
        (&bob, "get /metrics", true),
        (&bob, "get /logs/a/b", true),
        (&bob, "get /logs", false),
        (&bob, "post /metrics", false),
        (&ops, "delete apps/deployments a web", true),
        (&ops, "delete apps/deployments a other", false),
        (&ops, "list apps/deployments a -", false),
        (&robot, "get x/anything/sub b y", true),
        (&robot, "get x/anything a y", false),
        (&robot, "get /metrics", false),
    ] {
        let decision = authorizer.authorize(user, &wanted(request), &world);
        assert_eq!(decision.allowed, allowed, "{} {request}: {}", user.name, decision.reason);
    }
}

#[test]
fn reasons_are_kubernetes() {
    let world = world();
    for (user, request, reason) in [
        (
            user("bob", &[]),
            "get /pods a x",
            r#"RBAC: allowed by RoleBinding "bob-reads/a" of Role "reader" to User "bob""#,
        ),
        (
            user("bob", &[]),
            "get /metrics",
            r#"RBAC: allowed by ClusterRoleBinding "bob-paths" of ClusterRole "paths" to User "bob""#,
        ),
        (
            user("system:serviceaccount:a:robot", &[]),
            "get /pods b x",
            r#"RBAC: allowed by RoleBinding "robot-all/b" of ClusterRole "all" to ServiceAccount "robot/a""#,
        ),
        (user("eve", &[]), "get /pods a x", r#"RBAC: clusterrole.rbac.authorization.k8s.io "missing" not found"#),
        (user("mallory", &[]), "get /pods a x", ""),
        (user("root", &[MASTERS]), "get /pods a x", ""),
    ] {
        assert_eq!(Authorizer::default().authorize(&user, &wanted(request), &world).reason, reason, "{}", user.name);
    }
}

#[test]
fn a_changed_binding_counts_at_once() {
    let authorizer = Authorizer::default();
    let (before, bob) = (world(), user("bob", &[]));
    let request = wanted("get /pods a x");
    assert!(authorizer.authorize(&bob, &request, &before).allowed);
    let after = snapshot(&[role(ROLES, "a", "reader", json!([]))]);
    assert!(!authorizer.authorize(&bob, &request, &after).allowed);
    assert!(authorizer.authorize(&bob, &request, &before).allowed);
}

#[test]
fn nobody_grants_what_it_does_not_hold() {
    let world = world();
    let policy = Authorizer::default().policy(&world);
    let rules = |rules: Value| -> Vec<Rule> { serde_json::from_value(rules).unwrap() };
    let bob = user("bob", &["dev"]);
    for (wanted, missing) in [
        (json!([rule(&["get"], "", &["pods"], &[])]), None),
        (json!([rule(&["get"], "", &["pods"], &["x"])]), None),
        (json!([rule(&["update"], "apps", &["deployments/scale"], &[])]), None),
        (json!([{"verbs": ["get"], "nonResourceURLs": ["/logs/a"]}]), None),
        (
            json!([
                rule(&["get", "delete", "patch"], "", &["pods"], &[]),
                rule(&["get"], "apps", &["deployments"], &["web"])
            ]),
            Some(
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"patch\"]}\n{APIGroups:[\"apps\"], Resources:[\"deployments\"], ResourceNames:[\"web\"], Verbs:[\"get\"]}",
            ),
        ),
        (json!([{"verbs": ["get"], "nonResourceURLs": ["/x"]}]), Some("{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}")),
        (json!([rule(&["*"], "", &["pods"], &[])]), Some("{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}")),
    ] {
        let head = "user \"bob\" (groups=[\"dev\"]) is attempting to grant RBAC permissions not currently held:\n";
        let expected = missing.map_or(Ok(()), |m| Err(format!("{head}{m}")));
        assert_eq!(escalation::confirm(&policy, &bob, "a", &rules(wanted.clone())), expected, "{wanted}");
    }
}

/// Two nodes with a pod each, and the volumes of one.
fn nodes_with_pods() -> Snapshot {
    let pod = |name: &str, node: &str| {
        let container = json!({"name": "c", "envFrom": [{"configMapRef": {"name": "settings"}}],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env-key", "key": "k"}}}]});
        let volumes = json!([{"name": "v", "secret": {"secretName": "files"}}, {"name": "d", "persistentVolumeClaim": {"claimName": "disk"}}]);
        let spec = json!({"nodeName": node, "serviceAccountName": "robot", "containers": [container], "volumes": volumes, "imagePullSecrets": [{"name": "pull"}]});
        ("pods", json!({"metadata": {"namespace": "a", "name": name}, "spec": spec}))
    };
    let volume = |name: &str, claim: &str| {
        (
            "persistentvolumes",
            json!({"metadata": {"name": name}, "spec": {"claimRef": {"namespace": "a", "name": claim}}}),
        )
    };
    let attachment = |name: &str, node: &str| {
        ("volumeattachments.storage.k8s.io", json!({"metadata": {"name": name}, "spec": {"nodeName": node}}))
    };
    snapshot(&[
        pod("mine", "edge"),
        pod("other", "far"),
        volume("pv", "disk"),
        volume("pv-other", "else"),
        attachment("here", "edge"),
        attachment("there", "far"),
    ])
}

#[test]
fn a_node_sees_itself_and_what_its_pods_refer_to() {
    let world = nodes_with_pods();
    let (edge, idle) = (user("system:node:edge", &[NODES]), user("system:node:idle", &[NODES]));
    let authorizer = Authorizer::default();
    for (request, mine, idle_may) in [
        ("get /nodes - edge", true, false),
        ("update /nodes/status - edge", true, false),
        ("delete /nodes - edge", false, false),
        ("get /pods a mine", true, false),
        ("get /pods a other", false, false),
        ("delete /pods a mine", true, false),
        ("delete /pods a other", false, false),
        ("update /pods/status a other", false, false),
        ("list /pods - -", false, false),
        ("get /secrets a files", true, false),
        ("get /secrets a env-key", true, false),
        ("get /secrets a pull", true, false),
        ("get /secrets a unknown", false, false),
        ("list /secrets a -", false, false),
        ("get /configmaps a settings", true, false),
        ("update /configmaps a settings", false, false),
        ("get /persistentvolumeclaims a disk", true, false),
        ("list /persistentvolumeclaims a disk", false, false),
        ("patch /persistentvolumeclaims/status a disk", true, false),
        ("patch /persistentvolumeclaims/status a other", false, false),
        ("get /persistentvolumes - pv", true, false),
        ("get /persistentvolumes - pv-other", false, false),
        ("list /persistentvolumes - -", false, false),
        ("get storage.k8s.io/volumeattachments - here", true, false),
        ("get storage.k8s.io/volumeattachments - there", false, false),
        ("get storage.k8s.io/csinodes - edge", true, false),
        ("create storage.k8s.io/csinodes - -", true, true),
        ("delete storage.k8s.io/csinodes - other", false, false),
        ("list storage.k8s.io/csinodes - -", false, false),
        ("list /secrets a files", true, false),
        ("watch /configmaps a settings", true, false),
        ("create /serviceaccounts/token a robot", true, false),
        ("create /serviceaccounts/token a other", false, false),
        ("update coordination.k8s.io/leases kube-node-lease edge", true, false),
        ("update coordination.k8s.io/leases kube-node-lease other", false, false),
        ("list /services - -", true, true),
        ("create /events a -", true, true),
        ("create /pods a -", true, true),
        ("list apps/deployments - -", false, false),
    ] {
        let may = |user| authorizer.authorize(user, &wanted(request), &world).allowed;
        assert_eq!((may(&edge), may(&idle)), (mine, idle_may), "{request}");
    }
    let own = Attributes { node: "edge", ..wanted("list /pods - -") };
    assert!(authorizer.authorize(&edge, &own, &world).allowed && !authorizer.authorize(&idle, &own, &world).allowed);
    // The name alone makes no node.
    assert!(!authorizer.authorize(&user("system:node:edge", &[]), &wanted("get /nodes - edge"), &world).allowed);
}

#[test]
fn default_roles_can_be_read_and_default_bindings_name_them() {
    let names: Vec<String> =
        defaults::cluster_roles().iter().map(|r| r["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    for binding in defaults::cluster_role_bindings() {
        assert!(names.iter().any(|n| *n == binding["roleRef"]["name"]), "{binding}");
    }
    for role in defaults::cluster_roles() {
        let rules: Vec<Rule> = serde_json::from_value(role.get("rules").cloned().unwrap_or(json!([]))).unwrap();
        let good = |r: &Rule| !r.verbs.is_empty() && r.verbs.iter().chain(&r.resources).all(|w| !w.is_empty());
        assert!(rules.iter().all(good), "{role}");
        assert!(!rules.is_empty() || role.get("aggregationRule").is_some(), "{role}");
    }
}

#[test]
fn accounts_of_controllers_may_do_what_these_do() {
    let roles = defaults::cluster_roles().into_iter().map(|role| (CLUSTER_ROLES, role));
    let bindings = defaults::cluster_role_bindings().into_iter().map(|binding| (CLUSTER_ROLE_BINDINGS, binding));
    let world = snapshot(&roles.chain(bindings).collect::<Vec<_>>());
    for (account, request, allowed) in [
        ("deployment-controller", "create apps/replicasets a -", true),
        ("deployment-controller", "create /pods a -", false),
        ("replicaset-controller", "create /pods a -", true),
        ("generic-garbage-collector", "delete batch/jobs a x", true),
        ("certificate-controller", "sign certificates.k8s.io/signers - kubernetes.io/kubelet-serving", true),
        ("certificate-controller", "sign certificates.k8s.io/signers - example.com/own", false),
        ("disruption-controller", "get apps/deployments/scale a x", true),
    ] {
        let account = user(&format!("system:serviceaccount:kube-system:{account}"), &[]);
        let found = Authorizer::default().authorize(&account, &wanted(request), &world).allowed;
        assert_eq!(found, allowed, "{account:?} {request}");
    }
}

#[test]
fn a_node_has_tokens_for_its_pods_alone() {
    let pod = |node: &str| {
        let sources = json!([{"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"path": "v", "audience": "vault"}}]);
        json!({"metadata": {"uid": "u"}, "spec": {"nodeName": node, "volumes": [{"projected": {"sources": sources}}]}})
    };
    let bound = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid});
    let (mine, other) = (pod("edge"), pod("idle"));
    for (spec, pod, expected) in [
        (json!({"boundObjectRef": bound("u")}), Some(&mine), None),
        (json!({"boundObjectRef": bound("u"), "audiences": ["vault"]}), Some(&mine), None),
        (json!({"boundObjectRef": bound("u")}), None, None),
        (json!({"boundObjectRef": bound("v")}), Some(&other), None),
        (json!({}), None, Some("node requested token not bound to a pod")),
        (
            json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}}),
            None,
            Some("node requested token not bound to a pod"),
        ),
        (
            json!({"boundObjectRef": bound("")}),
            Some(&mine),
            Some("node requested token with a pod binding without a uid"),
        ),
        (
            json!({"boundObjectRef": bound("u")}),
            Some(&other),
            Some("node requested token bound to a pod scheduled on a different node"),
        ),
        (
            json!({"boundObjectRef": bound("u"), "audiences": ["a", "b"]}),
            Some(&mine),
            Some("node may only request 0 or 1 audiences"),
        ),
        (
            json!({"boundObjectRef": bound("u"), "audiences": ["a"]}),
            Some(&mine),
            Some("audience \"a\" not found in pod spec volume"),
        ),
    ] {
        assert_eq!(refused_token("edge", &spec, pod).as_deref(), expected, "{spec}");
    }
}
