//! The roles and bindings that every Kubernetes cluster has, as far as Skiff has what they are about.

use serde_json::{Value, json};

use super::rules::Rule;
use super::{AUTHENTICATED, MASTERS, controllers};

/// `apiVersion` of roles and bindings.
pub const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
/// The annotation that lets an administrator keep a default role from being completed at each start.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

pub(super) const CERTIFICATES: &str = "certificates.k8s.io";
pub(super) const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const EVERYTHING: &str = "create delete deletecollection get list patch update watch";

/// Verbs, API groups (empty for the core group) and resources of a rule, each parted by spaces; resources may end with
/// `=NAME NAME…`, the names that the rule is confined to.
pub(super) type Row = (&'static str, &'static str, &'static str);

/// A role: its name, which aggregated role it belongs to (`admin`, `edit`, `view` or none), its rules about resources.
type Role = (&'static str, &'static str, &'static [Row]);

/// Writing down what happens.
pub(super) const EVENTS: Row = ("create patch update", " events.k8s.io", "events");
const REVIEW_TOKENS: Row = ("create", "authentication.k8s.io", "tokenreviews");
const REVIEW_ACCESS: Row = ("create", "authorization.k8s.io", "subjectaccessreviews");

const ROLES: &[Role] = &[
    ("cluster-admin", "", &[("*", "*", "*")]),
    (
        "system:aggregate-to-admin",
        "admin",
        &[
            ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            (EVERYTHING, "rbac.authorization.k8s.io", "rolebindings roles"),
        ],
    ),
    (
        "system:aggregate-to-edit",
        "edit",
        &[
            (READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
            ("impersonate", "", "serviceaccounts"),
            (WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
            ("create", "", "pods/eviction serviceaccounts/token"),
            (
                WRITE,
                "",
                "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
            ),
            (
                WRITE,
                "apps",
                "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
            ),
            (WRITE, "autoscaling", "horizontalpodautoscalers"),
            (WRITE, "batch", "cronjobs jobs"),
            (
                WRITE,
                "extensions",
                "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale",
            ),
            (WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            (WRITE, "policy", "poddisruptionbudgets"),
            (EVERYTHING, "coordination.k8s.io", "leases"),
        ],
    ),
    (
        "system:aggregate-to-view",
        "view",
        &[
            (
                READ,
                "",
                "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
            ),
            (
                READ,
                "",
                "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
            ),
            (READ, "", "namespaces"),
            (READ, "discovery.k8s.io", "endpointslices"),
            (
                READ,
                "apps",
                "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            ),
            (READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            (READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            (
                READ,
                "extensions",
                "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
            ),
            (READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
            (READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        ],
    ),
    (
        "system:basic-user",
        "",
        &[
            ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    ("system:discovery", "", &[]),
    ("system:public-info-viewer", "", &[]),
    ("system:monitoring", "", &[]),
    ("system:service-account-issuer-discovery", "", &[]),
    ("system:node", "", NODE),
    ("system:node-bootstrapper", "", &[("create get list watch", "certificates.k8s.io", "certificatesigningrequests")]),
    ("system:auth-delegator", "", &[REVIEW_TOKENS, REVIEW_ACCESS]),
    (
        "system:kubelet-api-admin",
        "",
        &[
            (READ, "", "nodes"),
            ("proxy", "", "nodes"),
            ("*", "", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats"),
        ],
    ),
    ("system:kube-scheduler", "", SCHEDULER),
    ("system:kube-controller-manager", "", CONTROLLER_MANAGER),
    ("system:kube-aggregator", "", &[(READ, "", "endpoints services")]),
    ("system:kube-dns", "", &[("list watch", "", "endpoints services")]),
    ("system:heapster", "", &[(READ, "", "events namespaces nodes pods"), (READ, "extensions", "deployments")]),
    (
        "system:node-proxier",
        "",
        &[
            ("list watch", "", "endpoints services"),
            (READ, "", "nodes"),
            ("list watch", "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    (
        "system:persistent-volume-provisioner",
        "",
        &[
            ("create delete get list watch", "", "persistentvolumes"),
            ("get list update watch", "", "persistentvolumeclaims"),
            (READ, "storage.k8s.io", "storageclasses"),
            ("watch", "", "events"),
            EVENTS,
        ],
    ),
    ("system:node-problem-detector", "", &[("get", "", "nodes"), ("patch", "", "nodes/status"), EVENTS]),
    (
        "system:volume-scheduler",
        "",
        &[
            ("get list patch update watch", "", "persistentvolumes"),
            (READ, "storage.k8s.io", "storageclasses"),
            ("get list patch update watch", "", "persistentvolumeclaims"),
        ],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "",
        &[("create", CERTIFICATES, "certificatesigningrequests/nodeclient")],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        "",
        &[("create", CERTIFICATES, "certificatesigningrequests/selfnodeclient")],
    ),
    (
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        "",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/kube-apiserver-client")],
    ),
    (
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        "",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    (
        "system:certificates.k8s.io:kubelet-serving-approver",
        "",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/kubelet-serving")],
    ),
    (
        "system:certificates.k8s.io:legacy-unknown-approver",
        "",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/legacy-unknown")],
    ),
];

const NODE: &[Row] = &[
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    (READ, "", "services"),
    ("create get list watch", "", "nodes"),
    ("patch update", "", "nodes/status"),
    ("patch update", "", "nodes"),
    ("create patch update", "", "events"),
    (READ, "", "pods"),
    ("create delete", "", "pods"),
    ("patch update", "", "pods/status"),
    ("create", "", "pods/eviction"),
    (READ, "", "configmaps secrets"),
    ("get", "", "persistentvolumeclaims persistentvolumes"),
    ("get", "", "endpoints"),
    ("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ("create delete get patch update", "coordination.k8s.io", "leases"),
    ("get", "storage.k8s.io", "volumeattachments"),
    ("get patch update", "", "persistentvolumeclaims/status"),
    ("create", "", "serviceaccounts/token"),
    (READ, "storage.k8s.io", "csidrivers"),
    ("create delete get patch update", "storage.k8s.io", "csinodes"),
    (READ, "node.k8s.io", "runtimeclasses"),
];

const SCHEDULER: &[Row] = &[
    EVENTS,
    ("create get list update watch", "coordination.k8s.io", "leases"),
    (READ, "", "nodes"),
    ("delete get list watch", "", "pods"),
    ("create", "", "bindings pods/binding"),
    ("patch update", "", "pods/status"),
    (READ, "", "namespaces replicationcontrollers services"),
    (READ, "apps", "replicasets statefulsets"),
    (READ, "policy", "poddisruptionbudgets"),
    (READ, "", "persistentvolumeclaims persistentvolumes"),
    REVIEW_TOKENS,
    REVIEW_ACCESS,
    (READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses"),
];

const CONTROLLER_MANAGER: &[Row] = &[
    EVENTS,
    ("create", "coordination.k8s.io", "leases"),
    ("get update", "coordination.k8s.io", "leases=kube-controller-manager"),
    ("create", "", "secrets serviceaccounts"),
    ("delete", "", "secrets"),
    ("get", "", "configmaps namespaces secrets serviceaccounts"),
    ("update", "", "secrets serviceaccounts"),
    REVIEW_TOKENS,
    REVIEW_ACCESS,
    ("list watch", "*", "*"),
    ("create", "", "serviceaccounts/token"),
];

/// Roles in namespaces: namespace, name and rules.
const NAMESPACED_ROLES: &[(&str, &str, &[Row])] = &[
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        &[(READ, "", "configmaps=extension-apiserver-authentication")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &[("watch", "", "configmaps"), ("get update", "", "configmaps=kube-controller-manager")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &[("watch", "", "configmaps"), ("get update", "", "configmaps=kube-scheduler")],
    ),
    ("kube-system", "system:controller:bootstrap-signer", &[(READ, "", "secrets")]),
    ("kube-system", "system:controller:cloud-provider", &[("create get list watch", "", "configmaps")]),
    ("kube-system", "system:controller:token-cleaner", &[("delete get list watch", "", "secrets"), EVENTS]),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        &[(READ, "", "configmaps"), ("update", "", "configmaps=cluster-info"), EVENTS],
    ),
];

/// Subjects of a binding as (kind, name).
type Subjects = &'static [(&'static str, &'static str)];

/// Bindings of these roles: namespace, name, role and subjects.
const NAMESPACED_BINDINGS: &[(&str, &str, &str, Subjects)] = &[
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[("User", "system:kube-controller-manager"), ("User", "system:kube-scheduler")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[("User", "system:kube-controller-manager"), ("ServiceAccount", "kube-controller-manager")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[("User", "system:kube-scheduler"), ("ServiceAccount", "kube-scheduler")],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[("ServiceAccount", "bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[("ServiceAccount", "cloud-provider")],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &[("ServiceAccount", "token-cleaner")],
    ),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[("ServiceAccount", "bootstrap-signer")],
    ),
];

/// Roles that are put together from others: name, and the label by which they in turn belong to another one.
const AGGREGATED: [(&str, &str); 3] = [("admin", ""), ("edit", "admin"), ("view", "edit")];

/// Paths that roles may read.
const PATHS: [(&str, &[&str]); 5] = [
    ("cluster-admin", &["*"]),
    (
        "system:discovery",
        &[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ],
    ),
    ("system:public-info-viewer", &["/healthz", "/livez", "/readyz", "/version", "/version/"]),
    (
        "system:monitoring",
        &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"],
    ),
    (
        "system:service-account-issuer-discovery",
        &[
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "/openid/v1/jwks",
            "/openid/v1/jwks/",
        ],
    ),
];

/// Bindings of cluster roles: name (of binding and role), and subjects as (kind, name).
const BINDINGS: &[(&str, Subjects)] = &[
    ("cluster-admin", &[("Group", MASTERS)]),
    ("system:basic-user", &[("Group", AUTHENTICATED)]),
    ("system:discovery", &[("Group", AUTHENTICATED)]),
    ("system:kube-controller-manager", &[("User", "system:kube-controller-manager")]),
    ("system:kube-dns", &[("ServiceAccount", "kube-dns")]),
    ("system:kube-scheduler", &[("User", "system:kube-scheduler")]),
    ("system:monitoring", &[("Group", "system:monitoring")]),
    // Nodes have the node authorizer; the binding is there, as in Kubernetes, for its name.
    ("system:node", &[]),
    ("system:node-proxier", &[("User", "system:kube-proxy")]),
    ("system:public-info-viewer", &[("Group", AUTHENTICATED), ("Group", "system:unauthenticated")]),
    ("system:service-account-issuer-discovery", &[("Group", "system:serviceaccounts")]),
    ("system:volume-scheduler", &[("User", "system:kube-scheduler")]),
];

/// Rules that allow everything.
pub fn everything() -> Value {
    json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}])
}

/// The rules of the node authorizer.
pub(super) fn node_rules() -> &'static [Rule] {
    static RULES: std::sync::LazyLock<Vec<Rule>> = std::sync::LazyLock::new(|| NODE.iter().map(rule).collect());
    &RULES
}

/// All default ClusterRoles.
pub fn cluster_roles() -> Vec<Value> {
    let plain = ROLES.iter().map(|(name, aggregate, rows)| {
        let mut rules: Vec<Value> = rows.iter().map(|row| json!(rule(row))).collect();
        rules.extend(PATHS.iter().filter(|(role, _)| role == name).map(|(role, paths)| {
            let verb = if *role == "cluster-admin" { "*" } else { "get" };
            json!({"nonResourceURLs": paths, "verbs": [verb]})
        }));
        object("ClusterRole", name, aggregate, json!({"rules": rules}))
    });
    let aggregated = AGGREGATED.iter().map(|(name, aggregate)| {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
        let selectors = json!([{"matchLabels": {label: "true"}}]);
        object("ClusterRole", name, aggregate, json!({"aggregationRule": {"clusterRoleSelectors": selectors}}))
    });
    let of_controllers = controllers::ROLES.iter().map(|(name, rows)| {
        let rules: Vec<Rule> = rows.iter().map(rule).collect();
        object("ClusterRole", &of_controller(name), "", json!({ "rules": rules }))
    });
    plain.chain(aggregated).chain(of_controllers).collect()
}

/// All default ClusterRoleBindings.
pub fn cluster_role_bindings() -> Vec<Value> {
    let binding = |(name, subjects): &(&str, Subjects)| {
        object("ClusterRoleBinding", name, "", granting("ClusterRole", name, subjects))
    };
    let of_controllers = controllers::ROLES.iter().map(|(name, _)| {
        let role = of_controller(name);
        object("ClusterRoleBinding", &role, "", granting("ClusterRole", &role, &[("ServiceAccount", name)]))
    });
    BINDINGS.iter().map(binding).chain(of_controllers).collect()
}

fn of_controller(name: &str) -> String {
    format!("system:controller:{name}")
}

/// All default Roles.
pub fn roles() -> Vec<Value> {
    let role = |(namespace, name, rows): &(&str, &str, &[Row])| {
        let rules: Vec<Rule> = rows.iter().map(rule).collect();
        within(namespace, object("Role", name, "", json!({ "rules": rules })))
    };
    NAMESPACED_ROLES.iter().map(role).collect()
}

/// All default RoleBindings.
pub fn role_bindings() -> Vec<Value> {
    let binding = |(namespace, name, role, subjects): &(&str, &str, &str, Subjects)| {
        within(namespace, object("RoleBinding", name, "", granting("Role", role, subjects)))
    };
    NAMESPACED_BINDINGS.iter().map(binding).collect()
}

fn within(namespace: &str, mut object: Value) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object
}

/// What a binding says beside its metadata. One for nobody has no subjects at all.
fn granting(kind: &str, role: &str, subjects: &[(&str, &str)]) -> Value {
    let subject = |(kind, name): &(&str, &str)| match *kind {
        "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": "kube-system"}),
        _ => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}),
    };
    let mut fields = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}});
    if !subjects.is_empty() {
        fields["subjects"] = subjects.iter().map(subject).collect();
    }
    fields
}

fn object(kind: &str, name: &str, aggregate: &str, fields: Value) -> Value {
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    if !aggregate.is_empty() {
        labels[format!("rbac.authorization.k8s.io/aggregate-to-{aggregate}")] = "true".into();
    }
    let metadata = json!({"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}});
    let mut object = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata});
    json_patch::merge(&mut object, &fields);
    object
}

fn rule((verbs, groups, resources): &Row) -> Rule {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let (resources, names) = resources.split_once('=').map_or((*resources, None), |(r, names)| (r, Some(names)));
    Rule {
        verbs: words(verbs),
        api_groups: words(groups),
        resources: words(resources),
        resource_names: names.map(words).unwrap_or_default(),
        ..Rule::default()
    }
}
