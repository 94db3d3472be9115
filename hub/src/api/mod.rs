//! The Kubernetes HTTP API: HTTPS in, `Objects`, snapshots and watches behind it.
//!
//! A request passes, in this order: `server` (connections, limits), `router` (authentication, authorization, time-out),
//! then `read`, `stream`, `write`, `logs`, `connect` or `proxy`. Kinds come from rows of the registry alone; no kind has a
//! handler of its own but pods' logs and connections, and proxies. Every refusal is a [`status::Status`].

mod audit;
mod auth;
mod begin;
mod body;
mod components;
mod connect;
mod deadline;
mod documents;
mod eviction;
mod fairness;
mod frames;
#[cfg(fuzzing)]
pub mod fuzz;
mod health;
mod identity;
mod impersonate;
mod listing;
mod logs;
mod metrics;
mod negotiate;
mod options;
mod pages;
mod proxy;
mod query;
mod read;
mod render;
mod request;
mod respond;
mod reviews;
mod router;
mod routes;
mod server;
mod spdy;
pub mod status;
mod stream;
mod virtuals;
mod websocket;
mod websocket_token;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

pub use audit::{AuditLevel, AuditLog, AuditRotation, AuditWriter};
pub use auth::{Authenticator, certificate_user};
pub use fairness::InFlight;
pub use health::Check;
pub use logs::{LogStream, NodeStream, NodeStreams, StreamError};
pub use query::Query;
pub use request::{RequestInfo, ResourcePath, Verb};
pub use respond::Body;
pub use server::{Peer, serve, serve_connection};

use crate::objects::Objects;
use fairness::Fairness;
use frames::Frames;
use metrics::Metrics;
use pages::Pages;

/// The discovery and OpenAPI documents, which are made from the registry.
pub trait Documents: Send + Sync + 'static {
    /// The document under a path (`/api`, `/apis/apps/v1`, `/openapi/v3`, …) in the form that one entry of an `Accept`
    /// header asks for; `None` where there is none.
    fn get(&self, path: &str, accept: &str) -> Option<Document>;

    /// The paths to list under `/`.
    fn paths(&self) -> Vec<String>;
}

/// A document as it goes out.
#[derive(Debug, Clone)]
pub struct Document {
    /// Media type.
    pub content_type: Cow<'static, str>,
    /// Content.
    pub body: Bytes,
    /// Whether `body` is compressed with gzip; clients that do not take it get it unpacked.
    pub gzip: bool,
    /// Entity tag, without quotes.
    pub etag: Option<String>,
}

/// Everything that answering takes.
pub struct ApiState {
    objects: Objects,
    authenticator: Arc<dyn Authenticator>,
    streams: Arc<dyn NodeStreams>,
    documents: Arc<dyn Documents>,
    checks: Vec<Check>,
    components: Vec<Check>,
    pages: Pages,
    fairness: Arc<Fairness>,
    frames: Frames,
    metrics: Metrics,
    /// Counts the requests to Services, whose endpoints take turns.
    turns: AtomicU64,
    audit: Option<AuditLog>,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("objects", &self.objects).field("checks", &self.checks).finish_non_exhaustive()
    }
}

impl ApiState {
    /// `checks` are what `/livez`, `/readyz` and `/healthz` ask, in this order.
    pub fn new(
        objects: Objects,
        authenticator: Arc<dyn Authenticator>,
        streams: Arc<dyn NodeStreams>,
        documents: Arc<dyn Documents>,
        checks: Vec<Check>,
    ) -> Self {
        Self {
            objects,
            authenticator,
            streams,
            documents,
            checks,
            components: Vec::new(),
            pages: Pages::default(),
            fairness: Fairness::new(InFlight::default()),
            frames: Frames::default(),
            metrics: Metrics::default(),
            turns: AtomicU64::new(0),
            audit: None,
        }
    }

    /// With other bounds on the requests that are answered at one time.
    #[must_use]
    pub fn with_in_flight(mut self, bounds: InFlight) -> Self {
        self.fairness = Fairness::new(bounds);
        self
    }

    /// With what ComponentStatuses tell: a part's name and its health, in this order.
    #[must_use]
    pub fn with_components(mut self, components: Vec<Check>) -> Self {
        self.components = components;
        self
    }

    /// With a log of all requests.
    #[must_use]
    pub fn with_audit(mut self, log: Option<AuditLog>) -> Self {
        self.audit = log;
        self
    }
}
