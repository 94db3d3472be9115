//! `deploy/up` and `deploy/down` on this machine, each twice, in a directory and on a port of their own.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::process::Command;

use skiff_tests::hub::free_port;
use skiff_tests::process::{binary, output, run, text};

/// Where the scripts keep everything.
const HOME: &str = "/var/tmp/skiff-tests/deploy";

fn script(name: &str, port: u16) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut script = Command::new(root.join("deploy").join(name));
    script.envs([("SKIFF_HOME", HOME), ("SKIFF_SYSTEMD", "no")]);
    script.env("SKIFF_PORT", port.to_string());
    // A build of its own would compile every dependency a second time: without the tests it has fewer features.
    script.env("SKIFF_BIN_DIR", binary("skiff-hub").parent().unwrap());
    script
}

/// Removes everything also when the test fails.
struct Down(u16);

impl Drop for Down {
    fn drop(&mut self) {
        drop(output(&mut script("down", self.0)));
    }
}

#[test]
fn up_runs_the_sample_and_down_removes_everything() {
    let port = free_port();
    let _down = Down(port);
    run(&mut script("down", port));

    for _ in 0..2 {
        let printed = run(&mut script("up", port));
        let running = printed.lines().filter(|l| l.starts_with("skiff-sample-") && l.contains(" Running ")).count();
        assert_eq!(running, 2, "{printed}");
        assert!(printed.contains(" Ready ") && printed.contains("export KUBECONFIG="), "{printed}");
    }
    for _ in 0..2 {
        run(&mut script("down", port));
        assert!(!Path::new(HOME).exists(), "{HOME} is left");
    }
    let left = text(&output(Command::new("podman").args(["ps", "-aq", "--filter", "label=io.skiff.pod-uid"])).stdout);
    assert_eq!(left, "", "containers are left");
}
