//! Streams that the hub opens: logs, exec, attach and port-forward. Bytes go straight between the hub and the pod;
//! neither side is read faster than the other takes it, and no more than a chunk is held on the way.

mod exec;
mod forward;
mod logfile;
pub mod logs;
mod netns;
mod node;

use std::io;

use skiff_shared::ids::PodUid;
use skiff_shared::tls::io as frames;
use skiff_shared::wire::stream::{StreamReply, StreamRequest};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::podman::{Listed, Podman, RunState};
use forward::Wanted;

/// The pod a request is about; `None` for one about the node.
pub fn pod(request: &StreamRequest) -> Option<&PodUid> {
    match request {
        StreamRequest::Logs(request) => Some(&request.pod),
        StreamRequest::Exec(request) => Some(&request.pod),
        StreamRequest::Attach(request) => Some(&request.pod),
        StreamRequest::PortForward(request) => Some(&request.pod),
        StreamRequest::Dial(request) => Some(&request.pod),
        StreamRequest::Node(_) => None,
    }
}

/// Serves one stream to its end. `pod_name` is what an error calls the pod; `gone` resolves when the hub no longer
/// reads what this side sends.
pub async fn serve(
    podman: &dyn Podman,
    request: StreamRequest,
    pod_name: &str,
    mut send: impl AsyncWrite + Send + Unpin,
    recv: impl AsyncRead + Send + Unpin,
    gone: impl Future<Output = ()> + Send,
) {
    let ended = match request {
        StreamRequest::Logs(request) => tokio::select! {
            ended = logs::serve(podman, &request, pod_name, &mut send) => ended,
            () = gone => Err(io::ErrorKind::BrokenPipe.into()),
        },
        StreamRequest::Exec(request) => exec::exec(podman, &request, &mut send, recv, gone).await,
        StreamRequest::Attach(request) => exec::attach(podman, &request, &mut send, recv, gone).await,
        StreamRequest::PortForward(request) => {
            forward::serve(podman, &Wanted::Loopback(request), &mut send, recv, gone).await
        }
        StreamRequest::Dial(request) => forward::serve(podman, &Wanted::Address(request), &mut send, recv, gone).await,
        StreamRequest::Node(request) => node::serve(podman, request, &mut send).await,
    };
    if let Err(error) = ended {
        // The hub has gone away, or stopped reading: nobody to tell.
        tracing::debug!(%error, pod = pod_name, "a stream ended early");
    }
    let _ = send.shutdown().await;
}

async fn reply(send: &mut (impl AsyncWrite + Unpin), reply: &StreamReply) -> io::Result<()> {
    frames::write(send, reply).await.map_err(io::Error::other)
}

/// The running container that carries a name (empty: the pod's infra container), in a kubelet's words where there is
/// none.
async fn running(podman: &dyn Podman, pod: &PodUid, container: &str) -> Result<Listed, StreamReply> {
    let all = podman.list(Some(pod)).await.map_err(|e| StreamReply::Failed(e.chain()))?;
    let meant = |c: &Listed| if container.is_empty() { c.infra } else { !c.infra && c.labels.container == container };
    let found = all.into_iter().find(|c| c.state == RunState::Running && meant(c));
    let missing = || match container {
        "" => "the pod is not running".to_owned(),
        name => format!("container not found ({name:?})"),
    };
    found.ok_or_else(|| StreamReply::Failed(missing()))
}

#[cfg(test)]
mod tests;
