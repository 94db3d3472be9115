//! The Pod Security Standards: what a pod may not do at the levels `baseline` and `restricted`, in Kubernetes' words.

use std::fmt::Write;

use serde_json::Value;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// Capabilities that `baseline` lets containers add.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
    "image",
];
const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// A check: what is wrong with a pod's spec, if anything.
type Check = fn(&Value) -> Option<String>;

/// Checks of `baseline`, by their names in Kubernetes; capabilities and seccomp give way to those of `restricted`.
const BASELINE: [(Check, bool); 10] = [
    (app_armor, false),
    (added_capabilities, true),
    (host_namespaces, false),
    (host_paths, false),
    (host_ports, false),
    (privileged, false),
    (proc_mount, false),
    (selinux, false),
    (unconfined, true),
    (sysctls, false),
];
const RESTRICTED: [Check; 6] =
    [privilege_escalation, capabilities, volume_types, run_as_non_root, run_as_user, seccomp];

/// What a pod of this spec violates at a level; nothing for `privileged` and unknown levels.
pub(super) fn violations(level: &str, spec: &Value) -> Vec<String> {
    let restricted = level == "restricted";
    if !restricted && level != "baseline" {
        return Vec::new();
    }
    let baseline = BASELINE.iter().filter(|(_, overridden)| !(restricted && *overridden)).map(|(check, _)| check);
    let rest = RESTRICTED.iter().filter(|_| restricted);
    baseline.chain(rest).filter_map(|check| check(spec)).collect()
}

fn containers(spec: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let all = LISTS.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    all.map(|c| (c["name"].as_str().unwrap_or_default(), c))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// `"a"` or `"a", "b"`.
fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for name in names {
        let comma = if out.is_empty() { "" } else { ", " };
        write!(out, "{comma}{name:?}").expect("a String takes all text");
    }
    out
}

/// `container "a"` or `containers "a", "b"`.
fn named(what: &str, names: &[&str]) -> Option<String> {
    let plural = if names.len() == 1 { "" } else { "s" };
    (!names.is_empty()).then(|| format!("{what}{plural} {}", quoted(names.iter().copied())))
}

/// Names of the containers that something holds for.
fn those(spec: &Value, bad: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(spec).filter(|(_, c)| bad(c)).map(|(name, _)| name).collect()
}

/// `container "a" must …`, of those that something holds for.
fn must(spec: &Value, head: &str, bad: impl Fn(&Value) -> bool, tail: &str) -> Option<String> {
    named("container", &those(spec, bad)).map(|who| format!("{head} ({who} must {tail})"))
}

fn app_armor(spec: &Value) -> Option<String> {
    let bad = |security: &Value| text(&security["appArmorProfile"], "type") == "Unconfined";
    let of_pod = bad(&spec["securityContext"]).then(|| "pod".to_owned());
    let who: Vec<String> =
        of_pod.into_iter().chain(named("container", &those(spec, |c| bad(&c["securityContext"])))).collect();
    let tail = "must not set AppArmor profile type to \"Unconfined\"";
    (!who.is_empty()).then(|| format!("forbidden AppArmor profile ({} {tail})", who.join(" and ")))
}

fn added_capabilities(spec: &Value) -> Option<String> {
    let forbidden = |c: &Value| -> Vec<String> {
        let added = list(&c["securityContext"]["capabilities"]["add"]).filter_map(Value::as_str);
        added.filter(|a| !CAPABILITIES.contains(a)).map(str::to_owned).collect()
    };
    let who = named("container", &those(spec, |c| !forbidden(c).is_empty()))?;
    let mut all: Vec<String> = containers(spec).flat_map(|(_, c)| forbidden(c)).collect();
    all.sort();
    all.dedup();
    let all = quoted(all.iter().map(String::as_str));
    Some(format!("non-default capabilities ({who} must not include {all} in securityContext.capabilities.add)"))
}

fn host_namespaces(spec: &Value) -> Option<String> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!set.is_empty()).then(|| format!("host namespaces ({})", set.join(", ")))
}

