//! Bad input to the binaries and the API: one clear error, a non-zero exit or the right Status, nothing lost.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use skiff_tests::hub::free_port;
use skiff_tests::podman::PodmanService;
use skiff_tests::process::{binary, command, text};
use skiff_tests::{Hub, Lab};

/// A token of the right form.
const TOKEN: &str = "skiff1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.id.secret";

/// Runs a binary that must end by itself with an error; gives its standard error.
#[track_caller]
fn refused(program: &str, arguments: &[&str]) -> String {
    refused_with(command(None, binary(program)).args(arguments))
}

#[track_caller]
fn refused_with(command: &mut Command) -> String {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = ended(child);
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{command:?} should fail, but said {said}");
    assert!(!said.contains("panicked"), "{command:?} panics: {said}");
    assert!(!said.trim().is_empty(), "{command:?} fails without a word");
    said
}

/// Waits for the end of a program, with a deadline.
#[track_caller]
fn ended(mut child: std::process::Child) -> Output {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > end {
            child.kill().unwrap();
            panic!("it runs on instead of refusing: {}", text(&child.wait_with_output().unwrap().stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn serve<'a>(dir: &'a str, listen: &'a str) -> [&'a str; 5] {
    ["serve", "--data-dir", dir, "--listen", listen]
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let path = hub.dir().to_str().unwrap();
    let said = refused("skiff-hub", &serve(path, &format!("127.0.0.1:{}", free_port())));
    assert!(said.contains(path) && said.contains("in use"), "{said}");
    assert_eq!(hub.api().blocking("GET", "/readyz").unwrap().status, 200, "the first hub is not disturbed");
}

#[test]
fn a_port_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let said = refused("skiff-hub", &serve(path, &address));
    assert!(said.contains(&address), "{said}");

    let port = free_port();
    let udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let said = refused("skiff-hub", &serve(path, &udp.local_addr().unwrap().to_string()));
    assert!(said.contains(&port.to_string()), "{said}");
}

#[test]
fn a_corrupt_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(&dir.path().join("hub"), &[]);
    hub.stop();
    let database = file_of(hub.dir(), &["db", "sqlite"]);
    let mut bytes = fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle / 2..middle].fill(0x5a);
    fs::write(&database, &bytes).unwrap();

    let path = hub.dir().to_str().unwrap();
    let said = refused("skiff-hub", &serve(path, &format!("127.0.0.1:{}", free_port())));
    assert!(said.contains(database.to_str().unwrap()), "{said}");
    assert_eq!(fs::read(&database).unwrap(), bytes, "evidence and data are left alone");
}

#[test]
fn bad_flags_are_refused_all_at_once() {
    for (program, arguments, parts) in [
        ("skiff-hub", vec!["serve"], vec!["--data-dir"]),
        ("skiff-hub", vec!["serve", "--nonsense"], vec!["--nonsense"]),
        ("skiff-hub", vec!["serve", "--data-dir", "/tmp/x", "--listen", "nowhere"], vec!["nowhere"]),
        ("skiff-hub", vec!["token", "create", "--data-dir", "/nonexistent"], vec!["/nonexistent"]),
        ("skiff-agent", vec!["run"], vec!["data-dir", "hub"]),
        ("skiff-agent", vec!["run", "--nonsense"], vec!["--nonsense"]),
        ("skiff-agent", vec!["run", "--data-dir", "/tmp/x", "--hub", "h:1", "--node-name", "No_Name"], vec!["No_Name"]),
        ("skiff-agent", vec!["walk"], vec!["walk"]),
    ] {
        let said = refused(program, &arguments);
        for part in parts {
            assert!(said.contains(part), "{program} {arguments:?} should name {part:?}, but says {said}");
        }
    }
}

#[test]
fn bad_configuration_is_refused_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "nonsense = 1\nlisten = 7\n").unwrap();
    let said = refused("skiff-hub", &["serve", "--data-dir", "/tmp/x", "--config", path]);
    assert!(said.contains(path) && said.contains("nonsense"), "{said}");
    let said = refused("skiff-agent", &["run", "--data-dir", "/tmp/x", "--hub", "h:1", "--config", path]);
    assert!(said.contains(path) && said.contains("nonsense"), "{said}");
    let said = refused("skiff-hub", &["serve", "--data-dir", "/tmp/x", "--config", "/nonexistent.toml"]);
    assert!(said.contains("/nonexistent.toml"), "{said}");
}

