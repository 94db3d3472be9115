//! Objects that every Kubernetes cluster has, made at the first start.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::RunError;
use crate::objects::{Objects, Target, User, WriteOptions};

/// Namespaces that every Kubernetes cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes the namespaces and the `kubernetes` Service where they are missing.
///
/// # Errors
/// [`RunError::Bootstrap`].
pub(super) async fn bootstrap(objects: &Objects, service: Ipv4Addr, api_port: u16) -> Result<(), RunError> {
    for name in NAMESPACES {
        ensure(objects, "Namespace", "", name, json!({})).await?;
    }
    let spec = json!({
        "type": "ClusterIP", "clusterIP": service.to_string(),
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": api_port}],
    });
    ensure(objects, "Service", "default", "kubernetes", spec).await
}

async fn ensure(
    objects: &Objects,
    kind: &'static str,
    namespace: &str,
    name: &'static str,
    spec: Value,
) -> Result<(), RunError> {
    let failed = |source| RunError::Bootstrap { kind, name, source };
    let missing = || failed(crate::objects::Error::BadRequest(format!("the table of kinds has no {kind}")));
    let row = objects.registry().kind("v1", kind).cloned().ok_or_else(missing)?;
    let target = Target { kind: row, namespace: namespace.into(), name: name.into(), subresource: String::new() };
    if objects.get(&target).is_some() {
        return Ok(());
    }
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let metadata = if kind == "Service" { json!({"name": name, "labels": labels}) } else { json!({"name": name}) };
    let options = WriteOptions {
        user: User::component("bootstrap"),
        field_manager: "kube-apiserver".into(),
        ..WriteOptions::default()
    };
    objects.create(&target, json!({"metadata": metadata, "spec": spec}), &options).await.map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::objects::Networks;
    use crate::registry::Registry;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_second_start_changes_nothing() {
        let networks = Networks::new(Ipv4Addr::new(10, 43, 0, 0), 16);
        let objects = Objects::new(MemoryStore::new(), Arc::new(Registry::builtin()), networks);
        let first = Ipv4Addr::new(10, 43, 0, 1);
        bootstrap(&objects, first, 6443).await.expect("an empty store takes them");
        let revision = objects.snapshot().revision();
        assert_eq!(revision, 5);
        bootstrap(&objects, first, 6443).await.expect("they are there");
        assert_eq!(objects.snapshot().revision(), revision);
    }
}
