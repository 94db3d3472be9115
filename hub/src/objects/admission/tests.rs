//! Admission, as tables of objects and what becomes of them.

mod certificates;
mod nodes;
mod storage;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::objects::pod_security::{parse_defaults, parse_exemptions};
use crate::objects::{DeleteOptions, Networks, Objects, PodSecurity, Target, User, WriteOptions};
use crate::registry::Registry;
use crate::store::{Key, MemoryStore};

struct World(Objects);

impl World {
    /// Namespace `a` with its service account, and these objects.
    async fn of(objects: Vec<Value>) -> Self {
        let networks = Networks::new([10, 43, 0, 0].into(), 16);
        let world = Self(Objects::new(MemoryStore::new(), Arc::new(Registry::builtin()), networks));
        let labels =
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
        world
            .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": labels}}))
            .await
            .unwrap();
        world
            .put(json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "a", "name": "default"},
                "imagePullSecrets": [{"name": "pull"}],
            }))
            .await
            .unwrap();
        for object in objects {
            world.put(object).await.unwrap();
        }
        world
    }

    async fn put(&self, object: Value) -> Result<Value, String> {
        self.put_as(&User::component("test"), object).await
    }

    fn get(&self, resource: &str, namespace: &str, name: &str) -> Value {
        let key = Key { resource: resource.into(), namespace: namespace.into(), name: name.into() };
        self.0.snapshot().get(&key).unwrap().parse().unwrap()
    }

    async fn update(&self, subresource: &str, object: Value) -> Result<Value, String> {
        self.update_as(&User::component("test"), subresource, object).await
    }

    async fn update_as(&self, user: &User, subresource: &str, object: Value) -> Result<Value, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = self.0.registry().kind(&text(&object["apiVersion"]), &text(&object["kind"])).unwrap().clone();
        let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        let target = Target { kind, namespace, name, subresource: subresource.into() };
        let options = WriteOptions { user: user.clone(), ..WriteOptions::default() };
        let written = self.0.update(&target, object, &options).await.map_err(|e| e.to_string())?;
        Ok(written.object.parse().unwrap())
    }

    async fn put_as(&self, user: &User, object: Value) -> Result<Value, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = self.0.registry().kind(&text(&object["apiVersion"]), &text(&object["kind"])).unwrap().clone();
        let namespace = text(&object["metadata"]["namespace"]);
        let target = Target { kind, namespace, name: String::new(), subresource: String::new() };
        let options = WriteOptions { user: user.clone(), ..WriteOptions::default() };
        let written = self.0.create(&target, object, &options).await.map_err(|e| e.to_string())?;
        Ok(written.object.parse().unwrap())
    }
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    json_patch::merge(&mut pod["spec"], &spec);
    pod
}

fn sized(name: &str, requests: Value, limits: Value) -> Value {
    pod(
        name,
        json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": requests, "limits": limits}}]}),
    )
}

fn in_a(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": "a", "name": "q"}, "spec": spec})
}

fn class(name: &str, value: i64, default: bool) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, "globalDefault": default})
}

#[tokio::test(start_paused = true)]
async fn a_pod_needs_its_service_account() {
    let world = World::of(vec![]).await;
    let refused = world.put(pod("x", json!({"serviceAccountName": "y"}))).await;
    let expected = r#"pods "x" is forbidden: error looking up service account a/y: serviceaccount "y" not found"#;
    assert_eq!(refused, Err(expected.to_owned()));
    let made = world.put(pod("x", json!({}))).await.unwrap();
    assert_eq!(
        (&made["spec"]["serviceAccountName"], &made["spec"]["imagePullSecrets"]),
        (&json!("default"), &json!([{"name": "pull"}]))
    );
}

