//! Validation of the security context of a pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{contexts, windows};
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, int, is_true, list, text};

const SYSCTL_MAX: usize = 253;
const SYSCTL_PATTERN: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Validates `spec.securityContext`.
pub(super) fn context(spec: &Value, path: &Path, errors: &mut Errors) {
    // Within Kubernetes this field of the spec is one of the context.
    if is_true(spec, "shareProcessNamespace") && is_true(spec, "hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), "true", detail);
    }
    let Some(context) = get(spec, "securityContext") else { return };
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        contexts::id(int(context, field), &path.child(field), errors);
    }
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        contexts::id(group.as_i64(), &path.child("supplementalGroups").index(i), errors);
    }
    sysctls(spec, list(context, "sysctls"), &path.child("sysctls"), errors);
    policy(context, "fsGroupChangePolicy", ["Always", "OnRootMismatch"], path, errors);
    contexts::seccomp(context, path, errors);
    if let Some(options) = get(context, "windowsOptions") {
        windows::options(options, &path.child("windowsOptions"), errors);
    }
    contexts::app_armor(context, path, errors);
    policy(context, "supplementalGroupsPolicy", ["Merge", "Strict"], path, errors);
    policy(context, "seLinuxChangePolicy", ["MountOption", "Recursive"], path, errors);
}

fn policy(context: &Value, field: &str, supported: [&str; 2], path: &Path, errors: &mut Errors) {
    let policy = text(context, field);
    if get(context, field).is_some() && !supported.contains(&policy) {
        errors.not_supported(&path.child(field), policy, &supported);
    }
}

fn sysctls(spec: &Value, sysctls: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let path = path.index(i).child("name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            let detail = format!("must have at most {SYSCTL_MAX} characters and match regex {SYSCTL_PATTERN}");
            errors.invalid(&path, quoted(name), detail);
        } else if !seen.insert(name) {
            errors.duplicate(&path, quoted(name));
        }
        let dotted = dotted(name);
        for (field, of_host) in [("hostNetwork", is_net(&dotted)), ("hostIPC", is_ipc(&dotted))] {
            if of_host && is_true(spec, field) {
                errors.invalid(&path, quoted(name), format!("may not be specified when '{field}' is true"));
            }
        }
    }
}

/// Segments of letters, digits, `-` and `_`, which begin and end with a letter or digit, between dots and slashes.
fn is_sysctl(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let segment = |s: &str| {
        let bytes = s.as_bytes();
        let ends = bytes.first().is_some_and(|b| inner(*b)) && bytes.last().is_some_and(|b| inner(*b));
        ends && bytes.iter().all(|b| inner(*b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(segment)
}

/// A name whose first separator is a slash has slashes for dots, and dots for slashes.
fn dotted(name: &str) -> String {
    if name.find('/').is_none_or(|slash| name.find('.').is_some_and(|dot| dot < slash)) {
        return name.to_owned();
    }
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    name.chars().map(swap).collect()
}

fn is_net(name: &str) -> bool {
    name.starts_with("net.")
}

fn is_ipc(name: &str) -> bool {
    let names = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    name == "kernel.sem" || names.iter().any(|n| name.starts_with(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn complaints(spec: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        context(spec, &Path::new("spec").child("securityContext"), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_of_sysctls_have_a_form() {
        let bad = |name: &str| {
            format!(
                "Invalid value: {name:?}: must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            )
        };
        let names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar..", "kernel.shmmax", ""];
        let sysctls: Vec<Value> = names.iter().map(|n| json!({"name": n, "value": "1"})).collect();
        let at = |i: usize| format!("spec.securityContext.sysctls[{i}].name");
        assert_eq!(
            complaints(&json!({"securityContext": {"sysctls": sysctls}})),
            [
                format!("{}: {}", at(0), bad("foo-")),
                format!("{}: {}", at(3), bad("bar..")),
                format!("{}: Duplicate value: \"kernel.shmmax\"", at(4)),
                format!("{}: Required value", at(5)),
            ]
        );
        assert_eq!(
            complaints(
                &json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net/a", "value": "1"}]}})
            ),
            [format!("{}: Invalid value: \"net/a\": may not be specified when 'hostNetwork' is true", at(0))]
        );
    }

    #[test]
    fn ids_and_policies_are_checked() {
        assert_eq!(
            complaints(&json!({"hostPID": true, "shareProcessNamespace": true, "securityContext": {
                "runAsUser": -1, "supplementalGroups": [1, -2], "fsGroupChangePolicy": "Never",
                "supplementalGroupsPolicy": "All", "seLinuxChangePolicy": "",
            }})),
            [
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
                "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.supplementalGroups[1]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Never\": supported values: \"Always\", \"OnRootMismatch\"",
                "spec.securityContext.supplementalGroupsPolicy: Unsupported value: \"All\": supported values: \"Merge\", \"Strict\"",
                "spec.securityContext.seLinuxChangePolicy: Unsupported value: \"\": supported values: \"MountOption\", \"Recursive\"",
            ]
        );
    }
}
