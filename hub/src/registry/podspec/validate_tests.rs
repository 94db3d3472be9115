//! Tables of pod specs and what is wrong with them.

use super::*;
use crate::registry::json::set;
use crate::registry::podspec::update::ONLY_CHANGEABLE;
use crate::registry::podspec::{default_pod_only, default_spec, pod_update};
use proptest::prelude::*;
use serde_json::json;

fn defaulted(mut value: Value) -> Value {
    default_spec(&mut value);
    default_pod_only(&mut value);
    value
}

fn check(value: Value) -> Vec<String> {
    let mut errors = Errors::default();
    super::pod(&json!({"metadata": {"name": "p"}, "spec": defaulted(value)}), &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect()
}

fn update(new: Value, old: Value) -> Vec<String> {
    let mut errors = Errors::default();
    pod_update(&json!({"spec": defaulted(new)}), &json!({"spec": defaulted(old)}), &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect()
}

/// A pod spec of one container with these fields.
fn with(fields: Value) -> Value {
    let mut container = json!({"name": "a", "image": "x"});
    for (field, value) in crate::registry::json::entries(Some(&fields)) {
        set(&mut container, field, value.clone());
    }
    json!({"containers": [container]})
}

/// A pod spec with one container and these fields.
fn pod(fields: Value) -> Value {
    let mut spec = with(json!({}));
    for (field, value) in crate::registry::json::entries(Some(&fields)) {
        set(&mut spec, field, value.clone());
    }
    spec
}

#[test]
fn containers_are_checked() {
    let table = [
        (with(json!({})), vec![]),
        (json!({}), vec!["spec.containers: Required value"]),
        (with(json!({"image": ""})), vec!["spec.containers[0].image: Required value"]),
        (with(json!({"name": ""})), vec!["spec.containers[0].name: Required value"]),
        (
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}),
            vec!["spec.containers[1].name: Duplicate value: \"a\""],
        ),
        (
            with(json!({"imagePullPolicy": "Sometimes"})),
            vec![
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            with(json!({"ports": [{"containerPort": 70000}]})),
            vec![
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        ),
        (with(json!({"ports": [{}]})), vec!["spec.containers[0].ports[0].containerPort: Required value"]),
        (
            with(json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]})),
            vec!["spec.containers[0].ports[1].name: Duplicate value: \"a\""],
        ),
        (
            with(json!({"ports": [{"containerPort": 1, "protocol": "ICMP"}]})),
            vec![
                "spec.containers[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ],
        ),
        (
            with(json!({"ports": [{"containerPort": 1, "hostPort": 8}, {"containerPort": 2, "hostPort": 8}]})),
            vec!["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//8\""],
        ),
        (
            with(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            vec!["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        ),
        (
            with(json!({"terminationMessagePolicy": "Log"})),
            vec![
                "spec.containers[0].terminationMessagePolicy: Unsupported value: \"Log\": supported values: \"File\", \"FallbackToLogsOnError\"",
            ],
        ),
        (
            pod(json!({"initContainers": [{"name": "i", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}]})),
            vec![
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (
            pod(json!({"initContainers": [{"name": "a", "image": "x"}]})),
            vec!["spec.initContainers[0].name: Duplicate value: \"a\""],
        ),
    ];
    for (value, expected) in table {
        assert_eq!(check(value.clone()), expected, "{value}");
    }
}

#[test]
fn specs_are_checked() {
    let table = [
        (
            json!({"restartPolicy": "Sometimes"}),
            vec![
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            json!({"dnsPolicy": "Mine"}),
            vec![
                "spec.dnsPolicy: Unsupported value: \"Mine\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
            ],
        ),
        (
            json!({"dnsPolicy": "None"}),
            vec!["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            json!({"runtimeClassName": "A b", "preemptionPolicy": "", "overhead": {"cpu": "-1"}}),
            vec![
                "spec.runtimeClassName: Invalid value: \"A b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.preemptionPolicy: Required value",
                "spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
        (
            json!({"dnsConfig": {"searches": [".", "_a.b.", "a b"], "options": [{}]}}),
            vec![
                "spec.dnsConfig.searches[2]: Invalid value: \"a b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')",
                "spec.dnsConfig.options[0]: Required value: must not be empty",
            ],
        ),
        (json!({"terminationGracePeriodSeconds": -1}), vec![]),
        (
            json!({"activeDeadlineSeconds": 0}),
            vec!["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            json!({"hostAliases": [{"ip": "x"}]}),
            vec![
                "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"hostPID": true, "shareProcessNamespace": true}),
            vec![
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            ],
        ),
    ];
    for (fields, expected) in table {
        assert_eq!(check(pod(fields.clone())), expected, "{fields}");
    }
    assert_eq!(check(pod(json!({"nodeSelector": {"a b": "c"}}))).len(), 1);
    assert_eq!(check(pod(json!({"hostname": "A"}))).len(), 1);
}

#[test]
fn a_pod_update_changes_little() {
    let old = || pod(json!({}));
    assert_eq!(update(old(), old()), Vec::<String>::new());
    assert_eq!(update(with(json!({"imagePullPolicy": "Always", "image": "y"})), old()), Vec::<String>::new());
    assert_eq!(update(pod(json!({"tolerations": [{"key": "a"}]})), old()), Vec::<String>::new());
    assert_eq!(update(pod(json!({"activeDeadlineSeconds": 9})), old()), Vec::<String>::new());
    assert_eq!(
        update(pod(json!({"hostname": "h"})), old()),
        [format!("spec: Forbidden: {ONLY_CHANGEABLE}\n+ hostname: \"h\"")]
    );
    assert_eq!(
        update(with(json!({"command": ["sh"]})), old()),
        [format!("spec: Forbidden: {ONLY_CHANGEABLE}\n+ containers[0].command: [\"sh\"]"),]
    );
    assert_eq!(
        update(json!({"containers": []}), old()),
        ["spec.containers: Required value", "spec.containers: Forbidden: pod updates may not add or remove containers",]
    );
    assert_eq!(
        update(old(), pod(json!({"activeDeadlineSeconds": 9}))),
        ["spec.activeDeadlineSeconds: Invalid value: \"null\": must not update from a positive integer to nil value",]
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9/%.-]{0,6}".prop_map(Value::from)
    ];
    let field = prop::sample::select(vec![
        "containers",
        "initContainers",
        "volumes",
        "name",
        "image",
        "ports",
        "containerPort",
        "env",
        "valueFrom",
        "fieldRef",
        "resources",
        "limits",
        "requests",
        "cpu",
        "tolerations",
        "affinity",
        "nodeAffinity",
        "volumeMounts",
        "emptyDir",
        "configMap",
        "livenessProbe",
        "httpGet",
        "port",
        "securityContext",
        "dnsConfig",
        "restartPolicy",
        "serviceAccountName",
        "projected",
        "sources",
    ]);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(field.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_spec_is_defaulted_once_and_judged(value in any_json()) {
        let once = defaulted(value);
        prop_assert_eq!(&defaulted(once.clone()), &once);
        let mut errors = Errors::default();
        let pod = json!({"metadata": {"name": "p"}, "spec": once});
        super::pod(&pod, &mut errors);
        pod_create(&pod, &mut errors);
        pod_update(&pod, &json!({"spec": defaulted(with(json!({})))}), &mut errors);
    }
}
