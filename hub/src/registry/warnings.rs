//! What objects that are accepted are warned of, by kind: Kubernetes' `WarningsOnCreate` and `WarningsOnUpdate`.
//!
//! `old` is `None` on create. Only writes of whole objects are warned of, not those of a subresource.

use serde_json::Value;

use super::fields::Path;
use super::json::{at, entries, list, list_at, text, text_at};
use super::kinds::ingress::CLASS_ANNOTATION as INGRESS_CLASS;
use super::kinds::persistentvolume::CLASS_ANNOTATION;
use super::{names, podspec};

const USED_IN_PODS: &str = "this is used in Pod names and hostnames";
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TEMPLATE: &[&str] = &["spec", "template"];

/// Pods are warned of on create only: people seldom change them directly.
pub(super) fn pod(pod: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if old.is_none() {
        unfit_name(pod, "this is used in the Pod's hostname", &mut said);
        said.extend(podspec::warnings(pod, None));
    }
    said
}

/// A Deployment, ReplicaSet, StatefulSet, ReplicationController or Job.
pub(super) fn named_template(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if old.is_none() {
        unfit_name(object, USED_IN_PODS, &mut said);
    }
    said.extend(template(object, old));
    said
}

/// Whatever has a pod template in its spec.
pub(super) fn template(object: &Value, old: Option<&Value>) -> Vec<String> {
    if changes(object, old, "spec") { at_path(object, TEMPLATE) } else { Vec::new() }
}

/// A StatefulSet: also its claims.
pub(super) fn stateful_set(set: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = named_template(set, old);
    for (i, claim) in list_at(set, &["spec", "volumeClaimTemplates"]).iter().enumerate() {
        let path = Path::new("spec.volumeClaimTemplates").index(i);
        podspec::claim_warnings(claim.get("spec").unwrap_or(&Value::Null), &path, &mut said);
    }
    said
}

/// A CronJob.
pub(super) fn cron_job(job: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if old.is_none() {
        unfit_name(job, USED_IN_PODS, &mut said);
    }
    if changes(job, old, "spec") {
        said.extend(at_path(job, &["spec", "jobTemplate", "spec", "template"]));
    }
    said
}

/// A PodTemplate, whose template is no part of a spec.
pub(super) fn pod_template(object: &Value, old: Option<&Value>) -> Vec<String> {
    if changes(object, old, "template") { at_path(object, &["template"]) } else { Vec::new() }
}

