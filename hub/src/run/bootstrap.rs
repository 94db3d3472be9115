//! Objects that every Kubernetes cluster has, made at the first start.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::RunError;
use crate::auth::{Rule, defaults};
use crate::objects::{Error, Objects, Target, User, WriteOptions};

/// Namespaces that every Kubernetes cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Priority classes that every Kubernetes cluster has.
const PRIORITIES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Makes the namespaces, the `kubernetes` Service, the priority classes and the default roles where they are missing,
/// and lets that Service lead to the hub's `own` address, where it has one that others reach.
///
/// # Errors
/// [`RunError::Bootstrap`].
pub(super) async fn bootstrap(
    objects: &Objects,
    service: Ipv4Addr,
    own: Option<IpAddr>,
    api_port: u16,
) -> Result<(), RunError> {
    try_join_all(
        NAMESPACES.map(|name| {
            ensure(objects, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        }),
    )
    .await?;
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let spec = json!({
        "type": "ClusterIP", "clusterIP": service.to_string(),
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": api_port}],
    });
    let metadata = json!({"name": "kubernetes", "labels": labels});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    ensure(objects, "default", service).await?;
    for endpoints in own.into_iter().flat_map(|own| api_endpoints(own, api_port)) {
        ensure(objects, "default", endpoints).await?;
    }
    let priority = |(name, value, description): (&str, i64, &str)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "description": description,
        })
    };
    let mut rest: Vec<Value> = PRIORITIES.map(priority).into();
    rest.extend(defaults::cluster_roles());
    rest.extend(defaults::cluster_role_bindings());
    rest.extend(defaults::roles());
    rest.extend(defaults::role_bindings());
    let namespace = |object: &Value| object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    try_join_all(rest.into_iter().map(async |object| ensure(objects, &namespace(&object), object).await)).await?;
    Ok(())
}

/// The endpoints of the `kubernetes` Service, in both forms: nobody else keeps them, as the Service selects no pods.
fn api_endpoints(own: IpAddr, api_port: u16) -> [Value; 2] {
    let ports = json!([{"name": "https", "port": api_port, "protocol": "TCP"}]);
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    [
        json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "kubernetes", "labels": labels},
            "subsets": [{"addresses": [{"ip": own.to_string()}], "ports": ports}],
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": if own.is_ipv4() { "IPv4" } else { "IPv6" }, "ports": ports,
            "endpoints": [{"addresses": [own.to_string()], "conditions": {"ready": true}}],
        }),
    ]
}

/// Makes an object where it is missing, completes a default role, and lets endpoints lead where they should.
async fn ensure(objects: &Objects, namespace: &str, object: Value) -> Result<(), RunError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let failed = |source| RunError::Bootstrap { kind: kind.clone(), name: name.clone(), source };
    let missing = || failed(Error::BadRequest(format!("the table of kinds has no {kind}")));
    let row = objects.registry().kind(&text(&object["apiVersion"]), &kind).cloned().ok_or_else(missing)?;
    let target = Target { kind: row, namespace: namespace.into(), name: name.clone(), subresource: String::new() };
    let options = WriteOptions {
        user: User::component("bootstrap"),
        field_manager: "kube-apiserver".into(),
        ..WriteOptions::default()
    };
    match objects.get(&target) {
        None => objects.create(&target, object, &options).await.map_err(failed)?,
        Some(stored) => match newer(&stored.parse().unwrap_or_default(), &object) {
            Some(completed) => objects.update(&target, completed, &options).await.map_err(failed)?,
            None => return Ok(()),
        },
    };
    Ok(())
}

/// A stored object as it should be; `None` where it is so already.
fn newer(stored: &Value, wanted: &Value) -> Option<Value> {
    completed(stored.clone(), wanted).or_else(|| redirected(stored.clone(), wanted))
}

/// Stored endpoints that lead where the hub is now.
fn redirected(mut stored: Value, wanted: &Value) -> Option<Value> {
    let before = stored.clone();
    for field in ["subsets", "endpoints", "ports"] {
        if let (Some(value), "Endpoints" | "EndpointSlice") =
            (wanted.get(field), wanted["kind"].as_str().unwrap_or_default())
        {
            stored[field] = value.clone();
        }
    }
    (stored != before).then_some(stored)
}

