//! The roles of Kubernetes' controllers, as far as Skiff has these: `system:controller:NAME`, each bound to the service
//! account of that name. Skiff's own controllers do not need them; who looks for them finds them.

use super::defaults::{CERTIFICATES, EVENTS, READ, Row};

const WORKLOADS: &str = "apps extensions";
const KEEP: &str = "get list update watch";
const MANAGE: &str = "create delete get list update watch";

/// Names and rules.
pub(super) const ROLES: &[(&str, &[Row])] = &[
    (
        "certificate-controller",
        &[
            ("delete get list watch", CERTIFICATES, "certificatesigningrequests"),
            ("update", CERTIFICATES, "certificatesigningrequests/approval certificatesigningrequests/status"),
            ("approve", CERTIFICATES, "signers=kubernetes.io/kube-apiserver-client-kubelet"),
            (
                "sign",
                CERTIFICATES,
                "signers=kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
            ),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
            EVENTS,
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        &[("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    (
        "deployment-controller",
        &[
            (KEEP, WORKLOADS, "deployments"),
            ("update", WORKLOADS, "deployments/status"),
            ("update", WORKLOADS, "deployments/finalizers"),
            ("create delete get list patch update watch", WORKLOADS, "replicasets"),
            (KEEP, "", "pods"),
            EVENTS,
        ],
    ),
    (
        "disruption-controller",
        &[
            (READ, WORKLOADS, "deployments"),
            (READ, WORKLOADS, "replicasets"),
            (READ, "", "replicationcontrollers"),
            (READ, "policy", "poddisruptionbudgets"),
            (READ, "apps", "statefulsets"),
            ("update", "policy", "poddisruptionbudgets/status"),
            ("patch update", "", "pods/status"),
            ("get", "*", "*/scale"),
            EVENTS,
        ],
    ),
    (
        "endpoint-controller",
        &[(READ, "", "pods services"), (MANAGE, "", "endpoints"), ("create", "", "endpoints/restricted"), EVENTS],
    ),
    (
        "endpointslice-controller",
        &[
            (READ, "", "nodes pods services"),
            ("update", "", "services/finalizers"),
            (MANAGE, "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            (READ, "", "endpoints services"),
            ("update", "", "services/finalizers"),
            ("update", "", "endpoints/finalizers"),
            (MANAGE, "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    ("generic-garbage-collector", &[("delete get list patch update watch", "*", "*"), EVENTS]),
    (
        "namespace-controller",
        &[
            ("delete get list watch", "", "namespaces"),
            ("update", "", "namespaces/finalize namespaces/status"),
            ("delete deletecollection get list watch", "*", "*"),
        ],
    ),
    (
        "node-controller",
        &[
            ("delete get list patch update watch", "", "nodes"),
            ("patch update", "", "nodes/status"),
            ("patch update", "", "pods/status"),
            ("delete get list watch", "", "pods"),
            EVENTS,
        ],
    ),
    ("pod-garbage-collector", &[("delete list watch", "", "pods"), (READ, "", "nodes"), ("patch", "", "pods/status")]),
    ("pv-protection-controller", &[(KEEP, "", "persistentvolumes"), EVENTS]),
    ("pvc-protection-controller", &[(KEEP, "", "persistentvolumeclaims"), (READ, "", "pods"), EVENTS]),
    (
        "replicaset-controller",
        &[
            (KEEP, WORKLOADS, "replicasets"),
            ("update", WORKLOADS, "replicasets/status"),
            ("update", WORKLOADS, "replicasets/finalizers"),
            ("create delete list patch watch", "", "pods"),
            EVENTS,
        ],
    ),
    ("resourcequota-controller", &[("list watch", "*", "*"), ("update", "", "resourcequotas/status"), EVENTS]),
    ("root-ca-cert-publisher", &[("create update", "", "configmaps"), EVENTS]),
    ("service-account-controller", &[("create", "", "serviceaccounts"), EVENTS]),
];
