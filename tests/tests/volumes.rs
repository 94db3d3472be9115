//! Volumes of every kind, with real Podman and kubectl: what containers see of them, how they follow their sources, and
//! that they come back without the hub.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, wait_for};

const SOURCES: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red, size: big}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: hunter2}
"#;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {fsGroup: 2000}
  volumes:
    - {name: scratch, emptyDir: {}}
    - {name: fast, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
    - {name: settings, configMap: {name: settings}}
    - {name: key, secret: {secretName: key, defaultMode: 0400}}
    - {name: maybe, configMap: {name: missing, optional: true}}
    - {name: host, hostPath: {path: /etc, type: Directory}}
    - name: self
      downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
  containers:
    - name: main
      image: localhost/test:1
      command: [sh, -c, "sleep 3600"]
      env: [{name: WHERE, value: inner}]
      volumeMounts:
        - {name: scratch, mountPath: /scratch}
        - {name: scratch, mountPath: /part, subPathExpr: deep/$(WHERE)}
        - {name: fast, mountPath: /fast}
        - {name: settings, mountPath: /settings, readOnly: true}
        - {name: settings, mountPath: /one/color, subPath: color}
        - {name: key, mountPath: /key}
        - {name: maybe, mountPath: /maybe}
        - {name: host, mountPath: /host/etc, readOnly: true}
        - {name: self, mountPath: /self}
"#;

/// Runs a shell line in the pod `web`.
fn sh(cluster: &Cluster, line: &str) -> String {
    cluster.kubectl.ok(&format!("exec web -- sh -c '{line}'"))
}

#[test]
fn containers_see_their_volumes_and_files_follow_their_sources() {
    let cluster = Cluster::start(1);
    cluster.kubectl.with_input("apply -f -", SOURCES);
    cluster.kubectl.with_input("apply -f -", POD);
    cluster.wait_value(60, "pod/web", "{.status.phase}", "Running");
    for (line, expected) in [
        ("cat /settings/color /one/color", "redred"),
        ("cat /key/password", "hunter2"),
        ("cat /self/labels", "app=\"web\""),
        ("ls /maybe", ""),
        ("test -f /host/etc/passwd && echo yes", "yes\n"),
        ("touch /settings/x 2>/dev/null || echo refused", "refused\n"),
        ("echo 1 > /part/x; cat /scratch/deep/inner/x", "1\n"),
        ("stat -c %g /scratch /scratch/deep/inner/x", "2000\n2000\n"),
        ("grep -c \" /fast tmpfs.*size=1024k\" /proc/mounts", "1\n"),
        ("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace", "default"),
        ("grep -c BEGIN /var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "1\n"),
        ("echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT", "10.43.0.1:443\n"),
    ] {
        assert_eq!(sh(&cluster, line), expected, "{line}");
    }
    let token = sh(&cluster, "cat /var/run/secrets/kubernetes.io/serviceaccount/token");
    assert_eq!(whoami(&cluster, &token).trim(), "system:serviceaccount:default:default");

    // Files follow; a part that is mounted by itself does not, and nothing is restarted.
    cluster.kubectl.ok(r#"patch configmap settings -p {"data":{"color":"blue"}}"#);
    cluster.kubectl.ok("label pod web tier=front");
    wait_for(60, "the files to follow", || {
        let seen = sh(&cluster, "cat /settings/color /one/color /self/labels");
        ensure(seen == "bluered".to_owned() + "app=\"web\"\ntier=\"front\"", || format!("it sees {seen:?}"))
    });
    let restarts = cluster.kubectl.ok("get pod web -o jsonpath={.status.containerStatuses[0].restartCount}");
    assert_eq!(restarts, "0");

    let uid = cluster.kubectl.ok("get pod web -o jsonpath={.metadata.uid}");
    let dir = cluster.nodes[0].data_dir().join("pods").join(uid);
    assert!(dir.is_dir());
    cluster.kubectl.ok("delete pod web");
    wait_for(30, "the pod's files to go", || ensure(!dir.exists(), || format!("{} is there", dir.display())));
    wait_for(30, "the token to end with its pod", || {
        let user = whoami(&cluster, &token);
        ensure(user.is_empty(), || format!("it is {user:?}"))
    });
}

/// Who the API takes a token for.
fn whoami(cluster: &Cluster, token: &str) -> String {
    let review = format!("apiVersion: authentication.k8s.io/v1\nkind: TokenReview\nspec: {{token: {token}}}\n");
    cluster.kubectl.with_input("create --validate=false -f - -o jsonpath={.status.user.username}", &review)
}

#[test]
fn a_pod_waits_for_what_it_mounts_and_says_why() {
    let cluster = Cluster::start(1);
    let pod = |name: &str, volume: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  volumes: [{{name: v, {volume}}}]\n  containers: [{{name: c, image: localhost/test:1, command: [sleep, '3600'], volumeMounts: [{{name: v, mountPath: /v}}]}}]\n"
        )
    };
    for (name, volume, message) in [
        ("config", "configMap: {name: late}", "configmap \"late\" not found"),
        ("secret", "secret: {secretName: late}", "secret \"late\" not found"),
        (
            "host",
            "hostPath: {path: /etc/passwd, type: Directory}",
            "hostPath type check failed: /etc/passwd is not a directory",
        ),
        ("foreign", "nfs: {server: s, path: /}", "no volume plugin matched: this node does not run kubernetes.io/nfs"),
    ] {
        cluster.kubectl.with_input("apply -f -", &pod(name, volume));
        let message = format!("MountVolume.SetUp failed for volume \"v\" : {message}");
        wait_for(60, &format!("the event of {name}"), || {
            let query = format!(
                "get events --field-selector=reason=FailedMount,involvedObject.name={name} -o jsonpath={{.items[*].message}}"
            );
            let events = cluster.kubectl.ok(&query);
            ensure(events.contains(&message), || format!("there is {events:?}"))
        });
        cluster.wait_value(
            20,
            &format!("pod/{name}"),
            "{.status.containerStatuses[0].state.waiting.reason}",
            "ContainerCreating",
        );
    }
    cluster.kubectl.ok("create configmap late --from-literal=a=1");
    cluster.wait_value(30, "pod/config", "{.status.phase}", "Running");
}

#[test]
fn volumes_come_back_without_the_hub() {
    let mut cluster = Cluster::start(1);
    cluster.kubectl.with_input("apply -f -", SOURCES);
    cluster.kubectl.with_input("apply -f -", POD);
    cluster.wait_value(60, "pod/web", "{.status.phase}", "Running");
    sh(&cluster, "echo kept > /scratch/note");
    let seen = "cat /scratch/note /settings/color /key/password; test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo yes";
    let before = sh(&cluster, seen);
    assert_eq!(before, "kept\nredhunter2yes\n");
    cluster.hub.stop();
    cluster.nodes[0].kill9();
    cluster.nodes[0].podman.lose_containers();
    cluster.nodes[0].start();
    wait_for(60, "the pod to run again", || {
        let running = cluster.nodes[0].podman.running().len();
        ensure(running == 2, || format!("{running} containers run"))
    });
    cluster.hub.start_again();
    cluster.wait_node("node-0", "True");
    cluster.wait_value(60, "pod/web", "{.status.containerStatuses[0].ready}", "true");
    // What the pod's status says is from before; the node answers once its agent has found the hub again.
    let after =
        wait_for(60, "the pod to be reached", || cluster.kubectl.attempt(&["exec", "web", "--", "sh", "-c", seen]));
    assert_eq!(after, before);
}
