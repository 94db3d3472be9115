//! A session with the real kubectl against real hub, agent and Podman. `tour.rs` has all releases.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use skiff_tests::kubectl::{headings, table};
use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, Kubectl, wait_for};

/// A pod with two containers; the first ends once with an error and is started again.
const NOISY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: noisy, labels: {app: noisy}}
spec:
  volumes: []
  containers:
    - name: first
      image: localhost/test:1
      command: [sh, -c, "echo one; echo two; echo three >&2; sleep 1; exit 3"]
    - name: second
      image: localhost/test:1
      command: [sh, -c, "trap 'echo bye; exit 0' TERM; echo second; while :; do sleep 1; done"]
"#;

#[test]
fn session_with_kubectl_1_27() {
    session("1.27");
}

#[test]
fn session_with_kubectl_1_33() {
    session("1.33");
}

/// Everything below, in order, against one cluster.
fn session(version: &str) {
    let mut cluster = Cluster::start(1);
    cluster.kubectl = Kubectl::version(version, &cluster.hub.kubeconfig());
    let k = &cluster.kubectl;
    create(k);
    events(k);
    cluster_info(k);
    describe(k);
    scale(k);
    rollout(k);
    apply(k);
    logs(k);
    outputs(k);
    labels_and_patches(k);
    watch(k);
    discovery(k);
    refusals(k);
    delete(&cluster);
}

