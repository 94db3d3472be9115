//! Who logs in where: the registries' users that a pod's `imagePullSecrets` name. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use skiff_shared::pod::{ObjectRef, Pod};

use crate::desired::Desired;
use crate::podman::Login;

/// Docker's own registry goes by several names.
const DOCKER: &str = "docker.io";

/// The users of the registry of an image, in the order of the pod's Secrets. A Secret that is not there, or is none of
/// the two types for this, is passed over, as a kubelet does.
pub fn logins(pod: &Pod, desired: &Desired, image: &str) -> Vec<Login> {
    let secrets = pod.pull_secrets().filter_map(|name| desired.data(&pod.namespace, &ObjectRef::Secret(name.into())));
    let mut all = Vec::new();
    for (key, bytes) in secrets.flat_map(|data| &data.entries) {
        let Ok(config) = serde_json::from_slice::<Value>(bytes) else { continue };
        let registries = match key.as_str() {
            ".dockerconfigjson" => config["auths"].as_object(),
            ".dockercfg" => config.as_object(),
            _ => None,
        };
        let fitting = registries.into_iter().flatten().filter(|(place, _)| covers(place, image));
        all.extend(fitting.filter_map(|(_, entry)| login(entry)));
    }
    all
}

fn login(entry: &Value) -> Option<Login> {
    let text = |field: &str| entry[field].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some(Login { username, password });
    }
    let decoded = STANDARD.decode(text("auth")?).ok()?;
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Login { username: username.to_owned(), password: password.to_owned() })
}

/// Whether a registry's entry is for an image: the same host, by its labels where they hold `*`, and a path that the
/// image is below.
fn covers(place: &str, image: &str) -> bool {
    let place = place.split_once("://").map_or(place, |(_, rest)| rest).trim_end_matches('/');
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    // Entries made for Docker's client name the version of the API.
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let (registry, repository) = split(image);
    let below = repository
        .strip_prefix(path)
        .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with(['/', ':', '@']));
    let (mut wanted, mut found) = (canonical(host).split('.'), registry.split('.'));
    let same = loop {
        match (wanted.next(), found.next()) {
            (None, None) => break true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            (Some(_) | None, Some(_) | None) => break false,
        }
    };
    same && below
}

fn canonical(host: &str) -> &str {
    if matches!(host, "index.docker.io" | "registry-1.docker.io") { DOCKER } else { host }
}

/// An image's registry, and the rest of its name.
fn split(image: &str) -> (&str, &str) {
    match image.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (canonical(host), rest),
        Some(_) | None => (DOCKER, image),
    }
}

#[cfg(test)]
mod tests {
    use skiff_shared::pod::{Data, Extra, Item, RestartPolicy};

    use super::*;
    use crate::pods::tests::world::pod;

    #[test]
    fn entries_cover_the_images_of_their_registry() {
        for (place, image, expected) in [
            ("reg.example:5000", "reg.example:5000/a/b:1", true),
            ("https://reg.example/v1/", "reg.example/a", true),
            ("reg.example", "other.example/a", false),
            ("reg.example/a", "reg.example/a/b", true),
            ("reg.example/a", "reg.example/ab", false),
            ("*.example", "reg.example/a", true),
            ("*.example", "a.reg.example/a", false),
            ("https://index.docker.io/v1/", "busybox:1", true),
            ("docker.io", "docker.io/library/busybox", true),
        ] {
            assert_eq!(covers(place, image), expected, "{place} {image}");
        }
    }

    #[test]
    fn both_types_of_secrets_are_read() {
        let mut pod = pod(RestartPolicy::Always, &[], &["a"]);
        pod.extras = ["none", "new", "old", "bad"].map(|name| Extra::PullSecret(name.into())).into();
        let mut desired = Desired::default();
        for (name, key, text) in [
            (
                "new",
                ".dockerconfigjson",
                r#"{"auths": {"reg.example": {"auth": "dTpwOnc="}, "x.example": {"auth": "dTpw"}}}"#,
            ),
            ("old", ".dockercfg", r#"{"reg.example": {"username": "v", "password": "q"}}"#),
            ("bad", ".dockercfg", "{"),
        ] {
            let entries = vec![(key.to_owned(), text.as_bytes().to_vec())];
            desired.put(Item::Secret(Data { namespace: "ns".into(), name: name.into(), entries }));
        }
        let login = |username: &str, password: &str| Login { username: username.into(), password: password.into() };
        assert_eq!(logins(&pod, &desired, "reg.example/a:1"), [login("u", "p:w"), login("v", "q")]);
        assert_eq!(logins(&pod, &desired, "other.example/a:1"), []);
    }
}
