//! The link's messages. ALPN `skiff/1`; postcard inside length-prefixed frames (see `frame`).
//!
//! The agent opens one bidirectional *control* stream and speaks first. The hub opens further bidirectional
//! streams towards the agent for logs and the like (see `stream`).
//!
//! Evolution: enums are append-only; an unknown frame kind is skipped by its length; golden bytes are tested.

pub mod frame;
pub mod stream;
pub mod token;

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;
use crate::pod::{Item, ItemKey};
use crate::report::{ContainerResources, EventReport, NodeReport, PodReport};

/// ALPN of this protocol's major version.
pub const ALPN: &[u8] = b"skiff/1";

/// First 16 bytes of the SHA-256 of an encoded message or of a sorted inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 16]);

/// Agent to hub, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHub {
    /// First frame of a joining agent (a connection without a client certificate): proves the token.
    Join(Join),
    /// First frame of a joined agent.
    Hello(Hello),
    /// Answer to [`ToAgent::SendInventory`]: everything desired that is on this node's disk.
    Inventory(Vec<(ItemKey, Digest)>),
    /// The node's status changed (or the hub asked for it).
    Node(Box<NodeReport>),
    /// A pod's status changed (or the hub asked for it).
    Pod(Box<PodReport>),
    /// The agent no longer knows this pod.
    PodForgotten(PodUid),
    /// Events, oldest first.
    Events(Vec<EventReport>),
    /// Desired changes up to this number are on disk.
    Applied(u64),
    /// A signing request (DER) for the agent's own key: its certificate is to be renewed.
    Renew(Vec<u8>),
    /// A pod of this node needs a token of its service account.
    TokenRequest(TokenRequest),
    /// What the containers of the pod have that the next [`ToHub::Pod`] is about; left out where none asks for anything.
    PodResources(PodResources),
}

/// Hub to agent, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Answer to [`ToHub::Join`].
    Joined(Joined),
    /// The hub refuses and closes; the text says why.
    Refused(String),
    /// Answer to [`ToHub::Hello`].
    Welcome(Welcome),
    /// The desired digests differ: send the inventory.
    SendInventory,
    /// The reported digests differ: send every report again.
    SendReports,
    /// A change of the desired state.
    Change(Change),
    /// Events up to this number are stored and may be forgotten.
    EventsStored(u64),
    /// Answer to [`ToHub::Renew`]: the new client certificate, DER.
    Renewed(Vec<u8>),
    /// Answer to [`ToHub::TokenRequest`].
    Token(TokenAnswer),
}

/// The part of a pod's report that its own encoding leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodResources {
    /// The pod.
    pub pod: PodUid,
    /// `resources` of its [`PodReport`].
    pub containers: Vec<ContainerResources>,
}

/// A join request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The one-time token's id and secret (without the CA fingerprint).
    pub token: String,
    /// The name asked for.
    pub node: String,
    /// Certificate signing request, DER, for the agent's own key.
    pub csr_der: Vec<u8>,
    /// The agent's version.
    pub version: String,
}

/// A successful join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The client certificate, DER.
    pub certificate_der: Vec<u8>,
    /// The CA certificate, DER.
    pub ca_der: Vec<u8>,
}

/// The start of a session of a joined agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's version.
    pub version: String,
    /// Digest of the sorted inventory of desired items on disk.
    pub desired: Digest,
    /// Digest of the sorted inventory of reports as they now stand.
    pub reported: Digest,
}

/// The hub's side of the start of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The hub's version.
    pub version: String,
    /// The node's pod subnet, e.g. `10.42.3.0/24`.
    pub pod_cidr: String,
    /// Address of the cluster DNS.
    pub cluster_dns: String,
    /// E.g. `cluster.local`.
    pub cluster_domain: String,
}

/// A change of the desired state; applied as one, to disk first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Number within this session, from 1.
    pub seq: u64,
    /// New or changed items.
    pub upserts: Vec<Item>,
    /// Items this node no longer needs.
    pub removals: Vec<ItemKey>,
}

/// A token that a pod needs (`serviceAccountToken` of a projected volume).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The pod; the token ends with it.
    pub pod: PodUid,
    /// Who is to take the token; empty: the API server.
    pub audience: String,
    /// Seconds until it is to be renewed.
    pub expiration_seconds: u64,
}

/// What came of a [`TokenRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenAnswer {
    /// The request.
    pub request: TokenRequest,
    /// The token, or why there is none.
    pub result: Result<String, String>,
}