fn create(k: &Kubectl) {
    let created = k.ok("create deployment web --image=localhost/test:1 --replicas=2");
    assert_eq!(created, "deployment.apps/web created\n");
    rolled_out(k);

    let deployments = k.ok("get deployments");
    assert_eq!(headings(&deployments), "NAME READY UP-TO-DATE AVAILABLE AGE");
    assert_eq!(table(&deployments)[1][..4], ["web", "2/2", "2", "2"]);

    let pods = k.ok("get pods");
    assert_eq!(headings(&pods), "NAME READY STATUS RESTARTS AGE");
    for pod in &table(&pods)[1..] {
        assert!(pod[0].starts_with("web-"), "{pod:?}");
        assert_eq!(pod[1..4], ["1/1", "Running", "0"]);
    }

    let wide = k.ok("get pods -o wide");
    assert_eq!(headings(&wide), "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    let first = &table(&wide)[1];
    assert!(first[5].starts_with("10.42."), "{wide}");
    assert_eq!(first[6..], ["node-0", "<none>", "<none>"]);

    let sets = k.ok("get replicasets");
    assert_eq!(headings(&sets), "NAME DESIRED CURRENT READY AGE");
    assert_eq!(table(&sets)[1][1..4], ["2", "2", "2"]);

    let nodes = k.ok("get nodes");
    assert_eq!(headings(&nodes), "NAME STATUS ROLES AGE VERSION");
    assert_eq!(table(&nodes)[1][..3], ["node-0", "Ready", "<none>"]);

    let wide = k.ok("get deployments -o wide");
    assert_eq!(headings(&wide), "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR");
    assert_eq!(table(&wide)[1][5..], ["test", "localhost/test:1", "app=web"]);
}

fn events(k: &Kubectl) {
    assert_eq!(headings(&k.ok("get events")), "LAST SEEN TYPE REASON OBJECT MESSAGE");
    for (object, reason, message) in [
        ("pod/web-", "Scheduled", "Successfully assigned default/web-"),
        ("pod/web-", "Pulled", "Container image \"localhost/test:1\" already present on machine"),
        ("pod/web-", "Created", "Created container"),
        ("pod/web-", "Started", "Started container test"),
        ("replicaset/web-", "SuccessfulCreate", "Created pod: web-"),
        ("deployment/web", "ScalingReplicaSet", "Scaled up replica set web-"),
        ("node/node-0", "RegisteredNode", "Node node-0 event: Registered Node node-0 in Controller"),
        ("node/node-0", "NodeReady", "Node node-0 status is now: NodeReady"),
    ] {
        has_event(k, object, reason, message);
    }
    let about =
        k.ok("get events --field-selector reason=ScalingReplicaSet -o jsonpath={.items[*].involvedObject.kind}");
    assert!(about.split(' ').all(|kind| kind == "Deployment"), "{about}");
}

fn cluster_info(k: &Kubectl) {
    let info = k.ok("cluster-info");
    assert!(info.contains("Kubernetes control plane") && info.contains("https://127.0.0.1:"), "{info}");
    let dump = k.ok("cluster-info dump");
    for part in ["\"kind\": \"NodeList\"", "\"kind\": \"EventList\"", "\"kind\": \"PodList\""] {
        assert!(dump.contains(part), "the dump lacks {part}");
    }
    let dump = k.ok("cluster-info dump --namespaces default");
    assert!(dump.contains("==== START logs for container test of pod default/web-"), "{dump}");
}

fn describe(k: &Kubectl) {
    let pod = squeezed(&k.ok("describe pod -l app=web"));
    for part in [
        "Node: node-0/",
        "Status: Running",
        "IP: 10.42.",
        "Controlled By: ReplicaSet/web-",
        "State: Running",
        "Ready: True",
        "QoS Class: BestEffort",
        "Image: localhost/test:1",
        "Successfully assigned default/web-",
    ] {
        assert!(pod.contains(part), "describe pod lacks {part:?}:\n{pod}");
    }
    let deployment = squeezed(&k.ok("describe deployment web"));
    for part in [
        "Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable",
        "StrategyType: RollingUpdate",
        "Available True MinimumReplicasAvailable",
        "Progressing True NewReplicaSetAvailable",
        "ScalingReplicaSet",
    ] {
        assert!(deployment.contains(part), "describe deployment lacks {part:?}:\n{deployment}");
    }
    let node = squeezed(&k.ok("describe node node-0"));
    for part in [
        "Capacity:",
        "Allocatable:",
        "Ready True",
        "Container Runtime Version: podman://",
        "Non-terminated Pods: (2",
        "Allocated resources:",
        "PodCIDR: 10.42.",
    ] {
        assert!(node.contains(part), "describe node lacks {part:?}:\n{node}");
    }
}

fn scale(k: &Kubectl) {
    assert_eq!(k.ok("scale deployment web --replicas=4"), "deployment.apps/web scaled\n");
    ready(k, "4/4");
    assert_eq!(k.ok("scale deployment web --replicas=1"), "deployment.apps/web scaled\n");
    ready(k, "1/1");
    has_event(k, "deployment/web", "ScalingReplicaSet", "Scaled down replica set web-");
    has_event(k, "pod/web-", "Killing", "Stopping container test");
    has_event(k, "replicaset/web-", "SuccessfulDelete", "Deleted pod: web-");
}

fn rollout(k: &Kubectl) {
    assert_eq!(k.ok("set image deployment/web test=localhost/test:2"), "deployment.apps/web image updated\n");
    rolled_out(k);
    runs_image(k, "localhost/test:2");
    let history = squeezed(&k.ok("rollout history deployment/web"));
    assert!(history.contains("REVISION CHANGE-CAUSE\n1 <none>\n2 <none>"), "{history}");
    assert!(k.ok("rollout history deployment/web --revision=1").contains("localhost/test:1"));

    assert_eq!(k.ok("rollout undo deployment/web"), "deployment.apps/web rolled back\n");
    rolled_out(k);
    runs_image(k, "localhost/test:1");
    let history = squeezed(&k.ok("rollout history deployment/web"));
    assert!(history.contains("\n2 <none>\n3 <none>") && !history.contains("\n1 "), "{history}");

    assert_eq!(k.ok("rollout restart deployment/web"), "deployment.apps/web restarted\n");
    rolled_out(k);
    assert_eq!(k.ok("rollout pause deployment/web"), "deployment.apps/web paused\n");
    assert_eq!(k.ok("rollout resume deployment/web"), "deployment.apps/web resumed\n");
}

fn apply(k: &Kubectl) {
    let file = k.file("noisy.yaml", NOISY);
    assert_eq!(k.ok(&format!("apply -f {file}")), "pod/noisy created\n");
    assert_eq!(k.ok(&format!("apply -f {file}")), "pod/noisy unchanged\n");
    let changed = NOISY.replace("{app: noisy}", "{app: noisy, tier: back}");
    assert_eq!(k.with_input("apply -f -", &changed), "pod/noisy configured\n");
    assert!(k.ok("get pod noisy --show-labels").contains("app=noisy,tier=back"));
}

fn logs(k: &Kubectl) {
    wait_for(30, "the first restart", || {
        let count =
            k.attempt(&["get", "pod", "noisy", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"])?;
        ensure(count != "0" && !count.is_empty(), || format!("restartCount is {count:?}"))
    });
    let previous = k.ok("logs noisy -c first --previous");
    for line in ["one\n", "two\n", "three\n"] {
        assert!(previous.contains(line), "{previous}");
    }
    assert_eq!(k.ok("logs noisy -c first --previous --tail=3").lines().count(), 3);
    assert_eq!(k.ok("logs noisy -c second"), "second\n");
    assert_eq!(k.ok("logs noisy -c second --since=1h"), "second\n");
    assert_eq!(k.ok("logs noisy -c second --tail=0"), "");
    let stamped = k.ok("logs noisy -c second --timestamps");
    assert!(stamped.starts_with("20") && stamped.ends_with("Z second\n"), "{stamped}");
    assert!(k.ok("logs deployment/web").contains("serves as web-"));
    assert!(k.ok("logs -l app=web --prefix").starts_with("[pod/web-"));
    assert!(k.fails("logs noisy -c third", None).contains("container third is not valid for pod noisy"));

    let mut follow = k.start("logs -f noisy -c second");
    wait_for(10, "the first line", || ensure(follow.log() == "second\n", || format!("it is {:?}", follow.log())));
    k.ok("delete pod noisy");
    wait_for(10, "the end of the log", || follow.exited().map(drop).ok_or_else(|| "kubectl follows on".into()));
    assert_eq!(follow.log(), "second\nbye\n");
}

fn outputs(k: &Kubectl) {
    assert!(k.ok("get deployment web -o yaml").starts_with("apiVersion: apps/v1\nkind: Deployment\n"));
    assert_eq!(k.json("get deployment web")["spec"]["replicas"], 1);
    assert_eq!(k.ok("get deployment web -o jsonpath={.spec.strategy.rollingUpdate.maxSurge}"), "25%");
    let custom = k.ok("get deployments -o custom-columns=NAME:.metadata.name,COUNT:.spec.replicas");
    assert_eq!(squeezed(&custom), "NAME COUNT\nweb 1\n");
    assert_eq!(k.ok("get deployments -o name"), "deployment.apps/web\n");
    assert!(k.ok("get all").contains("deployment.apps/web"));
    assert_eq!(k.ok("get pods --field-selector status.phase=Failed -o name"), "");
}

fn labels_and_patches(k: &Kubectl) {
    assert_eq!(k.ok("label deployment web tier=front"), "deployment.apps/web labeled\n");
    assert_eq!(k.ok("get deployments -l tier=front -o name"), "deployment.apps/web\n");
    assert_eq!(k.ok("get deployments -l 'tier notin (front)' -o name"), "");
    assert_eq!(k.ok("label deployment web tier-"), "deployment.apps/web unlabeled\n");
    // kubectl 1.27 says `annotate`, later ones `annotated`.
    assert!(k.ok("annotate deployment web note=hello").starts_with("deployment.apps/web annotate"));
    assert_eq!(k.ok("get deployment web -o jsonpath={.metadata.annotations.note}"), "hello");

    let strategic = r#"patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"test","workingDir":"/tmp"}]}}}}'"#;
    let merge = r#"patch deployment web --type=merge -p '{"metadata":{"annotations":{"note":null}}}'"#;
    let json = r#"patch deployment web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":2}]'"#;
    for patch in [strategic, merge, json] {
        assert_eq!(k.ok(patch), "deployment.apps/web patched\n");
    }
    let web = k.json("get deployment web");
    let container = &web["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["workingDir"]), (&"localhost/test:1".into(), &"/tmp".into()));
    assert_eq!(web["metadata"]["annotations"]["note"], serde_json::Value::Null);
    assert_eq!(web["spec"]["replicas"], 2);
    rolled_out(k);
    assert!(k.ok("wait --for=condition=Available deployment/web --timeout=30s").contains("condition met"));
}

fn watch(k: &Kubectl) {
    let watch = k.start("get pods -w");
    let file = k.file("noisy.yaml", NOISY);
    k.ok(&format!("apply -f {file}"));
    let seen = |state: &str| {
        wait_for(30, &format!("{state} in the watch"), || {
            let log = watch.log();
            let found = log.lines().any(|l| l.starts_with("noisy ") && l.contains(state));
            ensure(found, || format!("it shows {log}"))
        });
    };
    seen("Running");
    k.ok("delete pod noisy --wait=false");
    seen("Terminating");
    assert!(k.attempt(&["wait", "--for=delete", "pod/noisy", "--timeout=40s"]).is_ok());
}

fn discovery(k: &Kubectl) {
    assert!(k.ok("version -o json").contains("serverVersion"));
    let resources = squeezed(&k.ok("api-resources"));
    for row in [
        "pods po v1 true Pod",
        "deployments deploy apps/v1 true Deployment",
        "nodes no v1 false Node",
        "events ev v1 true Event",
        "leases coordination.k8s.io/v1 true Lease",
        "configmaps cm v1 true ConfigMap",
    ] {
        assert!(resources.contains(row), "api-resources lacks {row:?}:\n{resources}");
    }
    assert!(k.ok("api-versions").contains("apps/v1"));
    let explained = squeezed(&k.ok("explain pod.spec.containers.imagePullPolicy"));
    assert!(explained.contains("IfNotPresent") && explained.contains("KIND: Pod"), "{explained}");
    assert!(k.ok("explain deployment.spec --recursive").contains("maxSurge"));
}

fn refusals(k: &Kubectl) {
    for (line, message) in [
        ("get pod missing", "Error from server (NotFound): pods \"missing\" not found"),
        ("create deployment web --image=x", "deployments.apps \"web\" already exists"),
        ("get gadgets", "the server doesn't have a resource type \"gadgets\""),
        ("scale deployment web --replicas=-1", "replicas"),
        ("create configmap Not_A_Name", "a lowercase RFC 1123 subdomain must consist of"),
    ] {
        let said = k.fails(line, None);
        assert!(said.contains(message), "kubectl {line} says {said}");
    }
    let unknown = NOISY.replace("volumes: []", "nonsense: 1");
    assert!(k.fails("apply -f -", Some(&unknown)).contains("unknown field \"spec.nonsense\""));
}

fn delete(cluster: &Cluster) {
    let k = &cluster.kubectl;
    assert!(k.ok("delete deployment web").starts_with("deployment.apps \"web\" deleted"));
    wait_for(60, "the pods to go", || {
        let pods = k.attempt(&["get", "pods", "-o", "name"])?;
        ensure(pods.is_empty(), || format!("there are {pods}"))
    });
    assert_eq!(cluster.nodes[0].podman.running(), Vec::<String>::new());
    assert_eq!(k.ok("get replicasets -o name"), "");
}

fn rolled_out(k: &Kubectl) {
    let said = k.ok("rollout status deployment/web --timeout=90s");
    assert!(said.contains("deployment \"web\" successfully rolled out"), "{said}");
}

#[track_caller]
fn ready(k: &Kubectl, expected: &str) {
    wait_for(60, &format!("{expected} ready and nothing else running"), || {
        let found = table(&k.attempt(&["get", "deployment", "web"])?)[1][1].clone();
        let pods = k.attempt(&["get", "pods", "-l", "app=web", "-o", "name"])?.lines().count();
        ensure(found == expected && expected.starts_with(&format!("{pods}/")), || format!("{found} with {pods} pods"))
    });
}

/// Waits until every pod has this image: those of the old revision end after the rollout.
#[track_caller]
fn runs_image(k: &Kubectl, image: &str) {
    let path = "jsonpath={.items[*].spec.containers[0].image}";
    wait_for(60, &format!("all pods to have {image}"), || {
        let found = k.attempt(&["get", "pods", "-l", "app=web", "-o", path])?;
        ensure(found.split(' ').all(|i| i == image), || format!("they have {found}"))
    });
}

/// Waits for an event: they are written shortly after what they tell of.
#[track_caller]
fn has_event(k: &Kubectl, object: &str, reason: &str, message: &str) {
    wait_for(20, &format!("{reason} of {object}: {message}"), || {
        let printed = k.attempt(&["get", "events"])?;
        let found = table(&printed)
            .iter()
            .any(|row| row.len() == 5 && row[2] == reason && row[3].starts_with(object) && row[4].starts_with(message));
        ensure(found, || format!("there are\n{printed}"))
    });
}

/// Runs of spaces as one, no space at the ends of lines.
fn squeezed(text: &str) -> String {
    text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}
