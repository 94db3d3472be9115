//! Pods on a real Podman: restart policies, exits, images, environment, resources, endings.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use skiff_tests::registry::Registry;
use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, wait_for};

/// A manifest of one pod with one container: `spec` lines of the pod, `container` lines of the container.
fn pod(name: &str, spec: &str, container: &str) -> String {
    let indent =
        |text: &str, by: usize| -> String { text.lines().map(|l| format!("{}{l}\n", " ".repeat(by))).collect() };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{}  containers:\n    - name: main\n{}",
        indent(spec, 2),
        indent(&format!("image: localhost/test:1\n{container}"), 6)
    )
}

/// The path of the container's status, and below it.
fn status(path: &str) -> String {
    format!("{{.status.containerStatuses[0].{path}}}")
}

#[test]
fn restart_policies_and_exit_codes() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let exit = |code: u8| format!("command: [sh, -c, \"exit {code}\"]");
    for (name, policy, code) in [
        ("never-0", "Never", 0),
        ("never-7", "Never", 7),
        ("onfail-0", "OnFailure", 0),
        ("onfail-7", "OnFailure", 7),
        ("always-0", "Always", 0),
    ] {
        k.with_input("apply -f -", &pod(name, &format!("restartPolicy: {policy}"), &exit(code)));
    }
    for (name, phase, code, reason) in [
        ("never-0", "Succeeded", "0", "Completed"),
        ("never-7", "Failed", "7", "Error"),
        ("onfail-0", "Succeeded", "0", "Completed"),
    ] {
        let object = format!("pod/{name}");
        cluster.wait_value(30, &object, "{.status.phase}", phase);
        cluster.wait_value(5, &object, &status("state.terminated.exitCode"), code);
        cluster.wait_value(5, &object, &status("state.terminated.reason"), reason);
        cluster.wait_value(5, &object, &status("restartCount"), "0");
    }
    for (name, code, reason) in [("onfail-7", "7", "Error"), ("always-0", "0", "Completed")] {
        let object = format!("pod/{name}");
        cluster.wait_value(30, &object, &status("state.waiting.reason"), "CrashLoopBackOff");
        cluster.wait_value(5, &object, &status("lastState.terminated.exitCode"), code);
        cluster.wait_value(5, &object, &status("lastState.terminated.reason"), reason);
        cluster.wait_value(5, &object, "{.status.phase}", "Running");
        cluster.wait_value(30, &object, &status("restartCount"), "2");
    }
    let events = k.ok("get events --field-selector reason=BackOff");
    assert!(events.contains("Back-off restarting failed container main in pod onfail-7"), "{events}");
}

#[test]
fn too_much_memory_is_oomkilled() {
    let cluster = Cluster::start(1);
    let eat = "command: [sh, -c, \"tail /dev/zero\"]\nresources: {limits: {memory: 16Mi}}";
    cluster.kubectl.with_input("apply -f -", &pod("hungry", "restartPolicy: Never", eat));
    cluster.wait_value(60, "pod/hungry", &status("state.terminated.reason"), "OOMKilled");
    cluster.wait_value(5, "pod/hungry", &status("state.terminated.exitCode"), "137");
}

/// A file of the memory or CPU control group of a process: version 2's name, else version 1's.
fn cgroup(pid: &str, controller: &str, v2: &str, v1: &str) -> String {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |wanted: &str| {
        let mut lines = own.lines().map(|l| l.splitn(3, ':').collect::<Vec<_>>());
        lines.find(|l| l[1].split(',').any(|c| c == wanted)).map(|l| l[2].to_owned())
    };
    let file = match path(controller) {
        Some(path) => format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        None => format!("/sys/fs/cgroup{}/{v2}", path("").unwrap()),
    };
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_owned()
}

