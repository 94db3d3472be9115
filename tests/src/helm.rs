//! Helm, in the releases that `tests/run` puts beside the build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::kubectl::{fetched, words};
use crate::process::{command, output, text};

/// The releases that the hub is tested with, oldest first; `deploy/lib.sh` has the same list.
pub const RELEASES: [&str; 3] = ["3.12", "3.18", "4.1"];

/// A Helm with caches of its own, started in a directory for its charts.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Helm {
    /// Release `name`, e.g. `3.12`.
    ///
    /// # Panics
    /// When the machine lacks it: a release that is not tried must not look as if it worked.
    pub fn version(name: &str, kubeconfig: &Path) -> Self {
        let program = fetched("helm", name);
        let path = program.display();
        assert!(program.exists(), "Helm {name} is missing: {path}. `tests/run` fetches every release it can");
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        Self { program, kubeconfig: kubeconfig.into(), home }
    }

    /// Writes a file below the directory that Helm is started in, e.g. `web/Chart.yaml`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, path: &str, content: &str) {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("a directory can be made");
        fs::write(path, content).expect("a chart can be written");
    }

    /// Removes a file that is there.
    ///
    /// # Panics
    /// When it is not.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.home.path().join(path)).expect("the file can be removed");
    }

    /// Runs `helm LINE`; single quotes keep words together. Gives what it printed.
    ///
    /// # Panics
    /// When Helm fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "helm {line}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs `helm LINE`, which must fail; gives its standard error.
    ///
    /// # Panics
    /// When Helm succeeds.
    #[track_caller]
    pub fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "helm {line} should fail, but printed {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// [`Helm::ok`] with `-o json`.
    ///
    /// # Panics
    /// When Helm fails or prints something else.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let printed = self.ok(&format!("{line} -o json"));
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("helm {line} -o json: {e}: {printed}"))
    }

    fn run(&self, line: &str) -> Output {
        let mut helm = command(None, &self.program);
        helm.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.home.path()).current_dir(self.home.path());
        output(helm.args(words(line)))
    }
}
