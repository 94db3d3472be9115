//! The harness itself: namespaces, Podman per node, images, registry and relay work on this machine.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::json;
use skiff_tests::podman::PodmanService;
use skiff_tests::registry::Registry;
use skiff_tests::relay::Relay;
use skiff_tests::{Lab, poll, wait_for};

#[test]
fn podman_runs_pods_in_a_namespace_of_its_own() {
    let lab = Lab::claim();
    let netns = lab.netns();
    let podman = PodmanService::start(&netns, &lab.dir().join("podman"));
    podman.image("localhost/test:1");

    let (status, pod) = podman.api("POST", "/libpod/pods/create", Some(&json!({"name": "web"})));
    assert_eq!(status, 201, "{pod}");
    let container = json!({"name": "web-c", "image": "localhost/test:1", "pod": "web", "command": ["sleep", "60"],
        "resource_limits": {"memory": {"limit": 33_554_432}}});
    let (status, created) = podman.api("POST", "/libpod/containers/create", Some(&container));
    assert_eq!(status, 201, "{created}");
    let (status, started) = podman.api("POST", "/libpod/pods/web/start", None);
    assert_eq!(status, 200, "{started}");

    assert_eq!(podman.running().len(), 2, "an infra container and the pod's own");
    assert!(podman.cli("exec web-c ip addr show eth0").contains("inet "));
    podman.lose_containers();
    assert_eq!(podman.running().len(), 0);
}

#[test]
fn images_are_pulled_from_the_registry() {
    let lab = Lab::claim();
    let netns = lab.netns();
    let podman = PodmanService::start(&netns, &lab.dir().join("podman"));
    podman.image("localhost/test:1");
    let registry = Registry::start(&lab);

    let name = registry.push(&podman, "localhost/test:1", "web:1");
    podman.cli("rmi localhost/test:1");
    podman.cli(&format!("pull --quiet {name}"));

    let path = format!("/libpod/images/pull?reference={}", registry.image("missing:1"));
    let (_, answer) = podman.api("POST", &path, None);
    assert!(answer.to_string().contains("manifest unknown"), "{answer}");
}

#[test]
fn a_cut_namespace_cannot_be_reached() {
    let lab = Lab::claim();
    let netns = lab.netns();
    let ping = || {
        let mut ping = std::process::Command::new("busybox");
        ping.args(["ping", "-c1", "-W1", &netns.address().to_string()]);
        let output = skiff_tests::process::output(&mut ping);
        if output.status.success() { Ok(()) } else { Err("no answer".into()) }
    };
    wait_for(10, "an answer to ping", ping);
    netns.cut();
    poll(Duration::ZERO, ping).expect_err("a cut node does not answer");
    netns.mend();
    wait_for(10, "an answer to ping", ping);
}

#[test]
fn the_relay_delays_loses_and_counts() {
    let hub = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = Relay::start("127.0.0.1".parse().unwrap(), hub.local_addr().unwrap());
    let agent = UdpSocket::bind("127.0.0.1:0").unwrap();
    agent.connect(relay.address()).unwrap();
    hub.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 16];

    agent.send(b"ping").unwrap();
    let (length, from) = hub.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ping");
    hub.send_to(b"pong", from).unwrap();
    assert_eq!(agent.recv(&mut buffer).unwrap(), 4);
    assert_eq!(relay.bytes(), 2 * (4 + 28));

    relay.lose(100);
    agent.send(b"lost").unwrap();
    hub.recv_from(&mut buffer).expect_err("nothing passes");
    relay.lose(0);
    relay.delay(Duration::from_millis(100));
    let sent = std::time::Instant::now();
    agent.send(b"late").unwrap();
    hub.recv_from(&mut buffer).unwrap();
    assert!(sent.elapsed() >= Duration::from_millis(100));
}
