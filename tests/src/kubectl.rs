//! kubectl, in the releases that `tests/run` puts beside the build.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, TIED, binary, command, text};

/// The releases that the hub is tested with, oldest first; `deploy/lib.sh` has the same list.
pub const RELEASES: [&str; 8] = ["1.20", "1.27", "1.28", "1.29", "1.30", "1.31", "1.32", "1.33"];

/// Seconds that a command may take before it is told to end; more than a whole tour takes on a busy machine.
const PATIENCE: &str = "120";

/// Does this with each release at the same time.
///
/// # Panics
/// When it panics for any of them; its thread is named after the release.
pub fn each_release(releases: &[&'static str], test: impl Fn(&'static str) + Sync) {
    thread::scope(|scope| {
        for &release in releases {
            let test = &test;
            let named = thread::Builder::new().name(release.to_owned());
            named.spawn_scoped(scope, move || test(release)).expect("a thread can be started");
        }
    });
}

/// A kubectl with a kubeconfig and a discovery cache of its own.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
    editor: PathBuf,
}

impl Kubectl {
    /// The newest of [`RELEASES`] there is, else the one on `PATH`.
    pub fn new(kubeconfig: &Path) -> Self {
        let newest = RELEASES.iter().rev().map(|r| release(r)).find(|p| p.exists());
        Self::with_program(newest.unwrap_or_else(|| "kubectl".into()), kubeconfig)
    }

    /// Release `name`, e.g. `1.27`.
    ///
    /// # Panics
    /// When the machine lacks it: a release that is not tried must not look as if it worked.
    pub fn version(name: &str, kubeconfig: &Path) -> Self {
        let program = release(name);
        let path = program.display();
        assert!(program.exists(), "kubectl {name} is missing: {path}. `tests/run` fetches every release it can");
        Self::with_program(program, kubeconfig)
    }

    fn with_program(program: PathBuf, kubeconfig: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        Self { program, kubeconfig: kubeconfig.into(), home, editor: "false".into() }
    }

    /// The same with this program for `kubectl edit`, which otherwise fails.
    #[must_use]
    pub fn with_editor(self, editor: &Path) -> Self {
        Self { editor: editor.into(), ..self }
    }

