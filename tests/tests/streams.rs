//! Streams to pods with the kubectl of every release: exec, attach, cp, port-forward and interactive runs. Those up
//! to 1.30 speak SPDY, later ones WebSocket.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Output;

use skiff_tests::api::plain_get;
use skiff_tests::process::text;
use skiff_tests::wait::ensure;
use skiff_tests::{Cluster, Kubectl, kubectl, wait_for};

const WEB: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: localhost/test:1
      command: [sh, -c, "mkdir /tmp/in; echo here >/tmp/in/index.html; httpd -p 127.0.0.1:8081 -h /tmp/in; exec serve"]
    - {name: other, image: "localhost/test:1", command: [sleep, "10000"]}
"#;

fn start() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.kubectl.with_input("apply -f -", WEB);
    cluster.wait_value(60, "pod/web", "{.status.phase}", "Running");
    cluster
}

/// Does this with every release at the same time.
fn each_release(cluster: &Cluster, test: impl Fn(&'static str, &Kubectl) + Sync) {
    let test = |release| test(release, &Kubectl::version(release, &cluster.hub.kubeconfig()));
    kubectl::each_release(&kubectl::RELEASES, test);
}

/// Exit code, output and error output.
fn split(output: &Output) -> (i32, String, String) {
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn commands_run_in_containers() {
    let cluster = start();
    each_release(&cluster, |version, k| {
        let run = |line: &str, input: &str| split(&k.output(line, input));
        let (code, out, err) = run("exec web -c main -- sh -c 'echo out; echo err >&2; exit 3'", "");
        assert_eq!((code, out.as_str()), (3, "out\n"), "{version}: {err}");
        assert_eq!(err, "err\ncommand terminated with exit code 3\n", "{version}");

        let (code, out, err) = run("exec -i web -c other -- sh -c 'cat; echo end'", "one\ntwo\n");
        assert_eq!((code, out.as_str(), err.as_str()), (0, "one\ntwo\nend\n", ""), "{version}");

        let long = "0123456789abcdef".repeat(64 * 1024);
        let (code, out, _) = run("exec -i web -c main -- cat", &long);
        assert!(code == 0 && out == long, "{version}: {code}, {} bytes of {}", out.len(), long.len());

        let (code, out, err) = run("exec web -c main -- nothing-here", "");
        assert!(
            code != 0 && out.is_empty() && err.contains("executable file not found"),
            "{version}: {code} {out}{err}"
        );
        let (code, _, err) = run("exec web -c nowhere -- true", "");
        assert!(code != 0 && err.contains("container nowhere is not valid for pod web"), "{version}: {err}");
        let (code, _, err) = run("exec gone -- true", "");
        assert!(code != 0 && err.contains("pods \"gone\" not found"), "{version}: {err}");
    });
}

/// Types that wait for the terminal's width, half a minute at most, and then print its size. kubectl sets the size after
/// the start, and in attach another one before it.
const SIZE: &str = "n=0; until stty size | grep -q 101 || [ $n = 300 ]; do sleep 0.1; n=$((n+1)); done; stty size";

#[test]
fn terminals_have_their_size() {
    let cluster = start();
    each_release(&cluster, |version, k| {
        let (code, out, err) = split(&k.terminal("exec -it web -c main -- sh", 33, 101, &format!("{SIZE}; exit 4\n")));
        assert!(code == 4 && out.contains("33 101"), "{version}: {code} {out}{err}");
        let pod = format!("talk-{}", version.replace('.', "-"));
        k.ok(&format!(
            "run {pod} --image=localhost/test:1 --restart=Never --stdin --tty --attach=false --command -- sh"
        ));
        cluster.wait_value(60, &format!("pod/{pod}"), "{.status.phase}", "Running");
        let (code, out, err) =
            split(&k.terminal(&format!("attach -it {pod}"), 33, 101, &format!("echo pid-$$; {SIZE}; exit\n")));
        assert!(code == 0 && out.contains("pid-1") && out.contains("33 101"), "{version}: {code} {out}{err}");
        let run = format!("run once-{pod} --image=localhost/test:1 --restart=Never --rm -it");
        let run = format!("{run} -- sh -c 'read x; echo got-$x; exit 0'");
        let (code, out, err) = split(&k.terminal(&run, 33, 101, "word\n"));
        assert!(code == 0 && out.contains("got-word") && out.contains("deleted"), "{version}: {code} {out}{err}");
    });
}

#[test]
fn files_are_copied_both_ways() {
    let cluster = start();
    each_release(&cluster, |version, k| {
        let content = "a line\n".repeat(100_000);
        let file = k.file("up", &content);
        k.ok(&format!("cp {file} web:/tmp/{version} -c main"));
        assert_eq!(
            k.ok(&format!("exec web -c main -- sh -c 'wc -c </tmp/{version}'")).trim(),
            content.len().to_string(),
            "{version}"
        );
        let down = k.file("down", "");
        k.ok(&format!("cp web:/tmp/{version} {down} -c main"));
        assert!(std::fs::read_to_string(&down).unwrap() == content, "{version}");
    });
}

#[test]
fn ports_are_forwarded() {
    let cluster = start();
    each_release(&cluster, |version, k| {
        let forward = k.start("port-forward pod/web :8080 :8081 :9");
        let local = |remote: u16| {
            let log = forward.log();
            let line = log.lines().find(|l| l.contains("127.0.0.1") && l.ends_with(&format!("-> {remote}")));
            let port = line.and_then(|l| l.split(':').nth(1)?.split(' ').next()?.parse::<u16>().ok());
            port.ok_or_else(|| format!("no port for {remote} in {log:?}"))
        };
        let port = |remote| wait_for(20, "kubectl to listen", || local(remote));
        for _ in 0..3 {
            assert_eq!(plain_get(port(8080), "/"), "web\n", "{version}");
            assert_eq!(plain_get(port(8081), "/"), "here\n", "{version}: bound to loopback in the pod");
        }
        assert_eq!(plain_get(port(9), "/"), "", "{version}: nobody listens");
        wait_for(10, "the refusal to be told", || {
            let log = forward.log();
            ensure(log.contains("error forwarding port 9 to pod web") && log.contains("onnection refused"), || log)
        });
    });
}

/// They end before or while kubectl attaches; Podman's own way to attach would make them ready for another start.
#[test]
fn short_runs_are_seen_to_their_end() {
    let cluster = start();
    each_release(&cluster, |version, k| {
        for run in 0..4 {
            let name = format!("short-{}-{run}", version.replace('.', "-"));
            let line =
                format!("run --rm -i {name} --image=localhost/test:1 --restart=Never -- sh -c 'echo said; exit 3'");
            let (code, out, err) = split(&k.output(&line, ""));
            assert!(code == 3 && out.contains("said"), "{version}: {code} {out}{err}");
        }
    });
}

#[test]
fn a_command_ends_with_its_client() {
    let cluster = start();
    each_release(&cluster, |version, k| {
        let command = format!("sleep 98{}", version.replace('.', ""));
        let mut client = k.start(&format!("exec web -c main -- {command}"));
        let processes = || k.ok("exec web -c main -- ps");
        wait_for(20, "the command to run", || ensure(processes().contains(&command), || "it does not".into()));
        client.kill9();
        wait_for(20, "the command to end", || {
            ensure(!processes().contains(&command), || format!("{version}: it runs"))
        });
    });
}