#[test]
fn a_running_container_is_resized() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let resources = "resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 32Mi}}";
    k.with_input("apply -f -", &pod("grow", "", resources));
    cluster.wait_value(60, "pod/grow", "{.status.phase}", "Running");
    let id = k.ok(&format!("get pod grow -o 'jsonpath={}'", status("containerID")));
    let id = id.trim_start_matches("podman://");
    let pid = cluster.nodes[0].podman.cli(&format!("inspect -f {{{{.State.Pid}}}} {id}")).trim().to_owned();
    let memory = || cgroup(&pid, "memory", "memory.max", "memory.limit_in_bytes");
    let quota = || cgroup(&pid, "cpu", "cpu.max", "cpu.cfs_quota_us");
    assert_eq!(memory(), (32 << 20).to_string());
    let resize = |resources: &str| {
        let patch = format!(r#"{{"spec": {{"containers": [{{"name": "main", "resources": {resources}}}]}}}}"#);
        k.attempt(&["patch", "pod", "grow", "--subresource", "resize", "--patch", &patch])
    };
    let refused = resize(r#"{"limits": {"memory": "16Mi"}}"#).unwrap_err();
    assert!(refused.contains("memory limits cannot be decreased unless resizePolicy is RestartContainer"), "{refused}");
    for (limit, bytes, micros) in [("48Mi", 48 << 20, "50000"), ("256Mi", 256 << 20, "50000")] {
        resize(&format!(r#"{{"limits": {{"cpu": "500m", "memory": "{limit}"}}}}"#)).unwrap();
        wait_for(30, "the new limits", || {
            let (memory, quota) = (memory(), quota());
            ensure(memory == bytes.to_string() && quota.starts_with(micros), || format!("{memory} {quota}"))
        });
    }
    cluster.wait_value(5, "pod/grow", &status("restartCount"), "0");
    cluster.wait_value(5, "pod/grow", &status("containerID"), &format!("podman://{id}"));
    cluster.wait_value(
        5,
        "pod/grow",
        &status("resources"),
        r#"{"limits":{"cpu":"500m","memory":"256Mi"},"requests":{"cpu":"100m","memory":"32Mi"}}"#,
    );
    cluster.wait_value(5, "pod/grow", "{.status.conditions[?(@.status==\"True\")].type}", &LASTING.join(" "));
}

/// The conditions of a pod that runs and is not being resized.
const LASTING: [&str; 5] = ["PodScheduled", "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

#[test]
fn a_resize_waits_for_room_on_the_node() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let room = k.ok("get node node-0 -o 'jsonpath={.status.allocatable.cpu}'");
    let room: u64 = room.strip_suffix('m').map_or_else(|| room.parse::<u64>().unwrap() * 1000, |m| m.parse().unwrap());
    let half = room / 2;
    k.with_input("apply -f -", &pod("hog", "", &format!("resources: {{requests: {{cpu: {half}m}}}}")));
    k.with_input("apply -f -", &pod("grow", "", "resources: {requests: {cpu: 100m}}"));
    cluster.wait_value(60, "pod/hog", "{.status.phase}", "Running");
    cluster.wait_value(60, "pod/grow", "{.status.phase}", "Running");
    let resize = |cpu: u64| {
        let requests = format!(r#"{{"requests": {{"cpu": "{cpu}m"}}}}"#);
        let patch = format!(r#"{{"spec": {{"containers": [{{"name": "main", "resources": {requests}}}]}}}}"#);
        k.attempt(&["patch", "pod", "grow", "--subresource", "resize", "--patch", &patch]).unwrap();
    };
    let pending = r#"{range .status.conditions[?(@.type=="PodResizePending")]}{.reason}: {.message}{end}"#;
    let wanted = half + 200;
    let (never, later) = (
        format!("Infeasible: Node didn't have enough capacity: cpu, requested: {}, capacity: {room}", room + 1),
        format!("Deferred: Node didn't have enough resource: cpu, requested: {wanted}, used: {half}, capacity: {room}"),
    );
    for (cpu, expected) in [(room + 1, never), (wanted, later)] {
        resize(cpu);
        cluster.wait_value(30, "pod/grow", pending, &expected);
        cluster.wait_value(5, "pod/grow", &status("allocatedResources.cpu"), "100m");
        cluster.wait_value(5, "pod/grow", &status("resources.requests.cpu"), "100m");
    }
    k.ok("delete pod hog --grace-period=1");
    cluster.wait_value(30, "pod/grow", pending, "");
    cluster.wait_value(30, "pod/grow", &status("allocatedResources.cpu"), &format!("{wanted}m"));
    cluster.wait_value(30, "pod/grow", &status("resources.requests.cpu"), &format!("{wanted}m"));
    cluster.wait_value(5, "pod/grow", &status("restartCount"), "0");
}

#[test]
fn images_are_pulled_and_failures_told() {
    let cluster = Cluster::start(1);
    let podman = &cluster.nodes[0].podman;
    let registry = Registry::start(&cluster.lab);
    let good = registry.push(podman, "localhost/test:2", "good:1");
    let k = &cluster.kubectl;
    let manifest = |name: &str, image: &str| pod(name, "", "").replace("localhost/test:1", image);

    k.with_input("apply -f -", &manifest("good", &good));
    cluster.wait_value(30, "pod/good", "{.status.phase}", "Running");
    let events = k.ok("get events --field-selector involvedObject.name=good");
    assert!(events.contains(&format!("Pulling image \"{good}\"")), "{events}");
    assert!(events.contains(&format!("Successfully pulled image \"{good}\"")), "{events}");

    k.with_input("apply -f -", &manifest("missing", &registry.image("missing:1")));
    k.with_input("apply -f -", &pod("absent", "", "imagePullPolicy: Never").replace("test:1", "absent:1"));
    wait_for(30, "ErrImagePull, then ImagePullBackOff", || {
        let events = k.attempt(&["get", "events", "--field-selector", "involvedObject.name=missing"])?;
        ensure(events.contains("ErrImagePull") && events.contains("Back-off pulling image"), || events.clone())
    });
    cluster.wait_value(30, "pod/missing", &status("state.waiting.reason"), "ImagePullBackOff");
    cluster.wait_value(5, "pod/missing", "{.status.phase}", "Pending");
    cluster.wait_value(30, "pod/absent", &status("state.waiting.reason"), "ErrImageNeverPull");
}

#[test]
fn environment_comes_from_literals_configmaps_and_secrets() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    k.ok("create configmap settings --from-literal=color=blue --from-literal=SIZE=3");
    k.ok("create secret generic keys --from-literal=token=s3cret");
    let container = r#"command: [sh, -c, "echo $PLAIN $COLOR $TOKEN $SIZE $JOINED; pwd"]
workingDir: /tmp
env:
  - {name: PLAIN, value: text}
  - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
  - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
  - {name: JOINED, value: "$(PLAIN)-$(COLOR)"}
envFrom:
  - configMapRef: {name: settings}"#;
    k.with_input("apply -f -", &pod("env", "restartPolicy: Never", container));
    cluster.wait_value(30, "pod/env", "{.status.phase}", "Succeeded");
    assert_eq!(k.ok("logs env"), "text blue s3cret 3 text-blue\n/tmp\n");

    let absent = "env: [{name: X, valueFrom: {configMapKeyRef: {name: nowhere, key: x}}}]";
    k.with_input("apply -f -", &pod("unset", "", absent));
    cluster.wait_value(30, "pod/unset", &status("state.waiting.reason"), "CreateContainerConfigError");
    let message = k.ok(&format!("get pod unset -o 'jsonpath={}'", status("state.waiting.message")));
    assert_eq!(message, "configmap \"nowhere\" not found");
    k.ok("create configmap nowhere --from-literal=x=1");
    cluster.wait_value(90, "pod/unset", "{.status.phase}", "Running");
}

#[test]
fn containers_end_by_sigterm_or_by_sigkill_after_their_grace() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let gentle = "command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 0.1; done\"]";
    let stubborn = "command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"]";
    k.with_input("apply -f -", &pod("gentle", "terminationGracePeriodSeconds: 30", gentle));
    k.with_input("apply -f -", &pod("stubborn", "terminationGracePeriodSeconds: 3", stubborn));
    for name in ["gentle", "stubborn"] {
        cluster.wait_value(30, &format!("pod/{name}"), "{.status.phase}", "Running");
    }
    let seconds = |name: &str| {
        let begin = std::time::Instant::now();
        k.ok(&format!("delete pod {name}"));
        begin.elapsed().as_secs_f64()
    };
    let (gentle, stubborn) = (seconds("gentle"), seconds("stubborn"));
    assert!(gentle < 6.0, "SIGTERM should end it at once, it took {gentle} s");
    assert!((3.0..9.0).contains(&stubborn), "SIGKILL should come after 3 s, it took {stubborn} s");
    assert_eq!(cluster.nodes[0].podman.running(), Vec::<String>::new());
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let cluster = Cluster::start(1);
    let spec = r#"restartPolicy: Never
initContainers:
  - {name: one, image: "localhost/test:1", command: [sh, -c, "echo one"]}
  - {name: two, image: "localhost/test:1", command: [sh, -c, "echo two; sleep 1"]}"#;
    cluster.kubectl.with_input("apply -f -", &pod("steps", spec, "command: [sh, -c, \"echo main\"]"));
    cluster.wait_value(40, "pod/steps", "{.status.phase}", "Succeeded");
    let steps = cluster.kubectl.json("get pod steps");
    let inits = steps["status"]["initContainerStatuses"].as_array().unwrap();
    let end = |index: usize| inits[index]["state"]["terminated"]["finishedAt"].as_str().unwrap().to_owned();
    let main = &steps["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"];
    assert!(end(0) <= end(1) && end(1).as_str() <= main.as_str().unwrap(), "{steps}");
    assert_eq!(cluster.kubectl.ok("logs steps -c two"), "two\n");

    let failing =
        "restartPolicy: Never\ninitContainers: [{name: bad, image: \"localhost/test:1\", command: [\"false\"]}]";
    cluster.kubectl.with_input("apply -f -", &pod("stuck", failing, ""));
    cluster.wait_value(30, "pod/stuck", "{.status.phase}", "Failed");
    cluster.wait_value(5, "pod/stuck", &status("state.waiting.reason"), "PodInitializing");
}

#[test]
fn sidecars_start_first_are_restarted_and_end_last() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let sidecar = |name: &str, script: &str| {
        format!(
            r#"volumes: [{{name: v, emptyDir: {{}}}}]
initContainers:
  - name: {name}
    image: localhost/test:1
    restartPolicy: Always
    command: [sh, -c, "{script}"]
    volumeMounts: [{{name: v, mountPath: /v}}]
    startupProbe: {{exec: {{command: [test, -f, /v/up]}}, periodSeconds: 1}}"#
        )
    };
    let lasting = "trap 'cat /v/said; echo bye; exit 0' TERM; sleep 1; touch /v/up; while :; do sleep 0.1; done";
    let setup = r#"
  - {name: setup, image: "localhost/test:1", command: [sh, -c, "ls /v"], volumeMounts: [{name: v, mountPath: /v}]}"#;
    let job = format!("restartPolicy: Never\n{}{setup}", sidecar("proxy", lasting));
    let main = "command: [sh, -c, \"echo done >/v/said\"]\nvolumeMounts: [{name: v, mountPath: /v}]";
    k.with_input("apply -f -", &pod("job", &job, main));
    let failing = sidecar("flaky", "touch /v/up; sleep 1; exit 3");
    k.with_input("apply -f -", &pod("service", &failing, "command: [sleep, \"10000\"]"));
    let served = format!("terminationGracePeriodSeconds: 10\n{}", sidecar("proxy", lasting));
    let main = r#"command: [sh, -c, "trap 'echo last >/v/said; exit 0' TERM; while :; do sleep 0.1; done"]
volumeMounts: [{name: v, mountPath: /v}]"#;
    k.with_input("apply -f -", &pod("served", &served, main));

    // The job is over with its container, whatever its sidecar would do.
    cluster.wait_value(60, "pod/job", "{.status.phase}", "Succeeded");
    assert_eq!(k.ok("logs job -c setup"), "up\n", "the next begins once the sidecar has started");
    cluster.wait_value(10, "pod/job", "{.status.initContainerStatuses[0].state.terminated.exitCode}", "0");
    assert_eq!(k.ok("logs job -c proxy"), "done\nbye\n");

    cluster.wait_value(60, "pod/service", "{.status.initContainerStatuses[0].restartCount}", "2");
    cluster.wait_value(5, "pod/service", "{.status.initContainerStatuses[0].lastState.terminated.exitCode}", "3");
    cluster.wait_value(5, "pod/service", &status("restartCount"), "0");

    cluster.wait_value(60, "pod/served", "{.status.conditions[?(@.type=='Ready')].status}", "True");
    let listed = k.ok("get pod served");
    assert!(listed.contains("2/2"), "a sidecar counts: {listed}");
    let follow = k.start("logs -f served -c proxy");
    k.ok("delete pod served");
    let said = wait_for(20, "the end of the log", || {
        let said = follow.log();
        ensure(said.ends_with("bye\n"), || format!("it is {said:?}")).map(|()| said)
    });
    assert_eq!(said, "last\nbye\n", "the sidecar ends after the container");
}

#[test]
fn limits_reach_the_container_and_containers_share_the_network() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let container = r#"resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 500m, memory: 32Mi}}
ports: [{containerPort: 8080}]"#;
    let twice =
        pod("pair", "", container) + "    - {name: peer, image: \"localhost/test:1\", command: [sleep, \"60\"]}\n";
    k.with_input("apply -f -", &twice);
    cluster.wait_value(30, "pod/pair", "{.status.phase}", "Running");
    cluster.wait_value(5, "pod/pair", "{.status.qosClass}", "Burstable");
    let podman = &cluster.nodes[0].podman;
    let main = container_id(&cluster, 0);
    let limits =
        podman.cli(&format!("inspect {main} --format {{{{.HostConfig.Memory}}}}/{{{{.HostConfig.CpuQuota}}}}"));
    assert_eq!(limits.trim(), format!("{}/50000", 32 * 1024 * 1024));
    let page = podman.cli(&format!("exec {} wget -qO- http://127.0.0.1:8080/", container_id(&cluster, 1)));
    assert_eq!(page, "pair\n", "the hostname of a container is the pod's name");
}

/// The id of the pod `pair`'s container in Podman, as its status tells it.
fn container_id(cluster: &Cluster, index: usize) -> String {
    let pair = cluster.kubectl.json("get pod pair");
    let mut statuses = pair["status"]["containerStatuses"].as_array().unwrap().clone();
    statuses.sort_by_key(|s| s["name"].as_str().map(str::to_owned));
    statuses[index]["containerID"].as_str().unwrap().trim_start_matches("podman://").to_owned()
}

#[test]
fn a_pod_that_fits_nowhere_says_why() {
    let cluster = Cluster::start(1);
    let huge = "resources: {requests: {cpu: \"1000\"}}";
    cluster.kubectl.with_input("apply -f -", &pod("huge", "", huge));
    let scheduled = "{.status.conditions[?(@.type==\"PodScheduled\")].message}";
    let why = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    cluster.wait_value(20, "pod/huge", scheduled, why);
    let events = cluster.kubectl.ok("get events --field-selector reason=FailedScheduling");
    assert!(events.contains("Insufficient cpu"), "{events}");
}
