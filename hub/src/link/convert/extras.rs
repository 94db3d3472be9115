//! What many pods do without: ephemeral containers, namespaces of others, names of hosts, kernel parameters.

use k8s_openapi::api::core::v1 as core;
use skiff_shared::pod::{
    Dns, Ephemeral, Extra, HostAlias, LocalStorage, ReadinessGate, RestartOnResize, SeccompProfile,
};

use super::{container, whole};

/// `terminationMessagePath` where a container does not say.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// The extras of a pod.
pub(super) fn extras(spec: &core::PodSpec, security: &core::PodSecurityContext) -> Vec<Extra> {
    let mut extras: Vec<Extra> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|c| {
            let target = c.target_container_name.clone().filter(|name| !name.is_empty());
            Extra::Ephemeral(Box::new(Ephemeral { container: container(&common(c), security), target }))
        })
        .collect();
    let flags = [
        (spec.share_process_namespace, Extra::SharedPids),
        (spec.host_pid, Extra::HostPids),
        (spec.host_ipc, Extra::HostIpc),
    ];
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    extras.extend(containers().filter_map(restart_on_resize));
    extras.extend(flags.into_iter().filter(|(flag, _)| *flag == Some(true)).map(|(_, extra)| extra));
    extras.extend(spec.host_aliases.iter().flatten().map(|alias| {
        let hostnames = alias.hostnames.clone().unwrap_or_default();
        Extra::HostAlias(HostAlias { ip: alias.ip.clone(), hostnames })
    }));
    extras.extend(security.sysctls.iter().flatten().map(|s| Extra::Sysctl(s.name.clone(), s.value.clone())));
    extras.extend(containers().filter_map(|c| message_path(&c.name, c.termination_message_path.as_deref())));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    extras.extend(ephemeral.filter_map(|c| message_path(&c.name, c.termination_message_path.as_deref())));
    extras.extend(containers().filter_map(local_storage));
    extras.extend(spec.image_pull_secrets.iter().flatten().map(|secret| Extra::PullSecret(secret.name.clone())));
    extras.extend(dns(spec).map(Extra::Dns));
    extras.extend(spec.subdomain.clone().filter(|name| !name.is_empty()).map(|name| {
        let in_hostname = spec.set_hostname_as_fqdn.unwrap_or_default();
        Extra::Subdomain { name, in_hostname }
    }));
    let own = containers().map(|c| (&c.name, &c.security_context));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| (&c.name, &c.security_context));
    extras.extend(own.chain(ephemeral).filter_map(|(name, own)| {
        let own = own.as_ref().and_then(|own| own.seccomp_profile.as_ref());
        let profile = seccomp(own.or(security.seccomp_profile.as_ref())?)?;
        Some(Extra::Seccomp { container: name.clone(), profile })
    }));
    extras
}

/// The conditions that a pod waits for to be ready, as they stand.
pub(super) fn readiness_gates(pod: &core::Pod) -> Vec<Extra> {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let conditions = || pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    gates
        .map(|gate| {
            let found = conditions().find(|c| c.type_ == gate.condition_type);
            let status = found.map(|c| c.status.clone()).unwrap_or_default();
            Extra::ReadinessGate(ReadinessGate { condition: gate.condition_type.clone(), status })
        })
        .collect()
}

fn dns(spec: &core::PodSpec) -> Option<Dns> {
    let alone = spec.dns_policy.as_deref() == Some("None");
    let config = spec.dns_config.clone().unwrap_or_default();
    let options = config.options.into_iter().flatten();
    let dns = Dns {
        alone,
        nameservers: config.nameservers.unwrap_or_default(),
        searches: config.searches.unwrap_or_default(),
        options: options.filter_map(|o| Some((o.name?, o.value.filter(|v| !v.is_empty())))).collect(),
    };
    (dns != Dns::default()).then_some(dns)
}

/// `None` for the runtime's default.
fn seccomp(profile: &core::SeccompProfile) -> Option<SeccompProfile> {
    match profile.type_.as_str() {
        "Unconfined" => Some(SeccompProfile::Unconfined),
        "Localhost" => Some(SeccompProfile::Localhost(profile.localhost_profile.clone().unwrap_or_default())),
        _ => None,
    }
}

fn message_path(container: &str, path: Option<&str>) -> Option<Extra> {
    let path = path.filter(|path| !path.is_empty() && *path != MESSAGE_PATH)?;
    Some(Extra::MessagePath(container.to_owned(), path.to_owned()))
}

fn local_storage(c: &core::Container) -> Option<Extra> {
    let resources = c.resources.as_ref()?;
    let bytes = |list: &Option<std::collections::BTreeMap<String, _>>| {
        list.as_ref().and_then(|list| list.get("ephemeral-storage")).and_then(whole)
    };
    let (request_bytes, limit_bytes) = (bytes(&resources.requests), bytes(&resources.limits));
    (request_bytes.is_some() || limit_bytes.is_some())
        .then(|| Extra::LocalStorage(LocalStorage { container: c.name.clone(), request_bytes, limit_bytes }))
}

