//! A container's environment, and `$(NAME)` in values, commands and arguments: pure.

use skiff_shared::pod::{Container, EnvValue, EnvVar, ObjectRef, Pod};

use crate::desired::Desired;
use crate::volumes::downward::{self, Machine};

/// What the environment may refer to beside the pod itself.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// ConfigMaps and Secrets.
    pub desired: &'a Desired,
    /// The node's name.
    pub node: &'a str,
    /// The node's address.
    pub host_ip: &'a str,
    /// The pod's address; empty before it is known.
    pub pod_ip: &'a str,
    /// What stands in for limits that are not set: thousandths of a CPU.
    pub node_cpu_milli: u64,
    /// What stands in for limits that are not set: bytes of memory.
    pub node_memory_bytes: u64,
    /// What stands in for limits that are not set: bytes of local storage.
    pub node_storage_bytes: u64,
}

impl Sources<'_> {
    /// What the pod's fields need.
    pub fn machine(&self) -> Machine<'_> {
        Machine {
            node: self.node,
            host_ip: self.host_ip,
            pod_ip: self.pod_ip,
            cpu_milli: self.node_cpu_milli,
            memory_bytes: self.node_memory_bytes,
            storage_bytes: self.node_storage_bytes,
        }
    }
}

/// Why there is no environment; the words are the kubelet's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// An object that is not optional is not here.
    #[error("{kind} \"{name}\" not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key that is not optional is not in its object.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Namespace of the object.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A field path that is not supported.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// A resource that is not supported, or of an unknown container.
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// The environment of a container, later entries of a name in place of earlier ones.
///
/// # Errors
/// [`EnvError`], which makes the container wait with `CreateContainerConfigError`.
pub fn environment(pod: &Pod, container: &Container, sources: &Sources<'_>) -> Result<Vec<(String, String)>, EnvError> {
    let mut all: Vec<(String, String)> = Vec::new();
    for from in &container.env_from {
        let Some(data) = sources.desired.data(&pod.namespace, &from.source) else {
            if from.optional {
                continue;
            }
            return Err(no_object(&from.source));
        };
        for (key, value) in &data.entries {
            let name = format!("{}{key}", from.prefix);
            if is_env_name(&name) {
                set(&mut all, name, String::from_utf8_lossy(value).into_owned());
            }
        }
    }
    // References see the earlier entries of `env` only, as in a kubelet.
    let mut own: Vec<(String, String)> = pod.service_env().to_vec();
    for EnvVar { name, value } in &container.env {
        if let Some(value) = resolve(pod, container, value, &own, sources)? {
            set(&mut own, name.clone(), value.clone());
            set(&mut all, name.clone(), value);
        }
    }
    for (name, value) in pod.service_env() {
        if !all.iter().any(|(n, _)| n == name) {
            all.push((name.clone(), value.clone()));
        }
    }
    Ok(all)
}

/// Whether a container's environment cannot be known before the pod has its address.
pub fn needs_pod_ip(container: &Container) -> bool {
    container.env.iter().any(|e| matches!(&e.value, EnvValue::Field(path) if path.starts_with("status.podIP")))
}

fn resolve(
    pod: &Pod,
    container: &Container,
    value: &EnvValue,
    own: &[(String, String)],
    sources: &Sources<'_>,
) -> Result<Option<String>, EnvError> {
    match value {
        EnvValue::Literal(text) => Ok(Some(expand(text, own))),
        EnvValue::Key { source, key, optional } => {
            let found = match sources.desired.data(&pod.namespace, source) {
                Some(data) => data.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
                None if *optional => None,
                None => return Err(no_object(source)),
            };
            match found {
                Some(bytes) => Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
                None if *optional => Ok(None),
                None => Err(no_key(&pod.namespace, source, key)),
            }
        }
        EnvValue::Field(path) => field(pod, path, sources).map(Some),
        EnvValue::Resource { container: name, resource, divisor } => {
            let mut every = pod.containers.iter().chain(&pod.init_containers);
            let of = if name.is_empty() { Some(container) } else { every.find(|c| c.name == *name) };
            let of = of.ok_or_else(|| EnvError::Resource(resource.clone()))?;
            downward::resource(pod, of, resource, &sources.machine())
                .map(|amount| Some(amount.div_ceil((*divisor).max(1)).to_string()))
                .ok_or_else(|| EnvError::Resource(resource.clone()))
        }
    }
}

fn field(pod: &Pod, path: &str, sources: &Sources<'_>) -> Result<String, EnvError> {
    // These two have many values: they are for volumes.
    let plain = !matches!(path, "metadata.labels" | "metadata.annotations");
    let text = downward::field(pod, path, &sources.machine()).filter(|_| plain);
    text.ok_or_else(|| EnvError::Field(path.to_owned()))
}

fn no_object(object: &ObjectRef) -> EnvError {
    match object {
        ObjectRef::ConfigMap(name) => EnvError::NoObject { kind: "configmap", name: name.clone() },
        ObjectRef::Secret(name) => EnvError::NoObject { kind: "secret", name: name.clone() },
    }
}

fn no_key(namespace: &str, object: &ObjectRef, key: &str) -> EnvError {
    let (kind, name) = match object {
        ObjectRef::ConfigMap(name) => ("ConfigMap", name),
        ObjectRef::Secret(name) => ("Secret", name),
    };
    EnvError::NoKey { key: key.to_owned(), kind, namespace: namespace.to_owned(), name: name.clone() }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

fn set(list: &mut Vec<(String, String)>, name: String, value: String) {
    match list.iter_mut().find(|(n, _)| *n == name) {
        Some(entry) => entry.1 = value,
        None => list.push((name, value)),
    }
}

/// Replaces `$(NAME)` by the value of `NAME`; unknown names stay as they are, and `$$` is one `$`.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match env.iter().find(|(n, _)| n == name) {
                Some((_, value)) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// [`expand`] where every name must be known; the error is the first that is not.
pub fn expand_known(text: &str, env: &[(String, String)]) -> Result<String, String> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            rest = tail;
        } else if let Some((name, tail)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            if !env.iter().any(|(n, _)| n == name) {
                return Err(name.to_owned());
            }
            rest = tail;
        }
    }
    Ok(expand(text, env))
}
