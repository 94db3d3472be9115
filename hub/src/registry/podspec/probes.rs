//! Validation of probes and lifecycle handlers.

use serde_json::Value;

use crate::registry::fields::{Errors, Path};
use crate::registry::json::{get, int, list, text};
use crate::registry::names::{http_header, port_name, port_number};

/// Validates one probe.
pub(super) fn probe(probe: &Value, path: &Path, errors: &mut Errors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, path, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        errors.non_negative(&path.child(field), int(probe, field));
    }
    if let Some(seconds) = int(probe, "terminationGracePeriodSeconds").filter(|s| *s <= 0) {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds.to_string(), "must be greater than 0");
    }
}

/// Validates what only holds for liveness and startup probes.
pub(super) fn single_success(probe: &Value, path: &Path, errors: &mut Errors) {
    if let Some(threshold) = int(probe, "successThreshold").filter(|t| *t != 1) {
        errors.invalid(&path.child("successThreshold"), threshold.to_string(), "must be 1");
    }
}

/// Validates what only holds for readiness probes: they never end a container.
pub(super) fn no_grace_period(probe: &Value, path: &Path, errors: &mut Errors) {
    if let Some(seconds) = int(probe, "terminationGracePeriodSeconds") {
        let path = path.child("terminationGracePeriodSeconds");
        errors.invalid(&path, seconds.to_string(), "must not be set for readinessProbes");
    }
}

/// Validates `lifecycle`; `grace` is how long the pod may take to end, in seconds.
pub(super) fn lifecycle(lifecycle: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    for event in ["postStart", "preStop"] {
        if let Some(hook) = get(lifecycle, event) {
            handler(hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, &path.child(event), errors);
        }
    }
}

fn handler(handler: &Value, kinds: &[&str], grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for kind in kinds {
        let Some(action) = get(handler, kind) else { continue };
        let path = path.child(kind);
        if found {
            errors.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" if list(action, "command").is_empty() => errors.required(&path.child("command"), ""),
            "httpGet" => http_get(action, &path, errors),
            "tcpSocket" | "grpc" => port(action, &path, errors),
            "sleep" => sleep(action, grace, &path, errors),
            _ => {}
        }
    }
    if !found {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path, errors: &mut Errors) {
    if text(action, "path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    port(action, path, errors);
    let scheme = text(action, "scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        errors.invalid_text(&path.child("httpHeaders"), name, http_header(name));
    }
}

fn sleep(action: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let seconds = int(action, "seconds").unwrap_or(0);
    if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, seconds.to_string(), detail);
    }
}

fn port(action: &Value, path: &Path, errors: &mut Errors) {
    port_or_name(action.get("port").unwrap_or(&Value::from(0)), &path.child("port"), errors);
}

/// Validates a port that is a number or the name of a container port.
pub(crate) fn port_or_name(port: &Value, path: &Path, errors: &mut Errors) {
    match port.as_str() {
        Some(name) => errors.invalid_text(path, name, port_name(name)),
        None => {
            if let Some(complaint) = port_number(port.as_i64().unwrap_or(0)) {
                errors.invalid(path, port.as_i64().unwrap_or(0).to_string(), complaint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn probes() {
        let table = [
            (json!({"exec": {"command": ["true"]}}), vec![]),
            (json!({"httpGet": {"path": "/", "port": "http", "scheme": "HTTP"}}), vec![]),
            (json!({}), vec!["p: Required value: must specify a handler type"]),
            (json!({"exec": {}}), vec!["p.exec.command: Required value"]),
            (
                json!({"tcpSocket": {"port": 70000}}),
                vec!["p.tcpSocket.port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
            ),
            (
                json!({"tcpSocket": {"port": 1}, "grpc": {"port": 1}}),
                vec!["p.grpc: Forbidden: may not specify more than 1 handler type"],
            ),
            (
                json!({"tcpSocket": {"port": 1}, "periodSeconds": -1}),
                vec!["p.periodSeconds: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"tcpSocket": {"port": 1}, "successThreshold": 2}),
                vec!["p.successThreshold: Invalid value: 2: must be 1"],
            ),
        ];
        for (value, expected) in table {
            let mut errors = Errors::default();
            probe(&value, &Path::new("p"), &mut errors);
            single_success(&value, &Path::new("p"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{value}");
        }
    }

    #[test]
    fn hooks() {
        let table = [
            (json!({"preStop": {"sleep": {"seconds": 30}}, "postStart": {"sleep": {}}}), vec![]),
            (
                json!({"preStop": {"sleep": {"seconds": 31}}}),
                vec![
                    "l.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
                ],
            ),
            (
                json!({"postStart": {"httpGet": {"path": "/", "port": 1, "scheme": "HTTP", "httpHeaders": [{"name": "a b"}]}}}),
                vec![
                    "l.postStart.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
                ],
            ),
        ];
        for (value, expected) in table {
            let mut errors = Errors::default();
            lifecycle(&value, Some(30), &Path::new("l"), &mut errors);
            let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{value}");
        }
    }
}