fn host_paths(spec: &Value) -> Option<String> {
    let names: Vec<&str> =
        list(&spec["volumes"]).filter(|v| !v["hostPath"].is_null()).map(|v| text(v, "name")).collect();
    named("volume", &names).map(|who| format!("hostPath volumes ({who})"))
}

fn host_ports(spec: &Value) -> Option<String> {
    let ports = |c: &Value| -> Vec<i64> {
        list(&c["ports"]).filter_map(|p| p["hostPort"].as_i64()).filter(|p| *p != 0).collect()
    };
    let who = named("container", &those(spec, |c| !ports(c).is_empty()))?;
    let mut all: Vec<i64> = containers(spec).flat_map(|(_, c)| ports(c)).collect();
    all.sort_unstable();
    all.dedup();
    let plural = if all.len() == 1 { "" } else { "s" };
    let all: Vec<String> = all.iter().map(i64::to_string).collect();
    Some(format!("hostPort ({who} uses hostPort{plural} {})", all.join(", ")))
}

fn privileged(spec: &Value) -> Option<String> {
    let bad = |c: &Value| c["securityContext"]["privileged"] == true;
    must(spec, "privileged", bad, "not set securityContext.privileged=true")
}

fn proc_mount(spec: &Value) -> Option<String> {
    let bad = |c: &Value| !["", "Default"].contains(&text(&c["securityContext"], "procMount"));
    must(spec, "procMount", bad, "not set securityContext.procMount to \"Unmasked\"")
}

fn selinux(spec: &Value) -> Option<String> {
    let bad = |security: &Value| {
        let options = &security["seLinuxOptions"];
        !SELINUX_TYPES.contains(&text(options, "type"))
            || !text(options, "user").is_empty()
            || !text(options, "role").is_empty()
    };
    let of_pod = bad(&spec["securityContext"]).then(|| "pod".to_owned());
    let who: Vec<String> =
        of_pod.into_iter().chain(named("container", &those(spec, |c| bad(&c["securityContext"])))).collect();
    (!who.is_empty())
        .then(|| format!("seLinuxOptions ({} set forbidden securityContext.seLinuxOptions)", who.join(" and ")))
}

fn profile(security: &Value) -> &str {
    text(&security["seccompProfile"], "type")
}

fn unconfined(spec: &Value) -> Option<String> {
    let of_pod = (profile(&spec["securityContext"]) == "Unconfined").then(|| "pod".to_owned());
    let of_containers = named("container", &those(spec, |c| profile(&c["securityContext"]) == "Unconfined"));
    let who: Vec<String> = of_pod.into_iter().chain(of_containers).collect();
    let tail = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
    (!who.is_empty()).then(|| format!("seccompProfile ({} {tail})", who.join(" and ")))
}

fn sysctls(spec: &Value) -> Option<String> {
    let all = list(&spec["securityContext"]["sysctls"]).map(|s| text(s, "name"));
    let bad: Vec<&str> = all.filter(|name| !SYSCTLS.contains(name)).collect();
    (!bad.is_empty()).then(|| format!("forbidden sysctls ({})", bad.join(", ")))
}

fn privilege_escalation(spec: &Value) -> Option<String> {
    let bad = |c: &Value| c["securityContext"]["allowPrivilegeEscalation"] != false;
    must(spec, "allowPrivilegeEscalation != false", bad, "set securityContext.allowPrivilegeEscalation=false")
}