/// A Service.
pub(super) fn service(service: &Value, _: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if annotated(service, TOPOLOGY_HINTS) {
        said.push(format!(
            "annotation {TOPOLOGY_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let (kind, external) = (text(spec, "type"), !list(spec, "externalIPs").is_empty());
    if kind == "ClusterIP" && text(spec, "clusterIP") == "None" {
        let ignored = [
            ("spec.loadBalancerIP", !text(spec, "loadBalancerIP").is_empty()),
            ("spec.externalIPs", external),
            ("spec.SessionAffinity", text(spec, "sessionAffinity") != "None"),
        ];
        let ignored = ignored.into_iter().filter(|(_, set)| *set);
        said.extend(ignored.map(|(field, _)| format!("{field} is ignored for headless services")));
    }
    if kind == "ExternalName" && external {
        said.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if kind != "ExternalName" && !text(spec, "externalName").is_empty() {
        said.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    said
}

/// An Ingress, on create only.
pub(super) fn ingress(ingress: &Value, old: Option<&Value>) -> Vec<String> {
    let old_class =
        old.is_none() && annotated(ingress, INGRESS_CLASS) && at(ingress, &["spec", "ingressClassName"]).is_none();
    let message = format!("annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead");
    old_class.then_some(message).into_iter().collect()
}

/// A PersistentVolume.
pub(super) fn volume(volume: &Value, _: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    old_class(volume, &mut said);
    if annotated(volume, MOUNT_OPTIONS) {
        said.push(format!(
            "metadata.annotations[{MOUNT_OPTIONS}]: deprecated since v1.31; use \"mountOptions\" attribute instead"
        ));
    }
    if text_at(volume, &["spec", "persistentVolumeReclaimPolicy"]) == "Recycle" {
        said.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into());
    }
    let terms = list_at(volume, &["spec", "nodeAffinity", "required", "nodeSelectorTerms"]);
    podspec::node_terms(terms, &Path::new("spec.nodeAffinity.required.nodeSelectorTerms"), &mut said);
    for (kind, message) in podspec::OLD_VOLUMES {
        if at(volume, &["spec", kind]).is_some() {
            said.push(format!("spec.{kind}: {message}"));
        }
    }
    said
}

/// A PersistentVolumeClaim.
pub(super) fn claim(claim: &Value, _: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    old_class(claim, &mut said);
    podspec::claim_warnings(claim.get("spec").unwrap_or(&Value::Null), &Path::new("spec"), &mut said);
    said
}

/// A StorageClass.
pub(super) fn storage_class(class: &Value, _: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    for (i, topology) in list(class, "allowedTopologies").iter().enumerate() {
        for (j, expression) in list(topology, "matchLabelExpressions").iter().enumerate() {
            let path = Path::new("allowedTopologies").index(i).child("matchLabelExpressions").index(j).child("key");
            podspec::old_key(text(expression, "key"), &path, &mut said);
        }
    }
    said
}

/// A RuntimeClass.
pub(super) fn runtime_class(class: &Value, _: Option<&Value>) -> Vec<String> {
    let keys = entries(at(class, &["scheduling", "nodeSelector"])).filter_map(|(key, _)| podspec::old_label(key));
    keys.map(|message| format!("scheduling.nodeSelector: {message}")).collect()
}

/// A Node.
pub(super) fn node(node: &Value, _: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if at(node, &["spec", "configSource"]).is_some() {
        said.push("spec.configSource: the feature is removed".into());
    }
    if !text_at(node, &["spec", "externalID"]).is_empty() {
        said.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
    }
    said
}

/// A ServiceAccount, when it begins to ask for what is deprecated.
pub(super) fn service_account(account: &Value, old: Option<&Value>) -> Vec<String> {
    let asks = |account: &Value| text_at(account, &["metadata", "annotations", ENFORCE_SECRETS]) == "true";
    let begins = asks(account) && !old.is_some_and(asks);
    let message = format!(
        "metadata.annotations[{ENFORCE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
    );
    begins.then_some(message).into_iter().collect()
}

fn changes(object: &Value, old: Option<&Value>, field: &str) -> bool {
    old.is_none_or(|old| old.get(field) != object.get(field))
}

fn at_path(object: &Value, path: &[&str]) -> Vec<String> {
    at(object, path).map(|pod| podspec::warnings(pod, Some(&Path::new(&path.join("."))))).unwrap_or_default()
}

fn unfit_name(object: &Value, used: &str, said: &mut Vec<String>) {
    let why = names::dns_label(text_at(object, &["metadata", "name"]));
    if !why.is_empty() {
        let why = why.join(" ");
        said.push(format!(
            "metadata.name: {used}, which can result in surprising behavior; a DNS label is recommended: [{why}]"
        ));
    }
}

fn annotated(object: &Value, key: &str) -> bool {
    at(object, &["metadata", "annotations", key]).is_some()
}

fn old_class(object: &Value, said: &mut Vec<String>) {
    if annotated(object, CLASS_ANNOTATION) {
        said.push(format!(
            "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_warned_of_what_hides_or_does_nothing() {
        let container = json!({
            "name": "c",
            "image": "i",
            "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}],
            "ports": [
                {"containerPort": 80, "protocol": "TCP"},
                {"containerPort": 80, "protocol": "TCP"},
                {"containerPort": 80, "protocol": "UDP", "hostIP": "10.0.0.1"},
            ],
            "resources": {"requests": {"memory": "100m"}, "limits": {"memory": "1500m"}},
        });
        let object = json!({
            "metadata": {"name": "a.b", "annotations": {"seccomp.security.alpha.kubernetes.io/pod": "runtime/default"}},
            "spec": {
                "containers": [container],
                "nodeSelector": {"beta.kubernetes.io/os": "linux"},
                "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
                "hostAliases": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}],
                "imagePullSecrets": [{}],
                "volumes": [{"name": "v", "gitRepo": {"repository": "r"}}],
                "terminationGracePeriodSeconds": -1,
            },
        });
        let said = [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')]",
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            "spec.volumes[0].gitRepo: deprecated in v1.11",
            "spec.hostAliases[1].ip: duplicate ip \"10.0.0.1\"",
            "spec.imagePullSecrets[0].name: invalid empty name \"\"",
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            "spec.containers[0].ports[2]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:UDP HostIP:10.0.0.1}",
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ];
        assert_eq!(pod(&object, None), said);
        assert_eq!(pod(&object, Some(&object)), [""; 0], "nobody is warned of a pod's update");
    }

    #[test]
    fn ports_without_end_are_compared_as_far_as_it_helps() {
        let ports = vec![json!({"containerPort": 80, "protocol": "TCP"}); 50_000];
        let said = pod(&json!({"metadata": {"name": "a"}, "spec": {"containers": [{"ports": ports}]}}), None);
        assert_eq!(said.len(), 10_000);
    }

    #[test]
    fn templates_are_warned_of_when_they_change() {
        let set = |zone: &str| {
            json!({
                "metadata": {"name": "web"},
                "spec": {"template": {"spec": {"affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "In", "values": [zone]}]},
                    ]}},
                    "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "podAffinityTerm": {"topologyKey": "x"}},
                    ]},
                }}}},
            })
        };
        let said = [
            "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead",
            "spec.template.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
        ];
        assert_eq!(named_template(&set("a"), None), said);
        assert_eq!(named_template(&set("b"), Some(&set("a"))), said);
        assert_eq!(named_template(&set("a"), Some(&set("a"))), [""; 0]);
    }

    #[test]
    fn other_kinds_are_warned_of_by_their_own_rules() {
        type Warn = fn(&Value, Option<&Value>) -> Vec<String>;
        let class = |key: &str| json!({"metadata": {"annotations": {key: "x"}}});
        let cases: [(Warn, Value, &str); 9] = [
            (
                ingress,
                class(INGRESS_CLASS),
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
            ),
            (
                volume,
                json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}),
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            ),
            (volume, json!({"spec": {"rbd": {}}}), "spec.rbd: deprecated in v1.28, non-functional in v1.31+"),
            (
                claim,
                class(CLASS_ANNOTATION),
                "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead",
            ),
            (
                claim,
                json!({"spec": {"resources": {"requests": {"storage": "1500m"}}}}),
                "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer",
            ),
            (
                service,
                json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP"}}),
                "spec.SessionAffinity is ignored for headless services",
            ),
            (
                service,
                json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "externalName": "a.b"}}),
                "spec.externalName is ignored when spec.type is not \"ExternalName\"",
            ),
            (
                node,
                json!({"spec": {"externalID": "x"}}),
                "spec.externalID: this field is deprecated, and is unused by Kubernetes",
            ),
            (
                service_account,
                json!({"metadata": {"annotations": {ENFORCE_SECRETS: "true"}}}),
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
            ),
        ];
        for (warn, object, said) in cases {
            assert_eq!(warn(&object, None), [said], "{object}");
        }
    }
}
