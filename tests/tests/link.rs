//! Hub and agents over real QUIC in one process: joins, sessions, what is sent and what is not.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "link/world.rs"]
mod world;

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use skiff_shared::ids::NodeName;
use skiff_shared::pod::ItemKey;
use skiff_shared::report::Phase;
use skiff_shared::tls::{HUB_NAME, PinnedCa, agent_config, close, join_config};
use skiff_shared::wire::stream::{LogsRequest, StreamRequest};
use skiff_shared::wire::token::JoinToken;
use tempfile::tempdir;
use world::{Agent, Hub, Remembers, pod_report, until};

fn config_map(name: &str) -> ItemKey {
    ItemKey::ConfigMap { namespace: "default".into(), name: name.into() }
}

/// A hub and a joined agent called `edge` that has its subnet.
async fn joined(hub_dir: &std::path::Path, agent_dir: &std::path::Path) -> (Hub, Agent) {
    let hub = Hub::start(hub_dir).await;
    let agent = Agent::start(hub.address, agent_dir, "edge", Some(hub.token()), Remembers::new());
    hub.give_subnet("edge").await;
    until("the welcome", || agent.node.welcomes.lock().unwrap().last().cloned()).await;
    (hub, agent)
}

#[tokio::test]
async fn a_node_joins_registers_and_reports_itself() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let (hub, agent) = joined(hub_dir.path(), agent_dir.path()).await;
    let node = until("the status", || hub.get("nodes", "edge").filter(|n| n["status"]["addresses"].is_array())).await;
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "edge");
    assert_eq!(node["status"]["capacity"]["memory"], "1Gi");
    assert_eq!(node["status"]["allocatable"]["cpu"], "950m");
    let ready = &node["status"]["conditions"][0];
    assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(agent.node.welcomes.lock().unwrap()[0].pod_cidr, "10.42.0.0/24");
    agent.stop().await;
    until("the loss to be told", || (hub.heard.life.lock().unwrap().last()? == "lost edge").then_some(())).await;
}

