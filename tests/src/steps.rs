//! Tables of kubectl commands: what each says in every release that has it.

use std::time::Duration;

use crate::kubectl::Kubectl;
use crate::process::text;
use crate::wait::poll;

/// How long a command that only reads may be tried until controllers and agents have caught up.
const PATIENCE: Duration = Duration::from_secs(15);

/// One command line. `{dir}` in it and in what is expected is a directory of files, `{ns}` the namespace.
#[derive(Debug)]
pub struct Step {
    since: u32,
    line: &'static str,
    expected: &'static [&'static str],
    fails: bool,
}

/// A command that succeeds; its two outputs contain all that is expected.
pub const fn ok(line: &'static str, expected: &'static [&'static str]) -> Step {
    since(0, line, expected)
}

/// [`ok`], for releases from 1.`minor` on.
pub const fn since(minor: u32, line: &'static str, expected: &'static [&'static str]) -> Step {
    Step { since: minor, line, expected, fails: false }
}

/// A command that fails; its two outputs contain all that is expected.
pub const fn fails(line: &'static str, expected: &'static [&'static str]) -> Step {
    fails_since(0, line, expected)
}

/// [`fails`], for releases from 1.`minor` on.
pub const fn fails_since(minor: u32, line: &'static str, expected: &'static [&'static str]) -> Step {
    Step { since: minor, line, expected, fails: true }
}

/// The minor number of a release, e.g. 27 of `1.27`.
///
/// # Panics
/// When it is no release.
pub fn minor(release: &str) -> u32 {
    release.strip_prefix("1.").and_then(|minor| minor.parse().ok()).expect("a release is 1.MINOR")
}

/// Runs the steps that a release has, in order.
///
/// # Panics
/// When any went wrong, with all that did.
#[track_caller]
pub fn walk(kubectl: &Kubectl, release: &str, steps: &[Step], dir: &str, namespace: &str) {
    let had = steps.iter().filter(|step| step.since <= minor(release));
    let wrong: Vec<String> = had.filter_map(|step| step.complaint(kubectl, dir, namespace)).collect();
    assert!(wrong.is_empty(), "kubectl {release}:\n{}", wrong.join("\n"));
}

impl Step {
    /// What is wrong with what the step did.
    fn complaint(&self, kubectl: &Kubectl, dir: &str, namespace: &str) -> Option<String> {
        let filled = |text: &str| text.replace("{dir}", dir).replace("{ns}", namespace);
        let line = filled(self.line);
        let expected: Vec<String> = self.expected.iter().map(|part| filled(part)).collect();
        let reads = ["get ", "describe ", "logs "].iter().any(|verb| line.starts_with(verb));
        let patience = if reads { PATIENCE } else { Duration::ZERO };
        poll(patience, || self.attempt(kubectl, &line, &expected)).err()
    }

    fn attempt(&self, kubectl: &Kubectl, line: &str, expected: &[String]) -> Result<(), String> {
        let output = kubectl.output(line, "");
        let said = text(&output.stdout) + &text(&output.stderr);
        let missing: Vec<_> = expected.iter().filter(|part| !said.contains(*part)).collect();
        if output.status.success() == self.fails || !missing.is_empty() {
            return Err(format!("kubectl {line}: {}, lacks {missing:?}:\n{said}", output.status));
        }
        Ok(())
    }
}