/// The resources of a container that change only by its restart.
fn restart_on_resize(c: &core::Container) -> Option<Extra> {
    let restarts = |resource: &str| {
        let mut policies = c.resize_policy.iter().flatten();
        policies.any(|p| p.resource_name == resource && p.restart_policy == "RestartContainer")
    };
    let (cpu, memory) = (restarts("cpu"), restarts("memory"));
    (cpu || memory).then(|| Extra::RestartOnResize(RestartOnResize { container: c.name.clone(), cpu, memory }))
}

/// An ephemeral container as the container it is; it has neither ports nor resources.
fn common(c: &core::EphemeralContainer) -> core::Container {
    core::Container {
        name: c.name.clone(),
        image: c.image.clone(),
        image_pull_policy: c.image_pull_policy.clone(),
        command: c.command.clone(),
        args: c.args.clone(),
        working_dir: c.working_dir.clone(),
        env_from: c.env_from.clone(),
        env: c.env.clone(),
        volume_mounts: c.volume_mounts.clone(),
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        tty: c.tty,
        termination_message_path: c.termination_message_path.clone(),
        termination_message_policy: c.termination_message_policy.clone(),
        security_context: c.security_context.clone(),
        ..core::Container::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ephemeral_containers_and_namespaces_are_carried() {
        let spec = serde_json::from_value(json!({
            "shareProcessNamespace": true, "hostIPC": true, "hostPID": false, "containers": [],
            "ephemeralContainers": [
                {"name": "d", "image": "img:1", "stdin": true, "tty": true, "targetContainerName": "c"},
                {"name": "e", "image": "img:1", "targetContainerName": ""},
            ],
        }));
        let extras = extras(&spec.unwrap(), &core::PodSecurityContext::default());
        let [Extra::Ephemeral(d), Extra::Ephemeral(e), Extra::SharedPids, Extra::HostIpc] = &extras[..] else {
            panic!("{extras:?}")
        };
        assert_eq!((d.container.name.as_str(), d.container.tty, d.target.as_deref()), ("d", true, Some("c")));
        assert_eq!(e.target, None);
    }

    #[test]
    fn what_few_pods_need_is_carried() {
        let spec: core::PodSpec = serde_json::from_value(json!({
            "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["a", "b"]}],
            "imagePullSecrets": [{"name": "s"}], "subdomain": "d", "setHostnameAsFQDN": true,
            "securityContext": {
                "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}], "seccompProfile": {"type": "Unconfined"},
            },
            "dnsPolicy": "ClusterFirst",
            "dnsConfig": {"searches": ["a"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
            "containers": [
                {"name": "e", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
                {"name": "f", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}},
                {"name": "c", "terminationMessagePath": "/tmp/end", "resources": {"limits": {"ephemeral-storage": "1Ki"}}},
                {"name": "d", "terminationMessagePath": "/dev/termination-log"},
            ],
        }))
        .unwrap();
        let seccomp = |container: &str, profile| Extra::Seccomp { container: container.into(), profile };
        let expected = [
            Extra::HostAlias(HostAlias { ip: "192.0.2.7".into(), hostnames: vec!["a".into(), "b".into()] }),
            Extra::Sysctl("kernel.shm_rmid_forced".into(), "1".into()),
            Extra::MessagePath("c".into(), "/tmp/end".into()),
            Extra::LocalStorage(LocalStorage { container: "c".into(), request_bytes: None, limit_bytes: Some(1024) }),
            Extra::PullSecret("s".into()),
            Extra::Dns(Dns {
                searches: vec!["a".into()],
                options: vec![("ndots".into(), Some("2".into())), ("edns0".into(), None)],
                ..Dns::default()
            }),
            Extra::Subdomain { name: "d".into(), in_hostname: true },
            seccomp("f", SeccompProfile::Localhost("p.json".into())),
            seccomp("c", SeccompProfile::Unconfined),
            seccomp("d", SeccompProfile::Unconfined),
        ];
        assert_eq!(extras(&spec, spec.security_context.as_ref().unwrap()), expected);
    }

    #[test]
    fn gates_are_told_with_the_conditions_that_they_wait_for() {
        let pod = serde_json::from_value(json!({
            "spec": {"containers": [], "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "b", "status": "False"}]},
        }));
        let gate = |condition: &str, status: &str| {
            Extra::ReadinessGate(ReadinessGate { condition: condition.into(), status: status.into() })
        };
        assert_eq!(readiness_gates(&pod.unwrap()), [gate("a", ""), gate("b", "False")]);
    }
}
