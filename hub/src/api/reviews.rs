//! `authorization.k8s.io/v1`: may this user do that, and what may I do.

use serde_json::{Value, json};

use super::request::ResourcePath;
use super::router::Call;
use super::status::Status;
use crate::auth::{Attributes, Rule, node_name};
use crate::objects::User;
use crate::registry::{FieldError, FieldErrorKind};

const GROUP: &str = "authorization.k8s.io";

/// SelfSubjectAccessReview.
pub(super) fn self_access(call: &Call, _path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    refuse("SelfSubjectAccessReview", attribute_errors(&review["spec"]))?;
    judge(call, &call.user, review);
    Ok(())
}

/// SubjectAccessReview.
pub(super) fn access(call: &Call, _path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    let mut errors = attribute_errors(&review["spec"]);
    errors.extend(user_errors(&review["spec"]));
    refuse("SubjectAccessReview", errors)?;
    judge(call, &subject(&review["spec"]), review);
    Ok(())
}

/// LocalSubjectAccessReview.
pub(super) fn local_access(call: &Call, path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    let spec = &review["spec"];
    let mut errors = attribute_errors(spec);
    errors.extend(user_errors(spec));
    let namespace = text(&spec["resourceAttributes"], "namespace");
    if !spec["nonResourceAttributes"].is_null() {
        errors.push(wrong("spec.nonResourceAttributes", "", "disallowed on this kind of request"));
    } else if namespace != path.namespace {
        errors.push(wrong("spec.resourceAttributes.namespace", namespace, "must match metadata.namespace"));
    }
    refuse("LocalSubjectAccessReview", errors)?;
    judge(call, &subject(&review["spec"]), review);
    Ok(())
}

/// SelfSubjectRulesReview.
pub(super) fn self_rules(call: &Call, _path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    let namespace = text(&review["spec"], "namespace").to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let objects = &call.state.objects;
    let policy = objects.authorizer().policy(&objects.snapshot());
    let (rules, mut errors) = policy.rules_for(&call.user, &namespace);
    if node_name(&call.user).is_some() {
        errors.push("node authorizer does not support user rule resolution".into());
    }
    let all = |rules: &[Rule], paths: bool| -> Vec<Value> {
        rules.iter().filter(|r| paths != r.non_resource_urls.is_empty()).map(|r| json!(r)).collect()
    };
    review["status"] = json!({
        "resourceRules": all(&rules, false), "nonResourceRules": all(&rules, true), "incomplete": !errors.is_empty(),
    });
    if !errors.is_empty() {
        review["status"]["evaluationError"] = errors.join(", ").into();
    }
    Ok(())
}

fn judge(call: &Call, user: &User, review: &mut Value) {
    let objects = &call.state.objects;
    let wanted = attributes(&review["spec"]);
    let decision = objects.authorizer().authorize(user, &wanted, &objects.snapshot());
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    review["status"] = status;
}

fn attributes(spec: &Value) -> Attributes<'_> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() {
        return Attributes { verb: text(path, "verb"), path: text(path, "path"), ..Attributes::default() };
    }
    let required = |field: &str| {
        let requirements = resource["fieldSelector"]["requirements"].as_array().into_iter().flatten();
        let one = |r: &&Value| {
            r["key"] == field && r["operator"] == "In" && r["values"].as_array().is_some_and(|v| v.len() == 1)
        };
        requirements.into_iter().find(one).and_then(|r| r["values"][0].as_str()).unwrap_or_default()
    };
    Attributes {
        verb: text(resource, "verb"),
        group: text(resource, "group"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: text(resource, "namespace"),
        name: text(resource, "name"),
        path: "",
        node: required("spec.nodeName"),
    }
}

fn subject(spec: &Value) -> User {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = spec["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), texts(v))).collect();
    User { name: text(spec, "user").into(), groups: texts(&spec["groups"]), uid: text(spec, "uid").into(), extra }
}

fn attribute_errors(spec: &Value) -> Vec<FieldError> {
    match (spec["resourceAttributes"].is_null(), spec["nonResourceAttributes"].is_null()) {
        (false, false) => {
            vec![wrong("spec.nonResourceAttributes", "", "cannot be specified in combination with resourceAttributes")]
        }
        (true, true) => vec![wrong(
            "spec.resourceAttributes",
            "",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        (true, false) | (false, true) => Vec::new(),
    }
}

fn user_errors(spec: &Value) -> Vec<FieldError> {
    let nobody = text(spec, "user").is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty);
    if nobody { vec![wrong("spec.user", "", "at least one of user or group must be specified")] } else { Vec::new() }
}

fn wrong(field: &str, value: &str, detail: &str) -> FieldError {
    FieldError { field: field.into(), kind: FieldErrorKind::Invalid(format!("{value:?}")), detail: detail.into() }
}

fn refuse(kind: &str, errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, kind, "", &errors)) }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
