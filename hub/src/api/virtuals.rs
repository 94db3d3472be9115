//! Kinds and subresources that are answered when they are created, and never stored.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::negotiate::View;
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::status::Status;
use super::{identity, reviews};
use crate::objects::{Target, WriteOptions};

/// Completes a decoded object, usually with its status.
type Answer = fn(&Call, &ResourcePath, &mut Value) -> Result<(), Status>;

/// Group, resource and subresource, and who answers.
const ANSWERS: [(&str, &str, &str, Answer); 7] = [
    ("authentication.k8s.io", "selfsubjectreviews", "", identity::self_review),
    ("authentication.k8s.io", "tokenreviews", "", identity::token_review),
    ("", "serviceaccounts", "token", identity::token_request),
    ("authorization.k8s.io", "localsubjectaccessreviews", "", reviews::local_access),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "", reviews::self_access),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "", reviews::self_rules),
    ("authorization.k8s.io", "subjectaccessreviews", "", reviews::access),
];

/// Answers a create, where nothing is to be stored; `None` for kinds that are.
pub(crate) fn create(
    call: &Call,
    target: &Target,
    path: &ResourcePath,
    object: &mut Value,
    options: &WriteOptions,
) -> Option<Result<Response<Body>, Status>> {
    let ours = |(group, resource, subresource, _): &&(&str, &str, &str, Answer)| {
        (*group, *resource, *subresource) == (&*path.group, &*path.resource, &*path.subresource)
    };
    let (.., answer) = ANSWERS.iter().find(ours)?;
    let mut answered = || {
        let form = call.form()?;
        // What is never stored has no columns.
        if matches!(form.view, View::Table { .. }) {
            return Err(Status::not_acceptable(&[respond::JSON, respond::YAML]));
        }
        let warnings = call.state.objects.decode(target, object, options)?;
        // What is never stored was made at no time, unless its answer says so.
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        if object["metadata"].get("creationTimestamp").is_none() {
            object["metadata"]["creationTimestamp"] = Value::Null;
        }
        answer(call, path, object)?;
        let mut response = respond::json(201, &form, Bytes::from(object.to_string()));
        respond::warn(&mut response, &warnings);
        Ok(response)
    };
    Some(answered())
}
