//! `v1` ServiceAccount.

use serde_json::Value;

use crate::registry::fields::Errors;
use crate::registry::hooks::PLAIN;
use crate::registry::json::list;
use crate::registry::printers::{self, AGE, NAME, text as text_column};
use crate::registry::{Column, Hooks, Kind, names, objectmeta, warnings};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "ServiceAccount",
        list_kind: "ServiceAccountList",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        categories: &[],
        namespaced: true,
        subresources: &["token"],
        schema: "io.k8s.api.core.v1.ServiceAccount",
        storage: "serviceaccounts".into(),
        hooks: Hooks {
            validate: |account, old| {
                let mut errors = Errors::default();
                objectmeta::validate(account, old, true, names::dns_subdomain, &mut errors);
                errors.into_vec()
            },
            warn: warnings::service_account,
            columns: &[NAME, SECRETS, AGE],
            row,
            ..PLAIN
        },
    }
}

const SECRETS: Column = text_column(
    "Secrets",
    "Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are allowed to use.",
);

fn row(account: &Value, now: i64) -> Vec<Value> {
    vec![printers::name(account), list(account, "secrets").len().into(), printers::age(account, now)]
}
