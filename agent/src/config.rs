//! The agent's configuration: flags, environment and a strict file, each overriding the next; all errors at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use skiff_shared::ids::NodeName;

/// Podman's socket on a usual machine.
const DEFAULT_PODMAN: &str = "unix:///run/podman/podman.sock";

/// What `skiff-agent --help` prints.
pub const USAGE: &str = "\
Runs the pods of one node of a Skiff cluster with Podman.

Usage:
  skiff-agent run --data-dir DIR --hub HOST:PORT (--join-token TOKEN | --join-token-file FILE) [options]
  skiff-agent version

Options of run (each is also a key of the file and a variable, e.g. SKIFF_AGENT_NODE_NAME):
  --data-dir DIR          where the agent keeps its key, certificate and ledger
  --hub HOST:PORT         the hub
  --join-token TOKEN      one-time token of `skiff-hub token create`; needed until the node has joined
  --join-token-file FILE  a file that holds the token
  --node-name NAME        name of this node (default: the host name)
  --node-ip IP            address of this node (default: the local address of the route to the hub)
  --podman ADDRESS        Podman's socket (default: unix:///run/podman/podman.sock)
  --log-level LEVEL       error, warn, info, debug or trace (default: info)
  --config FILE           a TOML file with these keys
";

/// The settings, in the order in which the usage names them.
const KEYS: [&str; 8] =
    ["data-dir", "hub", "join-token", "join-token-file", "node-name", "node-ip", "podman", "log-level"];

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the agent.
    Run(Box<Config>),
    /// Print the version.
    Version,
    /// Print [`USAGE`].
    Help,
}

/// Checked settings of `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the agent keeps everything.
    pub data_dir: PathBuf,
    /// The hub, `HOST:PORT`.
    pub hub: String,
    /// The join token, where one was given.
    pub join_token: Option<String>,
    /// This node's name.
    pub node_name: NodeName,
    /// This node's address, where it was given.
    pub node_ip: Option<IpAddr>,
    /// Podman's socket.
    pub podman: String,
    /// Log level.
    pub log_level: String,
}

/// Everything that is wrong with the configuration, one finding a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

/// Reads the command line, the environment (`SKIFF_AGENT_…`) and the file that one of them names.
///
/// # Errors
/// [`ConfigErrors`] with every finding.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (String, String)>,
    host_name: &str,
) -> Result<Command, ConfigErrors> {
    let mut errors = Vec::new();
    let (command, flags) = parse_args(args, &mut errors);
    match command.as_deref() {
        Some("version") => return Ok(Command::Version),
        Some("help") => return Ok(Command::Help),
        Some("run") => {}
        Some(other) => errors.push(format!("unknown command {other:?}: want run or version")),
        None => errors.push("no command: want run or version".to_owned()),
    }
    let mut variables = parse_env(env, &mut errors);
    let file = flags.get("config").cloned().or_else(|| variables.remove("config"));
    let mut values = file.map(|path| parse_file(&path, &mut errors)).unwrap_or_default();
    values.extend(variables);
    values.extend(flags.into_iter().filter(|(key, _)| key != "config"));
    let config = check(&values, host_name, &mut errors);
    match config {
        Some(config) if errors.is_empty() => Ok(Command::Run(Box::new(config))),
        Some(_) | None => Err(ConfigErrors(errors)),
    }
}

type Values = BTreeMap<String, String>;

fn parse_args(args: impl IntoIterator<Item = OsString>, errors: &mut Vec<String>) -> (Option<String>, Values) {
    use lexopt::Arg::{Long, Short, Value};
    let (mut command, mut values) = (None, Values::new());
    let mut parser = lexopt::Parser::from_args(args);
    loop {
        let argument = match parser.next() {
            Ok(Some(argument)) => argument,
            Ok(None) => return (command, values),
            Err(error) => {
                errors.push(error.to_string());
                return (command, values);
            }
        };
        match argument {
            Long("help") | Short('h') => command = Some("help".to_owned()),
            Long("version") => command = Some("version".to_owned()),
            Value(word) if command.is_none() => command = Some(word.to_string_lossy().into_owned()),
            Long(name) if name == "config" || KEYS.contains(&name) => {
                let name = name.to_owned();
                match parser.value().map(OsString::into_string) {
                    Ok(Ok(value)) => {
                        values.insert(name, value);
                    }
                    Ok(Err(_)) => errors.push(format!("--{name}: not UTF-8")),
                    Err(error) => errors.push(error.to_string()),
                }
            }
            Long(_) | Short(_) | Value(_) => errors.push(argument.unexpected().to_string()),
        }
    }
}

fn parse_env(env: impl IntoIterator<Item = (String, String)>, errors: &mut Vec<String>) -> Values {
    let mut values = Values::new();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix("SKIFF_AGENT_") else { continue };
        let key = rest.to_ascii_lowercase().replace('_', "-");
        if key == "config" || KEYS.contains(&key.as_str()) {
            values.insert(key, value);
        } else {
            errors.push(format!("unknown variable {name}"));
        }
    }
    values
}

fn parse_file(path: &str, errors: &mut Vec<String>) -> Values {
    let table = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read {path}: {e}"))
        .and_then(|text| text.parse::<toml::Table>().map_err(|e| format!("{path}: {}", e.to_string().trim_end())));
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            errors.push(error);
            return Values::new();
        }
    };
    let mut values = Values::new();
    for (key, value) in table {
        match value.as_str() {
            _ if !KEYS.contains(&key.as_str()) => errors.push(format!("{path}: unknown key {key}")),
            Some(text) => {
                values.insert(key, text.to_owned());
            }
            None => errors.push(format!("{path}: {key} must be a string")),
        }
    }
    values
}

