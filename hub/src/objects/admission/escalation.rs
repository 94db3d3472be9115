//! Nobody may grant, by a role or a binding, what it does not hold.

use serde_json::Value;

use super::{Request, refuse};
use crate::auth::{Attributes, RoleRef, Rule, defaults, escalation};
use crate::objects::error::{Error, not_found};
use crate::objects::meta;

const GROUP: &str = "rbac.authorization.k8s.io";
/// What the garbage collector may change without holding what a role grants.
const COLLECTED: [&str; 3] = ["ownerReferences", "finalizers", "managedFields"];

/// Checks writes of roles and bindings.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let target = request.target;
    if target.kind.group != GROUP || request.user.is_master() || only_collected(request.old, object) {
        return Ok(());
    }
    match target.kind.kind {
        "Role" | "ClusterRole" => role(request, object),
        "RoleBinding" | "ClusterRoleBinding" => binding(request, object),
        _ => Ok(()),
    }
}

fn only_collected(old: Option<&Value>, new: &Value) -> bool {
    let rest = |value: &Value| {
        let mut value = value.clone();
        for field in COLLECTED {
            meta::metadata(&mut value).remove(field);
        }
        value
    };
    old.is_some_and(|old| rest(old) == rest(new))
}

fn role(request: &Request<'_>, object: &Value) -> Result<(), Error> {
    if may(request, "escalate", request.target.kind.plural, meta::text(object, "name")) {
        return Ok(());
    }
    let aggregates = |value: &Value| !value["aggregationRule"].is_null();
    if aggregates(object) || request.old.is_some_and(aggregates) {
        let everything = confirm(request, &rules(defaults::everything()));
        return everything.map_err(|_| {
            refuse(request, object, "must have cluster-admin privileges to use the aggregationRule".into())
        });
    }
    confirm(request, &rules(object["rules"].clone())).map_err(|detail| refuse(request, object, detail))
}

fn binding(request: &Request<'_>, object: &Value) -> Result<(), Error> {
    let role: RoleRef = serde_json::from_value(object["roleRef"].clone()).unwrap_or_default();
    let resource = if role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
    if may(request, "bind", resource, &role.name) {
        return Ok(());
    }
    let policy = request.authorizer.policy(request.snapshot);
    let granted = policy
        .rules_of(&role, &request.target.namespace)
        .map_err(|_| not_found(&format!("{resource}.{GROUP}"), &role.name))?;
    confirm(request, granted).map_err(|detail| refuse(request, object, detail))
}

fn may(request: &Request<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let namespace = &request.target.namespace;
    let wanted = Attributes { verb, group: GROUP, resource, namespace, name, ..Attributes::default() };
    request.authorizer.authorize(request.user, &wanted, request.snapshot).allowed
}

fn confirm(request: &Request<'_>, rules: &[Rule]) -> Result<(), String> {
    let policy = request.authorizer.policy(request.snapshot);
    escalation::confirm(&policy, request.user, &request.target.namespace, rules)
}

/// Rules that a body gives; its form has been checked when it was decoded.
fn rules(value: Value) -> Vec<Rule> {
    serde_json::from_value(value).unwrap_or_default()
}
