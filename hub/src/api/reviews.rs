//! `authorization.k8s.io/v1`: may this user do that, and what may I do.

use serde_json::{Value, json};

use super::auth::required;
use super::request::ResourcePath;
use super::router::Call;
use super::status::Status;
use crate::auth::{Attributes, Rule, node_name};
use crate::objects::User;
use crate::registry::{FieldError, FieldErrorKind, shown_map};

const GROUP: &str = "authorization.k8s.io";

/// SelfSubjectAccessReview.
pub(super) fn self_access(call: &Call, _path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    let mut errors = attribute_errors(&review["spec"]);
    errors.extend(selector_errors(&review["spec"]));
    errors.extend(metadata_errors(review, "must be empty"));
    refuse(&errors)?;
    judge(call, &call.user, review);
    Ok(())
}

/// SubjectAccessReview.
pub(super) fn access(call: &Call, _path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    let mut errors = attribute_errors(&review["spec"]);
    errors.extend(user_errors(&review["spec"]));
    errors.extend(selector_errors(&review["spec"]));
    errors.extend(metadata_errors(review, "must be empty"));
    refuse(&errors)?;
    judge(call, &subject(&review["spec"]), review);
    Ok(())
}

/// LocalSubjectAccessReview.
pub(super) fn local_access(call: &Call, path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    let spec = &review["spec"];
    let mut errors = attribute_errors(spec);
    errors.extend(user_errors(spec));
    errors.extend(selector_errors(spec));
    errors.extend(metadata_errors(review, "must be empty except for namespace"));
    let namespace = text(&spec["resourceAttributes"], "namespace");
    if !spec["resourceAttributes"].is_null() && namespace != path.namespace {
        let shown = format!("{namespace:?}");
        errors.push(wrong("spec.resourceAttributes.namespace", shown, "must match metadata.namespace"));
    }
    if !spec["nonResourceAttributes"].is_null() {
        errors.push(wrong("spec.nonResourceAttributes", shown_path(spec), "disallowed on this kind of request"));
    }
    refuse(&errors)?;
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
    Attributes {
        verb: text(resource, "verb"),
        group: text(resource, "group"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: text(resource, "namespace"),
        name: text(resource, "name"),
        path: "",
        node: confined(&resource["fieldSelector"], "spec.nodeName"),
    }
}

/// The value that a review's field selector, in either form, requires of a field; empty when it requires none.
fn confined<'a>(selector: &'a Value, field: &str) -> &'a str {
    let requirements = selector["requirements"].as_array().into_iter().flatten();
    let one =
        |r: &&Value| r["key"] == field && r["operator"] == "In" && r["values"].as_array().is_some_and(|v| v.len() == 1);
    let listed = requirements.into_iter().find(one).and_then(|r| r["values"][0].as_str());
    listed.unwrap_or_else(|| required(text(selector, "rawSelector"), field))
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
        (false, false) => vec![wrong(
            "spec.nonResourceAttributes",
            shown_path(spec),
            "cannot be specified in combination with resourceAttributes",
        )],
        (true, true) => vec![wrong(
            "spec.resourceAttributes",
            shown_path(spec),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        (true, false) | (false, true) => Vec::new(),
    }
}

/// `nonResourceAttributes` as Go prints them.
fn shown_path(spec: &Value) -> String {
    let attributes = &spec["nonResourceAttributes"];
    if attributes.is_null() {
        return "\"null\"".into();
    }
    let [path, verb] = ["path", "verb"].map(|field| text(attributes, field));
    format!("authorization.NonResourceAttributes{{Path:{path:?}, Verb:{verb:?}}}")
}

fn user_errors(spec: &Value) -> Vec<FieldError> {
    let nobody = text(spec, "user").is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty);
    let detail = "at least one of user or group must be specified";
    if nobody { vec![wrong("spec.user", "\"\"".into(), detail)] } else { Vec::new() }
}

/// Selectors are given in one of two forms.
fn selector_errors(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for selector in ["fieldSelector", "labelSelector"] {
        let value = &spec["resourceAttributes"][selector];
        let (raw, path) = (text(value, "rawSelector"), format!("spec.resourceAttributes.{selector}"));
        let listed = value["requirements"].as_array().is_some_and(|r| !r.is_empty());
        if !raw.is_empty() && listed {
            let detail = "may not specified at the same time as requirements";
            errors.push(wrong(&format!("{path}.rawSelector"), format!("{raw:?}"), detail));
        }
        if !value.is_null() && raw.is_empty() && !listed {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(FieldError { field: format!("{path}.requirements"), kind: FieldErrorKind::Required, detail });
        }
    }
    errors
}

/// What is never stored has no metadata, but for the namespace it is about.
fn metadata_errors(review: &Value, detail: &str) -> Vec<FieldError> {
    let given = |(field, value): (&String, &Value)| {
        let set = match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        };
        set && !["namespace", "managedFields"].contains(&field.as_str())
    };
    let any = review["metadata"].as_object().is_some_and(|metadata| metadata.iter().any(given));
    if any { vec![wrong("metadata", shown_metadata(&review["metadata"]), detail)] } else { Vec::new() }
}

/// Metadata as Go prints them, but for the lists, which are cut short.
fn shown_metadata(metadata: &Value) -> String {
    let [name, generate, namespace, uid, version] =
        ["name", "generateName", "namespace", "uid", "resourceVersion"].map(|field| text(metadata, field));
    let pairs = |field: &str| shown_map(Some(&metadata[field]).filter(|map| map.is_object()));
    let (labels, annotations) = (pairs("labels"), pairs("annotations"));
    format!(
        "v1.ObjectMeta{{Name:{name:?}, GenerateName:{generate:?}, Namespace:{namespace:?}, SelfLink:\"\", UID:{uid:?}, ResourceVersion:{version:?}, Generation:0, CreationTimestamp:time.Date(1, time.January, 1, 0, 0, 0, 0, time.UTC), DeletionTimestamp:<nil>, DeletionGracePeriodSeconds:(*int64)(nil), Labels:{labels}, Annotations:{annotations}, OwnerReferences:[]v1.OwnerReference(nil), Finalizers:[]string(nil), ManagedFields:[]v1.ManagedFieldsEntry(nil)}}"
    )
}

fn wrong(field: &str, shown: String, detail: &str) -> FieldError {
    FieldError { field: field.into(), kind: FieldErrorKind::Invalid(shown), detail: detail.into() }
}

/// A refusal. Kubernetes has forgotten the kind by then.
fn refuse(errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, "", "", errors)) }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
