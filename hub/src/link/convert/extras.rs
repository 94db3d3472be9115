//! What many pods do without: ephemeral containers and namespaces of others.

use k8s_openapi::api::core::v1 as core;
use skiff_shared::pod::{Ephemeral, Extra, RestartOnResize};

use super::container;

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
    extras.extend(spec.init_containers.iter().flatten().chain(&spec.containers).filter_map(restart_on_resize));
    extras.extend(flags.into_iter().filter(|(flag, _)| *flag == Some(true)).map(|(_, extra)| extra));
    extras
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
}