fn check(values: &Values, host_name: &str, errors: &mut Vec<String>) -> Option<Config> {
    let given = |key: &str| values.get(key).filter(|v| !v.is_empty()).cloned();
    let data_dir = given("data-dir");
    if data_dir.is_none() {
        errors.push("data-dir is missing".to_owned());
    }
    let hub = given("hub");
    match &hub {
        None => errors.push("hub is missing".to_owned()),
        Some(hub) if !is_host_port(hub) => errors.push(format!("hub: {hub:?} is not HOST:PORT")),
        Some(_) => {}
    }
    let join_token = join_token(&given("join-token"), &given("join-token-file"), errors);
    let name = given("node-name").unwrap_or_else(|| host_name.to_ascii_lowercase());
    let node_name = NodeName::parse(&name).map_err(|e| errors.push(format!("node-name: {e}"))).ok();
    let node_ip = given("node-ip")
        .and_then(|text| text.parse().map_err(|_| errors.push(format!("node-ip: {text:?} is no IP address"))).ok());
    let podman = given("podman").unwrap_or_else(|| DEFAULT_PODMAN.to_owned());
    if !podman.starts_with("unix:///") {
        errors.push(format!("podman: {podman:?} is not unix:///absolute/path"));
    }
    let log_level = given("log-level").unwrap_or_else(|| "info".to_owned());
    if !["error", "warn", "info", "debug", "trace"].contains(&log_level.as_str()) {
        errors.push(format!("log-level: {log_level:?} is not error, warn, info, debug or trace"));
    }
    Some(Config {
        data_dir: data_dir?.into(),
        hub: hub?,
        join_token,
        node_name: node_name?,
        node_ip,
        podman,
        log_level,
    })
}

fn join_token(token: &Option<String>, file: &Option<String>, errors: &mut Vec<String>) -> Option<String> {
    match (token, file) {
        (Some(_), Some(_)) => {
            errors.push("join-token and join-token-file exclude each other".to_owned());
            None
        }
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(|e| errors.push(format!("join-token-file: cannot read {path}: {e}")))
            .ok(),
        (token, None) => token.clone(),
    }
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str], env: &[(&str, &str)]) -> Result<Command, ConfigErrors> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        parse(words.iter().map(OsString::from), env, "Box1")
    }

    #[test]
    fn flags_override_variables_override_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hub = \"file:1\"\nnode-name = \"file\"\ndata-dir = \"/file\"\n").unwrap();
        let path = file.path().to_str().unwrap();
        let command = parse_words(
            &["run", "--config", path, "--hub", "flag:1"],
            &[("SKIFF_AGENT_HUB", "env:1"), ("SKIFF_AGENT_NODE_NAME", "env")],
        );
        let Ok(Command::Run(config)) = command else { panic!("{command:?}") };
        assert_eq!((config.hub.as_str(), config.node_name.as_str()), ("flag:1", "env"));
        assert_eq!(config.data_dir, PathBuf::from("/file"));
        assert_eq!(config.podman, DEFAULT_PODMAN);
    }

    #[test]
    fn every_error_is_reported_at_once() {
        let errors = parse_words(
            &["run", "--hub", "nowhere", "--node-ip", "x", "--podman", "tcp://x", "--log-level", "loud"],
            &[("SKIFF_AGENT_COLOUR", "red"), ("SKIFF_AGENT_NODE_NAME", "a_b")],
        )
        .unwrap_err();
        for part in ["data-dir is missing", "\"nowhere\"", "node-ip", "podman", "log-level", "COLOUR", "a_b"] {
            assert!(errors.0.iter().any(|e| e.contains(part)), "{part} is not in {errors}");
        }
    }

    #[test]
    fn strangers_are_refused() {
        for (words, part) in [
            (&["run", "--data-dir", "/d", "--hub", "h:1", "--colour", "red"][..], "--colour"),
            (&["walk"], "walk"),
            (&[], "no command"),
            (&["run", "--data-dir", "/d", "--hub", "h:1", "more"], "more"),
            (&["run", "--data-dir"], "--data-dir"),
            (&["run", "--data-dir", "/d", "--hub", "h:1", "--join-token", "a", "--join-token-file", "b"], "exclude"),
        ] {
            let errors = parse_words(words, &[]).unwrap_err().to_string();
            assert!(errors.contains(part), "{words:?}: {errors}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "colour = \"red\"\nhub = 1\n").unwrap();
        let errors = parse_words(&["run", "--config", file.path().to_str().unwrap()], &[]).unwrap_err().to_string();
        assert!(errors.contains("colour") && errors.contains("hub must be a string"), "{errors}");
    }

    #[test]
    fn the_node_is_named_after_the_host() {
        let command = parse_words(&["run", "--data-dir", "/d", "--hub", "[::1]:6443"], &[]);
        let Ok(Command::Run(config)) = command else { panic!("{command:?}") };
        assert_eq!(config.node_name.as_str(), "box1");
        assert_eq!(parse_words(&["version"], &[]), Ok(Command::Version));
        assert_eq!(parse_words(&["--help"], &[]), Ok(Command::Help));
    }
}
