//! `rbac.authorization.k8s.io/v1`: Role, ClusterRole and their bindings.

use serde_json::Value;

use crate::registry::fields::{Errors, Path, quoted, shown};
use crate::registry::go_values::shown_texts;
use crate::registry::hooks::PLAIN;
use crate::registry::json::{ensure, get, items_mut, list, same, set_default, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, text as text_column, wide};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The row of Role.
pub(in crate::registry) fn role() -> Kind {
    Kind {
        group: GROUP,
        version: "v1",
        kind: "Role",
        list_kind: "RoleList",
        plural: "roles",
        singular: "role",
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.rbac.v1.Role",
        storage: "roles.rbac.authorization.k8s.io".into(),
        hooks: Hooks { validate: |role, old| validate_role(role, old, true), ..PLAIN },
    }
}

/// The row of ClusterRole.
pub(in crate::registry) fn cluster_role() -> Kind {
    Kind {
        kind: "ClusterRole",
        list_kind: "ClusterRoleList",
        plural: "clusterroles",
        singular: "clusterrole",
        namespaced: false,
        schema: "io.k8s.api.rbac.v1.ClusterRole",
        storage: "clusterroles.rbac.authorization.k8s.io".into(),
        hooks: Hooks { validate: |role, old| validate_role(role, old, false), ..PLAIN },
        ..role()
    }
}

/// The row of RoleBinding.
pub(in crate::registry) fn role_binding() -> Kind {
    Kind {
        kind: "RoleBinding",
        list_kind: "RoleBindingList",
        plural: "rolebindings",
        singular: "rolebinding",
        schema: "io.k8s.api.rbac.v1.RoleBinding",
        storage: "rolebindings.rbac.authorization.k8s.io".into(),
        hooks: Hooks {
            default,
            validate: |binding, old| validate_binding(binding, old, true),
            columns: COLUMNS,
            row,
            ..PLAIN
        },
        ..role()
    }
}

