//! Validation of what depends on a pod's operating system, above all of the options for Windows.

use serde_json::Value;

use super::containers::visit;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::json::{at, get, is_true, text};
use crate::registry::names::dns_subdomain;

const SPEC_MAX_KIB: usize = 64;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;
const NOT_FOR_LINUX: &str = "windows options cannot be set for a linux pod";
const NOT_FOR_WINDOWS: &str = "cannot be set for a windows pod";

/// Fields of the pod's own security context that Windows does not know, and fields of its spec among them.
const POD_FIELDS: [(bool, &str); 15] = [
    (true, "appArmorProfile"),
    (true, "seLinuxOptions"),
    (false, "hostUsers"),
    (false, "hostPID"),
    (false, "hostIPC"),
    (true, "seccompProfile"),
    (true, "fsGroup"),
    (true, "fsGroupChangePolicy"),
    (true, "sysctls"),
    (false, "shareProcessNamespace"),
    (true, "runAsUser"),
    (true, "runAsGroup"),
    (true, "supplementalGroups"),
    (true, "supplementalGroupsPolicy"),
    (true, "seLinuxChangePolicy"),
];
/// The same for containers.
const CONTAINER_FIELDS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Validates `os`, and that the rest suits it.
pub(super) fn os(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(os) = get(spec, "os") else { return };
    match text(os, "name") {
        "" => errors.required(&path.child("os").child("name"), "cannot be empty"),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => errors.not_supported(&path.child("os"), other, &["linux", "windows"]),
    }
}

fn linux(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut check = |context: Option<&Value>, path: &Path| {
        if context.and_then(|c| get(c, "windowsOptions")).is_some() {
            errors.forbidden(&path.child("securityContext").child("windowsOptions"), NOT_FOR_LINUX);
        }
    };
    check(get(spec, "securityContext"), path);
    for (container, path) in visit(spec, path) {
        check(get(container, "securityContext"), &path);
    }
}

fn windows(spec: &Value, path: &Path, errors: &mut Errors) {
    for (of_context, field) in POD_FIELDS {
        let (value, path) = if of_context {
            (at(spec, &["securityContext", field]), path.child("securityContext"))
        } else {
            (get(spec, field), path.clone())
        };
        // These are plain booleans and lists: empty ones are not there.
        let empty = match field {
            "hostPID" | "hostIPC" => !is_true(spec, field),
            "sysctls" => value.and_then(Value::as_array).is_none_or(Vec::is_empty),
            _ => value.is_none(),
        };
        if !empty {
            errors.forbidden(&path.child(field), NOT_FOR_WINDOWS);
        }
    }
    for (container, path) in visit(spec, path) {
        let Some(context) = get(container, "securityContext") else { continue };
        for field in CONTAINER_FIELDS.iter().filter(|field| get(context, field).is_some()) {
            errors.forbidden(&path.child("securityContext").child(field), NOT_FOR_WINDOWS);
        }
    }
}

/// Validates `windowsOptions`.
pub(super) fn options(options: &Value, path: &Path, errors: &mut Errors) {
    let field = |name: &str| options.get(name).and_then(Value::as_str);
    if let Some(name) = field("gmsaCredentialSpecName") {
        errors.invalid_text(&path.child("gmsaCredentialSpecName"), name, dns_subdomain(name));
    }
    if let Some(spec) = field("gmsaCredentialSpec") {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(&path, quoted(spec), "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > SPEC_MAX_KIB * 1024 {
            errors.invalid(&path, quoted(spec), format!("gmsaCredentialSpec size must be under {SPEC_MAX_KIB} KiB"));
        }
    }
    if let Some(name) = field("runAsUserName") {
        for complaint in user_name(name) {
            errors.invalid(&path.child("runAsUserName"), quoted(name), format!("runAsUserName{complaint}"));
        }
    }
}

fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec![" cannot be an empty string".into()];
    }
    if name.bytes().any(|b| b.is_ascii_control()) {
        return vec![" cannot contain control characters".into()];
    }
    let (domain, user) = name.split_once('\\').map_or((None, name), |(domain, user)| (Some(domain), user));
    if user.contains('\\') {
        return vec![" cannot contain more than one backslash".into()];
    }
    let mut complaints = Vec::new();
    let mut check = |wrong: bool, complaint: String| complaints.extend(wrong.then_some(complaint));
    let domain_length = domain.map_or(0, str::len);
    check(domain_length >= DOMAIN_MAX, format!("'s Domain length must be under {DOMAIN_MAX} characters"));
    check(
        domain.is_some_and(|d| !is_net_bios(d) && !is_dns(d)),
        "'s Domain doesn't match the NetBios nor the DNS format".into(),
    );
    check(user.is_empty(), "'s User cannot be empty".into());
    check(user.len() > USER_MAX, format!("'s User length must not be longer than {USER_MAX} characters"));
    let blank = !user.is_empty() && user.bytes().all(|b| matches!(b, b'.' | b' '));
    check(blank, "'s User cannot contain only periods or spaces".into());
    check(
        user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']),
        r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.into(),
    );
    complaints
}

