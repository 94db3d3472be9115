//! ComponentStatus: the health of the hub's parts under the names that Kubernetes' parts have. Nothing of it is stored.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::health::Check;
use super::listing::{Page, answer};
use super::options::ListOptions;
use super::read::{one, scope};
use super::render::ListMeta;
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::status::Status;
use crate::registry::Kind;
use crate::store::{Key, Meta, Object};

/// Plural and storage name.
pub(crate) const COMPONENTS: &str = "componentstatuses";

const DEPRECATED: &str = "v1 ComponentStatus is deprecated in v1.19+";

/// Answers with the health of one part.
pub(crate) fn get(call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let check = call.state.components.iter().find(|c| c.name == path.name);
    let check = check.ok_or_else(|| Status::not_found(COMPONENTS, &path.name))?;
    Ok(deprecated(one(call, kind, path, &form, 200, &status(kind, check))))
}

/// Answers with the health of all parts.
pub(crate) async fn list(call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let options = ListOptions::parse(&call.query, kind, false)?;
    let scope = scope(kind, path, &options);
    let all = call.state.components.iter().map(|check| Arc::new(status(kind, check)));
    let items = all.filter(|o| scope.matches(call.state.objects.registry(), o)).collect();
    Ok(deprecated(answer(&form, call.renderer(kind, &form), Page { items, meta: ListMeta::default() }).await))
}

fn deprecated(mut response: Response<Body>) -> Response<Body> {
    respond::warn(&mut response, &[DEPRECATED.to_owned()]);
    response
}

/// The status of a part, asked now.
fn status(kind: &Kind, check: &Check) -> Object {
    let condition = match (check.run)() {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "error": why}),
    };
    let metadata = json!({"name": check.name, "creationTimestamp": Value::Null});
    let object = json!({
        "kind": kind.kind, "apiVersion": kind.version, "metadata": metadata, "conditions": [condition],
    });
    let key = Key { resource: kind.storage.clone(), namespace: "".into(), name: check.name.into() };
    Object { key, revision: 0, json: Bytes::from(object.to_string()), meta: Meta::default() }
}
