//! kube-rs, unmodified, against the real hub: objects, discovery, watches, controllers; and pods on a real node.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "kube_rs/dynamic.rs"]
mod dynamic;
#[path = "kube_rs/objects.rs"]
mod objects;
#[path = "kube_rs/pods.rs"]
mod pods;
#[path = "kube_rs/runtime.rs"]
mod runtime;
#[path = "kube_rs/watching.rs"]
mod watching;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_tests::Hub;
use tempfile::TempDir;
use tokio::time::timeout;

/// A hub without nodes, and a client of it for the namespace `default`.
struct Server {
    client: Client,
    _hub: Hub,
    _dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::start(&dir.path().join("hub"), &[]);
        Self { client: client(&hub.kubeconfig()).await, _hub: hub, _dir: dir }
    }
}

/// A client as kube makes it from a kubeconfig.
async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A typed object from JSON.
fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A ConfigMap with a label `app: x`.
fn config_map(name: &str, data: Value) -> ConfigMap {
    typed(json!({"metadata": {"name": name, "labels": {"app": "x"}}, "data": data}))
}

/// The outcome of what must come within half a minute.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what).await.expect("it comes in time")
}

/// Code and reason of a refusal.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("this should be refused: {other:?}"),
    }
}