    /// Runs `kubectl LINE`; single quotes keep words together. Gives what it printed.
    ///
    /// # Panics
    /// When kubectl fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        succeeded(line, &self.run(&words(line), None))
    }

    /// [`Kubectl::ok`] with a manifest on standard input, e.g. `apply -f -`.
    ///
    /// # Panics
    /// When kubectl fails.
    #[track_caller]
    pub fn with_input(&self, line: &str, input: &str) -> String {
        succeeded(line, &self.run(&words(line), Some(input)))
    }

    /// Runs `kubectl LINE`, which must fail; gives its standard error.
    ///
    /// # Panics
    /// When kubectl succeeds.
    #[track_caller]
    pub fn fails(&self, line: &str, input: Option<&str>) -> String {
        let output = self.run(&words(line), input);
        assert!(!output.status.success(), "kubectl {line} should fail, but printed {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// [`Kubectl::ok`] with `-o json`.
    ///
    /// # Panics
    /// When kubectl fails or prints something else.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let printed = self.ok(&format!("{line} -o json"));
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("kubectl {line} -o json: {e}: {printed}"))
    }

    /// Runs kubectl for use in conditions.
    ///
    /// # Errors
    /// What kubectl said when it failed.
    pub fn attempt(&self, arguments: &[&str]) -> Result<String, String> {
        let words: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let output = self.run(&words, None);
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Starts `kubectl LINE`, which does not end by itself (`-w`, `-f`); its output is the process's log.
    pub fn start(&self, line: &str) -> Process {
        let log = self.home.path().join(format!("{:x}.out", fs::read_dir(self.home.path()).map_or(0, Iterator::count)));
        let mut kubectl = command(None, &self.program);
        self.configure(&mut kubectl).args(words(line));
        Process::start(&format!("kubectl {line}"), kubectl, &log)
    }

    /// Writes a manifest to a file and gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, content).expect("a manifest can be written");
        path.display().to_string()
    }

    /// Runs `kubectl LINE` with an input, whatever comes of it.
    pub fn output(&self, line: &str, input: &str) -> Output {
        self.run(&words(line), Some(input))
    }

    /// Runs `kubectl LINE` in a terminal of this size, types `typed`, and waits for the end. Both outputs are one.
    ///
    /// # Panics
    /// When there is no `script`.
    pub fn terminal(&self, line: &str, rows: u16, columns: u16, typed: &str) -> Output {
        let kubectl = format!("stty rows {rows} cols {columns}; exec {} {line}", self.program.display());
        let mut script = command(None, "script");
        self.configure(&mut script)
            .args(["--quiet", "--return", "--command", &kubectl, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = script.spawn().expect("script can be run");
        let mut stdin = child.stdin.take().expect("standard input is piped");
        stdin.write_all(typed.as_bytes()).expect("typing works");
        // The end of what is typed would reach the command as the end of its terminal.
        let output = child.wait_with_output().expect("script can be waited for");
        drop(stdin);
        output
    }

    fn run(&self, arguments: &[String], input: Option<&str>) -> Output {
        // What Go prints at SIGQUIT, the stacks of all goroutines, says what a kubectl without end waits for.
        let mut kubectl = command(None, "timeout");
        kubectl.args(["--signal", "QUIT", "--kill-after", "5", PATIENCE]).args(TIED);
        self.configure(kubectl.arg(&self.program))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = kubectl.spawn().unwrap_or_else(|e| panic!("cannot run {}: {e}", self.program.display()));
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // A kubectl that fails early closes the pipe; what it says then matters more.
        drop(stdin.write_all(input.unwrap_or_default().as_bytes()));
        drop(stdin);
        child.wait_with_output().expect("kubectl can be waited for")
    }

    fn configure<'a>(&self, kubectl: &'a mut Command) -> &'a mut Command {
        kubectl.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.home.path()).env("EDITOR", &self.editor)
    }
}

fn release(name: &str) -> PathBuf {
    fetched("kubectl", name)
}

/// Where `tests/run` puts a release of a program: `target/PROGRAM`, which stands beside the directory of the binaries.
pub(crate) fn fetched(program: &str, release: &str) -> PathBuf {
    let binaries = binary("skiff-hub");
    let target = binaries.parent().and_then(Path::parent).expect("binaries are in target/PROFILE");
    target.join(program).join(format!("{program}.{release}"))
}

/// The cells of a printed table, headings first. Columns are at least two spaces apart; cells hold single ones.
pub fn table(printed: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect();
    printed.lines().map(cells).collect()
}

/// The headings of a printed table.
pub fn headings(printed: &str) -> String {
    table(printed).first().map(|h| h.join(" ")).unwrap_or_default()
}

#[track_caller]
fn succeeded(line: &str, output: &Output) -> String {
    assert!(output.status.success(), "kubectl {line}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Splits at spaces, except between single quotes.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (index, part) in line.split('\'').enumerate() {
        let quoted = index % 2 == 1;
        let mut pieces = if quoted { vec![part] } else { part.split(' ').collect() }.into_iter();
        words.last_mut().expect("there is a word").push_str(pieces.next().unwrap_or_default());
        words.extend(pieces.map(str::to_owned));
    }
    words.retain(|w| !w.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words("get pods  -o 'jsonpath={.a} {.b}'"), ["get", "pods", "-o", "jsonpath={.a} {.b}"]);
        assert_eq!(words("patch x -p='{\"a\": 1}'"), ["patch", "x", "-p={\"a\": 1}"]);
    }

    #[test]
    fn cells_may_hold_single_spaces() {
        assert_eq!(table("NAME   RESTARTS\nweb    1 (5s ago)"), [["NAME", "RESTARTS"], ["web", "1 (5s ago)"]]);
    }
}