fn capabilities(spec: &Value) -> Option<String> {
    let capabilities = |c: &Value, field: &str| -> Vec<String> {
        list(&c["securityContext"]["capabilities"][field]).filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let keeps = those(spec, |c| !capabilities(c, "drop").iter().any(|d| d == "ALL"));
    let forbidden =
        |c: &Value| capabilities(c, "add").into_iter().filter(|a| a != "NET_BIND_SERVICE").collect::<Vec<_>>();
    let adds = those(spec, |c| !forbidden(c).is_empty());
    let mut added: Vec<String> = containers(spec).flat_map(|(_, c)| forbidden(c)).collect();
    added.sort();
    added.dedup();
    let keeps =
        named("container", &keeps).map(|who| format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    let adds = named("container", &adds).map(|who| {
        format!(
            "{who} must not include {} in securityContext.capabilities.add",
            quoted(added.iter().map(String::as_str))
        )
    });
    let parts: Vec<String> = keeps.into_iter().chain(adds).collect();
    (!parts.is_empty()).then(|| format!("unrestricted capabilities ({})", parts.join("; ")))
}

fn volume_types(spec: &Value) -> Option<String> {
    let kind = |volume: &Value| -> Option<String> {
        let fields = volume.as_object().into_iter().flatten().filter(|(k, v)| *k != "name" && !v.is_null());
        fields.map(|(k, _)| k.clone()).find(|k| !VOLUMES.contains(&k.as_str()))
    };
    let bad: Vec<(&str, String)> = list(&spec["volumes"]).filter_map(|v| Some((text(v, "name"), kind(v)?))).collect();
    let names: Vec<&str> = bad.iter().map(|(name, _)| *name).collect();
    let who = named("volume", &names)?;
    let mut kinds: Vec<&str> = bad.iter().map(|(_, kind)| kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let (use_, plural) = (if names.len() == 1 { "uses" } else { "use" }, if kinds.len() == 1 { "" } else { "s" });
    Some(format!("restricted volume types ({who} {use_} restricted volume type{plural} {})", quoted(kinds)))
}

fn run_as_non_root(spec: &Value) -> Option<String> {
    let of_pod = &spec["securityContext"]["runAsNonRoot"];
    let set = |c: &Value| c["securityContext"]["runAsNonRoot"].clone();
    let explicit = those(spec, |c| set(c) == false);
    let implicit = those(spec, |c| set(c).is_null());
    let who: Vec<String> =
        (*of_pod == false).then(|| "pod".to_owned()).into_iter().chain(named("container", &explicit)).collect();
    if !who.is_empty() {
        return Some(format!(
            "runAsNonRoot != true ({} must not set securityContext.runAsNonRoot=false)",
            who.join(" and ")
        ));
    }
    let who = named("container", &implicit).filter(|_| *of_pod != true)?;
    Some(format!("runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"))
}

fn run_as_user(spec: &Value) -> Option<String> {
    let root = |security: &Value| security["runAsUser"] == 0;
    let of_pod = root(&spec["securityContext"]).then(|| "pod".to_owned());
    let of_containers = named("container", &those(spec, |c| root(&c["securityContext"])));
    let who: Vec<String> = of_pod.into_iter().chain(of_containers).collect();
    (!who.is_empty()).then(|| format!("runAsUser=0 ({} must not set runAsUser=0)", who.join(" and ")))
}

fn seccomp(spec: &Value) -> Option<String> {
    let good = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let of_pod = profile(&spec["securityContext"]);
    let wrong = |kind: &str| !kind.is_empty() && !good(kind);
    let explicit = those(spec, |c| wrong(profile(&c["securityContext"])));
    let who: Vec<String> =
        wrong(of_pod).then(|| "pod".to_owned()).into_iter().chain(named("container", &explicit)).collect();
    if !who.is_empty() {
        let tail = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
        return Some(format!("seccompProfile ({} {tail})", who.join(" and ")));
    }
    let implicit = those(spec, |c| profile(&c["securityContext"]).is_empty());
    let who = named("container", &implicit).filter(|_| !good(of_pod))?;
    let tail = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    Some(format!("seccompProfile (pod or {who} {tail})"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(level: &str, pod: Value, container: Value) -> String {
        let mut spec = json!({"containers": [{"name": "a"}]});
        json_patch::merge(&mut spec, &pod);
        json_patch::merge(&mut spec["containers"][0], &container);
        violations(level, &spec).join(", ")
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
        let root =
            json!({"securityContext": {"runAsUser": 0}, "volumes": [{"name": "v", "emptyDir": null, "nfs": {}}]});
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
            (
                json!({"hostNetwork": true, "hostPID": true}),
                json!({}),
                "host namespaces (hostNetwork=true, hostPID=true)",
            ),
            (
                json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
                json!({}),
                r#"hostPath volumes (volume "v")"#,
            ),
            (json!({}), json!({"ports": [{"hostPort": 80}]}), r#"hostPort (container "a" uses hostPort 80)"#),
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
}
