//! Requests through the API to pods, services and nodes, with kubectl and real containers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{Read, Write};
use std::net::TcpStream;

use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, Kubectl, wait_for};

const RELEASES: [&str; 4] = ["1.20", "1.27", "1.30", "1.33"];

/// Port 8080 is open to all, 8081 on loopback only, 8082 on the pod's own address only.
const WEB: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: localhost/test:1
      ports: [{name: serve, containerPort: 8080}]
      command: [sh, -c, "mkdir -p /tmp/in/sub; echo here >/tmp/in/index.html; echo below >/tmp/in/sub/index.html; own=$(ip -4 -o addr show dev eth0 | awk '{print $4}' | cut -d/ -f1); httpd -p 127.0.0.1:8081 -h /tmp/in; httpd -p $own:8082 -h /tmp/in; exec serve"]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: serve}, {name: own, port: 81, targetPort: 8082}]
"#;

const NAMESPACE: &str = "/api/v1/namespaces/default";

fn start() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.kubectl.with_input("apply -f -", WEB);
    cluster.wait_value(60, "pod/web", "{.status.phase}", "Running");
    cluster.wait_value(20, "endpoints/web", "{.subsets[0].addresses[0].targetRef.name}", "web");
    cluster
}

fn raw(k: &Kubectl, path: &str) -> Result<String, String> {
    k.attempt(&["get", "--raw", path])
}

#[test]
fn pods_and_services_are_reached_through_the_api() {
    let cluster = start();
    let releases = RELEASES.iter().map(|v| (*v, Kubectl::version(v, &cluster.hub.kubeconfig())));
    for (version, k) in releases {
        let get = |path: &str| raw(&k, &format!("{NAMESPACE}/{path}"));
        // The pod opens its ports one after the other.
        wait_for(20, "the pod to listen", || get("pods/web:8080/proxy/"));
        for (path, expected) in [
            ("pods/web:8080/proxy/", "web\n"),
            ("pods/web/proxy/", "web\n"),
            ("pods/web:8082/proxy/sub/index.html", "below\n"),
            ("services/web:http/proxy/", "web\n"),
            ("services/web:80/proxy/", "web\n"),
            ("services/http:web:own/proxy/", "here\n"),
        ] {
            assert_eq!(get(path).as_deref(), Ok(expected), "{version}: {path}");
        }
        for (path, expected) in [
            ("pods/web:8081/proxy/", "connect: connection refused"),
            ("pods/gone/proxy/", "pods \"gone\" not found"),
            ("services/web:82/proxy/", "no service port 82 found for service \"web\""),
        ] {
            let error = get(path).unwrap_err();
            assert!(error.contains(expected), "{version}: {path}: {error}");
        }

        let proxy = k.start("proxy --port=0");
        let port = || {
            let log = proxy.log();
            let port = log.trim().rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            port.ok_or(log)
        };
        let port = wait_for(20, "kubectl proxy to listen", port);
        let (head, body) = fetch(port, &format!("{NAMESPACE}/services/web:own/proxy/"));
        assert!(head.starts_with("HTTP/1.1 200") && body == "here\n", "{version}: {head}\n{body}");
        let (head, _) = fetch(port, &format!("{NAMESPACE}/pods/web:8082/proxy/sub"));
        let back = format!("location: {NAMESPACE}/pods/web:8082/proxy/sub/");
        assert!(head.to_ascii_lowercase().contains(&back), "{version}: {head}");
    }
}

/// Head and body of the answer to `GET PATH`.
fn fetch(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    // One short chunk: its length, itself, and the end.
    let body = if chunked { body.split("\r\n").nth(1).unwrap_or_default() } else { body };
    (head.to_owned(), body.to_owned())
}

#[test]
fn nodes_answer_in_their_kubelets_stead() {
    let cluster = start();
    let k = &cluster.kubectl;
    let node = "/api/v1/nodes/node-0";
    assert_eq!(raw(k, &format!("{node}/proxy/healthz")).as_deref(), Ok("ok"));
    let pods: serde_json::Value = serde_json::from_str(&k.ok(&format!("get --raw {node}:10250/proxy/pods"))).unwrap();
    assert_eq!(pods["items"][0]["metadata"]["name"], "web");
    let log = k.ok(&format!("get --raw {node}/proxy/containerLogs/default/web/main"));
    assert!(log.contains("serves as web"), "{log}");
    let text = k.ok(&format!("get --raw {node}/proxy/stats/summary"));
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    let used = |path: &str| summary.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or_default();
    for path in ["/node/cpu/usageCoreNanoSeconds", "/node/memory/workingSetBytes", "/pods/0/memory/usageBytes"] {
        assert!(used(path) > 0, "{path} in {summary}");
    }
    let metrics = k.ok(&format!("get --raw {node}/proxy/metrics/resource"));
    assert!(metrics.contains("pod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"}"), "{metrics}");
    assert!(raw(k, &format!("{node}/proxy/run/x")).is_err());
}

#[test]
fn endpoints_follow_pods() {
    let mut cluster = start();
    let k = &cluster.kubectl;
    let ip = k.ok("get pod web -o jsonpath={.status.podIP}");
    assert_eq!(k.ok("get endpoints web -o jsonpath={.subsets[0].addresses[*].ip}"), ip);
    let slice =
        "get endpointslices -l kubernetes.io/service-name=web -o jsonpath={.items[0].endpoints[*].conditions.ready}";
    assert_eq!(k.ok(slice), "true");
    assert!(!k.ok("get endpoints kubernetes -o jsonpath={.subsets[0].addresses[0].ip}").is_empty());
    assert_eq!(k.ok("get endpointslice kubernetes -o jsonpath={.ports[0].name}"), "https");
    cluster.nodes[0].kill9();
    wait_for(60, "the proxy to tell that the node is gone", || {
        let error = raw(k, &format!("{NAMESPACE}/pods/web:8080/proxy/")).err().unwrap_or_default();
        ensure(error.contains("error trying to reach service: node \"node-0\" is not connected"), || error)
    });
    cluster.nodes[0].start();
    cluster.wait_node("node-0", "True");
    let k = &cluster.kubectl;
    k.ok("delete pod web");
    wait_for(20, "the service to be without endpoints", || {
        let error = raw(k, &format!("{NAMESPACE}/services/web:http/proxy/")).err().unwrap_or_default();
        ensure(error.contains("no endpoints available for service"), || error)
    });
    k.ok("delete service web");
    wait_for(20, "the endpoints to be gone", || {
        let left = k.ok("get endpoints,endpointslices -o name");
        ensure(!left.contains("/web"), || left)
    });
}