#[tokio::test]
async fn containers_see_a_token_of_their_account_unless_they_do_not_want_it() {
    let account = |name: &str, automount: bool| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "a", "name": name}, "automountServiceAccountToken": automount});
    let world = World::of(vec![account("closed", false), account("open", true)]).await;
    let own = json!([{"name": "v", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    let mounted = |mounts: Value, volumes: Value| json!({"volumes": volumes, "containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]});
    for (name, spec, expected) in [
        ("plain", json!({}), Some("kube-api-access-")),
        ("not", json!({"automountServiceAccountToken": false}), None),
        ("account", json!({"serviceAccountName": "closed"}), None),
        (
            "over",
            json!({"serviceAccountName": "closed", "automountServiceAccountToken": true}),
            Some("kube-api-access-"),
        ),
        ("open", json!({"serviceAccountName": "open"}), Some("kube-api-access-")),
        ("own", mounted(own, json!([{"name": "v", "emptyDir": {}}])), None),
        (
            "again",
            mounted(json!([]), json!([{"name": "kube-api-access-mine", "emptyDir": {}}])),
            Some("kube-api-access-mine"),
        ),
    ] {
        let made = world.put(pod(name, spec)).await.unwrap();
        let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
        let token = mounts.iter().find(|m| m["readOnly"] == true);
        let Some(prefix) = expected else {
            assert!(token.is_none(), "{name}: {made}");
            continue;
        };
        let volume = token.unwrap()["name"].as_str().unwrap();
        assert!(volume.starts_with(prefix) && volume.len() >= 20, "{name}: {volume}");
        let volumes = made["spec"]["volumes"].as_array().unwrap();
        assert_eq!(volumes.iter().filter(|v| v["name"] == volume).count(), 1, "{name}");
        if prefix.ends_with('-') {
            let sources = &volumes.last().unwrap()["projected"]["sources"];
            assert_eq!(sources[0], json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}));
        }
    }
}

#[tokio::test]
async fn an_account_may_confine_its_pods_to_its_own_secrets() {
    let mut account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "a", "name": "tight"}, "secrets": [{"name": "mine"}]});
    account["metadata"]["annotations"] = json!({"kubernetes.io/enforce-mountable-secrets": "true"});
    let world = World::of(vec![account]).await;
    let with = |secret: &str| json!({"serviceAccountName": "tight", "volumes": [{"name": "v", "secret": {"secretName": secret}}]});
    assert!(world.put(pod("ok", with("mine"))).await.is_ok());
    assert_eq!(
        world.put(pod("no", with("other"))).await.unwrap_err(),
        r#"pods "no" is forbidden: volume with secret.secretName="other" is not allowed because service account tight does not reference that secret"#
    );
}

