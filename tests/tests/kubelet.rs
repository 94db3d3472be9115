//! Pods of real Podman as a kubelet would run them: logs, readiness gates, resolvers, system calls, ends.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, wait_for};

/// A pod of one container that runs a shell script, with more of a spec before its containers.
fn pod(name: &str, spec: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n{spec}  \
         containers:\n  - {{name: main, image: 'localhost/test:1', command: [sh, -c, {script:?}]}}\n---\n"
    )
}

#[test]
fn logs_are_what_was_written() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let long = "for i in $(seq 1000); do echo line $i; done; printf 'no end'; exec sleep 10000";
    let pods = [
        pod("talks", "", "echo one; echo two; printf three; exec sleep 10000"),
        pod("long", "", long),
        pod("slow", "", "echo early; sleep 0.3; echo late; exec sleep 10000"),
        pod("ended", "  restartPolicy: Never\n", "echo one; echo two; printf three"),
        pod("no-program", "", "x").replace("[sh, -c, \"x\"]", "[no-such-program]"),
        pod("no-image", "", "x").replace("localhost/test:1", "localhost/none:1"),
    ];
    k.with_input("apply -f -", &pods.concat());
    for (pod, phase) in [("talks", "Running"), ("slow", "Running"), ("long", "Running"), ("ended", "Succeeded")] {
        cluster.wait_value(60, &format!("pod/{pod}"), "{.status.phase}", phase);
    }
    for (line, expected) in [
        ("talks", "one\ntwo\nthree"),
        ("talks --tail=1", "three"),
        ("talks --tail=2", "two\nthree"),
        ("talks --tail=0", ""),
        ("talks --limit-bytes=5", "one\nt"),
        ("talks --tail=2 --limit-bytes=6", "two\nth"),
        ("talks --since=1h --tail=1", "three"),
        ("talks --since-time=2100-01-01T00:00:00Z", ""),
        ("ended --tail=1", "three"),
        ("ended -f", "one\ntwo\nthree"),
        ("long --tail=3", "line 999\nline 1000\nno end"),
    ] {
        wait_for(20, line, || {
            let log = k.attempt(&["logs"].into_iter().chain(line.split(' ')).collect::<Vec<_>>())?;
            ensure(log == expected, || format!("it is {log:?}"))
        });
    }
    let stamped = k.ok("logs talks --timestamps");
    let times: Vec<&str> = stamped.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert!(times.len() == 3 && times.iter().all(|t| t.len() == "2026-01-01T00:00:00.123456789Z".len()), "{stamped}");
    // The time of a line is exact: none before it is sent from that time on.
    wait_for(20, "both lines", || ensure(k.ok("logs slow") == "early\nlate\n", || k.ok("logs slow")));
    let stamped = k.ok("logs slow --timestamps --tail=1");
    let time = stamped.split(' ').next().unwrap();
    let from = format!("get --raw /api/v1/namespaces/default/pods/slow/log?sinceTime={time}");
    assert_eq!(k.ok(&from), "late\n", "{stamped}");
    for (line, expected) in [
        ("no-image", "container \"main\" in pod \"no-image\" is waiting to start: trying and failing to pull image"),
        ("talks --previous", "previous terminated container \"main\" in pod \"talks\" not found"),
        ("talks -c x", "container x is not valid for pod talks"),
    ] {
        wait_for(30, line, || {
            let said = k.attempt(&["logs"].into_iter().chain(line.split(' ')).collect::<Vec<_>>());
            let said = said.err().ok_or("it has a log")?;
            ensure(said.contains(expected), || format!("it says {said:?}"))
        });
    }
    cluster.wait_value(
        60,
        "pod/no-program",
        "{.status.containerStatuses[0].lastState.terminated.reason}",
        "StartError",
    );
    wait_for(20, "what is left of a container that could not be started", || {
        let said = k.attempt(&["logs", "no-program"])?;
        ensure(said.starts_with("unable to retrieve container logs for podman://"), || format!("it is {said:?}"))
    });
}

#[test]
fn a_log_is_followed_to_its_end() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let script =
        "echo begin; until [ -e /tmp/go ]; do sleep 0.1; done; printf 'half'; sleep 1; echo ' whole'; printf end";
    k.with_input("apply -f -", &pod("talks", "  restartPolicy: Never\n", script));
    cluster.wait_value(60, "pod/talks", "{.status.phase}", "Running");
    let mut follow = k.start("logs -f --tail=1 talks");
    wait_for(20, "the first line", || ensure(follow.log() == "begin\n", || follow.log()));
    k.ok("exec talks -- touch /tmp/go");
    wait_for(20, "the end of the log", || follow.exited().map(drop).ok_or_else(|| "kubectl follows on".into()));
    assert_eq!(follow.log(), "begin\nhalf whole\nend");
}

