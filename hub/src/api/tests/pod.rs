//! A pod as its node serves it: commands and ports that repeat what they are sent.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use skiff_shared::ids::PodUid;
use skiff_shared::tls::io::{read_chunk, write_chunks};
use skiff_shared::wire::stream::channel::{Channel, End, parse_size};
use skiff_shared::wire::stream::stats::{ContainerStats, NodeStats, Usage};
use skiff_shared::wire::stream::{NodeRequest, StreamRequest};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};

/// Repeats input to its end. A command says first what it is, ends with code 3, and repeats sizes as error output.
pub(super) async fn serve(mut stream: DuplexStream, request: StreamRequest) {
    let greeting = match request {
        StreamRequest::Exec(exec) => format!("{} in {}\n", exec.command.join(" "), exec.container),
        StreamRequest::Attach(attach) => format!("attached to {}\n", attach.container),
        StreamRequest::PortForward(_) => return repeat(stream).await,
        StreamRequest::Dial(dial) if dial.port == 443 => return secure(stream).await,
        StreamRequest::Dial(_) => return web(stream).await,
        StreamRequest::Node(request) => return node(stream, request).await,
        StreamRequest::Logs(_) => return,
    };
    if greeting.starts_with("bad ") {
        return stream.write_all(&End::Failed("no such command".into()).encode()).await.unwrap();
    }
    write_chunks(&mut stream, Channel::Stdout, greeting.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    while let Ok(Some(channel)) = read_chunk(&mut stream, &mut buffer).await {
        let written = match channel {
            Channel::Stdin if buffer.is_empty() => break,
            Channel::Resize => {
                write_chunks(&mut stream, Channel::Stderr, format!("{:?}", parse_size(&buffer)).as_bytes()).await
            }
            Channel::Stdin | Channel::Stdout | Channel::Stderr | Channel::End => {
                write_chunks(&mut stream, Channel::Stdout, &buffer).await
            }
        };
        if written.is_err() {
            return;
        }
    }
    drop(stream.write_all(&End::Exited(3).encode()).await);
}

async fn repeat(stream: DuplexStream) {
    let (mut from, mut to) = tokio::io::split(stream);
    drop(tokio::io::copy(&mut from, &mut to).await);
    drop(to.shutdown().await);
}

/// A web server that answers with what it was asked: the head, and then the body as it comes. Its paths do what they
/// are called.
async fn web(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let service = service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(visit(request)) });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    // The hub may leave at any time.
    drop(served.await);
}

fn visit(mut request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, hyper::Error>> {
    let full = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(full(String::new()));
    match request.uri().path() {
        "/redirect" => {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", "/elsewhere?x=1".parse().unwrap());
            response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
        }
        "/echo" => return Response::new(request.into_body().boxed_unsync()),
        "/teapot" => *response.status_mut() = StatusCode::IM_A_TEAPOT,
        "/socket" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("x-pod", "yes")] {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        _ => {
            let mut lines: Vec<String> =
                request.headers().iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect();
            lines.sort();
            *response.body_mut() = full(format!("{} {}\n{}", request.method(), request.uri(), lines.concat()));
        }
    }
    response
}

/// The same server behind TLS, with a certificate that nobody has signed.
async fn secure(stream: DuplexStream) {
    let made = rcgen::generate_simple_self_signed(["web".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(skiff_shared::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    web(acceptor.accept(stream).await.unwrap()).await;
}

async fn node(mut stream: DuplexStream, request: NodeRequest) {
    let usage = Usage { cpu_ns: 1_000_000_000, memory_bytes: 3, working_set_bytes: 2, rss_bytes: 1 };
    let pod = PodUid::parse("uid-one").unwrap();
    let containers = vec![ContainerStats { pod, name: "main".into(), started_ms: 0, usage }];
    let stats = NodeStats { usage, containers, ..NodeStats::default() };
    let answer = match request {
        NodeRequest::Health => Vec::new(),
        NodeRequest::Stats => postcard::to_stdvec(&stats).unwrap(),
    };
    stream.write_all(&answer).await.unwrap();
}
