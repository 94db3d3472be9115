//! The official Python client (`kubernetes` from PyPI), unmodified, against real hub, agent and Podman: the scripts in
//! `tests/clients/python`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use skiff_tests::Cluster;
use skiff_tests::process::{binary, output, text};

#[test]
fn the_official_python_client_works() {
    let cluster = Cluster::start(1);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    // Warnings are about sockets that the client itself leaves open.
    let mut tests = Command::new(python());
    tests.args(["-B", "-W", "ignore", "-m", "unittest", "discover", "--verbose"]).current_dir(scripts);
    tests.env("KUBECONFIG", cluster.hub.kubeconfig()).stdin(Stdio::null());
    let done = output(&mut tests);
    let printed = text(&done.stdout) + &text(&done.stderr);
    assert!(done.status.success(), "the Python client's tests failed:\n{printed}");
    eprintln!("{printed}");
}

/// The Python that `tests/run` made ready.
fn python() -> PathBuf {
    let below_target = || binary("skiff-hub").ancestors().nth(2).map(|target| target.join("python"));
    let home = env::var_os("SKIFF_PYTHON").map(PathBuf::from).or_else(below_target).expect("a directory has a parent");
    let python = home.join("bin/python");
    assert!(python.exists(), "{} is missing: tests/run makes it", python.display());
    python
}
