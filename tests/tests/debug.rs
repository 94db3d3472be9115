//! `kubectl debug`: containers added to running pods, copies of pods, and nodes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Output;

use skiff_tests::process::text;
use skiff_tests::{Cluster, wait_for};

const WEB: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "localhost/test:1", command: [sh, -c, "echo started; exec sleep 34567"]}
    - {name: other, image: "localhost/test:1", command: [sleep, "45678"]}
"#;

fn start() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.kubectl.with_input("apply -f -", WEB);
    cluster.wait_value(60, "pod/web", "{.status.phase}", "Running");
    cluster
}

/// Output of a terminal, with everything that was said.
fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_container_is_added_to_a_running_pod() {
    let mut cluster = start();
    let k = &cluster.kubectl;
    let typed = "sleep 1; ps; echo sum-$((40+2)); exit 3\n";
    let line = "debug -it web --image=localhost/test:1 --target=main -c dbg -- sh";
    let out = said(&k.terminal(line, 33, 101, typed));
    assert!(out.contains("sum-42"), "{out}");
    assert!(out.contains("sleep 34567") && !out.contains("sleep 45678"), "the processes of main alone: {out}");

    let ended = "{.status.ephemeralContainerStatuses[?(@.name==\"dbg\")].state.terminated.exitCode}";
    cluster.wait_value(30, "pod/web", ended, "3");
    let pod = k.json("get pod web");
    assert_eq!(pod["status"]["containerStatuses"].as_array().unwrap().len(), 2);
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(k.ok("get pod web").contains("2/2"), "ephemeral containers are not counted");
    assert!(k.ok("logs web -c dbg").contains("sum-42"));
    let described = k.ok("describe pod web");
    assert!(described.contains("Ephemeral Containers:") && described.contains("Exit Code:    3"), "{described}");

    k.ok("debug web --image=localhost/test:1 -c two -- sleep 56789");
    let running = "{.status.ephemeralContainerStatuses[?(@.name==\"two\")].state.running.startedAt}";
    let started = wait_for(30, "the second one to run", || {
        let path = format!("jsonpath={running}");
        k.attempt(&["get", "pod", "web", "-o", &path])
            .and_then(|t| if t.is_empty() { Err("it does not".into()) } else { Ok(t) })
    });
    assert!(!k.ok("exec web -c two -- ps").contains("sleep 34567"), "without a target it sees itself alone");

    cluster.nodes[0].kill9();
    cluster.nodes[0].start();
    cluster.kubectl.ok("run probe --image=localhost/test:1");
    cluster.wait_value(40, "pod/probe", "{.status.phase}", "Running");
    cluster.wait_value(10, "pod/web", running, &started);
    assert!(cluster.kubectl.ok("exec web -c two -- ps").contains("sleep 56789"), "adopted");
    assert_eq!(cluster.kubectl.json("get pod web")["status"]["ephemeralContainerStatuses"][0]["restartCount"], 0);

    cluster.kubectl.ok("delete pod web probe");
    assert!(cluster.nodes[0].podman.running().is_empty(), "all containers go with the pod");
}

#[test]
fn a_pod_is_copied_to_be_debugged() {
    let cluster = start();
    let k = &cluster.kubectl;
    k.ok("debug web --copy-to=copy --set-image=other=localhost/test:1 --share-processes --image=localhost/test:1 -c dbg -- sleep 56789");
    cluster.wait_value(60, "pod/copy", "{.status.phase}", "Running");
    let processes = k.ok("exec copy -c dbg -- ps");
    for own in ["sleep 34567", "sleep 45678", "sleep 56789"] {
        assert!(processes.contains(own), "{own} is not among {processes}");
    }
}

#[test]
fn a_node_is_debugged_from_a_pod_in_its_namespaces() {
    let cluster = start();
    let k = &cluster.kubectl;
    let out = said(&k.terminal(
        "debug node/node-0 -it --image=localhost/test:1 -- sh",
        33,
        101,
        "sleep 1; ps; echo sum-$((40+2)); exit\n",
    ));
    assert!(out.contains("sum-42") && out.contains("sleep 34567") && out.contains("skiff-agent"), "{out}");
    let pod = &k.json("get pods -l app!=x")["items"];
    let pod = pod.as_array().unwrap().iter().find(|p| p["spec"]["hostPID"] == true).unwrap();
    assert_eq!((&pod["spec"]["nodeName"], &pod["spec"]["hostIPC"]), (&"node-0".into(), &true.into()));
    let name = pod["metadata"]["name"].as_str().unwrap();
    cluster.wait_value(30, &format!("pod/{name}"), "{.status.phase}", "Succeeded");
}
