//! Validation of what security contexts of pods and of containers have in common, and of those of containers.

use serde_json::Value;

use super::containers::one_of;
use super::files::descending;
use super::windows;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{get, int, is_true, text, texts};

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const PROC_MOUNTS: [&str; 2] = ["Default", "Unmasked"];
const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
/// The longest path, without the byte that ends it.
const PROFILE_MAX: usize = 4095;

/// Validates the `securityContext` of a container.
pub(super) fn of_container(context: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["runAsUser", "runAsGroup"] {
        id(int(context, field), &path.child(field), errors);
    }
    if get(context, "procMount").is_some() {
        proc_mount(text(context, "procMount"), spec, &path.child("procMount"), errors);
    }
    seccomp(context, path, errors);
    if context.get("allowPrivilegeEscalation").and_then(Value::as_bool) == Some(false) {
        escalation(context, path, errors);
    }
    if let Some(options) = get(context, "windowsOptions") {
        windows::options(options, &path.child("windowsOptions"), errors);
    }
    app_armor(context, path, errors);
}

/// Validates the id of a user or group.
pub(super) fn id(id: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
        errors.invalid(path, id.to_string(), ID_RANGE);
    }
}

fn proc_mount(mount: &str, spec: &Value, path: &Path, errors: &mut Errors) {
    if !PROC_MOUNTS.contains(&mount) {
        errors.not_supported(path, mount, &PROC_MOUNTS);
    }
    if mount == "Unmasked" && spec.get("hostUsers").and_then(Value::as_bool) != Some(false) {
        errors.invalid(path, quoted(mount), "`hostUsers` must be false to use `Unmasked`");
    }
}

fn escalation(context: &Value, path: &Path, errors: &mut Errors) {
    let mut refuse = |what: &str| {
        let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        errors.invalid(path, context.to_string(), detail);
    };
    if is_true(context, "privileged") {
        refuse("`privileged` to true");
    }
    let added = get(context, "capabilities").map(|c| texts(c, "add")).unwrap_or_default();
    if added.contains(&"CAP_SYS_ADMIN") {
        refuse("`capabilities.Add` CAP_SYS_ADMIN");
    }
}

/// Validates the `seccompProfile` of a security context.
pub(super) fn seccomp(context: &Value, path: &Path, errors: &mut Errors) {
    let Some(profile) = get(context, "seccompProfile") else { return };
    let path = path.child("seccompProfile");
    let file_path = path.child("localhostProfile");
    match text(profile, "type") {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        kind => one_of(kind, &PROFILES, &path.child("type"), errors),
    }
    match (text(profile, "type"), get(profile, "localhostProfile")) {
        ("Localhost", None) => errors.required(&file_path, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(_)) => descending(text(profile, "localhostProfile"), &file_path, errors),
        (_, Some(_)) => {
            errors.invalid(&file_path, profile.to_string(), "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

/// Validates the `appArmorProfile` of a security context.
pub(super) fn app_armor(context: &Value, path: &Path, errors: &mut Errors) {
    let Some(profile) = get(context, "appArmorProfile") else { return };
    let path = path.child("appArmorProfile");
    let name = profile.get("localhostProfile").and_then(Value::as_str);
    match text(profile, "type") {
        "Localhost" => app_armor_name(name, &path.child("localhostProfile"), errors),
        "RuntimeDefault" | "Unconfined" => {
            if let Some(name) = name {
                let detail = "can only be set when AppArmor type is Localhost";
                errors.invalid(&path.child("localhostProfile"), quoted(name), detail);
            }
        }
        "" => errors.required(&path.child("type"), "type is required when appArmorProfile is set"),
        kind => errors.not_supported(&path.child("type"), kind, &PROFILES),
    }
}

fn app_armor_name(name: Option<&str>, path: &Path, errors: &mut Errors) {
    let name = name.unwrap_or("");
    if name.trim() != name {
        errors.invalid(path, quoted(name), "must not be padded with whitespace");
    } else if name.is_empty() {
        errors.required(path, "must be set when AppArmor type is Localhost");
    }
    if name.len() > PROFILE_MAX {
        errors.too_long(path, PROFILE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn contexts_of_containers() {
        let table = [
            (
                json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b"}, "procMount": "Default"}),
                vec![],
            ),
            (
                json!({"seccompProfile": {}}),
                vec!["c.seccompProfile.type: Required value: type is required when seccompProfile is set"],
            ),
            (
                json!({"seccompProfile": {"type": "Localhost"}}),
                vec!["c.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"],
            ),
            (
                json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "../b"}}),
                vec![r#"c.seccompProfile.localhostProfile: Invalid value: "../b": must not contain '..'"#],
            ),
            (
                json!({"procMount": "Unmasked"}),
                vec![r#"c.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`"#],
            ),
            (
                json!({"procMount": ""}),
                vec![r#"c.procMount: Unsupported value: "": supported values: "Default", "Unmasked""#],
            ),
            (
                json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}),
                vec![
                    r#"c: Invalid value: {"allowPrivilegeEscalation":false,"capabilities":{"add":["CAP_SYS_ADMIN"]}}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"#,
                ],
            ),
            (
                json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": " "}}),
                vec![r#"c.appArmorProfile.localhostProfile: Invalid value: " ": must not be padded with whitespace"#],
            ),
            (
                json!({"appArmorProfile": {"type": "Unconfined", "localhostProfile": "a"}}),
                vec![
                    r#"c.appArmorProfile.localhostProfile: Invalid value: "a": can only be set when AppArmor type is Localhost"#,
                ],
            ),
            (
                json!({"runAsUser": -1}),
                vec!["c.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
            ),
        ];
        for (context, expected) in table {
            let mut errors = Errors::default();
            of_container(&context, &json!({}), &Path::new("c"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{context}");
        }
    }
}
