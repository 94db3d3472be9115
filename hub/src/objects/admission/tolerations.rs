//! Pods stay for a while on a node that is not ready or cannot be reached, unless they say otherwise.

use serde_json::{Value, json};

use super::{Request, is_pod};
use crate::objects::error::Error;

/// How long (kube-apiserver's `--default-not-ready-toleration-seconds` and its sibling).
const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds the tolerations that a new or changed pod lacks.
pub(super) fn check(request: &Request<'_>, pod: &mut Value) -> Result<(), Error> {
    if is_pod(request.target) {
        TAINTS.iter().for_each(|taint| tolerate(pod, taint));
    }
    Ok(())
}

fn tolerate(pod: &mut Value, taint: &str) {
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let text = |toleration: &Value, field: &str| toleration[field].as_str().unwrap_or_default().to_owned();
    let about = |t: &Value| ["", taint].contains(&&*text(t, "key")) && ["", "NoExecute"].contains(&&*text(t, "effect"));
    if !tolerations.iter().any(about) && pod["spec"].is_object() {
        let (operator, effect) = ("Exists", "NoExecute");
        tolerations.push(json!({"key": taint, "operator": operator, "effect": effect, "tolerationSeconds": SECONDS}));
        pod["spec"]["tolerations"] = tolerations.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tolerated_already_stays() {
        for (tolerations, added) in [
            (json!(null), 2),
            (json!([{"key": "other", "operator": "Exists"}]), 2),
            (json!([{"operator": "Exists"}]), 0),
            (json!([{"operator": "Exists", "effect": "NoSchedule"}]), 2),
            (json!([{"key": TAINTS[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]), 1),
            (json!([{"key": TAINTS[1], "operator": "Exists"}]), 1),
        ] {
            let before = tolerations.as_array().map_or(0, Vec::len);
            let mut pod = json!({"spec": {"tolerations": tolerations}});
            TAINTS.iter().for_each(|taint| tolerate(&mut pod, taint));
            let all = pod["spec"]["tolerations"].as_array().unwrap();
            assert_eq!(all.len(), before + added, "{pod}");
            assert!(all[before..].iter().all(|t| t["tolerationSeconds"] == SECONDS), "{pod}");
        }
    }
}
