//! The files that are shipped parse: sample configurations with every key set, manifests, units and scripts.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skiff_tests::Hub;
use skiff_tests::process::run;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy").join(name)
}

/// A sample with every commented-out `# key = value` taken in.
fn all_keys(name: &str) -> String {
    let text = fs::read_to_string(shipped(name)).unwrap();
    let key =
        |line: &str| line.split_once(" = ").is_some_and(|(k, _)| k.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
    let lines = text.lines().map(|l| l.strip_prefix("# ").filter(|rest| key(rest)).unwrap_or(l));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn sample_configurations_are_toml_and_set_nothing_by_themselves() {
    for name in ["hub.toml", "agent.toml"] {
        let shipped: toml::Table = fs::read_to_string(shipped(name)).unwrap().parse().unwrap();
        assert!(shipped.is_empty(), "{name} changes defaults: {shipped:?}");
        let full: toml::Table = all_keys(name).parse().unwrap();
        assert!(full.len() > 3, "{name} shows few keys: {full:?}");
    }
}

#[test]
fn the_hub_takes_every_key_of_its_sample() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.toml");
    fs::write(&file, all_keys("hub.toml")).unwrap();
    // The harness's own flags win over directory and port of the file; unknown keys would be refused.
    let hub = Hub::start(&dir.path().join("hub"), &["--config", file.to_str().unwrap()]);
    assert_eq!(hub.api().blocking("GET", "/livez").unwrap().status, 200);
}

#[test]
fn scripts_are_valid_bash() {
    for script in ["deploy/up", "deploy/down", "deploy/image", "deploy/lib.sh", "tests/run", "tests/bench", ".ci/run"] {
        run(Command::new("bash").arg("-n").arg(shipped("..").join(script)));
    }
}

#[test]
fn units_run_the_binaries_and_let_pods_outlive_the_agent() {
    for (unit, parts) in [
        ("skiff-hub.service", ["Type=notify", "ExecStart=/usr/local/bin/skiff-hub", "Restart=always"].as_slice()),
        ("skiff-agent.service", &["Type=notify", "ExecStart=/usr/local/bin/skiff-agent", "KillMode=process"]),
    ] {
        let text = fs::read_to_string(shipped(unit)).unwrap();
        for part in parts {
            assert!(text.lines().any(|l| l.starts_with(part)), "{unit} lacks {part}");
        }
    }
}