#[test]
fn a_wrong_token_is_refused_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let data = dir.path().join("agent");
    let address = format!("127.0.0.1:{}", hub.port());
    let lab = Lab::claim();
    let podman = PodmanService::start(&lab.netns(), &lab.dir().join("podman"));
    let socket = format!("unix://{}", podman.socket().display());
    let join = |token: &str| {
        let arguments = ["run", "--data-dir", data.to_str().unwrap(), "--hub", &address, "--podman", &socket];
        refused_with(command(None, binary("skiff-agent")).args(arguments).args(["--join-token", token]))
    };
    assert!(join("rubbish").contains("token"));
    let token = hub.token();
    let (last, rest) = (token.chars().last().unwrap(), &token[..token.len() - 1]);
    let wrong = format!("{rest}{}", if last == 'a' { 'b' } else { 'a' });
    assert!(join(&wrong).contains("token"));
    let nodes = hub.api().blocking("GET", "/api/v1/nodes").unwrap().json();
    assert_eq!(nodes["items"], json!([]), "nothing joined");
}

#[test]
fn a_missing_podman_and_a_corrupt_ledger_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("agent");
    let run = || {
        let socket = "unix:///nonexistent/podman.sock";
        let mut agent = command(None, binary("skiff-agent"));
        agent.args(["run", "--node-name", "n", "--hub", "127.0.0.1:1", "--podman", socket, "--data-dir"]).arg(&data);
        refused_with(agent.args(["--join-token", TOKEN]))
    };
    let said = run();
    assert!(said.contains("/nonexistent/podman.sock"), "{said}");

    let file = data.join("ledger/pods/4e3cd9e4-6a4c-4b1c-8c0a-1f1f3f3b2a10");
    let rubbish = b"this is no ledger, and long enough to be read as one";
    fs::write(&file, rubbish).unwrap();
    let said = run();
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert_eq!(fs::read(&file).unwrap(), rubbish, "evidence is left alone");
}

/// Method, path, body, then the code, reason and a part of the message of the Status that answers.
type Case = (&'static str, &'static str, String, u16, &'static str, &'static str);

/// Media types of patches.
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// What an API server says to a JSON patch that does not apply.
const UNFIT: &str = "the server rejected our request due to an error in our request";

