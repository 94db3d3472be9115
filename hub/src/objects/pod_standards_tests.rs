//! Pods and what they violate, by level and version.

use serde_json::json;

use super::*;
use crate::objects::pod_security::Version;

fn found(level: &str, pod: Value, container: Value) -> String {
    as_of(level, None, pod, container)
}

fn as_of(level: &str, minor: Option<u32>, pod: Value, container: Value) -> String {
    let level = match level {
        "baseline" => Level::Baseline,
        "restricted" => Level::Restricted,
        _ => Level::Privileged,
    };
    let mut spec = json!({"containers": [{"name": "a"}]});
    json_patch::merge(&mut spec, &pod);
    json_patch::merge(&mut spec["containers"][0], &container);
    let annotations = spec["annotations"].take();
    let pod = json!({"metadata": {"annotations": annotations}, "spec": spec});
    violations(Standard { level, version: Version(minor) }, &pod).join(", ")
}

#[test]
fn a_plain_pod_is_baseline_and_not_restricted() {
    assert_eq!(found("baseline", json!({}), json!({})), "");
    assert_eq!(
        found("restricted", json!({}), json!({})),
        "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
}

#[test]
fn a_hardened_pod_is_restricted() {
    let pod = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}, "volumes": [{"name": "v", "emptyDir": {}}]});
    let container = json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}});
    assert_eq!(found("restricted", pod.clone(), container.clone()), "");
    let root = json!({"securityContext": {"runAsUser": 0}, "volumes": [{"name": "v", "emptyDir": null, "nfs": {}}]});
    let mut more = pod;
    json_patch::merge(&mut more, &root);
    assert_eq!(
        found("restricted", more, container),
        "restricted volume types (volume \"v\" uses restricted volume type \"nfs\"), runAsUser=0 (pod must not set runAsUser=0)"
    );
}

#[test]
fn baseline_refuses_known_ways_out() {
    let security = |s: Value| json!({"securityContext": s});
    for (pod, container, expected) in [
        (json!({"hostNetwork": true, "hostPID": true}), json!({}), "host namespaces (hostNetwork=true, hostPID=true)"),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), json!({}), r#"hostPath volumes (volume "v")"#),
        (json!({}), json!({"ports": [{"hostPort": 80}]}), r#"hostPort (container "a" uses hostPort 80)"#),
        (
            json!({"initContainers": [{"name": "i", "ports": [{"hostPort": 9}]}]}),
            json!({"ports": [{"hostPort": 80}, {"hostPort": 443}]}),
            r#"hostPort (containers "i", "a" use hostPorts 443, 80, 9)"#,
        ),
        (
            json!({}),
            security(json!({"privileged": true})),
            r#"privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            json!({}),
            security(json!({"capabilities": {"add": ["CHOWN", "NET_ADMIN"]}})),
            r#"non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)"#,
        ),
        (security(json!({"sysctls": [{"name": "kernel.msgmax"}]})), json!({}), "forbidden sysctls (kernel.msgmax)"),
        (
            security(json!({"seccompProfile": {"type": "Unconfined"}})),
            json!({}),
            r#"seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
    ] {
        assert_eq!(found("baseline", pod.clone(), container.clone()), expected);
        assert_eq!(found("privileged", pod, container), "");
    }
}

#[test]
fn checks_are_those_of_the_version() {
    let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name}]}});
    let selinux = json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t", "user": "u"}}});
    let annotated = json!({"annotations": {
        "container.seccomp.security.alpha.kubernetes.io/a": "unconfined", "container.seccomp.security.alpha.kubernetes.io/b": "unconfined",
        "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
    }});
    let unconfined = json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}});
    let apparmor = json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}});
    let windows = json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}});
    let host_process = json!({"securityContext": {"windowsOptions": {"hostProcess": true}}});
    let no_escalation =
        "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false)";
    for (level, minor, pod, expected) in [
        (
            "baseline",
            Some(26),
            sysctl("net.ipv4.ip_local_reserved_ports"),
            "forbidden sysctls (net.ipv4.ip_local_reserved_ports)",
        ),
        ("baseline", Some(27), sysctl("net.ipv4.ip_local_reserved_ports"), ""),
        ("baseline", Some(31), sysctl("net.ipv4.tcp_rmem"), "forbidden sysctls (net.ipv4.tcp_rmem)"),
        ("baseline", None, sysctl("net.ipv4.tcp_rmem"), ""),
        (
            "baseline",
            Some(30),
            selinux.clone(),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\"; user may not be set)",
        ),
        (
            "baseline",
            Some(31),
            selinux,
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: user may not be set)",
        ),
        (
            "baseline",
            Some(18),
            annotated.clone(),
            "seccompProfile (forbidden annotation container.seccomp.security.alpha.kubernetes.io/a=\"unconfined\")",
        ),
        ("baseline", Some(19), annotated, ""),
        ("baseline", Some(18), unconfined, ""),
        (
            "baseline",
            None,
            apparmor,
            "forbidden AppArmor profile (container.apparmor.security.beta.kubernetes.io/a=\"unconfined\")",
        ),
        (
            "baseline",
            None,
            host_process,
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        ("restricted", Some(7), json!({"securityContext": {"runAsNonRoot": true}}), ""),
        ("restricted", Some(8), json!({"securityContext": {"runAsNonRoot": true}}), no_escalation),
        (
            "restricted",
            Some(22),
            json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}}),
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"])",
        ),
        ("restricted", Some(25), windows, ""),
    ] {
        assert_eq!(as_of(level, minor, pod.clone(), json!({})), expected, "{level} {minor:?} {pod}");
    }
}

#[test]
fn baseline_holds_where_restricted_has_no_check_yet() {
    let adds = json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"add": ["NET_ADMIN"]}}});
    assert_eq!(
        as_of("restricted", Some(18), json!({"securityContext": {"runAsNonRoot": true}}), adds),
        "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)"
    );
}
