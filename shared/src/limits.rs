//! Every limit that both sides must agree on, with its reason.

/// Largest request body the API accepts, in bytes. Kubernetes' own limit (3 MiB, apiserver `MaxRequestBodyBytes`).
pub const MAX_REQUEST_BODY: usize = 3 * 1024 * 1024;

/// Largest frame on the control stream, in bytes: the largest object that passes the API plus its envelope.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// Most pods on one node: Kubernetes' kubelet default (`--max-pods`).
pub const MAX_PODS_PER_NODE: u32 = 110;