#[test]
fn pods_get_what_their_specs_say() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let dns = "  dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.53], searches: [a.b], options: [{name: ndots, value: '3'}]}\n";
    let pods = [
        pod("gated", "  readinessGates: [{conditionType: example.com/open}]\n", "exec sleep 10000"),
        pod("dns", dns, "cat /etc/resolv.conf; exec sleep 10000"),
        pod(
            "named",
            "  hostname: me\n  subdomain: sub\n  setHostnameAsFQDN: true\n",
            "hostname; grep me /etc/hosts | cut -f2-; exec sleep 10000",
        ),
        pod(
            "free",
            "  securityContext: {seccompProfile: {type: Unconfined}}\n",
            "grep Seccomp: /proc/self/status; exec sleep 10000",
        ),
        pod("kept", "", "grep Seccomp: /proc/self/status; exec sleep 10000"),
        pod(
            "full",
            "  volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]\n",
            "dd if=/dev/zero of=/v/x bs=1M count=2; exec sleep 10000",
        )
        .replace("name: main,", "name: main, volumeMounts: [{name: v, mountPath: /v}],"),
        pod("late", "  activeDeadlineSeconds: 1\n", "x").replace("localhost/test:1", "localhost/none:1"),
    ];
    k.with_input("apply -f -", &pods.concat());
    for (pod, log) in [
        ("dns", "search a.b\nnameserver 192.0.2.53\noptions ndots:3\n"),
        ("named", "me.sub.default.svc.cluster.local\nme.sub.default.svc.cluster.local\tme\n"),
        ("free", "Seccomp:\t0\n"),
        ("kept", "Seccomp:\t2\n"),
    ] {
        wait_for(60, pod, || {
            let said = k.attempt(&["logs", pod])?;
            ensure(said == log, || format!("it is {said:?}"))
        });
    }

    let condition = |kind: &str, field: &str| format!("{{.status.conditions[?(@.type=='{kind}')].{field}}}");
    cluster.wait_value(60, "pod/gated", &condition("ContainersReady", "status"), "True");
    cluster.wait_value(10, "pod/gated", &condition("Ready", "reason"), "ReadinessGatesNotReady");
    let missing = "corresponding condition of pod readiness gate \"example.com/open\" does not exist.";
    cluster.wait_value(10, "pod/gated", &condition("Ready", "message"), missing);
    let open = r#"patch pod gated --subresource=status -p '{"status":{"conditions":[{"type":"example.com/open","status":"True"}]}}'"#;
    k.ok(open);
    cluster.wait_value(20, "pod/gated", &condition("Ready", "status"), "True");

    cluster.wait_value(60, "pod/full", "{.status.phase} {.status.reason}", "Failed Evicted");
    let why = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
    cluster.wait_value(10, "pod/full", "{.status.message}", why);
    cluster.wait_value(10, "events --field-selector reason=Evicted", "{.items[*].message}", why);

    cluster.wait_value(30, "pod/late", "{.status.phase} {.status.reason}", "Failed DeadlineExceeded");
    let end = "{.status.containerStatuses[0].state.terminated['exitCode','reason']}";
    cluster.wait_value(10, "pod/late", end, "137 ContainerStatusUnknown");
}

#[test]
fn pods_share_the_nodes_namespaces_and_labels_select_their_logs() {
    let cluster = Cluster::start(1);
    let k = &cluster.kubectl;
    let shown = "for kind in pid ipc; do readlink /proc/self/ns/$kind; done; exec sleep 10000";
    let labelled = |name: &str, spec: &str| {
        pod(name, spec, shown)
            .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, labels: {{app: seen}}}}"))
    };
    let hook = r#"{postStart: {tcpSocket: {port: 80}}}"#;
    let pods = [
        labelled("shares", "  hostPID: true\n  hostIPC: true\n"),
        labelled("alone", ""),
        pod("hooked", "  restartPolicy: Never\n", "exec sleep 10000")
            .replace("name: main,", &format!("name: main, lifecycle: {hook},")),
    ];
    k.with_input("apply -f -", &pods.concat());
    for pod in ["shares", "alone"] {
        cluster.wait_value(60, &format!("pod/{pod}"), "{.status.phase}", "Running");
    }
    let own = ["pid", "ipc"].map(|kind| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap());
    let own = own.map(|link| link.to_str().unwrap().to_owned());
    let lines = wait_for(10, "the logs of both", || {
        let said = k.attempt(&["logs", "-l", "app=seen", "--prefix"])?;
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        ensure(lines.len() == 4, || format!("it is {said:?}")).map(|()| lines)
    });
    for (pod, same) in [("shares", true), ("alone", false)] {
        let prefix = format!("[pod/{pod}/main] ");
        let of_pod: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert_eq!(of_pod.len(), 2, "{lines:?}");
        assert!(of_pod.iter().zip(&own).all(|(found, own)| (found == own) == same), "{pod}: {of_pod:?}, {own:?}");
    }
    // Kubernetes takes such a hook, and fails to call it.
    let failed = "events --field-selector involvedObject.name=hooked,reason=FailedPostStartHook";
    cluster.wait_value(60, failed, "{.items[*].message}", "PostStartHook failed");
    cluster.wait_value(30, "pod/hooked", "{.status.phase}", "Failed");
}
