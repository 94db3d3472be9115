//! Golden bytes of every message, and what becomes of bytes that are none.

mod extras;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pod::*;
use crate::report::*;
use crate::wire::stream::{
    AttachRequest, DialRequest, ExecRequest, LogsRequest, NodeRequest, PortForwardRequest, Wanted,
};
use crate::wire::{Change, Hello, Join, Joined, PodResources, TokenAnswer, TokenRequest, Welcome};

use extras::*;

const GOLDEN: &str = include_str!("../golden/skiff-1.txt");

fn uid() -> PodUid {
    PodUid::parse("0a1b").unwrap()
}

fn pod() -> Pod {
    Pod {
        uid: uid(),
        namespace: "default".into(),
        name: "web".into(),
        labels: vec![("app".into(), "web".into())],
        annotations: vec![],
        init_containers: vec![],
        containers: vec![container()],
        restart_policy: RestartPolicy::OnFailure,
        termination_grace_seconds: 30,
        active_deadline_seconds: Some(600),
        hostname: "web".into(),
        host_network: true,
        service_account: "default".into(),
        qos: Qos::Burstable,
        deletion: Some(Deletion { grace_seconds: 5, deadline_unix_ms: 1_700_000_005_000 }),
        created_unix_ms: 1_700_000_000_000,
        extras: Vec::new(),
    }
}

fn container() -> Container {
    let config = ObjectRef::ConfigMap("c".into());
    let value = |name: &str, value| EnvVar { name: name.into(), value };
    Container {
        name: "app".into(),
        image: "img:1".into(),
        pull_policy: PullPolicy::IfNotPresent,
        command: vec!["sh".into()],
        args: vec!["-c".into()],
        working_dir: Some("/".into()),
        env_from: vec![EnvFrom { prefix: "P_".into(), source: ObjectRef::Secret("s".into()), optional: true }],
        env: vec![
            value("A", EnvValue::Literal("1".into())),
            value("B", EnvValue::Key { source: config, key: "k".into(), optional: false }),
            value("C", EnvValue::Field("status.podIP".into())),
            value("D", EnvValue::Resource { container: String::new(), resource: "limits.cpu".into(), divisor: 1000 }),
        ],
        ports: vec![Port {
            name: "http".into(),
            container_port: 80,
            host_port: Some(8080),
            host_ip: String::new(),
            protocol: Protocol::Tcp,
        }],
        resources: Resources {
            cpu_request_milli: Some(100),
            memory_limit_bytes: Some(1 << 20),
            ..Resources::default()
        },
        stdin: false,
        stdin_once: false,
        tty: true,
        termination_message_from_logs: true,
        security: Security { run_as_user: Some(1000), cap_add: vec!["NET_ADMIN".into()], ..Security::default() },
        sidecar: false,
    }
}

fn terminated() -> Terminated {
    Terminated {
        exit_code: -1,
        reason: "Error".into(),
        message: String::new(),
        started_ms: 1,
        finished_ms: 2,
        container_id: "podman://ab".into(),
    }
}

fn pod_report() -> PodReport {
    let container = |state, last| ContainerReport {
        name: "app".into(),
        image: "img:1".into(),
        image_id: "sha256:1".into(),
        container_id: "podman://ab".into(),
        state,
        last,
        restarts: 3,
        ready: true,
        started: true,
    };
    PodReport {
        uid: uid(),
        namespace: "default".into(),
        name: "web".into(),
        phase: Phase::Running,
        reason: String::new(),
        message: String::new(),
        pod_ip: "10.42.0.2".into(),
        host_ip: "192.0.2.1".into(),
        start_ms: 1_700_000_000_000,
        conditions: vec![PodCondition {
            kind: "Ready".into(),
            status: true,
            reason: String::new(),
            message: String::new(),
            since_ms: 5,
        }],
        init_containers: vec![container(ContainerState::Terminated(terminated()), None)],
        containers: vec![
            container(ContainerState::Running { started_ms: 4 }, Some(terminated())),
            container(ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: "m".into() }, None),
        ],
        gone: false,
        resources: vec![],
    }
}

fn node_report() -> NodeReport {
    NodeReport {
        internal_ip: "192.0.2.1".into(),
        hostname: "edge".into(),
        cpu_milli: 1000,
        memory_bytes: 1 << 30,
        storage_bytes: 1 << 34,
        pods: 110,
        cpu_reserved_milli: 50,
        memory_reserved_bytes: 1 << 26,
        info: NodeInfo { architecture: "amd64".into(), ..NodeInfo::default() },
        conditions: vec![NodeCondition {
            kind: "Ready".into(),
            status: true,
            reason: "KubeletReady".into(),
            message: "m".into(),
            since_ms: 6,
        }],
        labels: vec![("a/b".into(), "c".into())],
    }
}

fn events() -> Vec<EventReport> {
    let event = |seq, subject| EventReport {
        seq,
        at_ms: 7,
        warning: true,
        reason: "BackOff".into(),
        message: "m".into(),
        subject,
        count: 2,
    };
    let of_pod = Subject::Pod {
        uid: uid(),
        namespace: "default".into(),
        name: "web".into(),
        container: "app".into(),
        init: false,
    };
    vec![event(1, Subject::Node), event(2, of_pod)]
}

