//! A new node takes no pods until it is known to be ready.

use serde_json::{Value, json};

use super::Request;
use crate::objects::error::Error;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const NO_SCHEDULE: &str = "NoSchedule";

/// Taints new nodes. The node lifecycle controller takes the taint away.
pub(super) fn check(request: &Request<'_>, node: &mut Value) -> Result<(), Error> {
    let target = request.target;
    if request.old.is_some() || !target.subresource.is_empty() || &*target.kind.storage != "nodes" {
        return Ok(());
    }
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if !taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == NO_SCHEDULE) {
        taints.push(json!({"key": NOT_READY, "effect": NO_SCHEDULE}));
        if !node["spec"].is_object() {
            node["spec"] = json!({});
        }
        node["spec"]["taints"] = taints.into();
    }
    Ok(())
}
