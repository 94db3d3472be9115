//! Checks against small servers of their own.

use skiff_shared::pod::HttpGet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::podman::fake::FakePodman;

const WITHIN: Duration = Duration::from_secs(5);

/// A server that gives the same answer to everything; its port, and the first request it gets.
async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let n = stream.read(&mut buffer).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    });
    (port, asked)
}

async fn check(handler: Handler, agent: Agent) -> Answer {
    let podman = FakePodman::default();
    run(Target { podman: &podman, id: "c", address: "127.0.0.1" }, &handler, agent, WITHIN).await
}

fn get(port: u16) -> Handler {
    let headers = vec![("X-Own".to_owned(), "1".to_owned()), ("Host".to_owned(), "web".to_owned())];
    Handler::Http(HttpGet { https: false, host: String::new(), port, path: "/ok?a=b".into(), headers })
}

#[tokio::test]
async fn the_status_of_an_answer_decides() {
    for (status, agent, expected) in [
        ("200 OK", Agent::Probe, Answer::Good),
        ("399 Odd", Agent::Probe, Answer::Good),
        ("404 Not Found", Agent::Probe, Answer::Bad("HTTP probe failed with statuscode: 404".into())),
        ("500 Broken", Agent::Probe, Answer::Bad("HTTP probe failed with statuscode: 500".into())),
        ("500 Broken", Agent::Lifecycle, Answer::Good),
        (
            "302 Found\r\nLocation: http://elsewhere.example/x",
            Agent::Probe,
            Answer::Warning("Probe terminated redirects, Response body: http://elsewhere.example/x".into()),
        ),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").leak();
        let (port, asked) = server(answer).await;
        assert_eq!(check(get(port), agent).await, expected, "{status}");
        let request = asked.await.unwrap().to_lowercase();
        assert!(request.starts_with("get /ok?a=b http/1.1\r\n"), "{request}");
        for header in ["x-own: 1", "host: web", "accept: */*", agent.name()] {
            assert!(request.contains(header), "{header} in {request}");
        }
    }
}

#[tokio::test]
async fn redirects_on_the_same_host_are_followed() {
    let (last, _) = server("HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n").await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{last}/\r\nContent-Length: 0\r\n\r\n").leak();
    let (first, _) = server(answer).await;
    let expected = Answer::Bad("HTTP probe failed with statuscode: 503".into());
    assert_eq!(check(get(first), Agent::Probe).await, expected);
}

#[tokio::test]
async fn what_does_not_listen_fails_in_gos_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = Handler::Tcp { host: String::new(), port };
    assert_eq!(check(tcp.clone(), Agent::Probe).await, Answer::Good);
    // Hooks of this kind were never called.
    assert_eq!(check(tcp.clone(), Agent::Lifecycle).await, Answer::Bad("invalid handler: tcpSocket".into()));
    drop(listener);
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(check(tcp, Agent::Probe).await, Answer::Bad(refused.clone()));
    let asked = format!("Get \"http://127.0.0.1:{port}/ok?a=b\": {refused}");
    assert_eq!(check(get(port), Agent::Probe).await, Answer::Bad(asked));
    let grpc = Handler::Grpc { port, service: String::new() };
    let asked = format!("error: failed to connect service \"127.0.0.1:{port}\": {refused}");
    assert_eq!(check(grpc, Agent::Probe).await, Answer::Bad(asked));
}

#[tokio::test]
async fn a_container_that_is_not_there_says_nothing() {
    let exec = Handler::Exec(vec!["true".into()]);
    assert!(matches!(check(exec, Agent::Probe).await, Answer::Unknown(_)));
}
