//! Admission, as tables of objects and what becomes of them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::objects::pod_security::{parse_defaults, parse_exemptions};
use crate::objects::{DeleteOptions, Networks, Objects, PodSecurity, Target, User, WriteOptions};
use crate::registry::{REQUEST, Registry};
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
async fn claims_and_ingresses_without_a_class_get_the_default_one() {
    let class = |kind: &str, name: &str, mark: &str| {
        let storage = kind == "StorageClass";
        let group = if storage { "storage.k8s.io/v1" } else { "networking.k8s.io/v1" };
        let mut class =
            json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "annotations": {mark: "true"}}});
        if storage {
            class["provisioner"] = "x.y/z".into()
        } else {
            class["spec"] = json!({"controller": "x.y/z"})
        }
        class
    };
    let world = World::of(vec![
        class("StorageClass", "b", "storageclass.kubernetes.io/is-default-class"),
        class("StorageClass", "a", "storageclass.beta.kubernetes.io/is-default-class"),
        class("StorageClass", "0", "other"),
        class("IngressClass", "i", "ingressclass.kubernetes.io/is-default-class"),
    ])
    .await;
    let claim = |fields: Value| {
        let mut claim = in_a(
            "PersistentVolumeClaim",
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        );
        json_patch::merge(&mut claim, &fields);
        (claim, "storageClassName")
    };
    let ingress = |fields: Value| {
        let mut ingress =
            in_a("Ingress", json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}));
        ingress["apiVersion"] = "networking.k8s.io/v1".into();
        json_patch::merge(&mut ingress, &fields);
        (ingress, "ingressClassName")
    };
    for (index, ((mut object, field), expected)) in [
        // Both were made in the same second.
        (claim(json!({})), json!("a")),
        (claim(json!({"spec": {"storageClassName": "0"}})), json!("0")),
        (claim(json!({"spec": {"storageClassName": ""}})), json!("")),
        (claim(json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "0"}}})), Value::Null),
        (ingress(json!({})), json!("i")),
        (ingress(json!({"spec": {"ingressClassName": "other"}})), json!("other")),
        (ingress(json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "old"}}})), Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        object["metadata"]["name"] = format!("o{index}").into();
        assert_eq!(world.put(object.clone()).await.unwrap()["spec"][field], expected, "{object}");
    }
}

#[tokio::test]
async fn volumes_and_claims_are_protected_and_grow_where_their_class_lets_them() {
    let class = |name: &str, grows: bool| json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}, "provisioner": "x.y/z", "allowVolumeExpansion": grows});
    let world = World::of(vec![class("grows", true), class("rigid", false)]).await;
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}},
    });
    let made = world.put(volume).await.unwrap();
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    for (class, grows) in [("grows", true), ("rigid", false), ("", false)] {
        let mut claim = in_a(
            "PersistentVolumeClaim",
            json!({"storageClassName": class, "volumeName": "disk", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        );
        claim["metadata"]["name"] = format!("c{class}").into();
        let mut made = world.put(claim).await.unwrap();
        assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        made["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        let mut bound = world.update("status", made).await.unwrap();
        bound["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        let refused = format!(
            r#"persistentvolumeclaims "c{class}" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"#
        );
        let expected = if grows { Ok(()) } else { Err(refused) };
        assert_eq!(world.update("", bound).await.map(|_| ()), expected, "{class}");
    }
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

#[tokio::test]
async fn only_those_who_may_sign_change_what_is_said_of_a_certificate() {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "signs"},
        "rules": [{"verbs": ["sign"], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/mine"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "signs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "signs"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "signer"}],
    });
    let world = World::of(vec![role, binding]).await;
    let failed = json!([{"type": "Failed", "status": "True", "reason": "No", "message": "no"}]);
    for (signer, user, allowed) in [
        ("example.com/mine", "signer", true),
        ("example.com/other", "signer", false),
        ("example.com/mine", "bob", false),
    ] {
        let name = format!("{}-{user}", signer.replace('/', "-"));
        let made = world.put(json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": REQUEST, "signerName": signer, "usages": ["client auth"]},
        }));
        let mut made = made.await.unwrap();
        made["status"] = json!({"conditions": failed});
        let user = User { name: user.into(), ..User::default() };
        let written = world.update_as(&user, "status", made).await.map(|_| ());
        let refused = format!(
            "certificatesigningrequests.certificates.k8s.io {name:?} is forbidden: user not permitted to sign requests with signerName {signer:?}"
        );
        assert_eq!(written, if allowed { Ok(()) } else { Err(refused) }, "{name}");
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
        (json!([]), json!({}), r#"node "edge" can only create pods with an owner reference set to itself"#),
        (
            json!([owner(json!({})), owner(json!({"name": "x"}))]),
            json!({}),
            r#"node "edge" can only create pods with a single owner reference set to itself"#,
        ),
        (
            json!([owner(json!({"name": "far"}))]),
            json!({}),
            r#"node "edge" can only create pods with an owner reference set to itself"#,
        ),
        (
            json!([owner(json!({"controller": null}))]),
            json!({}),
            r#"node "edge" can only create pods with a controller owner reference set to itself"#,
        ),
        (
            json!([owner(json!({"blockOwnerDeletion": true}))]),
            json!({}),
            r#"node "edge" must not set blockOwnerDeletion on an owner reference"#,
        ),
        (
            json!([owner(json!({"uid": "u"}))]),
            json!({}),
            &format!("node edge UID mismatch: expected u got {}", uid.as_str().unwrap()),
        ),
        (
            own(),
            json!({"imagePullSecrets": [{"name": "s"}]}),
            r#"node "edge" can not create pods that reference secrets"#,
        ),
        (
            own(),
            reads(json!({"secretKeyRef": {"name": "s", "key": "k"}})),
            r#"node "edge" can not create pods that reference secrets"#,
        ),
        (
            own(),
            reads(json!({"configMapKeyRef": {"name": "s", "key": "k"}})),
            r#"node "edge" can not create pods that reference configmaps"#,
        ),
        (
            own(),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            r#"node "edge" can not create pods that reference secrets"#,
        ),
        (
            own(),
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]}),
            r#"node "edge" can not create pods that reference persistentvolumeclaims"#,
        ),
    ] {
        let refused = world.put_as(&edge, mirror(owners, spec.clone())).await.map(|_| ());
        assert_eq!(refused, Err(format!("pods \"x\" is forbidden: {expected}")), "{spec}");
    }
    let mut made = world.put_as(&edge, mirror(own(), json!({}))).await.unwrap();
    made["status"]["message"] = "m".into();
    let mut told = world.update_as(&edge, "status", made).await.unwrap();
    told["metadata"]["labels"] = json!({"app": "web"});
    let expected = r#"pods "x" is forbidden: node "edge" cannot update labels through pod status"#;
    assert_eq!(world.update_as(&edge, "status", told).await.map(|_| ()), Err(expected.to_owned()));
    let mut node = world.get("nodes", "", "edge");
    node["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": "edge", "uid": "u"}]);
    let expected = r#"nodes "edge" is forbidden: node "edge" is not allowed to modify ownerReferences"#;
    assert_eq!(world.update_as(&edge, "", node).await.map(|_| ()), Err(expected.to_owned()));
}
