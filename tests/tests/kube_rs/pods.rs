//! Pods on a real node: logs, exec, attach, port-forward.

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, AttachedProcess, DeleteParams, LogParams, PostParams, TerminalSize};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::json;
use skiff_tests::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{client, refusal, soon, typed};

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_pods() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(1)).await.unwrap();
    let client = client(&cluster.hub.kubeconfig()).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let command = "echo one; echo two; serve >/dev/null & while read x; do echo got $x; done; sleep 1000";
    let container =
        json!({"name": "main", "image": "localhost/test:1", "command": ["sh", "-c", command], "stdin": true});
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 1});
    let pod: Pod = typed(json!({"metadata": {"name": "web"}, "spec": spec}));
    let made = pods.create(&PostParams::default(), &pod).await.unwrap();
    let running = soon(await_condition(pods.clone(), "web", conditions::is_pod_running())).await.unwrap().unwrap();
    assert_eq!(running.spec.unwrap().node_name.as_deref(), Some("node-0"));

    logs(&pods).await;
    commands(&pods).await;
    terminals(&pods).await;
    attachments(&pods).await;
    ports(&client).await;

    let marked = pods.delete("web", &DeleteParams::default().grace_period(1)).await.unwrap().left().unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    soon(await_condition(pods, "web", conditions::is_deleted(&made.uid().unwrap()))).await.unwrap();
    tokio::task::spawn_blocking(|| drop(cluster)).await.unwrap();
}

async fn logs(pods: &Api<Pod>) {
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods.log_stream("web", &follow).await.unwrap().lines();
    assert_eq!(soon(lines.try_next()).await.unwrap().as_deref(), Some("one"));
    assert_eq!(soon(lines.try_next()).await.unwrap().as_deref(), Some("two"));
    assert_eq!(pods.logs("web", &LogParams::default()).await.unwrap(), "one\ntwo\n");
    let last = LogParams { tail_lines: Some(1), container: Some("main".into()), ..LogParams::default() };
    assert_eq!(pods.logs("web", &last).await.unwrap(), "two\n");
    let (code, _, message) =
        refusal(pods.logs("web", &LogParams { container: Some("no".into()), ..LogParams::default() }).await);
    assert_eq!((code, message.as_str()), (400, "container no is not valid for pod web"));
}

/// All that a command prints, and the status it ends with: `Success`, or the exit code's cause.
async fn outcome(mut process: AttachedProcess) -> (String, String, String) {
    let status = process.take_status().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (process.stdout().unwrap(), process.stderr().unwrap());
    let (o, e) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    o.and(e).unwrap();
    let status = status.await.unwrap();
    let causes = status.details.and_then(|d| d.causes).unwrap_or_default();
    let code = causes.into_iter().find(|c| c.reason.as_deref() == Some("ExitCode")).and_then(|c| c.message);
    process.join().await.unwrap();
    (out, err, code.unwrap_or_else(|| status.status.unwrap()))
}

async fn commands(pods: &Api<Pod>) {
    for (command, out, err, end) in
        [("echo out; echo err >&2", "out\n", "err\n", "Success"), ("echo out; exit 3", "out\n", "", "3")]
    {
        let process = pods.exec("web", ["sh", "-c", command], &AttachParams::default()).await.unwrap();
        assert_eq!(soon(outcome(process)).await, (out.into(), err.into(), end.into()), "{command}");
    }
    let input = AttachParams::default().stdin(true);
    let mut process = pods.exec("web", ["cat"], &input).await.unwrap();
    let text = "0123456789abcdef".repeat(16 * 1024);
    let mut stdin = process.stdin().unwrap();
    let sent = text.clone();
    let typing = tokio::spawn(async move {
        stdin.write_all(sent.as_bytes()).await.unwrap();
        // The end of the input, which only the v5 protocol can tell.
        stdin.shutdown().await.unwrap();
    });
    let (out, _, end) = soon(outcome(process)).await;
    typing.await.unwrap();
    assert!(out == text && end == "Success", "{end}, {} bytes of {}", out.len(), text.len());
    let gone = pods.exec("gone", ["true"], &AttachParams::default()).await.map(|_| ());
    assert!(gone.unwrap_err().to_string().contains("404"));
}

async fn terminals(pods: &Api<Pod>) {
    let mut process = pods.exec("web", ["sh"], &AttachParams::interactive_tty()).await.unwrap();
    process.terminal_size().unwrap().try_send(TerminalSize { width: 101, height: 33 }).unwrap();
    let (mut stdin, mut stdout) = (process.stdin().unwrap(), process.stdout().unwrap());
    stdin.write_all(b"sleep 1; stty size; exit\n").await.unwrap();
    let mut out = String::new();
    soon(stdout.read_to_string(&mut out)).await.unwrap();
    assert!(out.contains("33 101"), "{out}");
}

async fn attachments(pods: &Api<Pod>) {
    let params = AttachParams::default().stdin(true).stderr(false);
    let mut process = pods.attach("web", &params).await.unwrap();
    process.stdin().unwrap().write_all(b"word\n").await.unwrap();
    let mut out = [0; 9];
    soon(process.stdout().unwrap().read_exact(&mut out)).await.unwrap();
    assert_eq!(&out, b"got word\n");
    process.abort();
}

async fn ports(client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut forward = pods.portforward("web", &[8080, 9]).await.unwrap();
    let mut stream = forward.take_stream(8080).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nweb\n"), "{answer:?}");
    let error = forward.take_error(9).unwrap();
    let mut nobody = forward.take_stream(9).unwrap();
    drop(nobody.write_all(b"x").await);
    assert!(soon(error).await.unwrap().contains("onnection refused"));
    forward.abort();
}