#[tokio::test]
async fn bad_joins_are_refused_with_their_reason_and_change_nothing() {
    let (hub_dir, other_dir, first_dir) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (hub, first) = joined(hub_dir.path(), first_dir.path()).await;
    let used = hub.token();
    let second_dir = tempdir().unwrap();
    let second = Agent::start(hub.address, second_dir.path(), "second", Some(used.clone()), Remembers::new());
    until("the second node", || hub.get("nodes", "second")).await;
    let expired = hub.pki.tokens().create(Duration::ZERO, Timestamp::now()).unwrap().to_string();
    let wrong = JoinToken { secret: "wrong".into(), ..JoinToken::parse(&hub.token()).unwrap() }.to_string();
    let foreign = Hub::start(other_dir.path()).await.token();
    let refused = "the hub refused to let this node join: ";
    let cases = [
        ("new", Some(used), format!("{refused}the join token was already used")),
        ("new", Some(expired), format!("{refused}the join token has expired")),
        ("new", Some(wrong), format!("{refused}the join token is not valid")),
        ("edge", Some(hub.token()), format!("{refused}node name \"edge\" is already in use")),
        ("new", Some(foreign), format!("the hub at {} is not the one that made the join token: its CA certificate has another fingerprint", hub.address)),
        ("new", Some("nonsense".into()), "the join token is malformed: expected `skiff1.<fingerprint>.<id>.<secret>` as `skiff-hub token create` prints it".into()),
        ("new", None, "this node has not joined yet: give it a join token (`skiff-hub token create` on the hub prints one)".into()),
    ];
    for (name, token, error) in cases {
        let dir = tempdir().unwrap();
        assert_eq!(Agent::start(hub.address, dir.path(), name, token, Remembers::new()).error().await, error);
        assert!(!dir.path().join("agent.crt").exists());
    }
    assert!(hub.get("nodes", "new").is_none());
    let unused = hub.pki.tokens().list().unwrap().iter().filter(|t| !t.used).count();
    assert_eq!(unused, 3, "the expired, the wrongly presented and the one for a name in use stay unused");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_in_the_handshake() {
    let (ours, theirs, agent_dir) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let hub = Hub::start(ours.path()).await;
    let (_other, agent) = joined(theirs.path(), agent_dir.path()).await;
    agent.stop().await;
    let certificate = CertificateDer::from_pem_file(agent_dir.path().join("agent.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(agent_dir.path().join("agent.key")).unwrap();
    let tls = agent_config(hub.pki.ca_der().clone(), certificate, key).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let ended = match endpoint.connect_with(tls, hub.address, HUB_NAME).unwrap().await {
        // A client of TLS 1.3 is done before the server has seen its certificate.
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert!(ended.to_string().contains("the cryptographic handshake failed"), "{ended}");
    assert!(hub.get("nodes", "edge").is_none() && hub.heard.life.lock().unwrap().is_empty());
}

#[tokio::test]
async fn malformed_and_oversized_frames_close_the_connection_with_their_reason() {
    let dir = tempdir().unwrap();
    let hub = Hub::start(dir.path()).await;
    let pin = PinnedCa::new(JoinToken::parse(&hub.token()).unwrap().ca);
    let tls = join_config(std::sync::Arc::new(pin)).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let cases: [(&[u8], &str); 4] = [
        (&[0, 1, 0, 0, 1, 0], "frame Join of 65536 bytes is longer than the 16384 bytes allowed"),
        (&[0, 0, 0, 1, 1, 0, 0], "frame Join is malformed"),
        (&[0xff; 64], "frame 0xffff of 4294967295 bytes is longer than the 16384 bytes allowed"),
        (&[0, 0, 0, 2, 1, 7, 7, 1], "the first frame of a connection without a certificate must be Join"),
    ];
    for (bytes, reason) in cases {
        let connection = endpoint.connect_with(tls.clone(), hub.address, HUB_NAME).unwrap().await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        let quinn::ConnectionError::ApplicationClosed(closed) = connection.closed().await else { panic!("{reason}") };
        assert_eq!((closed.error_code, String::from_utf8_lossy(&closed.reason).as_ref()), (close::PROTOCOL, reason));
    }
}

#[tokio::test]
async fn a_node_is_sent_its_pods_and_what_they_refer_to_and_nothing_else() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let (hub, agent) = joined(hub_dir.path(), agent_dir.path()).await;
    let node = &agent.node;
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": "1"}});
    hub.create("configmaps", map("used")).await;
    hub.create("configmaps", map("unused")).await;
    hub.pod("elsewhere", "other", Some("unused")).await;
    let uid = hub.pod("edge", "web", Some("used")).await;
    until("the pod", || node.has(&ItemKey::Pod(uid.clone())).then_some(())).await;
    assert_eq!(node.keys(), [ItemKey::Pod(uid.clone()), config_map("used")]);
    hub.change("configmaps", "used", |m| m["data"]["k"] = json!("2")).await;
    until("the new content", || (node.received() == (3, 0)).then_some(())).await;
    hub.delete("configmaps", "used", 0).await;
    until("the removal", || (!node.has(&config_map("used"))).then_some(())).await;
    hub.delete("pods", "web", 0).await;
    until("the end", || node.keys().is_empty().then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn after_a_loss_only_what_differs_is_sent() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let (hub, agent) = joined(hub_dir.path(), agent_dir.path()).await;
    let node = agent.node.clone();
    let (kept, removed) = (hub.pod("edge", "kept", None).await, hub.pod("edge", "removed", None).await);
    until("both pods", || (node.keys().len() == 2).then_some(())).await;
    agent.stop().await;

    node.forget_changes();
    let agent = Agent::start(hub.address, agent_dir.path(), "edge", None, node.clone());
    until("the second welcome", || (node.welcomes.lock().unwrap().len() == 2).then_some(())).await;
    agent.stop().await;
    assert_eq!(node.received(), (0, 0), "nothing differs");

    hub.delete("pods", "removed", 0).await;
    let added = hub.pod("edge", "added", None).await;
    let agent = Agent::start(hub.address, agent_dir.path(), "edge", None, node.clone());
    until("the new pod", || node.has(&ItemKey::Pod(added.clone())).then_some(())).await;
    assert_eq!(node.received(), (1, 1));
    assert!(node.has(&ItemKey::Pod(kept)) && !node.has(&ItemKey::Pod(removed)));

    node.report(pod_report(&added, "added", Phase::Running));
    until("the status", || hub.get("pods", "added").filter(|p| p["status"]["phase"] == "Running")).await;
    node.forget_changes();
    let revision = hub.objects.snapshot().revision();
    let hub = hub.restart(hub_dir.path()).await;
    until("the fourth welcome", || (node.welcomes.lock().unwrap().len() == 4).then_some(())).await;
    // Events follow reports on the stream: once they are stored, all reports have been looked at.
    node.event(1);
    until("the event to be stored", || node.events.lock().unwrap().is_empty().then_some(())).await;
    assert_eq!(hub.objects.snapshot().revision(), revision, "a report of what is stored writes nothing");
    assert_eq!(node.received(), (0, 0), "a new hub compares too");
    assert!(hub.link.is_connected(&NodeName::parse("edge").unwrap()));
    agent.stop().await;
}

#[tokio::test]
async fn reports_become_statuses_and_gone_pods_are_removed() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let (hub, agent) = joined(hub_dir.path(), agent_dir.path()).await;
    let node = agent.node.clone();
    let uid = hub.pod("edge", "web", None).await;
    until("the pod", || node.has(&ItemKey::Pod(uid.clone())).then_some(())).await;
    node.report(pod_report(&uid, "web", Phase::Running));
    let pod = until("the status", || hub.get("pods", "web").filter(|p| p["status"]["phase"] == "Running")).await;
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "10.42.0.2"}]));
    assert_eq!(pod["status"]["startTime"], "2023-11-14T22:13:20Z");
    hub.delete("pods", "web", 30).await;
    until("the deletion to arrive", || {
        let desired = node.desired.lock().unwrap().clone();
        let skiff_shared::pod::Item::Pod(pod) = &*desired.items.get(&ItemKey::Pod(uid.clone()))?.1 else { return None };
        pod.deletion
    })
    .await;
    node.report(skiff_shared::report::PodReport { gone: true, ..pod_report(&uid, "web", Phase::Succeeded) });
    until("the pod to go", || hub.get("pods", "web").is_none().then_some(())).await;
    until("the item to go", || node.keys().is_empty().then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_happened_while_away_is_reported_on_return_and_statuses_are_restored() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let (hub, agent) = joined(hub_dir.path(), agent_dir.path()).await;
    let node = agent.node.clone();
    let uid = hub.pod("edge", "web", None).await;
    node.report(pod_report(&uid, "web", Phase::Running));
    until("the status", || hub.get("pods", "web").filter(|p| p["status"]["phase"] == "Running")).await;
    agent.stop().await;
    node.event(1);
    node.event(2);
    node.report(pod_report(&uid, "web", Phase::Failed));
    let agent = Agent::start(hub.address, agent_dir.path(), "edge", None, node.clone());
    until("the status", || hub.get("pods", "web").filter(|p| p["status"]["phase"] == "Failed")).await;
    until("the events to be stored", || node.events.lock().unwrap().is_empty().then_some(())).await;
    assert_eq!(*hub.heard.events.lock().unwrap(), [("edge".to_owned(), 1), ("edge".to_owned(), 2)]);
    agent.stop().await;
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_and_outlives_its_end() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let (hub, older) = joined(hub_dir.path(), agent_dir.path()).await;
    let node = Remembers::new();
    let newer = Agent::start(hub.address, agent_dir.path(), "edge", None, node.clone());
    until("the newer session", || node.welcomes.lock().unwrap().last().cloned()).await;
    // The older would come back and replace the newer in turn.
    older.vanish();
    let uid = hub.pod("edge", "web", None).await;
    until("the pod on the newer", || node.has(&ItemKey::Pod(uid.clone())).then_some(())).await;
    assert!(!hub.heard.life.lock().unwrap().iter().any(|l| l == "lost edge"), "the older's end is no loss");
    newer.stop().await;
}

