//! The shape of the code: module edges, pure files, file headers and sizes, as README's invariants have them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const MAX_LINES: usize = 500;

/// For each module, what it may use of its own crate: what stands left of it.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("shared", "ids", &[]),
    ("shared", "limits", &[]),
    ("shared", "selector", &["ids"]),
    ("shared", "quantity", &[]),
    ("shared", "backoff", &[]),
    ("shared", "pod", &["ids", "limits", "quantity", "selector"]),
    ("shared", "report", &["ids", "limits", "quantity", "pod"]),
    ("shared", "wire", &["ids", "limits", "pod", "report"]),
    // A kind's hooks see stored objects, which are data; the registry performs no I/O.
    ("hub", "registry", &["store"]),
    ("hub", "store", &[]),
    ("hub", "auth", &["registry", "store"]),
    ("hub", "objects", &["registry", "store", "auth"]),
    ("hub", "watch", &["registry", "store", "auth", "objects"]),
    ("hub", "reconcile", &["registry", "store", "auth", "objects", "watch"]),
    ("hub", "scheduler", &["registry", "store", "auth", "objects", "watch", "reconcile"]),
    ("hub", "controllers", &["registry", "store", "auth", "objects", "watch", "reconcile"]),
    ("hub", "pki", &["registry", "store", "auth", "objects"]),
    ("hub", "link", &["registry", "store", "auth", "objects", "watch", "reconcile", "pki"]),
    ("hub", "api", &["registry", "store", "auth", "objects", "watch", "reconcile", "pki", "link"]),
    ("agent", "desired", &[]),
    ("agent", "link", &["desired"]),
    ("agent", "ledger", &["desired", "link"]),
    ("agent", "podman", &["desired"]),
    ("agent", "volumes", &["desired", "link", "ledger", "podman"]),
    ("agent", "checks", &["podman"]),
    ("agent", "pods", &["desired", "ledger", "podman", "volumes", "checks"]),
    ("agent", "streams", &["desired", "podman", "pods"]),
    ("agent", "node", &["desired", "link", "ledger", "podman", "volumes", "pods", "streams"]),
];

/// Modules that decide and therefore neither act nor look at a clock.
const PURE: &[&str] = &[
    "hub/src/registry",
    "hub/src/auth",
    "hub/src/scheduler",
    "hub/src/controllers",
    "agent/src/pods/decide",
    "agent/src/pods/probes",
    "shared/src/ids",
    "shared/src/limits",
    "shared/src/selector",
    "shared/src/quantity",
    "shared/src/backoff",
    "shared/src/pod",
    "shared/src/report",
    "shared/src/wire",
];

/// What pure code must not name.
const IMPURE: &[&str] = &[
    "tokio::",
    "sqlx::",
    "quinn::",
    "podman_api::",
    "hyper::",
    "std::time::Instant",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
];

#[test]
fn modules_use_only_what_stands_left_of_them() {
    let mut wrong = Vec::new();
    for (krate, module, allowed) in EDGES {
        for file in module_files(&format!("{krate}/src/{module}")) {
            let used = uses(&code(&file));
            let modules = used.iter().filter(|used| EDGES.iter().any(|(k, m, _)| k == krate && m == used));
            let foreign = modules.filter(|used| used != module && !allowed.contains(&used.as_str()));
            wrong.extend(foreign.map(|used| format!("{}: {module} uses {used}", shown(&file))));
        }
    }
    assert!(wrong.is_empty(), "edges against the order in README:\n{}", wrong.join("\n"));
}

#[test]
fn only_run_and_main_know_run() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|f| !shown(f).contains("/src/run") && !shown(f).ends_with("/src/main.rs"))
        .filter(|f| uses(&code(f)).iter().any(|used| used == "run"))
        .map(|f| shown(f))
        .collect();
    assert!(wrong.is_empty(), "these use run: {wrong:?}");
}

#[test]
fn pure_modules_neither_act_nor_look_at_a_clock() {
    let mut wrong = Vec::new();
    for file in PURE.iter().flat_map(|module| module_files(module)) {
        let code = code(&file);
        wrong
            .extend(IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", shown(&file))));
    }
    assert!(wrong.is_empty(), "pure files name:\n{}", wrong.join("\n"));
}

#[test]
fn every_pure_module_exists() {
    let missing: Vec<&&str> = PURE.iter().filter(|module| module_files(module).is_empty()).collect();
    assert!(missing.is_empty(), "no such modules: {missing:?}");
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let mut wrong = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        if !text.starts_with("//! ") {
            wrong.push(format!("{} does not start with //!", shown(&file)));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines", shown(&file)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_unbounded_or_unfinished() {
    let words = ["unbounded_channel", "todo!(", "unimplemented!(", "To come."];
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|f| !f.ends_with("arch.rs")) {
        let text = fs::read_to_string(file).unwrap();
        wrong.extend(words.iter().filter(|w| text.contains(**w)).map(|word| format!("{}: {word}", shown(file))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_agent_does_not_carry_the_types_of_kubernetes() {
    let manifest = fs::read_to_string(root().join("agent/Cargo.toml")).unwrap();
    assert!(!manifest.contains("k8s-openapi") && !manifest.contains("skiff-hub"), "{manifest}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

fn sources() -> Vec<PathBuf> {
    ["shared", "hub", "agent", "tests"].iter().flat_map(|dir| files_below(&root().join(dir))).collect()
}

/// The files of a module: `a/b.rs` and all below `a/b/`, without tests and fakes.
fn module_files(module: &str) -> Vec<PathBuf> {
    let file = root().join(format!("{module}.rs"));
    let mut files = files_below(&root().join(module));
    files.extend(file.exists().then_some(file));
    files.retain(|f| !["tests.rs", "fake.rs", "contract.rs"].iter().any(|name| f.ends_with(name)));
    files.retain(|f| !f.iter().any(|part| part == "tests"));
    files
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|p| !p.ends_with("target"))
        .flat_map(|p| if p.is_dir() { files_below(&p) } else { vec![p] })
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    files
}

/// A file without its comments and its unit tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules of its own crate that code names, as `crate::NAME` or in `use crate::{NAME, …}`.
fn uses(code: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => names.push(name(after)),
            Some(list) => names.extend(top_level(list).iter().map(|item| name(item.trim()))),
        }
    }
    names
}

/// The items of a `{…}` list whose opening brace was taken, nested lists kept whole.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().unwrap().push(c);
            }
        }
    }
    items
}

#[test]
fn uses_are_found_in_every_form() {
    let code = "use crate::store::Key;\nuse crate::{api::{self, x}, watch};\nfn f() { crate::link::go() }";
    assert_eq!(uses(code), ["store", "api", "watch", "link"]);
}
