//! Where a proxied request goes: from `[https:]NAME[:PORT]` to the address of a pod.

use std::net::IpAddr;

use serde_json::Value;
use skiff_shared::ids::PodUid;

use super::super::request::ResourcePath;
use super::super::status::Status;
use crate::store::{Key, Object, Snapshot};

/// A port of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    /// The pod's node.
    pub(super) node: String,
    /// The pod.
    pub(super) pod: PodUid,
    /// Its address.
    pub(super) ip: IpAddr,
    /// The port.
    pub(super) port: u16,
    /// Whether it speaks TLS.
    pub(super) https: bool,
}

/// The name segment of a proxied URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) https: bool,
    pub(super) name: &'a str,
    /// Number or name; may be empty.
    pub(super) port: &'a str,
}

impl<'a> Reference<'a> {
    /// Reads `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`; `kind` is what the error calls it.
    pub(super) fn parse(kind: &str, id: &'a str) -> Result<Self, Status> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return Err(invalid(kind, id)),
        };
        let known = matches!(scheme, "" | "http" | "https");
        if name.is_empty() || !known {
            Err(invalid(kind, id))
        } else {
            Ok(Self { https: scheme == "https", name, port })
        }
    }
}

fn invalid(kind: &str, id: &str) -> Status {
    Status::bad_request(format!("invalid {kind} request {id:?}"))
}

/// The pod of a path, at the port asked for, else at its first.
pub(super) fn pod(snapshot: &Snapshot, path: &ResourcePath) -> Result<Backend, Status> {
    let reference = Reference::parse("pod", &path.name)?;
    let object = find(snapshot, "pods", &path.namespace, reference.name)?;
    let pod = read(&object)?;
    let first = || {
        let ports = items(&pod["spec"]["containers"]).find_map(|c| c["ports"][0]["containerPort"].as_u64());
        ports.unwrap_or(if reference.https { 443 } else { 80 })
    };
    let port = if reference.port.is_empty() { Some(first()) } else { reference.port.parse().ok() };
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
    let port = port.ok_or_else(|| invalid("pod", &path.name))?;
    backend(&object, &pod, port, reference.https)
}

/// An address behind the service of a path; `turn` says which, where there are several.
pub(super) fn service(snapshot: &Snapshot, path: &ResourcePath, turn: u64) -> Result<Backend, Status> {
    let reference = Reference::parse("service", &path.name)?;
    let none = |name: &str| Status::unavailable(format!("no endpoints available for service {name:?}"));
    let port = match reference.port.parse::<u64>() {
        Ok(number) => {
            let service = read(find(snapshot, "services", &path.namespace, reference.name)?.as_ref())?;
            let named = items(&service["spec"]["ports"]).find(|p| p["port"] == number);
            let missing = || {
                let name = reference.name;
                Status::unavailable(format!("no service port {number} found for service {name:?}"))
            };
            named.ok_or_else(missing)?["name"].as_str().unwrap_or_default().to_owned()
        }
        Err(_) => reference.port.to_owned(),
    };
    let endpoints = read(find(snapshot, "endpoints", &path.namespace, reference.name)?.as_ref())?;
    if items(&endpoints["subsets"]).next().is_none() {
        return Err(none(reference.name));
    }
    let turn = usize::try_from(turn).unwrap_or(0);
    for subset in turned(items(&endpoints["subsets"]), turn) {
        let same = |p: &&Value| p["name"].as_str().unwrap_or_default() == port;
        let Some(number) = items(&subset["ports"]).find(same).and_then(|p| p["port"].as_u64()) else { continue };
        let Ok(number) = u16::try_from(number) else { continue };
        let mut addresses = turned(items(&subset["addresses"]), turn).into_iter();
        if let Some(found) = addresses.find_map(|a| behind(snapshot, path, a, number, reference.https)) {
            return Ok(found);
        }
    }
    Err(none(&path.name))
}

/// The pod that an address of an Endpoints names, if it has that address: only pods are proxied to.
fn behind(snapshot: &Snapshot, path: &ResourcePath, address: &Value, port: u16, https: bool) -> Option<Backend> {
    let target = &address["targetRef"];
    if target["kind"] != "Pod" || target["namespace"] != path.namespace.as_str() {
        return None;
    }
    let object = find(snapshot, "pods", &path.namespace, target["name"].as_str()?).ok()?;
    let pod = read(&object).ok()?;
    backend(&object, &pod, port, https).ok().filter(|b| address["ip"] == b.ip.to_string())
}

fn backend(object: &Object, pod: &Value, port: u16, https: bool) -> Result<Backend, Status> {
    let not_allowed = || Status::bad_request("address not allowed");
    let status = &pod["status"];
    let text = status["podIPs"][0]["ip"].as_str().or(status["podIP"].as_str()).unwrap_or_default();
    let ip: IpAddr = text.parse().ok().filter(is_global_unicast).ok_or_else(not_allowed)?;
    let node = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()).ok_or_else(not_allowed)?.to_owned();
    let pod = PodUid::parse(&object.meta.uid).map_err(|e| Status::internal(&e.to_string()))?;
    Ok(Backend { node, pod, ip, port, https })
}

/// As Go has it: private networks count as global.
fn is_global_unicast(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
}

fn find(snapshot: &Snapshot, resource: &str, namespace: &str, name: &str) -> Result<std::sync::Arc<Object>, Status> {
    let key = Key { resource: resource.into(), namespace: namespace.into(), name: name.into() };
    snapshot.get(&key).cloned().ok_or_else(|| Status::not_found(resource, name))
}

fn read(object: &Object) -> Result<Value, Status> {
    object
        .parse()
        .map_err(|e| Status::internal(&format!("{} {:?} cannot be read: {e}", object.key.resource, object.key.name)))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// All items, from one further on at each turn.
fn turned<'a>(items: impl Iterator<Item = &'a Value>, turn: usize) -> Vec<&'a Value> {
    let mut items: Vec<&Value> = items.collect();
    let by = turn % items.len().max(1);
    items.rotate_left(by);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_schemes_and_ports() {
        let read = |id| Reference::parse("pod", id).map(|r| (r.https, r.name, r.port)).map_err(|s| s.message);
        for (id, expected) in [
            ("web", Ok((false, "web", ""))),
            ("web:80", Ok((false, "web", "80"))),
            ("web:http", Ok((false, "web", "http"))),
            ("https:web:8443", Ok((true, "web", "8443"))),
            ("http:web:", Ok((false, "web", ""))),
            (":web:80", Ok((false, "web", "80"))),
            ("ftp:web:21", Err(r#"invalid pod request "ftp:web:21""#)),
            (":80", Err(r#"invalid pod request ":80""#)),
            ("a:b:c:d", Err(r#"invalid pod request "a:b:c:d""#)),
        ] {
            assert_eq!(read(id), expected.map_err(str::to_owned), "{id}");
        }
    }

    #[test]
    fn addresses_that_mean_every_machine_are_not_allowed() {
        for (ip, allowed) in [
            ("10.42.0.2", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("fe80::1", false),
            ("fd00::1", true),
        ] {
            assert_eq!(is_global_unicast(&ip.parse().unwrap()), allowed, "{ip}");
        }
    }

    #[test]
    fn addresses_take_turns() {
        let list = serde_json::json!([1, 2, 3]);
        assert_eq!(turned(items(&list), 4), [&list[1], &list[2], &list[0]]);
        assert!(turned(items(&Value::Null), 4).is_empty());
    }
}
