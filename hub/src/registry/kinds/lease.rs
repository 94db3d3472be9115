//! `coordination.k8s.io/v1` Lease.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::{PLAIN, some_spec};
use crate::registry::json::{int, text_at};
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "coordination.k8s.io",
        version: "v1",
        kind: "Lease",
        list_kind: "LeaseList",
        plural: "leases",
        singular: "lease",
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.coordination.v1.Lease",
        storage: "leases.coordination.k8s.io".into(),
        hooks: Hooks { default: some_spec, validate, columns: &[NAME, HOLDER, AGE], row, ..PLAIN },
    }
}

const HOLDER: Column = text_column("Holder", "holderIdentity contains the identity of the holder of a current lease.");

fn validate(lease: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(lease, old, true, names::dns_subdomain, &mut errors);
    let spec = lease.get("spec").unwrap_or(&Value::Null);
    let path = Path::new("spec");
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|s| *s <= 0) {
        errors.invalid(&path.child("leaseDurationSeconds"), seconds.to_string(), "must be greater than 0");
    }
    errors.non_negative(&path.child("leaseTransitions"), int(spec, "leaseTransitions"));
    errors.into_vec()
}

fn row(lease: &Value, now: i64) -> Vec<Value> {
    vec![printers::name(lease), text_at(lease, &["spec", "holderIdentity"]).into(), printers::age(lease, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn validation() {
        let lease = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
        let texts: Vec<String> = validate(&lease, None).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