fn is_net_bios(domain: &str) -> bool {
    let count = domain.chars().count();
    let forbidden = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=15).contains(&count) && !domain.starts_with('.') && !domain.contains(forbidden)
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        let inner = bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && inner
    })
}

/// Validates `hostProcess`: all containers of a pod are such, or none, and they have the network of the host.
pub(super) fn host_process(spec: &Value, path: &Path, errors: &mut Errors) {
    let option =
        |holder: &Value| at(holder, &["securityContext", "windowsOptions", "hostProcess"]).and_then(Value::as_bool);
    let of_pod = option(spec);
    let (mut count, mut all) = (0, 0);
    for (container, path) in visit(spec, path) {
        all += 1;
        let own = option(container);
        if let Some((pod, own)) = of_pod.zip(own).filter(|(pod, own)| pod != own) {
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.invalid(&path, own.to_string(), detail);
        }
        count += usize::from(own.or(of_pod) == Some(true));
    }
    if count > 0 && count != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, quoted(""), detail);
    }
    if count > 0 && !is_true(spec, "hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), "false", detail);
    }
}

/// Validates `hostUsers`: with users of its own, a pod cannot have other namespaces of the host.
pub(super) fn host_users(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec.get("hostUsers").and_then(Value::as_bool) != Some(false) {
        return;
    }
    // The capital letters are Kubernetes' own.
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if is_true(spec, field) {
            errors.forbidden(&path.child(shown), "when `pod.Spec.HostUsers` is false");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Check = fn(&Value, &Path, &mut Errors);

    #[test]
    fn operating_systems() {
        let options = |process: bool| json!({"windowsOptions": {"hostProcess": process}});
        let table: [(Check, Value, Vec<&str>); 8] = [
            (os, json!({"os": {"name": "linux"}, "containers": [{}]}), vec![]),
            (os, json!({"os": {}}), vec!["s.os.name: Required value: cannot be empty"]),
            (
                os,
                json!({"os": {"name": "dos"}}),
                vec![r#"s.os: Unsupported value: "dos": supported values: "linux", "windows""#],
            ),
            (
                os,
                json!({"os": {"name": "linux"}, "containers": [{"securityContext": options(true)}]}),
                vec![
                    "s.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
                ],
            ),
            (
                os,
                json!({
                    "os": {"name": "windows"}, "hostPID": true, "hostIPC": false, "securityContext": {"fsGroup": 1},
                    "initContainers": [{"securityContext": {"privileged": false}}],
                }),
                vec![
                    "s.hostPID: Forbidden: cannot be set for a windows pod",
                    "s.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
                    "s.initContainers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
                ],
            ),
            (
                host_process,
                json!({"securityContext": options(true), "containers": [{"securityContext": options(false)}, {}]}),
                vec![
                    "s.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
                    "s: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
                    "s.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
                ],
            ),
            (
                host_users,
                json!({"hostUsers": false, "hostNetwork": true, "hostPID": true}),
                vec![
                    "s.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false",
                    "s.HostPID: Forbidden: when `pod.Spec.HostUsers` is false",
                ],
            ),
            (host_users, json!({"hostNetwork": true}), vec![]),
        ];
        for (check, spec, expected) in table {
            let mut errors = Errors::default();
            check(&spec, &Path::new("s"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{spec}");
        }
    }

    #[test]
    fn user_names() {
        for (name, expected) in [
            ("user", vec![]),
            (r"dom.example\user", vec![]),
            (r"NT AUTHORITY\SYSTEM", vec![]),
            ("", vec![" cannot be an empty string"]),
            ("a\u{7}", vec![" cannot contain control characters"]),
            (r"a\b\c", vec![" cannot contain more than one backslash"]),
            (r"a\", vec!["'s User cannot be empty"]),
            (r".x/\u", vec!["'s Domain doesn't match the NetBios nor the DNS format"]),
            (". .", vec!["'s User cannot contain only periods or spaces"]),
            ("a@b", vec![r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#]),
        ] {
            assert_eq!(user_name(name), expected, "{name}");
        }
    }
}