fn data(name: &str) -> Data {
    Data { namespace: "default".into(), name: name.into(), entries: vec![("k".into(), vec![0, 255])] }
}

fn keys() -> Vec<ItemKey> {
    let (namespace, name) = ("default".to_owned(), "c".to_owned());
    vec![
        ItemKey::Pod(uid()),
        ItemKey::ConfigMap { namespace: namespace.clone(), name: name.clone() },
        ItemKey::Secret { namespace, name },
    ]
}

fn to_hub() -> Vec<ToHub> {
    let digest = Digest([1; 16]);
    vec![
        ToHub::Join(Join {
            token: "id.secret".into(),
            node: "edge".into(),
            csr_der: vec![1, 2],
            version: "0.1.0".into(),
        }),
        ToHub::Hello(Hello { version: "0.1.0".into(), desired: digest, reported: Digest([2; 16]) }),
        ToHub::Inventory(keys().into_iter().map(|k| (k, digest)).collect()),
        ToHub::Node(Box::new(node_report())),
        ToHub::Pod(Box::new(pod_report())),
        ToHub::PodForgotten(uid()),
        ToHub::Events(events()),
        ToHub::Applied(300),
        ToHub::Renew(vec![3]),
        ToHub::TokenRequest(token_request()),
        ToHub::PodResources(PodResources {
            pod: uid(),
            containers: vec![ContainerResources {
                container: "c".into(),
                allocated: Resources { cpu_request_milli: Some(100), ..Resources::default() },
                actual: Resources { memory_limit_bytes: Some(200), ..Resources::default() },
            }],
        }),
    ]
}

fn token_request() -> TokenRequest {
    TokenRequest { pod: uid(), audience: "vault".into(), expiration_seconds: 3607 }
}

fn to_agent() -> Vec<ToAgent> {
    let upserts = vec![Item::Pod(pod()), Item::ConfigMap(data("c")), Item::Secret(data("s"))];
    vec![
        ToAgent::Joined(Joined { certificate_der: vec![1], ca_der: vec![2, 3] }),
        ToAgent::Refused("no".into()),
        ToAgent::Welcome(Welcome {
            version: "0.1.0".into(),
            pod_cidr: "10.42.3.0/24".into(),
            cluster_dns: "10.43.0.10".into(),
            cluster_domain: "cluster.local".into(),
        }),
        ToAgent::SendInventory,
        ToAgent::SendReports,
        ToAgent::Change(Change { seq: 1, upserts, removals: keys() }),
        ToAgent::EventsStored(9),
        ToAgent::Renewed(vec![4]),
        ToAgent::Token(TokenAnswer { request: token_request(), result: Ok("t".into()) }),
    ]
}

fn requests() -> Vec<StreamRequest> {
    let logs = StreamRequest::Logs(LogsRequest {
        pod: uid(),
        container: "app".into(),
        follow: true,
        previous: false,
        since_ms: Some(8),
        tail_lines: Some(10),
        timestamps: true,
        limit_bytes: None,
    });
    let wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };
    let (pod, container) = (uid(), "app".to_owned());
    let command = vec!["sh".to_owned(), "-c".to_owned()];
    vec![
        logs,
        StreamRequest::Exec(ExecRequest { pod: pod.clone(), container: container.clone(), command, wanted }),
        StreamRequest::Attach(AttachRequest { pod: pod.clone(), container, wanted }),
        StreamRequest::PortForward(PortForwardRequest { pod: pod.clone(), port: 8080 }),
        StreamRequest::Dial(DialRequest { pod, ip: [10, 42, 0, 2].into(), port: 8080 }),
        StreamRequest::Node(NodeRequest::Stats),
    ]
}