#[tokio::test]
async fn priorities_come_from_classes() {
    let world = World::of(vec![class("high", 100, false), class("usual", 7, true)]).await;
    for (name, spec, expected) in [
        ("a", json!({}), Ok((7, "usual"))),
        ("b", json!({"priorityClassName": "high"}), Ok((100, "high"))),
        (
            "c",
            json!({"priorityClassName": "none"}),
            Err(r#"pods "c" is forbidden: no PriorityClass with name none was found"#),
        ),
        (
            "d",
            json!({"priority": 5}),
            Err(
                r#"pods "d" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name"#,
            ),
        ),
    ] {
        let made = world.put(pod(name, spec)).await;
        let shown = made.map(|p| {
            (p["spec"]["priority"].as_i64().unwrap(), p["spec"]["priorityClassName"].as_str().unwrap().to_owned())
        });
        assert_eq!(shown, expected.map(|(p, c)| (p, c.to_owned())).map_err(str::to_owned), "{name}");
    }
    let second = world.put(class("another", 8, true)).await;
    let expected = r#"priorityclasses.scheduling.k8s.io "another" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"#;
    assert_eq!(second, Err(expected.to_owned()));
}

#[tokio::test]
async fn limit_ranges_fill_in_and_bound() {
    let limits = json!([
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "min": {"cpu": "50m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "5"}},
        {"type": "Pod", "max": {"memory": "1Gi"}},
    ]);
    let world = World::of(vec![in_a("LimitRange", json!({"limits": limits}))]).await;
    let made = world.put(sized("ok", json!({"memory": "1Gi"}), json!({"memory": "1Gi"}))).await.unwrap();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1Gi"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    for (requests, limits, expected) in [
        (
            json!({"cpu": "10m"}),
            json!({"cpu": "20m", "memory": "1"}),
            "[minimum cpu usage per Container is 50m, but request is 10m]",
        ),
        (json!({}), json!({"cpu": "2", "memory": "1"}), "maximum cpu usage per Container is 1, but limit is 2"),
        (
            json!({"cpu": "100m"}),
            json!({"cpu": "1", "memory": "1"}),
            "cpu max limit to request ratio per Container is 5, but provided ratio is 10.000000",
        ),
        (json!({}), json!({}), "maximum memory usage per Pod is 1Gi.  No limit is specified"),
    ] {
        let refused = world.put(sized("x", requests, limits)).await.unwrap_err();
        assert!(refused.contains(expected.trim_matches(['[', ']'])), "{refused}");
    }
}

#[tokio::test]
async fn quotas_count_exactly_under_concurrent_creates() {
    let hard = json!({"pods": "5", "requests.cpu": "1", "count/configmaps": "1"});
    let world = World::of(vec![in_a("ResourceQuota", json!({"hard": hard}))]).await;
    let unsized_pod = world.put(pod("u", json!({}))).await.unwrap_err();
    assert_eq!(unsized_pod, r#"pods "u" is forbidden: failed quota: q: must specify requests.cpu for: c"#);
    let many = (0..20).map(|i| world.put(sized(&format!("p{i}"), json!({"cpu": "100m"}), json!({}))));
    let made = futures_util::future::join_all(many).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(made, 5);
    let refused = world.put(sized("x", json!({"cpu": "600m"}), json!({}))).await.unwrap_err();
    assert_eq!(
        refused,
        r#"pods "x" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=600m, used: pods=5,requests.cpu=500m, limited: pods=5,requests.cpu=1"#
    );
    let map =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": name}});
    assert!(world.put(map("one")).await.is_ok());
    assert_eq!(
        world.put(map("two")).await.unwrap_err(),
        r#"configmaps "two" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"#
    );
}

#[tokio::test]
async fn pod_security_follows_the_labels() {
    let world = World::of(vec![]).await;
    let refused = world.put(pod("x", json!({"hostNetwork": true}))).await.unwrap_err();
    assert_eq!(
        refused,
        r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)"#
    );
    assert!(world.put(pod("x", json!({}))).await.is_ok());
}

/// What a write of a `kind` in namespace `a` (or of the namespace) warns of, and what the audit log is told.
async fn told(world: &World, api_version: &str, kind: &str, object: Value, update: bool) -> (Vec<String>, Value) {
    let kind = world.0.registry().kind(api_version, kind).unwrap().clone();
    let namespace = if kind.namespaced { "a" } else { "" }.to_owned();
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let target = Target { kind, namespace, name, subresource: String::new() };
    let options = WriteOptions { user: User::component("test"), ..WriteOptions::default() };
    let written = if update {
        world.0.update(&target, object, &options).await
    } else {
        world.0.create(&target, object, &options).await
    };
    let warnings = written.map_or_else(|e| vec![format!("{e:?}")], |w| w.warnings);
    (warnings, json!(options.audit.all()))
}

#[tokio::test]
async fn pod_security_warns_of_templates_and_tells_the_audit_log() {
    let world = World::of(vec![]).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostPID": true, "containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
    let (warnings, audit) = told(&world, "apps/v1", "Deployment", deployment, false).await;
    assert!(
        warnings[0].starts_with(r#"would violate PodSecurity "restricted:latest": host namespaces (hostPID=true), "#)
    );
    assert_eq!((warnings.len(), audit), (1, json!({})));
    let namespace = json!({"metadata": {"name": "a", "labels": {"pod-security.kubernetes.io/audit": "baseline"}}});
    told(&world, "v1", "Namespace", namespace, true).await;
    let (warnings, audit) = told(&world, "v1", "Pod", pod("x", json!({"hostPID": true})), false).await;
    let expected = json!({
        "pod-security.kubernetes.io/enforce-policy": "privileged:latest",
        "pod-security.kubernetes.io/audit-violations": "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)",
    });
    assert_eq!((warnings, audit), (vec![], expected));
}

#[tokio::test]
async fn labels_of_namespaces_are_checked_against_the_pods_that_are_there() {
    let world = World::of(vec![]).await;
    for name in ["x", "y", "z"] {
        world.put(pod(name, json!({}))).await.unwrap();
    }
    let labelled = |labels: Value| json!({"metadata": {"name": "a", "labels": labels}});
    let wrong = labelled(json!({"pod-security.kubernetes.io/enforce": "odd"}));
    let refused = told(&world, "v1", "Namespace", wrong, true).await.0;
    assert!(refused[0].contains("must be one of privileged, baseline, restricted"), "{refused:?}");
    let restricted = labelled(
        json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.22"}),
    );
    let warned = told(&world, "v1", "Namespace", restricted, true).await.0;
    let expected = [
        r#"existing pods in namespace "a" violate the new PodSecurity enforce level "restricted:v1.22""#,
        "x (and 2 other pods): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
    ];
    assert_eq!(warned, expected);
    let relaxed = labelled(
        json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.22"}),
    );
    assert_eq!(told(&world, "v1", "Namespace", relaxed, true).await.0, Vec::<String>::new());
}

#[tokio::test]
async fn the_configuration_has_defaults_and_exempts() {
    for (defaults, exempt, expected) in [
        (
            "",
            "",
            Err(r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostIPC=true)"#),
        ),
        (
            "enforce=restricted",
            "runtimeClass=other",
            Err(r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostIPC=true)"#),
        ),
        ("", "namespace=a", Ok(("exempt", "namespace"))),
        ("", "username=system:serviceaccount:kube-system:test", Ok(("exempt", "user"))),
    ] {
        let mut world = World::of(vec![]).await;
        world.0 = world.0.clone().with_pod_security(PodSecurity {
            defaults: parse_defaults(defaults).unwrap(),
            exemptions: parse_exemptions(exempt).unwrap(),
        });
        let (warnings, audit) = told(&world, "v1", "Pod", pod("x", json!({"hostIPC": true})), false).await;
        match expected {
            Ok((key, value)) => assert_eq!(audit[format!("pod-security.kubernetes.io/{key}")], value, "{warnings:?}"),
            Err(_) => {
                let refused = world.put(pod("x", json!({"hostIPC": true}))).await;
                assert_eq!(refused.map(drop), expected.map(drop).map_err(str::to_owned));
            }
        }
    }
}

#[tokio::test]
async fn roles_are_granted_by_those_who_hold_them() {
    let rbac = "rbac.authorization.k8s.io/v1";
    let rule = |verb: &str| json!([{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]);
    let role = |name: &str, verb: &str| json!({"apiVersion": rbac, "kind": "Role", "metadata": {"namespace": "a", "name": name}, "rules": rule(verb)});
    let binding = |name: &str, role: &str| {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role});
        let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"});
        json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"namespace": "a", "name": name}, "roleRef": role, "subjects": [subject]})
    };
    let world = World::of(vec![role("reader", "get"), role("killer", "delete"), binding("bob", "reader")]).await;
    let bob = User { name: "bob".into(), ..User::default() };
    let missing = |kind: &str, name: &str, verb: &str| {
        Err(format!(
            "{kind}.rbac.authorization.k8s.io {name:?} is forbidden: user \"bob\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n{{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[{verb:?}]}}"
        ))
    };
    for (object, expected) in [
        (role("mine", "get"), Ok(())),
        (role("more", "delete"), missing("roles", "more", "delete")),
        (binding("again", "reader"), Ok(())),
        (binding("more", "killer"), missing("rolebindings", "more", "delete")),
        (binding("lost", "none"), Err("roles.rbac.authorization.k8s.io \"none\" not found".to_owned())),
    ] {
        assert_eq!(world.put_as(&bob, object).await.map(|_| ()), expected);
    }
}

