//! `pods/eviction`: what the body says beside its name is how to delete.

use hyper::Response;
use serde_json::Value;

use super::negotiate::Negotiated;
use super::options::delete_options;
use super::query::Query;
use super::respond::{self, Body};
use super::router::Call;
use super::status::{Status, success};
use crate::objects::{Target, WriteOptions};

/// Evicts a pod.
pub(crate) async fn evict(
    call: &Call,
    target: &Target,
    mut eviction: Value,
    options: &WriteOptions,
    form: &Negotiated,
) -> Result<Response<Body>, Status> {
    if eviction["apiVersion"] == "policy/v1beta1" {
        // kubectl before 1.22 sends it; the fields are the same.
        eviction["apiVersion"] = "policy/v1".into();
    }
    if eviction["metadata"]["name"] != target.name.as_str() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let warnings = call.state.objects.decode(target, &mut eviction, options)?;
    let body = Some(eviction["deleteOptions"].take()).filter(Value::is_object);
    let mut delete = delete_options(&Query::default(), body, &call.user)?;
    delete.dry_run |= options.dry_run;
    call.state.objects.evict(target, &delete).await?;
    let mut response = respond::json(201, form, success(None, Some(201)).into());
    respond::warn(&mut response, &warnings);
    Ok(response)
}