/// Media type and body of a change of the Deployment `d`, then the code, reason and a part of the message.
const CHANGES: &[(&str, &str, u16, &str, &str)] = &[
    (MERGE, "{", 400, "BadRequest", ""),
    (MERGE, "[]", 400, "BadRequest", ""),
    (MERGE, r#"{"spec": {"replicas": "many"}}"#, 422, "Invalid", "DeploymentSpec.spec.replicas of type int32"),
    (STRATEGIC, r#"{"spec": {"replicas": -1}}"#, 422, "Invalid", "spec.replicas: Invalid value: -1"),
    (MERGE, r#"{"spec": {"selector": {"matchLabels": {"a": "c"}}}}"#, 422, "Invalid", "field is immutable"),
    (MERGE, r#"{"metadata": {"name": "e"}}"#, 400, "BadRequest", "name"),
    (MERGE, r#"{"metadata": {"resourceVersion": "1"}}"#, 409, "Conflict", "the object has been modified"),
    (
        MERGE,
        r#"{"metadata": {"uid": "other"}}"#,
        422,
        "Invalid",
        "metadata.uid: Invalid value: \"other\": field is immutable",
    ),
    (MERGE, r#"{"metadata": {"labels": {"a b": ""}}}"#, 422, "Invalid", "metadata.labels: Invalid value: \"a b\""),
    (JSON_PATCH, r#"[{"op": "remove", "path": "/spec/nope"}]"#, 422, "Invalid", UNFIT),
    (JSON_PATCH, r#"[{"op": "test", "path": "/kind", "value": "Pod"}]"#, 422, "Invalid", UNFIT),
    (JSON_PATCH, r#"[{"op": "fly", "path": "/kind"}]"#, 422, "Invalid", UNFIT),
    (JSON_PATCH, "{}", 400, "BadRequest", ""),
    ("text/plain", "hello", 415, "UnsupportedMediaType", "415: Unsupported Media Type"),
];

fn bodies() -> Vec<Case> {
    let pods = "/api/v1/namespaces/default/pods";
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let strict = "/api/v1/namespaces/default/pods?fieldValidation=Strict";
    let pod = |edit: fn(&mut Value)| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        edit(&mut pod);
        pod.to_string()
    };
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": -1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let name = |p: &mut Value| p["metadata"]["name"] = "No_Name".into();
    let cpu = |p: &mut Value| p["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "banana"}});
    let kind = |p: &mut Value| p["spec"]["containers"] = "none".into();
    let unknown = |p: &mut Value| p["spec"]["nonsense"] = 1.into();
    let empty = |p: &mut Value| p["spec"]["containers"] = json!([]);
    let other = |p: &mut Value| p["metadata"]["namespace"] = "other".into();
    vec![
        ("POST", pods, "{".into(), 400, "BadRequest", ""),
        ("POST", pods, "[1]".into(), 400, "BadRequest", ""),
        ("POST", pods, pod(name), 422, "Invalid", "metadata.name: Invalid value: \"No_Name\""),
        ("POST", pods, pod(cpu), 400, "BadRequest", "quantities must match the regular expression"),
        ("POST", pods, pod(kind), 400, "BadRequest", "containers"),
        ("POST", pods, pod(empty), 422, "Invalid", "spec.containers: Required value"),
        ("POST", pods, pod(other), 400, "BadRequest", "does not match the namespace"),
        ("POST", strict, pod(unknown), 400, "BadRequest", "unknown field \"spec.nonsense\""),
        ("POST", deployments, deployment.to_string(), 422, "Invalid", "spec.replicas: Invalid value: -1"),
        ("POST", pods, format!("\"{}\"", "x".repeat(3 * 1024 * 1024)), 413, "RequestEntityTooLarge", ""),
        ("GET", "/api/v1/gadgets", String::new(), 404, "NotFound", "could not find the requested resource"),
        ("GET", "/apis/none/v1", String::new(), 404, "NotFound", ""),
        ("GET", "/api/v1/namespaces/default/pods/none", String::new(), 404, "NotFound", "pods \"none\" not found"),
        ("GET", "/api/v1/pods?labelSelector=a%20in", String::new(), 400, "BadRequest", ""),
        ("GET", "/api/v1/pods?limit=many", String::new(), 400, "BadRequest", ""),
        ("PUT", "/api/v1/nodes", "{}".into(), 405, "MethodNotAllowed", ""),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_the_right_status() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let mut wrong = Vec::new();
    for (method, path, body, code, reason, part) in bodies() {
        let shown: String = body.chars().take(120).collect();
        let mut connection = hub.api().connect().await.unwrap();
        let reply = match connection.send(method, path, "application/json", body).await {
            Ok(reply) => reply,
            Err(e) => {
                wrong.push(format!("{method} {path} {shown}: no answer: {e}"));
                continue;
            }
        };
        let status = reply.json();
        let message = status["message"].as_str().unwrap_or_default();
        let right =
            reply.status == code && status["kind"] == "Status" && status["reason"] == reason && message.contains(part);
        if !right {
            wrong.push(format!(
                "{method} {path} {shown}\n  wants {code} {reason} {part:?}, gets {} {status}",
                reply.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(hub.api().call("GET", "/readyz", None).await.unwrap().status, 200);
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_changes_get_the_right_status_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = hub.api().call("POST", path, Some(&deployment)).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.json());
    let path = format!("{path}/d");
    let mut wrong = Vec::new();
    for (kind, body, code, reason, part) in CHANGES {
        let mut connection = hub.api().connect().await.unwrap();
        let reply = connection.send("PATCH", &path, kind, *body).await.unwrap();
        let status = reply.json();
        let message = status["message"].as_str().unwrap_or_default();
        if reply.status != *code || status["reason"] != *reason || !message.contains(part) {
            wrong.push(format!("{kind} {body}\n  wants {code} {reason} {part:?}, gets {} {status}", reply.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let now = hub.api().call("GET", &path, None).await.unwrap().json();
    assert_eq!((&now["metadata"]["generation"], &now["spec"]["replicas"]), (&json!(1), &json!(0)));
}

fn file_of(dir: &Path, extensions: &[&str]) -> std::path::PathBuf {
    let files = fs::read_dir(dir).unwrap().flatten().map(|f| f.path());
    let fits = |f: &std::path::PathBuf| f.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
    files.into_iter().find(fits).unwrap_or_else(|| panic!("{} has no file {extensions:?}", dir.display()))
}
