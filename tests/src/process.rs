//! Child processes that log to a file and never outlive the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use crate::wait::{ensure, poll};

/// A running program. Dropping it kills it, and prints the end of its log when the test is failing.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A binary of this workspace, from the directory the tests were built into (or `SKIFF_BIN_DIR`).
///
/// # Panics
/// When it is not built.
pub fn binary(name: &str) -> PathBuf {
    let built = || {
        let exe = std::env::current_exe().expect("a test knows its own path");
        // target/PROFILE/deps/TEST, or target/PROFILE/PROGRAM.
        exe.ancestors().skip(1).find(|d| !d.ends_with("deps") && !d.ends_with("examples")).map(Path::to_path_buf)
    };
    let dir = std::env::var_os("SKIFF_BIN_DIR").map(PathBuf::from).or_else(built).expect("a program has a directory");
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace --bins` first", path.display());
    path
}

/// Makes the kernel kill a program when its parent dies.
pub(crate) const TIED: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// A command that the kernel kills when the test dies, however it dies, in a network namespace where one is given.
pub fn command(netns: Option<&str>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = match netns {
        Some(name) => {
            let mut nsenter = Command::new("nsenter");
            nsenter.arg(format!("--net=/run/netns/{name}")).arg(TIED[0]);
            nsenter
        }
        None => Command::new(TIED[0]),
    };
    command.args(&TIED[1..]).arg(program);
    command
}

impl Process {
    /// Starts `command`, appending both outputs to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log can be opened");
        let copy = file.try_clone().expect("a file handle can be copied");
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { name: name.into(), child, log: log.into() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// SIGKILL, then waits for its end.
    pub fn kill9(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Panics
    /// When it does not end within 10 s.
    pub fn terminate(&mut self) -> ExitStatus {
        run(Command::new("kill").arg(self.pid().to_string()));
        let name = self.name.clone();
        poll(Duration::from_secs(10), || self.exited().ok_or_else(|| "it still runs".into()))
            .unwrap_or_else(|why| panic!("{name} was told to end, but {why}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}: last lines of {}", self.name, self.log.display());
            lines.iter().skip(lines.len().saturating_sub(60)).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it fails, with its output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    let check = ensure(output.status.success(), || {
        format!("{command:?} failed: {}{}", text(&output.stdout), text(&output.stderr))
    });
    if let Err(why) = check {
        panic!("{why}");
    }
    text(&output.stdout)
}

/// Runs a command to its end, whatever comes of it.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
