//! A pod as its node serves it: commands and ports that repeat what they are sent.

use skiff_shared::tls::io::{read_chunk, write_chunks};
use skiff_shared::wire::stream::StreamRequest;
use skiff_shared::wire::stream::channel::{Channel, End, parse_size};
use tokio::io::{AsyncWriteExt, DuplexStream};

/// Repeats input to its end. A command says first what it is, ends with code 3, and repeats sizes as error output.
pub(super) async fn serve(mut stream: DuplexStream, request: StreamRequest) {
    let greeting = match request {
        StreamRequest::Exec(exec) => format!("{} in {}\n", exec.command.join(" "), exec.container),
        StreamRequest::Attach(attach) => format!("attached to {}\n", attach.container),
        StreamRequest::PortForward(_) => return repeat(stream).await,
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