#[tokio::test]
async fn a_node_writes_only_itself() {
    let world = World::of(vec![]).await;
    let edge = User { name: "system:node:edge".into(), groups: vec!["system:nodes".into()], ..User::default() };
    let node = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    for (object, expected) in [
        (node("far", json!({})), Err(r#"nodes "far" is forbidden: node "edge" is not allowed to modify node "far""#)),
        (
            node("edge", json!({"node-restriction.kubernetes.io/x": "1"})),
            Err(
                r#"nodes "edge" is forbidden: node "edge" is not allowed to set the following labels: node-restriction.kubernetes.io/x"#,
            ),
        ),
        (node("edge", json!({"kubernetes.io/hostname": "edge", "node.kubernetes.io/x": "1", "mine": "1"})), Ok(())),
        (
            pod("x", json!({"nodeName": "edge"})),
            Err(
                r#"pods "x" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "edge" can only create mirror pods"#,
            ),
        ),
    ] {
        assert_eq!(world.put_as(&edge, object).await.map(|_| ()), expected.map_err(str::to_owned));
    }
}

#[tokio::test]
async fn a_runtime_class_must_exist_and_adds_to_its_pods() {
    let class = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "heavy"}, "handler": "h",
        "overhead": {"podFixed": {"cpu": "10m"}},
        "scheduling": {"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "k", "operator": "Exists"}]},
    });
    let world = World::of(vec![class]).await;
    for (spec, expected) in [
        (json!({"runtimeClassName": "none"}), "pod rejected: RuntimeClass \"none\" not found"),
        (
            json!({"overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({"runtimeClassName": "heavy", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"runtimeClassName": "heavy", "nodeSelector": {"disk": "slow"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[disk] = fast, pod.spec.nodeSelector[disk] = slow",
        ),
    ] {
        let refused = world.put(pod("x", spec)).await;
        assert_eq!(refused, Err(format!("pods \"x\" is forbidden: {expected}")));
    }
    let made = world.put(pod("x", json!({"runtimeClassName": "heavy", "nodeSelector": {"a": "b"}}))).await.unwrap();
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "10m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"a": "b", "disk": "fast"}));
    assert!(made["spec"]["tolerations"].as_array().unwrap().contains(&json!({"key": "k", "operator": "Exists"})));
}

#[tokio::test]
async fn what_every_container_must_name_where_a_quota_limits_it() {
    let hard = json!({"requests.cpu": "1", "limits.memory": "1Gi", "requests.ephemeral-storage": "1Gi", "limits.ephemeral-storage": "1Gi"});
    let world = World::of(vec![in_a("ResourceQuota", json!({ "hard": hard }))]).await;
    let refused = world.put(pod("x", json!({}))).await;
    let expected = r#"pods "x" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c"#;
    assert_eq!(refused, Err(expected.to_owned()));
}

#[tokio::test]
async fn system_priority_classes_cannot_be_deleted() {
    let world = World::of(vec![]).await;
    let kind = world.0.registry().kind("scheduling.k8s.io/v1", "PriorityClass").unwrap().clone();
    let target =
        Target { kind, namespace: String::new(), name: "system-node-critical".into(), subresource: String::new() };
    let refused = world.0.delete(&target, &DeleteOptions::default()).await.map(|_| ()).map_err(|e| e.to_string());
    let expected = r#"priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority class and cannot be deleted"#;
    assert_eq!(refused, Err(expected.to_owned()));
}