#[tokio::test]
async fn streams_reach_the_node_and_refusals_come_back_as_text() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let (hub, agent) = joined(hub_dir.path(), agent_dir.path()).await;
    let uid = hub.pod("edge", "web", None).await;
    let (edge, away) = (NodeName::parse("edge").unwrap(), NodeName::parse("away").unwrap());
    let logs = |container: &str| {
        StreamRequest::Logs(LogsRequest {
            pod: uid.clone(),
            container: container.into(),
            follow: false,
            previous: false,
            since_ms: None,
            tail_lines: None,
            timestamps: false,
            limit_bytes: None,
        })
    };
    let (_send, mut recv) = hub.link.open(&edge, logs("c")).await.unwrap();
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"line 1\nline 2\n");
    // Streams that nobody reads leave the control stream its room.
    let mut stalled = Vec::new();
    for _ in 0..skiff_shared::tls::HUB_STREAMS - 1 {
        stalled.push(hub.link.open(&edge, logs("endless")).await.unwrap());
    }
    for phase in [Phase::Running, Phase::Failed] {
        agent.node.report(pod_report(&uid, "web", phase));
        let wanted = format!("{phase:?}");
        until("the status", || hub.get("pods", "web").filter(|p| p["status"]["phase"] == *wanted)).await;
    }
    drop(stalled);
    assert_eq!(hub.link.open(&edge, logs("x")).await.unwrap_err().to_string(), "no such container");
    assert_eq!(hub.link.open(&away, logs("c")).await.unwrap_err().to_string(), "node \"away\" is not connected");
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_whose_answer_was_lost_may_use_its_token_again() {
    let (hub_dir, agent_dir) = (tempdir().unwrap(), tempdir().unwrap());
    let hub = Hub::start(hub_dir.path()).await;
    let token = hub.token();
    let agent = Agent::start(hub.address, agent_dir.path(), "edge", Some(token.clone()), Remembers::new());
    until("the node", || hub.get("nodes", "edge")).await;
    agent.stop().await;
    std::fs::remove_file(agent_dir.path().join("agent.crt")).unwrap();
    let agent = Agent::start(hub.address, agent_dir.path(), "edge", Some(token), Remembers::new());
    hub.give_subnet("edge").await;
    until("the welcome", || agent.node.welcomes.lock().unwrap().last().cloned()).await;
    agent.stop().await;
}
