//! What containers and volumes may be told of their pod: its fields, and the resources of its containers. Pure.

use skiff_shared::pod::{Container, Pod};

/// What a pod's fields need beside the pod itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The node's address.
    pub host_ip: &'a str,
    /// The pod's address; empty before it is known.
    pub pod_ip: &'a str,
    /// What stands in for limits that are not set: thousandths of a CPU.
    pub cpu_milli: u64,
    /// What stands in for limits that are not set: bytes of memory.
    pub memory_bytes: u64,
    /// What stands in for limits that are not set: bytes of local storage.
    pub storage_bytes: u64,
}

/// The text of a field (`metadata.labels['app']`); `None` for one that is not supported.
pub fn field(pod: &Pod, path: &str, machine: &Machine<'_>) -> Option<String> {
    Some(match path {
        "metadata.name" => pod.name.clone(),
        "metadata.namespace" => pod.namespace.clone(),
        "metadata.uid" => pod.uid.to_string(),
        "metadata.labels" => lines(&pod.labels),
        "metadata.annotations" => lines(&pod.annotations),
        "spec.nodeName" => machine.node.to_owned(),
        "spec.serviceAccountName" => pod.service_account.clone(),
        "status.hostIP" | "status.hostIPs" => machine.host_ip.to_owned(),
        "status.podIP" | "status.podIPs" => machine.pod_ip.to_owned(),
        other => {
            let of = |map: &str, list| other.strip_prefix(map).and_then(|rest| subscript(list, rest));
            of("metadata.labels", &pod.labels).or_else(|| of("metadata.annotations", &pod.annotations))?
        }
    })
}

fn subscript(list: &[(String, String)], rest: &str) -> Option<String> {
    let key = rest.strip_prefix("['")?.strip_suffix("']")?;
    Some(list.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default())
}

/// A map as its file has it: a line `key="value"` for each entry.
fn lines(map: &[(String, String)]) -> String {
    map.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join("\n")
}

/// A text as Go's `%q` prints it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// An amount of a container's resources: thousandths of a CPU, bytes for the rest; `None` for an unknown name.
pub fn resource(pod: &Pod, container: &Container, name: &str, machine: &Machine<'_>) -> Option<u64> {
    let resources = &container.resources;
    let storage = || pod.local_storage(&container.name);
    match name {
        "limits.cpu" => Some(resources.cpu_limit_milli.unwrap_or(machine.cpu_milli)),
        "limits.memory" => Some(resources.memory_limit_bytes.unwrap_or(machine.memory_bytes)),
        "requests.cpu" => Some(resources.cpu_request_milli.unwrap_or(0)),
        "requests.memory" => Some(resources.memory_request_bytes.unwrap_or(0)),
        "limits.ephemeral-storage" => Some(storage().and_then(|s| s.limit_bytes).unwrap_or(machine.storage_bytes)),
        "requests.ephemeral-storage" => Some(storage().and_then(|s| s.request_bytes).unwrap_or(0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_a_line_an_entry() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(lines(&[]), "");
        assert_eq!(lines(&[pair("a", "1"), pair("b", "x\ny\"z\\\u{1}é")]), "a=\"1\"\nb=\"x\\ny\\\"z\\\\\\x01é\"");
    }
}
