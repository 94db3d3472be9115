//! Runs a command beside a cluster of its own: `lab [--nodes N] [--load ARCHIVE]... COMMAND [ARGUMENT...]`.
//!
//! The command finds the administrator's kubeconfig in `KUBECONFIG`. Every node loads the image archives given with
//! `--load` first. The cluster is removed when the command ends, and its exit code is the lab's own.

use std::process::{Command, ExitCode};

use skiff_tests::Cluster;

const USAGE: &str = "usage: lab [--nodes N] [--load ARCHIVE]... COMMAND [ARGUMENT...]";

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => run(&arguments),
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> ExitCode {
    let cluster = Cluster::start(arguments.nodes);
    for node in &cluster.nodes {
        for archive in &arguments.archives {
            node.podman.cli(&format!("load --quiet --input {archive}"));
        }
    }
    let Arguments { program, rest, .. } = arguments;
    match Command::new(program).args(rest).env("KUBECONFIG", cluster.hub.kubeconfig()).status() {
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: cannot run {program}: {error}");
            ExitCode::from(127)
        }
    }
}

#[derive(Debug)]
struct Arguments {
    nodes: usize,
    archives: Vec<String>,
    program: String,
    rest: Vec<String>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut nodes, mut archives) = (1, Vec::new());
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--nodes" => nodes = value()?.parse().map_err(|e| format!("--nodes: {e}"))?,
                "--load" => archives.push(value()?),
                option if option.starts_with("--") => return Err(format!("unknown option {option}")),
                _ => return Ok(Self { nodes, archives, program: word, rest: words.collect() }),
            }
        }
        Err("a command is missing".into())
    }
}