/// A stored default role or binding with what it lacks: labels, annotations, rules, subjects. `None` when it lacks nothing
/// or says that it is to be left alone.
fn completed(mut stored: Value, wanted: &Value) -> Option<Value> {
    let default = wanted["metadata"]["annotations"][defaults::AUTOUPDATE].is_string();
    if !default || stored["metadata"]["annotations"][defaults::AUTOUPDATE] == "false" {
        return None;
    }
    let before = stored.clone();
    for field in ["labels", "annotations"] {
        for (name, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if stored["metadata"][field][name].is_null() {
                let map = &mut stored["metadata"][field];
                if !map.is_object() {
                    *map = json!({});
                }
                map[name] = value.clone();
            }
        }
    }
    for field in ["rules", "subjects"] {
        let lacking = lacking(field, &stored[field], &wanted[field]);
        if !lacking.is_empty() {
            let kept = stored[field].as_array().cloned().unwrap_or_default();
            stored[field] = kept.into_iter().chain(lacking).collect();
        }
    }
    let selectors = lacking(
        "",
        &stored["aggregationRule"]["clusterRoleSelectors"],
        &wanted["aggregationRule"]["clusterRoleSelectors"],
    );
    if !selectors.is_empty() {
        let kept = stored["aggregationRule"]["clusterRoleSelectors"].as_array().cloned().unwrap_or_default();
        stored["aggregationRule"] =
            json!({"clusterRoleSelectors": kept.into_iter().chain(selectors).collect::<Vec<_>>()});
    }
    (stored != before).then_some(stored)
}

/// What a list lacks. A rule that others cover is not lacking.
fn lacking(field: &str, stored: &Value, wanted: &Value) -> Vec<Value> {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (stored, wanted) = (items(stored), items(wanted));
    if field != "rules" {
        return wanted.into_iter().filter(|item| !stored.contains(item)).collect();
    }
    let read = |rule: &Value| serde_json::from_value::<Rule>(rule.clone()).unwrap_or_default();
    let held: Vec<Rule> = stored.iter().map(read).collect();
    wanted.into_iter().filter(|rule| !read(rule).is_covered_by(&held)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::objects::Networks;
    use crate::registry::Registry;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_second_start_changes_nothing() {
        let networks = Networks::new(Ipv4Addr::new(10, 43, 0, 0), 16);
        let objects = Objects::new(MemoryStore::new(), Arc::new(Registry::builtin()), networks);
        let first = Ipv4Addr::new(10, 43, 0, 1);
        let own = |n| Some(IpAddr::from([192, 0, 2, n]));
        bootstrap(&objects, first, own(1), 6443).await.expect("an empty store takes them");
        let revision = objects.snapshot().revision();
        assert!(revision > 30, "{revision}");
        bootstrap(&objects, first, own(1), 6443).await.expect("they are there");
        assert_eq!(objects.snapshot().revision(), revision);
        bootstrap(&objects, first, own(2), 6443).await.expect("the hub has moved");
        let key = |resource: &str| crate::reconcile::view::key(resource, "default", "kubernetes");
        let snapshot = objects.snapshot();
        let read = |resource| snapshot.get(&key(resource)).expect("it is there").parse::<Value>().unwrap();
        assert_eq!(read("endpoints")["subsets"][0]["addresses"], json!([{"ip": "192.0.2.2"}]));
        assert_eq!(read("endpointslices.discovery.k8s.io")["endpoints"][0]["addresses"], json!(["192.0.2.2"]));
    }

    #[test]
    fn default_roles_and_bindings_are_completed_unless_they_say_no() {
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let wide = json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]});
        let subject = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
        let (label, auto) =
            (json!({"kubernetes.io/bootstrapping": "rbac-defaults"}), json!({defaults::AUTOUPDATE: "true"}));
        let object = |annotations: &Value, field: &str, list: Value| json!({"metadata": {"labels": label, "annotations": annotations}, field: list});
        let not = json!({defaults::AUTOUPDATE: "false"});
        let more = json!({defaults::AUTOUPDATE: "true", "mine": "x"});
        let rules = json!([rule("get"), rule("list")]);
        for (case, stored, wanted, expected) in [
            (
                "a rule",
                object(&auto, "rules", json!([rule("watch"), rule("get")])),
                object(&auto, "rules", rules.clone()),
                Some(object(&auto, "rules", json!([rule("watch"), rule("get"), rule("list")]))),
            ),
            ("a wider rule", object(&auto, "rules", json!([wide])), object(&auto, "rules", rules.clone()), None),
            ("left alone", object(&not, "rules", json!([])), object(&auto, "rules", rules.clone()), None),
            (
                "no word",
                json!({"metadata": {"annotations": {"mine": "x"}}, "rules": rules}),
                object(&auto, "rules", rules.clone()),
                Some(object(&more, "rules", rules.clone())),
            ),
            ("complete", object(&auto, "rules", rules.clone()), object(&auto, "rules", rules.clone()), None),
            (
                "a subject",
                object(&auto, "subjects", json!([subject("a")])),
                object(&auto, "subjects", json!([subject("b")])),
                Some(object(&auto, "subjects", json!([subject("a"), subject("b")]))),
            ),
            ("nobody", object(&auto, "subjects", Value::Null), object(&auto, "subjects", Value::Null), None),
            ("no default", json!({"metadata": {}}), json!({"metadata": {"labels": {"a": "b"}}}), None),
        ] {
            assert_eq!(completed(stored, &wanted), expected, "{case}");
        }
    }
}
