//! The agent's command: reads the configuration, runs until SIGTERM or SIGINT, prints one line for what went wrong.

use std::process::ExitCode;
use std::sync::Arc;

use skiff_agent::config::{self, Command, Config};
use skiff_agent::link::{self, LinkConfig};
use skiff_agent::podman::RealPodman;
use skiff_agent::pods::context::Clock;
use skiff_agent::run::{self, Settings};
use skiff_shared::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

fn main() -> ExitCode {
    let command = config::parse(std::env::args_os().skip(1), std::env::vars(), &skiff_agent::node::host_name());
    match command {
        Ok(Command::Help) => {
            print!("{}", config::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            println!("skiff-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Command::Run(config)) => run_agent(*config),
        Err(errors) => fail(&errors),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    for line in text.lines() {
        eprintln!("skiff-agent: {line}");
    }
    ExitCode::FAILURE
}

fn run_agent(config: Config) -> ExitCode {
    telemetry::init(&config.log_level);
    // One thread for everything, and at most two more for disk writes: the agent is to fit on small machines.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    match runtime {
        Ok(runtime) => match runtime.block_on(serve(config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&*error),
        },
        Err(error) => fail(&error),
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let podman = RealPodman::new(&config.podman, config.node_name.as_str())?;
    let settings = Settings {
        node_ip: run::node_address(config.node_ip, &config.hub).await,
        data_dir: config.data_dir.clone(),
        node: config.node_name.clone(),
        podman: config.podman.clone(),
        clock: Clock::System,
    };
    let link = LinkConfig {
        data_dir: config.data_dir,
        hub: config.hub,
        join_token: config.join_token,
        node: config.node_name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let shutdown = stop_on_signal()?;
    run::run(&settings, Arc::new(podman), |node, stop| link::run(link, node, stop), shutdown).await?;
    Ok(())
}

/// Turns true on SIGTERM or SIGINT.
fn stop_on_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}