/// The row of ClusterRoleBinding.
pub(in crate::registry) fn cluster_role_binding() -> Kind {
    Kind {
        kind: "ClusterRoleBinding",
        list_kind: "ClusterRoleBindingList",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        namespaced: false,
        schema: "io.k8s.api.rbac.v1.ClusterRoleBinding",
        storage: "clusterrolebindings.rbac.authorization.k8s.io".into(),
        hooks: Hooks {
            validate: |binding, old| validate_binding(binding, old, false),
            columns: CLUSTER_COLUMNS,
            ..role_binding().hooks
        },
        ..role()
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column(
        "Role",
        "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace.",
    ),
    AGE,
    wide(text_column("Users", "Users in the roleBinding")),
    wide(text_column("Groups", "Groups in the roleBinding")),
    wide(text_column("ServiceAccounts", "ServiceAccounts in the roleBinding")),
];

const CLUSTER_COLUMNS: &[Column] = &[
    NAME,
    text_column("Role", "RoleRef can only reference a ClusterRole in the global namespace."),
    AGE,
    wide(text_column("Users", "Users in the clusterRoleBinding")),
    wide(text_column("Groups", "Groups in the clusterRoleBinding")),
    wide(text_column("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding")),
];

fn default(binding: &mut Value) {
    if let Some(role) = ensure(binding, "roleRef") {
        set_default(role, "apiGroup", GROUP);
    }
    for subject in items_mut(binding, "subjects") {
        if ["User", "Group"].contains(&text(subject, "kind")) {
            set_default(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_role(role: &Value, old: Option<&Value>, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(role, old, namespaced, names::path_segment, &mut errors);
    for (i, rule) in list(role, "rules").iter().enumerate() {
        one_rule(rule, namespaced, &Path::new("rules").index(i), &mut errors);
    }
    if let Some(rule) = get(role, "aggregationRule") {
        aggregation(list(rule, "clusterRoleSelectors"), &mut errors);
    }
    errors.into_vec()
}

fn aggregation(selectors: &[Value], errors: &mut Errors) {
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    if selectors.is_empty() {
        errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (i, selector) in selectors.iter().enumerate() {
        if !objectmeta::label_selector(selector, &path.index(i), errors) {
            errors.invalid(&path.index(i), quoted("null"), "invalid label selector.");
        }
    }
}

fn one_rule(rule: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let [verbs, groups, resources, urls] =
        ["verbs", "apiGroups", "resources", "nonResourceURLs"].map(|field| texts(rule, field));
    if verbs.is_empty() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    let urls_path = path.child("nonResourceURLs");
    if !urls.is_empty() {
        let shown = || shown(&urls.clone().into());
        if namespaced {
            errors.invalid(&urls_path, shown(), "namespaced rules cannot apply to non-resource URLs");
        }
        if !groups.is_empty() || !resources.is_empty() || !texts(rule, "resourceNames").is_empty() {
            errors.invalid(&urls_path, shown(), "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups.is_empty() {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

fn validate_binding(binding: &Value, old: Option<&Value>, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(binding, old, namespaced, names::path_segment, &mut errors);
    let path = Path::new("roleRef");
    let role = binding.get("roleRef").unwrap_or(&Value::Null);
    if text(role, "apiGroup") != GROUP {
        errors.not_supported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "kind")) {
        errors.not_supported(&path.child("kind"), text(role, "kind"), kinds);
    }
    match text(role, "name") {
        "" => errors.required(&path.child("name"), ""),
        name => errors.invalid_text(&path.child("name"), name, names::path_segment(name)),
    }
    for (i, subject) in list(binding, "subjects").iter().enumerate() {
        one_subject(subject, namespaced, &Path::new("subjects").index(i), &mut errors);
    }
    if old.is_some_and(|old| !same(binding.get("roleRef"), old.get("roleRef"))) {
        let fields = [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")];
        errors.invalid(&path, shown_texts("rbac.RoleRef", role, &fields), "cannot change roleRef");
    }
    errors.into_vec()
}

fn one_subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let [name, kind, group, namespace] = ["name", "kind", "apiGroup", "namespace"].map(|field| text(subject, field));
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let expected = match kind {
        "ServiceAccount" => "",
        "User" | "Group" => GROUP,
        other => return errors.not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    };
    if kind == "ServiceAccount" && !name.is_empty() {
        errors.invalid_text(&path.child("name"), name, names::dns_subdomain(name));
    }
    if group != expected {
        errors.not_supported(&path.child("apiGroup"), group, &[expected]);
    }
    // A role binding's accounts are of its own namespace where none is named.
    if kind == "ServiceAccount" && namespace.is_empty() && !namespaced {
        errors.required(&path.child("namespace"), "");
    }
}

fn row(binding: &Value, now: i64) -> Vec<Value> {
    let role = format!("{}/{}", text_at(binding, &["roleRef", "kind"]), text_at(binding, &["roleRef", "name"]));
    let subjects = |kind: &str| {
        let names = list(binding, "subjects").iter().filter(|s| text(s, "kind") == kind).map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", text(s, "namespace"), text(s, "name")),
            _ => text(s, "name").to_owned(),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        printers::name(binding),
        role.into(),
        printers::age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    fn binding(fields: Value) -> Value {
        let mut binding = json!({
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [
                {"kind": "User", "name": "jane"}, {"kind": "User", "name": "joe"},
                {"kind": "ServiceAccount", "name": "bot", "namespace": "ops"},
            ],
        });
        json_patch::merge(&mut binding, &fields);
        binding
    }

    #[test]
    fn cells() {
        let object = created(&role_binding(), binding(json!({})));
        assert_eq!(object["subjects"][0]["apiGroup"], GROUP);
        assert_eq!(
            row(&object, 1_767_225_600)[1..],
            [json!("ClusterRole/view"), json!("60s"), json!("jane, joe"), json!(""), json!("ops/bot")]
        );
    }

    #[test]
    fn roles() {
        let rule = |rule: Value| json!({"rules": [rule]});
        for (kind, new, expected) in [
            (role(), rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})), vec![]),
            (cluster_role(), rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]})), vec![]),
            (
                role(),
                rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]})),
                vec![
                    "rules[0].nonResourceURLs: Invalid value: []string{\"/healthz\"}: namespaced rules cannot apply to non-resource URLs",
                ],
            ),
            (
                cluster_role(),
                json!({"aggregationRule": {}}),
                vec![
                    "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
                ],
            ),
            (
                cluster_role(),
                json!({"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}),
                vec![
                    "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                    "aggregationRule.clusterRoleSelectors[0]: Invalid value: \"null\": invalid label selector.",
                ],
            ),
            (
                role(),
                rule(json!({})),
                vec![
                    "rules[0].verbs: Required value: verbs must contain at least one value",
                    "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                    "rules[0].resources: Required value: resource rules must supply at least one resource",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind, new.clone(), None), expected, "{new}");
        }
    }

    #[test]
    fn bindings() {
        let other = json!({"roleRef": {"name": "edit"}});
        for (kind, new, old, expected) in [
            (role_binding(), binding(json!({})), None, vec![]),
            (
                cluster_role_binding(),
                binding(json!({"roleRef": {"kind": "Role"}})),
                None,
                vec!["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""],
            ),
            (
                role_binding(),
                binding(other),
                Some(binding(json!({}))),
                vec![
                    "roleRef: Invalid value: rbac.RoleRef{APIGroup:\"rbac.authorization.k8s.io\", Kind:\"ClusterRole\", Name:\"edit\"}: cannot change roleRef",
                ],
            ),
            (role_binding(), binding(json!({"subjects": [{"kind": "ServiceAccount", "name": "bot"}]})), None, vec![]),
            (
                cluster_role_binding(),
                binding(json!({"subjects": [{"kind": "ServiceAccount", "name": "bot"}]})),
                None,
                vec!["subjects[0].namespace: Required value"],
            ),
        ] {
            assert_eq!(complaints(&kind, new.clone(), old), expected, "{new}");
        }
    }
}
