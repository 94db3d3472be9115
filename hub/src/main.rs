//! The command line of the hub.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use skiff_hub::config::{Config, Flags, parse_duration};
use skiff_hub::run::{self, tokens};
use skiff_shared::telemetry::{self, Chain};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code for a command line or configuration that makes no sense; clap uses the same.
const USAGE: u8 = 2;

/// Enough for a small machine; idle workers cost next to nothing.
const WORKER_THREADS: usize = 2;

/// Kubernetes workloads on machines too small for Kubernetes: the hub
#[derive(Debug, Parser)]
#[command(name = "skiff-hub", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the hub
    Serve(Box<Flags>),
    /// Manages the tokens with which agents join
    #[command(subcommand)]
    Token(Token),
    /// Prints the version
    Version,
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Makes a token and prints it; one agent can join with it
    Create {
        #[command(flatten)]
        at: At,
        /// How long it can be used
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
        ttl: Duration,
    },
    /// Lists the tokens
    List {
        #[command(flatten)]
        at: At,
    },
    /// Deletes a token
    Delete {
        #[command(flatten)]
        at: At,
        /// Its id, as `token list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
struct At {
    /// The hub's data directory
    #[arg(long, value_name = "DIR", env = "SKIFF_HUB_DATA_DIR")]
    data_dir: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Line::parse().command {
        Command::Serve(flags) => match Config::load(&flags, |name| std::env::var(name).ok()) {
            Ok(config) => serve(config),
            Err(errors) => {
                eprintln!("{errors}");
                return ExitCode::from(USAGE);
            }
        },
        Command::Token(command) => token(command),
        Command::Version => {
            println!("skiff-hub {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skiff-hub: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    telemetry::init(config.log_level.as_str());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?;
    runtime.block_on(async {
        // Before anything else: a signal during the start must not end the process in the middle of a write.
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = async {
            tokio::select! {
                _ = term.recv() => tracing::info!("SIGTERM: stopping"),
                _ = int.recv() => tracing::info!("SIGINT: stopping"),
            }
        };
        Ok(run::run(config, shutdown).await?)
    })
}

fn token(command: Token) -> Result<(), Box<dyn Error>> {
    match command {
        Token::Create { at, ttl } => println!("{}", tokens::create(&at.data_dir, ttl)?),
        Token::List { at } => print!("{}", tokens::list(&at.data_dir)?),
        Token::Delete { at, id } => tokens::delete(&at.data_dir, &id)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Command, String> {
        Line::try_parse_from(words.split(' ')).map(|line| line.command).map_err(|e| e.to_string())
    }

    #[test]
    fn the_documented_commands_parse() {
        let serve = "skiff-hub serve --data-dir /d --config /c --listen 0.0.0.0:6443 --advertise-address 192.0.2.1 \
                     --pod-cidr 10.42.0.0/16 --service-cidr 10.43.0.0/16 --cluster-dns 10.43.0.10 \
                     --cluster-domain cluster.local --node-grace 40s --log-level info";
        assert!(matches!(parse(serve), Ok(Command::Serve(flags)) if flags.data_dir.as_deref() == Some("/d")));
        let create = parse("skiff-hub token create --data-dir /d");
        assert!(
            matches!(create, Ok(Command::Token(Token::Create { ttl, .. })) if ttl.as_secs() == 86_400),
            "{create:?}"
        );
        assert!(parse("skiff-hub token list --data-dir /d").is_ok());
        assert!(parse("skiff-hub token delete --data-dir /d abc").is_ok());
        assert!(matches!(parse("skiff-hub version"), Ok(Command::Version)));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("skiff-hub serve --lissten x", "--lissten"),
            ("skiff-hub token create --data-dir /d --ttl soon", "invalid value 'soon' for '--ttl"),
            ("skiff-hub token delete --data-dir /d", "<ID>"),
        ];
        for (words, complaint) in cases {
            let error = parse(words).unwrap_err();
            assert!(error.contains(complaint), "{words}: {error}");
        }
    }
}
