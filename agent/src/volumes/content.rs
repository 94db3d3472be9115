//! The files of a volume, from what they follow. Pure.

use std::collections::BTreeMap;

use skiff_shared::pod::{Container, Data, KeyPath, ObjectRef, Pod, Projection};

use super::downward::{self, Machine};
use crate::desired::Desired;

/// Tokens of pods whose containers need not run as root are for their owner only.
const TOKEN_MODE: u32 = 0o600;

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path in the volume.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
    /// Permissions.
    pub mode: u32,
    /// Owner, where it is not root.
    pub owner: Option<u32>,
}

/// The tokens of a pod, by audience and life.
pub type Tokens = BTreeMap<(String, u64), String>;

/// The files of a volume, sorted by path. `tokens` holds every token that it needs.
///
/// # Errors
/// Why there are none, in the kubelet's words.
pub fn files(
    pod: &Pod,
    mode: u32,
    sources: &[Projection],
    desired: &Desired,
    machine: &Machine<'_>,
    tokens: &Tokens,
) -> Result<Vec<File>, String> {
    let mut files = BTreeMap::new();
    let mut put = |path: &str, bytes: Vec<u8>, own: Option<u32>, owner| {
        let file = File { path: clean(path), bytes, mode: own.unwrap_or(mode), owner };
        files.insert(file.path.clone(), file);
    };
    for source in sources {
        match source {
            Projection::Object { source, items, optional } => {
                let data = desired.data(&pod.namespace, source);
                for (path, bytes, mode) in object(source, data, items.as_deref(), *optional)? {
                    put(&path, bytes, mode, None);
                }
            }
            Projection::Field { field, path, mode } => {
                let text = downward::field(pod, field, machine);
                let text = text.ok_or_else(|| format!("unsupported fieldPath: {field}"))?;
                put(path, text.into_bytes(), *mode, None);
            }
            Projection::Resource { container, resource, divisor, path, mode } => {
                let of = containers(pod).find(|c| c.name == *container);
                let of = of.ok_or_else(|| format!("container {container} not found"))?;
                let amount = downward::resource(pod, of, resource, machine)
                    .ok_or_else(|| format!("unsupported container resource : {resource}"))?;
                put(path, amount.div_ceil((*divisor).max(1)).to_string().into_bytes(), *mode, None);
            }
            Projection::Token { path, audience, expiration_seconds } => {
                let token = tokens.get(&(audience.clone(), *expiration_seconds));
                let token = token.ok_or_else(|| "failed to fetch token".to_owned())?;
                let user = common_user(pod);
                let own = (user.is_some() || pod.fs_group().is_some()).then_some(TOKEN_MODE);
                put(path, token.clone().into_bytes(), own, user);
            }
        }
    }
    Ok(files.into_values().collect())
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.containers.iter().chain(&pod.init_containers)
}

/// The user of all containers, where they have the same.
fn common_user(pod: &Pod) -> Option<u32> {
    let first = containers(pod).next()?.security.run_as_user?;
    let same = containers(pod).all(|c| c.security.run_as_user == Some(first));
    u32::try_from(first).ok().filter(|_| same)
}

/// A path without empty steps and dots; what is left never leaves the volume.
fn clean(path: &str) -> String {
    path.split('/').filter(|step| !matches!(*step, "" | "." | "..")).collect::<Vec<_>>().join("/")
}

type Entry = (String, Vec<u8>, Option<u32>);

fn object(
    source: &ObjectRef,
    data: Option<&Data>,
    items: Option<&[KeyPath]>,
    optional: bool,
) -> Result<Vec<Entry>, String> {
    let (kind, key_kind, name) = match source {
        ObjectRef::ConfigMap(name) => ("configmap", "configmap references non-existent config key", name),
        ObjectRef::Secret(name) => ("secret", "references non-existent secret key", name),
    };
    let Some(data) = data else {
        return if optional { Ok(Vec::new()) } else { Err(format!("{kind} {name:?} not found")) };
    };
    let Some(items) = items else {
        return Ok(data.entries.iter().map(|(key, value)| (key.clone(), value.clone(), None)).collect());
    };
    let mut entries = Vec::new();
    for item in items {
        match data.entries.iter().find(|(key, _)| *key == item.key) {
            Some((_, value)) => entries.push((item.path.clone(), value.clone(), item.mode)),
            None if optional => {}
            None => return Err(format!("{key_kind}: {}", item.key)),
        }
    }
    Ok(entries)
}
