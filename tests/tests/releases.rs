//! kubectl in every release, with a real node: pods and rollouts, logs, watches, debugging and maintenance. The releases
//! work beside each other, each in a namespace of its own.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use skiff_tests::api::plain_get;
use skiff_tests::kubectl::{RELEASES, each_release};
use skiff_tests::steps::{Step, fails, ok, since, walk};
use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, Kubectl, wait_for};

const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "localhost/test:1"}
    - {name: other, image: "localhost/test:1", command: [sh, -c, "echo first; echo second; exec sleep 10000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: fails, labels: {app: fails}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "localhost/test:1", command: [sh, -c, "echo try; sleep 1; exit 3"]}
"#;

/// Everything that ends by itself.
const STEPS: &[Step] = &[
    ok("wait --for=condition=Ready pod/web --timeout=120s", &["pod/web condition met"]),
    since(23, "wait --for=jsonpath={.status.phase}=Running pod/web --timeout=9s", &["pod/web condition met"]),
    fails("wait --for=condition=Ready pod/fails-not --timeout=1s", &["not found"]),
    ok("get pods web -o wide", &["2/2", "Running", "node-0", "10.42."]),
    ok("describe pod web", &["Started container main", "Successfully assigned {ns}/web to node-0"]),
    ok("get events --field-selector involvedObject.name=web", &["Scheduled", "Pulled", "Started"]),
    since(26, "events --for pod/web --types=Normal", &["Started container main"]),
    ok("logs web -c main", &["serves as web"]),
    ok("logs web -c other --tail=1", &["second"]),
    ok("logs web -c other --since=1h --timestamps", &["Z second"]),
    ok("logs web --all-containers", &["serves as web", "second"]),
    ok("logs -l app=web -c other --prefix", &["[pod/web/other] first"]),
    ok("logs -l app=web --all-containers --max-log-requests=2", &["serves as web", "second"]),
    fails("logs web -c nothing", &["container nothing is not valid for pod web"]),
    fails("logs web -c main --previous", &["previous terminated container \"main\" in pod \"web\" not found"]),
    ok("logs fails --previous", &["try"]),
    ok("get pod fails", &["fails", "(", "ago)"]),
    ok("delete pod fails --now", &["pod \"fails\" deleted"]),
    ok("exec web -c main -- cat /etc/image", &["localhost/test:1"]),
    fails("exec web -c main -- sh -c 'exit 7'", &["command terminated with exit code 7"]),
    ok("create deployment app --image=localhost/test:1", &["deployment.apps/app created"]),
    ok("rollout status deployment/app --timeout=120s", &["successfully rolled out"]),
    ok("exec deployment/app -- cat /etc/image", &["localhost/test:1"]),
    ok("logs deployment/app", &["serves as app-"]),
    ok("expose deployment app --port=80 --target-port=8080", &["service/app exposed"]),
    ok("get endpoints app", &["10.42.", ":8080"]),
    ok("get --raw /api/v1/namespaces/{ns}/services/app:80/proxy/", &["app-"]),
    ok("exec service/app -- cat /etc/image", &["localhost/test:1"]),
    ok("set image deployment/app test=localhost/test:2", &["image updated"]),
    ok("rollout status deployment/app --timeout=120s", &["successfully rolled out"]),
    ok("rollout history deployment/app --revision=2", &["localhost/test:2"]),
    ok("rollout undo deployment/app", &["rolled back"]),
    ok("rollout status deployment/app --timeout=120s", &["successfully rolled out"]),
    ok("rollout pause deployment/app", &["paused"]),
    ok("set env deployment/app COLOR=red", &["env updated"]),
    ok("set resources deployment/app --limits=memory=32Mi", &["resource requirements updated"]),
    ok("set serviceaccount deployment/app default", &["serviceaccount updated"]),
    ok("get deployment app -o jsonpath={.status.updatedReplicas}{.status.conditions[*].reason}", &["DeploymentPaused"]),
    ok("rollout resume deployment/app", &["resumed"]),
    ok("rollout restart deployment/app", &["restarted"]),
    ok("scale deployment app --replicas=2", &["scaled"]),
    ok("rollout status deployment/app --timeout=120s", &["successfully rolled out"]),
    ok("get pods -l app=app -o jsonpath={.items[*].spec.containers[0].env[0].value}", &["red red"]),
    ok("wait --for=condition=Available deployment --all --timeout=60s", &["deployment.apps/app condition met"]),
    ok("get deployments", &["2/2"]),
    fails("top pod web", &["Metrics API not available"]),
    since(24, "create token default --bound-object-kind=Pod --bound-object-name=web", &["eyJ"]),
    since(27, "debug web --image=localhost/test:1 --target=main -c dbg -- sleep 10000", &[]),
    since(27, "get pod web -o jsonpath={.status.ephemeralContainerStatuses[0].state}", &["running"]),
    since(27, "exec web -c dbg -- ps", &["serve"]),
    ok("delete service,deployment app", &["service \"app\" deleted", "deployment.apps \"app\" deleted"]),
    since(27, "wait --for=delete pod -l app=app --timeout=60s", &[]),
];

/// What changes the whole node, one release after the other.
const MAINTENANCE: &[Step] = &[
    ok("label pod web of={ns}", &["pod/web labeled"]),
    ok("cordon node-0", &["node/node-0 cordoned"]),
    ok("get nodes", &["Ready,SchedulingDisabled"]),
    fails("drain node-0 --pod-selector=of={ns} --ignore-daemonsets", &["use --force to override"]),
    ok("drain node-0 --pod-selector=of={ns} --ignore-daemonsets --force --timeout=60s", &["web evicted"]),
    fails("get pod web", &["pods \"web\" not found"]),
    ok("run waits --image=localhost/test:1 --restart=Never", &["pod/waits created"]),
    ok("get events --field-selector involvedObject.name=waits", &["1 node(s) were unschedulable"]),
    ok("taint nodes node-0 kept=free:NoSchedule", &["node/node-0 tainted"]),
    ok("uncordon node-0", &["node/node-0 uncordoned"]),
    ok("get events --field-selector involvedObject.name=waits", &["had untolerated taint"]),
    ok("taint nodes node-0 kept:NoSchedule-", &["node/node-0 untainted"]),
    ok("wait --for=condition=Ready pod/waits --timeout=60s", &["pod/waits condition met"]),
    ok("replace --force --grace-period=0 -f {dir}/waits.yaml", &["pod/waits replaced"]),
    ok("delete namespace {ns} --timeout=60s", &["deleted"]),
];

const WAITS: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: waits}
spec: {containers: [{name: waits, image: "localhost/test:2"}]}
"#;

#[test]
fn older_releases_work_with_a_node() {
    work_with_a_node(&RELEASES[..4]);
}

#[test]
fn newer_releases_work_with_a_node() {
    work_with_a_node(&RELEASES[4..]);
}

fn work_with_a_node(releases: &[&'static str]) {
    let cluster = Cluster::start(1);
    let admin = cluster.hub.kubeconfig();
    each_release(releases, |release| {
        let k = in_its_namespace(release, &admin);
        let watch = k.start("get pods -w");
        let file = k.file("pods.yaml", PODS);
        k.ok(&format!("apply -f {file}"));
        walk(&k, release, STEPS, "", &namespace(release));
        let seen = watch.log();
        for state in ["ContainerCreating", "Running", "Error", "Terminating"] {
            assert!(seen.contains(state), "kubectl {release}: the watch lacks {state}: {seen}");
        }
        follow(&k);
        proxy(&k, release);
    });
    for &release in releases {
        let k = in_its_namespace(release, &admin);
        let file = k.file("waits.yaml", WAITS);
        let dir = Path::new(&file).parent().unwrap().display().to_string();
        walk(&k, release, MAINTENANCE, &dir, &namespace(release));
    }
}

fn namespace(release: &str) -> String {
    format!("k-{}", release.replace('.', "-"))
}

/// A kubectl with a kubeconfig of its own that names its namespace, which it creates where it is not there.
fn in_its_namespace(release: &str, admin: &Path) -> Kubectl {
    let own = admin.with_file_name(format!("{release}.kubeconfig"));
    fs::copy(admin, &own).unwrap();
    let k = Kubectl::version(release, &own);
    let namespace = namespace(release);
    if k.attempt(&["get", "namespace", &namespace]).is_err() {
        k.ok(&format!("create namespace {namespace}"));
    }
    k.ok(&format!("config set-context --current --namespace={namespace}"));
    k
}

/// `logs -f` goes on until the container ends.
fn follow(k: &Kubectl) {
    let script = "'trap \"echo bye; exit 0\" TERM; echo here; while :; do sleep 0.1; done'";
    k.ok(&format!("run talks --image=localhost/test:1 --restart=Never --command -- sh -c {script}"));
    k.ok("wait --for=condition=Ready pod/talks --timeout=60s");
    let mut follow = k.start("logs -f talks");
    wait_for(20, "the first line", || ensure(follow.log() == "here\n", || follow.log()));
    k.ok("delete pod talks");
    wait_for(20, "the end of the log", || follow.exited().map(drop).ok_or_else(|| "kubectl follows on".into()));
    assert_eq!(follow.log(), "here\nbye\n");
}

/// `kubectl proxy` serves the API and the pods behind it.
fn proxy(k: &Kubectl, release: &str) {
    let proxy = k.start("proxy --port=0");
    let port = wait_for(20, "kubectl to serve", || {
        let log = proxy.log();
        let port = log.trim().rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        port.ok_or_else(|| log.clone())
    });
    assert!(plain_get(port, "/version").contains("v1.33"), "{release}");
    let pod = format!("/api/v1/namespaces/{}/pods/web:8080/proxy/", namespace(release));
    assert_eq!(plain_get(port, &pod), "web\n", "{release}");
}
