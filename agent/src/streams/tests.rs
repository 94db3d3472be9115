//! Commands in a fake Podman's containers, as the hub sees them; in paused time.

use std::sync::Arc;
use std::time::Duration;

use skiff_shared::tls::io::{read_chunk, read_one, write_chunks};
use skiff_shared::wire::stream::channel::{Channel, End, size};
use skiff_shared::wire::stream::{AttachRequest, ExecRequest, PortForwardRequest, Wanted};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::podman::fake::FakePodman;
use crate::podman::{ContainerSpec, Labels, PodSpec};

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };

/// The hub's end of a stream to an agent with one pod, `u-1`, whose container `c` runs.
struct Hub {
    podman: Arc<FakePodman>,
    send: WriteHalf<DuplexStream>,
    recv: ReadHalf<DuplexStream>,
    gone: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

async fn running_pod() -> Arc<FakePodman> {
    let podman = FakePodman::default();
    let labels = |container: &str| Labels { pod_uid: "u-1".into(), container: container.into(), ..Labels::default() };
    let pod = PodSpec {
        share_pids: false,
        sysctls: Vec::new(),
        name: "p".into(),
        infra_name: "infra".into(),
        hostname: String::new(),
        host_network: true,
        network: String::new(),
        ports: vec![],
        labels: labels(""),
    };
    podman.create_pod(&pod).await.unwrap();
    let spec = ContainerSpec { name: "c".into(), pod: "p".into(), labels: labels("c"), ..ContainerSpec::default() };
    let id = podman.create_container(&spec).await.unwrap();
    podman.start(&id).await.unwrap();
    Arc::new(podman)
}

impl Hub {
    async fn open(request: StreamRequest) -> (Self, StreamReply) {
        let podman = running_pod().await;
        let (near, far) = tokio::io::duplex(1024);
        let (mut recv, send) = tokio::io::split(near);
        let (gone, is_gone) = oneshot::channel();
        let served = tokio::spawn({
            let podman = podman.clone();
            async move {
                let (recv, send) = tokio::io::split(far);
                let gone = async { drop(is_gone.await) };
                serve(&*podman, request, "web", send, recv, gone).await;
            }
        });
        let reply = read_one(&mut recv, 4096).await.unwrap();
        (Self { podman, send, recv, gone: Some(gone), served }, reply)
    }

    async fn write(&mut self, channel: Channel, bytes: &[u8]) {
        write_chunks(&mut self.send, channel, bytes).await.unwrap();
    }

    async fn read(&mut self) -> (Channel, Vec<u8>) {
        let mut buffer = Vec::new();
        let channel = read_chunk(&mut self.recv, &mut buffer).await.unwrap().expect("the stream goes on");
        (channel, buffer)
    }

    fn calls(&self) -> Vec<String> {
        self.podman.calls().split_off(3)
    }
}

fn exec(container: &str) -> StreamRequest {
    let (pod, command) = (PodUid::parse("u-1").unwrap(), vec!["cat".to_owned()]);
    StreamRequest::Exec(ExecRequest { pod, container: container.into(), command, wanted: ALL })
}

#[tokio::test(start_paused = true)]
async fn a_command_has_input_output_and_an_end() {
    let (mut hub, reply) = Hub::open(exec("c")).await;
    assert_eq!(reply, StreamReply::Ok);
    hub.write(Channel::Stdin, b"hello").await;
    assert_eq!(hub.read().await, (Channel::Stdout, b"hello".to_vec()));
    hub.write(Channel::Resize, &size(80, 24)).await;
    hub.write(Channel::Stdin, b"again").await;
    assert_eq!(hub.read().await, (Channel::Stdout, b"again".to_vec()));
    hub.write(Channel::Stdin, b"").await;
    let (channel, end) = hub.read().await;
    assert_eq!((channel, End::decode(&end)), (Channel::End, End::Exited(7)));
    assert_eq!(hub.calls(), ["exec c cat", "resize Exec(\"session-of-c\") 80x24"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_ends_with_its_client() {
    let killed = ["exec c cat", "kill session-of-c force=false", "kill session-of-c force=true"];
    let (mut hub, _) = Hub::open(exec("c")).await;
    hub.gone.take();
    (&mut hub.served).await.unwrap();
    assert_eq!(hub.calls(), killed, "the hub stopped reading");

    let (mut hub, _) = Hub::open(exec("c")).await;
    hub.send.shutdown().await.unwrap();
    (&mut hub.served).await.unwrap();
    assert_eq!(hub.calls(), killed, "the hub ended its side");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_stops_the_command_and_costs_no_memory() {
    let (mut hub, _) = Hub::open(exec("c")).await;
    let mut taken = 0;
    while timeout(Duration::from_secs(60), write_chunks(&mut hub.send, Channel::Stdin, &[7; 256])).await.is_ok() {
        taken += 256;
        assert!(taken < 100_000, "input is taken though nobody reads the output");
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_is_attached_to() {
    let (pod, container) = (PodUid::parse("u-1").unwrap(), "c".to_owned());
    let request = AttachRequest { pod, container, wanted: ALL };
    let (mut hub, _) = Hub::open(StreamRequest::Attach(request)).await;
    hub.write(Channel::Stdin, b"hello").await;
    assert_eq!(hub.read().await, (Channel::Stdout, b"hello".to_vec()));
    hub.write(Channel::Stdin, b"").await;
    let (channel, end) = hub.read().await;
    assert_eq!((channel, End::decode(&end)), (Channel::End, End::Exited(0)));
    assert_eq!(hub.calls(), ["attach c"]);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_in_silence_before_it_was_attached_to_is_told() {
    let reset = "Error: read unixpacket @->/proc/self/fd/15/attach: read: connection reset by peer\n";
    let late = End::Failed("the container has ended".into());
    for (says, end) in [("", late.clone()), (reset, late), ("hello", End::Exited(0))] {
        let request = AttachRequest { pod: PodUid::parse("u-1").unwrap(), container: "c".into(), wanted: ALL };
        let (mut hub, _) = Hub::open(StreamRequest::Attach(request)).await;
        if !says.is_empty() {
            hub.write(Channel::Stdin, says.as_bytes()).await;
        }
        if says == "hello" {
            assert_eq!(hub.read().await, (Channel::Stdout, says.into()));
        }
        hub.podman.exit("", "c", 0);
        hub.write(Channel::Stdin, b"").await;
        assert_eq!(End::decode(&hub.read().await.1), end, "{says:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_run_is_refused() {
    let port = PortForwardRequest { pod: PodUid::parse("u-1").unwrap(), port: 80 };
    for (request, text) in
        [(exec("x"), "container not found (\"x\")"), (StreamRequest::PortForward(port), "the pod is not running")]
    {
        let (_, reply) = Hub::open(request).await;
        assert_eq!(reply, StreamReply::Failed(text.into()));
    }
}
