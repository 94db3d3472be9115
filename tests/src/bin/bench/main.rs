//! Measures Skiff on this machine and prints each figure beside its aim and what others need. Run by `tests/bench`.
//!
//! Arguments name the parts to measure, all where there are none: `cluster` (a node with Podman), `creates`, `reads`,
//! `watchers`, `fleet` (these need nothing but the hub).

mod cluster;
mod creates;
mod fleet;
mod latency;
mod lean;
mod nodes;
mod reads;
mod table;
mod watchers;

use skiff_tests::Hub;
use table::Table;
use tempfile::TempDir;

/// A part measures what it is named after, and adds rows.
type Part = (&'static str, fn(&mut Table));

const PARTS: [Part; 5] = [
    ("cluster", cluster::measure),
    ("creates", creates::measure),
    ("reads", reads::measure),
    ("watchers", watchers::measure),
    ("fleet", fleet::measure),
];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = asked.iter().find(|a| PARTS.iter().all(|(name, _)| name != a)) {
        eprintln!("there is no part {unknown:?}; there are {}", PARTS.map(|(name, _)| name).join(", "));
        std::process::exit(2);
    }
    let mut table = Table::default();
    for (name, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|a| a == name) {
            measure(&mut table);
        }
    }
    table.print();
}

/// A hub of its own for a part; its data goes with the directory.
fn hub() -> (Hub, TempDir) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    (Hub::start(&dir.path().join("hub"), &[]), dir)
}

/// The runtime of a part's clients: one thread, so that the hub has the other core.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}
