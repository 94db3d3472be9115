//! Probes, lifecycle hooks and the hosts file on a real Podman.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use skiff_tests::Cluster;

const PODS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: my-db}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: watched}
spec:
  terminationGracePeriodSeconds: 2
  hostAliases: [{ip: 192.0.2.7, hostnames: [seven, sieben]}]
  containers:
    - name: main
      image: localhost/test:1
      command: [sh, -c, "touch /tmp/ready; mkdir /tmp/www; echo hi >/tmp/www/index.html; httpd -f -p 8080 -h /tmp/www"]
      ports: [{name: web, containerPort: 8080}]
      readinessProbe: {exec: {command: [cat, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}
      livenessProbe: {httpGet: {port: web, path: /index.html}, periodSeconds: 1, failureThreshold: 1}
      startupProbe: {tcpSocket: {port: web}, periodSeconds: 1, failureThreshold: 30}
      lifecycle:
        postStart: {exec: {command: [sh, -c, "echo called >/tmp/hook"]}}
---
apiVersion: v1
kind: Pod
metadata: {name: goodbye}
spec:
  containers:
    - name: main
      image: localhost/test:1
      command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
      volumeMounts: [{name: out, mountPath: /out}]
      lifecycle: {preStop: {exec: {command: [sh, -c, "echo bye >/out/bye"]}}}
  volumes: [{name: out, hostPath: {path: DIR}}]
"#;

#[test]
fn containers_are_probed_and_their_hooks_called() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let dir = std::env::temp_dir().join(format!("skiff-probes-{}", std::process::id()));
    k.with_input("apply -f -", &PODS.replace("DIR", dir.to_str().unwrap()));
    let ready = r#"{.status.conditions[?(@.type=="Ready")].status}"#;
    let status = |path: &str| format!("{{.status.containerStatuses[0].{path}}}");
    cluster.wait_value(60, "pod/watched", ready, "True");
    cluster.wait_value(5, "pod/watched", &status("started"), "true");
    assert_eq!(k.ok("exec watched -- cat /tmp/hook"), "called\n");
    let hosts = k.ok("exec watched -- cat /etc/hosts");
    for line in ["# Kubernetes-managed hosts file.\n", "\twatched\n", "\n192.0.2.7\tseven\tsieben\n"] {
        assert!(hosts.contains(line), "{line:?} in {hosts}");
    }
    let env = k.ok("exec watched -- env");
    assert!(env.contains("MY_DB_SERVICE_PORT=5432\n") && env.contains("KUBERNETES_SERVICE_PORT=443\n"), "{env}");

    k.ok("exec watched -- rm /tmp/ready");
    cluster.wait_value(20, "pod/watched", ready, "False");
    cluster.wait_value(5, "pod/watched", &status("restartCount"), "0");
    k.ok("exec watched -- rm /tmp/www/index.html");
    cluster.wait_value(40, "pod/watched", &status("restartCount"), "1");
    cluster.wait_value(60, "pod/watched", ready, "True");
    let events = k.ok("get events --field-selector involvedObject.name=watched");
    for message in [
        "Readiness probe failed: cat: ",
        "Liveness probe failed: HTTP probe failed with statuscode: 404",
        "Container main failed liveness probe, will be restarted",
    ] {
        assert!(events.contains(message), "{message:?} in {events}");
    }

    cluster.wait_value(60, "pod/goodbye", ready, "True");
    k.ok("delete pod goodbye");
    assert_eq!(std::fs::read_to_string(dir.join("bye")).unwrap(), "bye\n");
    std::fs::remove_dir_all(dir).unwrap();
}
