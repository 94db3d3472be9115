//! Connections to pods: clients of both protocols, byte for byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::api::serve_connection;

const WEBSOCKET: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SPDY: &str = "connection: Upgrade\r\nupgrade: SPDY/3.1\r\n";

/// A client whose connection has changed its protocol.
struct Client {
    stream: DuplexStream,
    head: String,
    _shutdown: watch::Sender<bool>,
}

impl Client {
    async fn connect(method: &str, url: &str, headers: &str) -> Self {
        let api = Api::with(&[pod("a", "one")]).await;
        let (mut stream, server) = tokio::io::duplex(64 * 1024);
        let peer = Peer { user: Some(admin()), ..Peer::default() };
        tokio::spawn(serve_connection(server, peer, api.state.clone(), api.shutdown.subscribe()));
        let request = format!("{method} /api/v1/namespaces/a/pods/one/{url} HTTP/1.1\r\nhost: hub\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { stream, head, _shutdown: api.shutdown }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message of a WebSocket: its first byte (the frame's, then the content's), and the rest as text.
    async fn message(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await.unwrap();
        let length = match head[1] {
            126 => usize::from(self.stream.read_u16().await.unwrap()),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.unwrap();
        (head[0], payload)
    }

    /// The next SPDY frame: its first word and flags, and its payload.
    async fn frame(&mut self) -> (u32, u8, Vec<u8>) {
        let word = self.stream.read_u32().await.unwrap();
        let flags_and_length = self.stream.read_u32().await.unwrap();
        let mut payload = vec![0; (flags_and_length & 0xff_ffff) as usize];
        self.stream.read_exact(&mut payload).await.unwrap();
        (word, (flags_and_length >> 24) as u8, payload)
    }

    /// What comes on each of some SPDY streams, in order, until the server goes away.
    async fn data(&mut self, streams: &[u32]) -> Vec<(String, bool)> {
        let mut got = vec![(String::new(), false); streams.len()];
        while !got.iter().all(|(_, ended)| *ended) {
            let (word, flags, payload) = self.frame().await;
            if let Some(index) = streams.iter().position(|s| *s == word) {
                got[index].0.push_str(std::str::from_utf8(&payload).unwrap());
                got[index].1 |= flags == 1;
            }
        }
        got
    }
}

fn masked(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x82, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    out.extend(payload);
    out
}

/// A SYN_STREAM whose headers are in stored blocks; `first` on its connection.
fn syn(stream: u32, first: bool, headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |t: &str| [&u32::try_from(t.len()).unwrap().to_be_bytes(), t.as_bytes()].concat();
    let pairs: Vec<u8> = headers.iter().flat_map(|(n, v)| [text(n), text(v)].concat()).collect();
    let block = [&u32::try_from(headers.len()).unwrap().to_be_bytes()[..], &pairs].concat();
    let length = u16::try_from(block.len()).unwrap();
    let mut payload = [stream.to_be_bytes().to_vec(), vec![0; 6]].concat();
    payload.extend(if first { &[0x78, 0x01][..] } else { &[] });
    payload.push(0);
    payload.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
    payload.extend(block);
    let mut out = vec![0x80, 3, 0, 1];
    out.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    out.extend(payload);
    out
}

fn data(stream: u32, fin: bool, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap() | u32::from(fin) << 24;
    [&stream.to_be_bytes(), &length.to_be_bytes(), bytes].concat()
}

#[tokio::test]
async fn a_command_over_websocket() {
    let headers = format!("{WEBSOCKET}sec-websocket-protocol: v5.channel.k8s.io\r\n");
    let mut client = Client::connect("GET", "exec?command=cat&stdin=true&stdout=true&tty=true", &headers).await;
    for part in ["sec-websocket-protocol: v5.channel.k8s.io", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="] {
        assert!(client.head.contains(part), "{}", client.head);
    }
    assert_eq!(client.message().await, (0x82, vec![1]));
    assert_eq!(client.message().await, (0x82, b"\x01cat in main\n".to_vec()));
    client.send(&masked(b"\0hello")).await;
    assert_eq!(client.message().await, (0x82, b"\x01hello".to_vec()));
    client.send(&masked(b"\x04{\"Width\":80,\"Height\":24}\n")).await;
    assert_eq!(client.message().await, (0x82, b"\x02Some((80, 24))".to_vec()));
    client.send(&masked(&[255, 0])).await;
    let (_, end) = client.message().await;
    let status: Value = serde_json::from_slice(&end[1..]).unwrap();
    assert_eq!((end[0], &status["details"]["causes"][0]["message"]), (3, &json!("3")));
    assert_eq!(client.message().await, (0x88, vec![0x03, 0xe8]));
}

#[tokio::test]
async fn a_log_over_websocket() {
    for (protocol, messages) in [
        ("", [(0x82, ""), (0x82, "edge-1 main Some(3)\n")]),
        ("binary.k8s.io", [(0x82, ""), (0x82, "edge-1 main Some(3)\n")]),
        ("base64.binary.k8s.io", [(0x81, ""), (0x81, "ZWRnZS0xIG1haW4gU29tZSgzKQo=")]),
    ] {
        let named = if protocol.is_empty() { String::new() } else { format!("sec-websocket-protocol: {protocol}\r\n") };
        let mut client = Client::connect("GET", "log?tailLines=3", &format!("{WEBSOCKET}{named}")).await;
        assert!(client.head.contains(&named), "{}", client.head);
        for (opcode, message) in messages {
            assert_eq!(client.message().await, (opcode, message.as_bytes().to_vec()), "{protocol}");
        }
        assert_eq!(client.message().await.0, 0x88, "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_over_websocket() {
    let api = Api::with(&[pod("a", "one")]).await;
    let (mut stream, server) = tokio::io::duplex(64 * 1024);
    let peer = Peer { user: Some(admin()), ..Peer::default() };
    tokio::spawn(serve_connection(server, peer, api.state.clone(), api.shutdown.subscribe()));
    let protocols = "sec-websocket-protocol: base64url.bearer.authorization.k8s.io.Z29vZA, any\r\n";
    let request = format!(
        "GET /api/v1/namespaces/a/pods?watch=true&timeoutSeconds=30 HTTP/1.1\r\nhost: hub\r\n{WEBSOCKET}{protocols}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-protocol: any\r\n"), "{head}");
    let mut client = Client { stream, head, _shutdown: api.shutdown.clone() };
    let event = |(opcode, message): (u8, Vec<u8>)| {
        let event: Value = serde_json::from_slice(&message).unwrap();
        (opcode, event["type"].clone(), event["object"]["metadata"]["name"].clone())
    };
    assert_eq!(event(client.message().await), (0x81, json!("ADDED"), json!("one")));
    api.put("pods", pod("a", "two").1).await;
    assert_eq!(event(client.message().await), (0x81, json!("ADDED"), json!("two")));
    client.send(&masked(b"ignored")).await;
    // Time goes on once nobody has anything to do.
    assert_eq!(client.message().await.0, 0x88);
}

#[tokio::test]
async fn a_command_over_base64_messages() {
    let headers = format!("{WEBSOCKET}sec-websocket-protocol: base64.channel.k8s.io\r\n");
    let mut client = Client::connect("GET", "exec?command=bad&stdout=true", &headers).await;
    assert_eq!(client.message().await, (0x81, b"1".to_vec()));
    // "Internal error occurred: no such command"
    let expected = b"3SW50ZXJuYWwgZXJyb3Igb2NjdXJyZWQ6IG5vIHN1Y2ggY29tbWFuZA==".to_vec();
    assert_eq!(client.message().await, (0x81, expected));
}

#[tokio::test]
async fn a_command_over_spdy() {
    let headers = format!("{SPDY}x-stream-protocol-version: v4.channel.k8s.io\r\n");
    let mut client = Client::connect("POST", "exec?command=cat&stdin=true&stdout=true", &headers).await;
    assert!(client.head.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{}", client.head);
    client.send(&syn(1, true, &[("streamtype", "error")])).await;
    client.send(&syn(3, false, &[("streamtype", "stdin")])).await;
    client.send(&syn(5, false, &[("streamtype", "stdout")])).await;
    client.send(&[data(3, false, b"hello "), data(3, true, b"world")].concat()).await;
    let got = client.data(&[5, 1]).await;
    assert_eq!(got[0].0, "cat in main\nhello world");
    let status: Value = serde_json::from_str(&got[1].0).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
}

#[tokio::test]
async fn ports_over_spdy() {
    let headers = format!("{SPDY}x-stream-protocol-version: portforward.k8s.io\r\n");
    let mut client = Client::connect("POST", "portforward", &headers).await;
    let of = |kind| [("streamtype", kind), ("port", "80"), ("requestid", "0")];
    client.send(&syn(1, true, &of("error"))).await;
    client.send(&syn(3, false, &of("data"))).await;
    client.send(&[data(1, true, b""), data(3, false, b"GET "), data(3, true, b"/")].concat()).await;
    assert_eq!(client.data(&[3, 1]).await, [("GET /".to_owned(), true), (String::new(), true)]);
    // A stream without a port is refused; the others go on.
    client.send(&syn(5, false, &[("streamtype", "data")])).await;
    assert_eq!(client.frame().await, (0x8003_0003, 0, [0, 0, 0, 5, 0, 0, 0, 1].to_vec()));
}

#[tokio::test]
async fn ports_over_a_tunnel() {
    let headers = format!("{WEBSOCKET}sec-websocket-protocol: SPDY/3.1+portforward.k8s.io\r\n");
    let mut client = Client::connect("GET", "portforward", &headers).await;
    let of = |kind| [("streamtype", kind), ("port", "80"), ("requestid", "0")];
    let frames = [syn(1, true, &of("error")), syn(3, false, &of("data")), data(3, true, b"hello")].concat();
    for part in frames.chunks(50) {
        client.send(&masked(part)).await;
    }
    let mut got = Vec::new();
    while !got.windows(13).any(|w| w == data(3, false, b"hello")) {
        got.extend(client.message().await.1);
    }
}

#[tokio::test]
async fn ports_over_channels() {
    // Some clients name no subprotocol.
    for protocol in ["", "sec-websocket-protocol: v4.channel.k8s.io\r\n"] {
        let mut client = Client::connect("GET", "portforward?ports=80", &format!("{WEBSOCKET}{protocol}")).await;
        assert_eq!(client.message().await, (0x82, vec![0, 80, 0]), "{protocol}");
        assert_eq!(client.message().await, (0x82, vec![1, 80, 0]), "{protocol}");
        client.send(&masked(b"\0hello")).await;
        assert_eq!(client.message().await, (0x82, b"\0hello".to_vec()), "{protocol}");
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let mut pending = pod("a", "pending").1;
    pending["spec"]["nodeName"] = Value::Null;
    let api = Api::with(&[pod("a", "one"), ("pods", pending)]).await;
    for (method, url, code, message) in [
        ("GET", "one/exec?command=ls&stdout=true", 400, "Upgrade request required"),
        ("POST", "one/portforward", 400, "Upgrade request required"),
        ("GET", "one/exec?command=ls", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("GET", "one/exec?stdout=true", 400, "you must specify at least one command for the container"),
        ("GET", "one/exec?command=ls&stdout=1&container=x", 400, "container x is not valid for pod one"),
        ("GET", "gone/attach?stdout=true", 404, "pods \"gone\" not found"),
        ("GET", "pending/attach?stdout=true", 400, "pod pending does not have a host assigned"),
        ("DELETE", "one/exec", 405, "the server does not allow this method on the requested resource"),
    ] {
        let answer = api.send(method, &format!("/api/v1/namespaces/a/pods/{url}"), &[], "").await;
        assert_eq!((answer.code, answer.json()["message"].as_str().unwrap()), (code, message), "{url}");
    }
}
