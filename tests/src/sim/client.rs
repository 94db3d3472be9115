//! A client of the hub's API for code that is not async: one connection, opened again after a failure.

use std::cell::RefCell;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::api::{Api, Connection, Reply};

/// The client.
#[derive(Debug)]
pub struct Client {
    kubeconfig: PathBuf,
    runtime: Runtime,
    connection: RefCell<Option<Connection>>,
}

impl Client {
    pub(super) fn new(kubeconfig: PathBuf) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        Self { kubeconfig, runtime, connection: RefCell::new(None) }
    }

    /// GET.
    ///
    /// # Errors
    /// What went wrong, in the hub's words where it answered.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        self.call("GET", path, "", Bytes::new()).map(|reply| reply.json())
    }

    /// POST.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn create(&self, path: &str, object: &Value) -> Result<Value, String> {
        self.call("POST", path, "application/json", object.to_string().into()).map(|reply| reply.json())
    }

    /// PATCH with a merge patch.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value, String> {
        self.call("PATCH", path, "application/merge-patch+json", patch.to_string().into()).map(|reply| reply.json())
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<Value, String> {
        self.call("DELETE", path, "application/json", Bytes::new()).map(|reply| reply.json())
    }

    /// What happened under `path` since `revision` until now, oldest first: a watch that ends after a second.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn history(&self, path: &str, revision: &str) -> Result<Vec<Value>, String> {
        let path = format!("{path}?watch=true&timeoutSeconds=1&resourceVersion={revision}");
        let body = self.call("GET", &path, "", Bytes::new())?.body;
        let events = serde_json::Deserializer::from_slice(&body).into_iter();
        events.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn call(&self, method: &str, path: &str, kind: &str, body: Bytes) -> Result<Reply, String> {
        let kept = self.connection.borrow_mut().take();
        let answer = self.runtime.block_on(async {
            let mut connection = match kept {
                Some(kept) => kept,
                None => Api::from_kubeconfig(&self.kubeconfig)?.connect().await?,
            };
            let reply = connection.send(method, path, kind, body).await?;
            Ok::<_, std::io::Error>((reply, connection))
        });
        let (reply, connection) = answer.map_err(|error| format!("{method} {path} gives {error}"))?;
        self.connection.replace(Some(connection));
        if reply.status < 300 {
            return Ok(reply);
        }
        Err(format!("{method} {path} gives {}: {}", reply.status, String::from_utf8_lossy(&reply.body)))
    }

    /// Forgets the connection, which a hub that ended leaves broken.
    pub(super) fn disconnect(&self) {
        self.connection.replace(None);
    }
}
