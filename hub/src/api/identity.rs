//! `authentication.k8s.io/v1`: who am I, whose token is this, and tokens for service accounts.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::auth::authenticated;
use super::request::ResourcePath;
use super::router::Call;
use super::status::Status;
use crate::auth::jwt::ISSUER;
use crate::auth::tokens::{Grant, Reference, claims};
use crate::auth::{node_name, refused_token};
use crate::objects::{Error, User, new_uid};
use crate::registry::{FieldError, FieldErrorKind};
use crate::store::{Key, Object};

const GROUP: &str = "authentication.k8s.io";
/// Shortest, default and longest life of a token, in seconds.
const LIFETIME: (i64, i64, i64) = (600, 3600, 1 << 32);

/// SelfSubjectReview.
pub(super) fn self_review(call: &Call, _path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    review["metadata"]["creationTimestamp"] = time(Timestamp::now()).into();
    review["status"] = json!({"userInfo": info(&call.user)});
    Ok(())
}

/// TokenReview.
pub(super) fn token_review(call: &Call, _path: &ResourcePath, review: &mut Value) -> Result<(), Status> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences = texts(&review["spec"]["audiences"]);
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    review["status"] = match call.state.authenticator.review(token, &audiences) {
        Ok(known) => {
            json!({"authenticated": true, "user": info(&authenticated(known.user)), "audiences": known.audiences})
        }
        Err(error) => json!({"user": {}, "error": error}),
    };
    Ok(())
}

/// The `token` subresource of service accounts.
pub(super) fn token_request(call: &Call, path: &ResourcePath, request: &mut Value) -> Result<(), Status> {
    let signer = call.state.authenticator.signer().ok_or_else(|| Status::internal("no key to sign tokens"))?;
    let account = find(call, "serviceaccounts", &path.namespace, &path.name)?;
    let asked = request["spec"]["expirationSeconds"].as_i64();
    let seconds = lifetime(asked)?;
    let mut audiences = texts(&request["spec"]["audiences"]);
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let now = Timestamp::now();
    let mut grant = Grant {
        namespace: path.namespace.clone(),
        account: Reference { name: path.name.clone(), uid: account.meta.uid.to_string() },
        audiences,
        seconds,
        id: new_uid(),
        ..Grant::default()
    };
    if let Some(node) = node_name(&call.user) {
        permit(call, path, node, &request["spec"])?;
    }
    if request["spec"]["boundObjectRef"].is_object() {
        bind(call, &mut grant, &request["spec"]["boundObjectRef"])?;
    } else {
        // As Kubernetes shows it.
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    let token =
        signer.sign(&claims(&grant, now)).ok_or_else(|| Status::internal("the system gives no random numbers"))?;
    let end = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    request["metadata"]["namespace"] = path.namespace.as_str().into();
    request["metadata"]["creationTimestamp"] = time(now).into();
    request["spec"]["audiences"] = json!(grant.audiences);
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"token": token, "expirationTimestamp": time(end)});
    Ok(())
}

/// Refuses a node the tokens that are not for its pods.
fn permit(call: &Call, path: &ResourcePath, node: &str, spec: &Value) -> Result<(), Status> {
    let name = spec["boundObjectRef"]["name"].as_str().unwrap_or_default();
    let pod = find(call, "pods", &path.namespace, name).ok().and_then(|pod| pod.parse::<Value>().ok());
    refused_token(node, spec, pod.as_ref()).map_or(Ok(()), |detail| {
        Err(Error::Forbidden { resource: "serviceaccounts".into(), name: path.name.clone(), detail }.into())
    })
}

fn lifetime(asked: Option<i64>) -> Result<i64, Status> {
    let (shortest, usual, longest) = LIFETIME;
    let seconds = asked.unwrap_or(usual);
    let detail = if seconds < shortest {
        "may not specify a duration less than 10 minutes"
    } else if seconds > longest {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(seconds);
    };
    let error = FieldError {
        field: "spec.expirationSeconds".into(),
        kind: FieldErrorKind::Invalid(seconds.to_string()),
        detail: detail.into(),
    };
    Err(Status::invalid(GROUP, "TokenRequest", "", &[error]))
}

/// Binds a token to the pod, Secret or node that the request names.
fn bind(call: &Call, grant: &mut Grant, reference: &Value) -> Result<(), Status> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name").to_owned());
    let (claim, resource, namespace) = match (text("apiVersion"), kind) {
        ("v1" | "", "Pod") => ("pod", "pods", grant.namespace.as_str()),
        ("v1" | "", "Secret") => ("secret", "secrets", grant.namespace.as_str()),
        ("v1" | "", "Node") => ("node", "nodes", ""),
        (version, _) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let object = find(call, resource, namespace, &name)?;
    let uid = text("uid");
    if !uid.is_empty() && uid != &*object.meta.uid {
        let detail = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Error::Conflict { resource: kind.into(), name, detail }.into());
    }
    if claim == "pod" {
        let pod: Value = object.parse().unwrap_or_default();
        if pod["spec"]["serviceAccountName"] != grant.account.name {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                grant.account.name
            )));
        }
        grant.node = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()).and_then(|node| {
            let uid = find(call, "nodes", "", node).ok()?.meta.uid.to_string();
            Some(Reference { name: node.to_owned(), uid })
        });
    }
    grant.bound = Some((claim, Reference { name, uid: object.meta.uid.to_string() }));
    Ok(())
}

fn find(call: &Call, resource: &str, namespace: &str, name: &str) -> Result<std::sync::Arc<Object>, Status> {
    let key = Key { resource: resource.into(), namespace: namespace.into(), name: name.into() };
    let missing = || Status::not_found(resource, name);
    call.state.objects.snapshot().get(&key).cloned().ok_or_else(missing)
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