fn replies() -> Vec<StreamReply> {
    vec![StreamReply::Ok, StreamReply::BadRequest("b".into()), StreamReply::Failed("f".into())]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Each message's frame is what the golden file holds, and the golden bytes read back as that message.
fn check_golden<M: Message + PartialEq + std::fmt::Debug>(messages: &[M], seen: &mut Vec<String>) {
    assert_eq!(messages.len(), M::VARIANTS.len(), "every variant has a name and a sample");
    let golden: BTreeMap<&str, &str> = GOLDEN.lines().filter_map(|l| l.split_once(' ')).collect();
    for (i, message) in messages.iter().enumerate() {
        let name = format!("{:#06x}-{}", M::BASE + u16::try_from(i).unwrap(), M::VARIANTS[i]);
        let frame = encode(message).unwrap();
        seen.push(format!("{name} {}", hex(&frame)));
        let kept = golden.get(name.as_str()).copied().unwrap_or_default();
        if kept == hex(&frame) {
            let mut decoder = Decoder::new(MAX_FRAME);
            decoder.room().extend(unhex(kept));
            assert_eq!(decoder.message::<M>().unwrap().as_ref(), Some(message));
        }
    }
}

#[test]
fn every_message_is_written_as_the_golden_bytes() {
    let mut seen = Vec::new();
    check_golden(&to_hub(), &mut seen);
    check_golden(&to_agent(), &mut seen);
    check_golden(&requests(), &mut seen);
    check_golden(&replies(), &mut seen);
    for (name, item) in [
        ("item-PodWith", pod_with_extras()),
        ("item-PodWithLater", pod_with_later_extras()),
        ("item-PodWithResize", pod_with_resize()),
        ("item-PodWithChecks", pod_with_checks()),
        ("item-PodWithGates", pod_with_gates()),
    ] {
        let extended = postcard::to_stdvec(&item).unwrap();
        assert_eq!(postcard::from_bytes::<Item>(&extended).unwrap(), item);
        seen.push(format!("{name} {}", hex(&extended)));
    }
    assert_eq!(seen.join("\n"), GOLDEN.trim_end());
}

#[test]
fn messages_survive_any_fragmentation_and_unknown_kinds_are_skipped() {
    let mut stream = Vec::new();
    for message in to_hub() {
        stream.extend([0, 0, 0, 5, 0x01, 0xff, 1, 2, 3, 4, 5]);
        stream.extend(encode(&message).unwrap());
    }
    for step in [1, 7, 1000] {
        let mut decoder = Decoder::new(MAX_FRAME);
        let mut got = Vec::new();
        for part in stream.chunks(step) {
            decoder.room().extend(part);
            while let Some(message) = decoder.message::<ToHub>().unwrap() {
                got.push(message);
            }
        }
        assert_eq!(got, to_hub());
        decoder.finish::<ToHub>().unwrap();
    }
}

#[test]
fn bad_frames_are_refused_by_name() {
    let cases: [(&[u8], &str); 4] = [
        (&[0, 1, 0, 0, 1, 0], "frame Join of 65536 bytes is longer than the 16384 bytes allowed"),
        (&[0, 0, 0, 2, 1, 7, 7, 0x80], "frame Applied is malformed"),
        (&[0, 0, 0, 3, 1, 7, 7, 1, 1], "frame Applied does not hold exactly one message of its kind"),
        (&[0, 0, 0, 2, 1, 7, 5, 1], "frame Applied does not hold exactly one message of its kind"),
    ];
    for (bytes, error) in cases {
        let mut decoder = Decoder::new(MAX_JOIN_FRAME);
        decoder.room().extend(bytes);
        assert_eq!(decoder.message::<ToHub>().unwrap_err().to_string(), error);
    }
}

#[test]
fn an_end_within_a_frame_is_an_error() {
    for (bytes, error) in [
        (&[0, 0][..], "the stream ended within frame header"),
        (&[0, 0, 0, 2, 1, 7, 7], "the stream ended within frame Applied"),
        (&[0, 0, 0, 9, 9, 9, 7], "the stream ended within frame header"),
    ] {
        let mut decoder = Decoder::new(MAX_JOIN_FRAME);
        decoder.room().extend(bytes);
        assert_eq!(decoder.message::<ToHub>().unwrap(), None);
        assert_eq!(decoder.finish::<ToHub>().unwrap_err().to_string(), error);
    }
}

#[test]
fn a_long_claim_allocates_no_more_than_a_chunk_beyond_what_came() {
    let mut decoder = Decoder::new(MAX_FRAME);
    decoder.room().extend([0, 0x3f, 0, 0, 1, 2]);
    assert_eq!(decoder.message::<ToHub>().unwrap(), None);
    for _ in 0..100 {
        let room = decoder.room();
        let received = room.len();
        assert!(room.capacity() <= 2 * received + 1024, "{} for {received}", room.capacity());
        room.extend([0; 1000]);
        assert_eq!(decoder.message::<ToHub>().unwrap(), None);
    }
}

#[test]
fn digests_tell_every_difference() {
    let items: BTreeMap<_, _> = keys().into_iter().map(|k| (k, Digest([0; 16]))).collect();
    let all = inventory_digest(items.iter().map(|(k, d)| (k, *d)));
    let fewer = inventory_digest(items.iter().skip(1).map(|(k, d)| (k, *d)));
    assert_ne!(all, fewer);
    let (uid, pod) = (uid(), pod_report());
    let gone = PodReport { gone: true, ..pod.clone() };
    let of = |report: &PodReport| reported_digest(None, [(&uid, report)]);
    assert_eq!(of(&pod), of(&pod.clone()));
    assert_ne!(of(&pod), of(&gone));
    assert_ne!(of(&pod), reported_digest(Some(&node_report()), [(&uid, &pod)]));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::new(MAX_FRAME);
        decoder.room().extend(&bytes);
        while let Ok(Some(_)) = decoder.message::<ToHub>() {}
        let mut decoder = Decoder::new(MAX_FRAME);
        decoder.room().extend(&bytes);
        while let Ok(Some(_)) = decoder.message::<ToAgent>() {}
    }

    #[test]
    fn no_payload_panics(variant in 0u16..9, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut payload = vec![u8::try_from(variant).unwrap()];
        payload.extend(rest);
        let _ = decode::<ToHub>(ToHub::BASE + variant, &payload);
        let _ = decode::<ToAgent>(ToAgent::BASE + variant, &payload);
    }
}
