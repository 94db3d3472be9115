//! `v1` ComponentStatus: the health of the control plane's parts. Its objects are never stored.

use serde_json::Value;

use crate::registry::hooks::PLAIN;
use crate::registry::json::{list, text};
use crate::registry::printers::{self, NAME, text as text_column};
use crate::registry::{Column, Hooks, Kind};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "ComponentStatus",
        list_kind: "ComponentStatusList",
        plural: "componentstatuses",
        singular: "componentstatus",
        short_names: &["cs"],
        categories: &[],
        namespaced: false,
        subresources: &[],
        schema: "io.k8s.api.core.v1.ComponentStatus",
        storage: "componentstatuses".into(),
        hooks: Hooks { columns: COLUMNS, row, ..PLAIN },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Status", "Status of the component conditions"),
    text_column("Message", "Message of the component conditions"),
    text_column("Error", "Error of the component conditions"),
];

fn row(component: &Value, _now: i64) -> Vec<Value> {
    let healthy = list(component, "conditions").iter().find(|c| text(c, "type") == "Healthy");
    let cells = match healthy {
        None => ["Unknown", "", ""],
        Some(condition) => {
            let status = if text(condition, "status") == "True" { "Healthy" } else { "Unhealthy" };
            [status, text(condition, "message"), text(condition, "error")]
        }
    };
    [printers::name(component)].into_iter().chain(cells.map(Value::from)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells() {
        let condition = |status: &str| json!([{"type": "Healthy", "status": status, "message": "m", "error": "e"}]);
        for (conditions, expected) in [
            (condition("True"), ["a", "Healthy", "m", "e"]),
            (condition("False"), ["a", "Unhealthy", "m", "e"]),
            (json!([]), ["a", "Unknown", "", ""]),
        ] {
            assert_eq!(row(&json!({"metadata": {"name": "a"}, "conditions": conditions}), 0), expected);
        }
    }
}
