//! The Pod Security Standards: what a pod may not do at the levels `baseline` and `restricted`, in Kubernetes' words.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::pod_security::{Level, Standard};

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
/// Sysctls that pods may set, each with the minor version since which they may.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
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
/// SELinux types that pods may have, each with the minor version since which they may.
const SELINUX_TYPES: [(&str, u32); 5] =
    [("", 0), ("container_t", 0), ("container_init_t", 0), ("container_kvm_t", 0), ("container_engine_t", 31)];
/// Minor version since which `restricted` leaves pods for Windows alone where a check means nothing there.
const WINDOWS_EXEMPT: u32 = 25;
/// Minor version since which containers are asked about fields for seccomp, and no longer pods about annotations.
const SECCOMP_FIELDS: u32 = 19;

/// What is judged, and by the checks of which version.
#[derive(Debug, Clone, Copy)]
struct Subject<'a> {
    spec: &'a Value,
    annotations: &'a Value,
    minor: u32,
}

/// A check: what is wrong with a pod, if anything.
type Check = fn(&Subject<'_>) -> Option<String>;

/// Checks of `baseline`, by their names in Kubernetes, each with the minor version since which one of `restricted`
/// overrides it.
const BASELINE: [(Check, Option<u32>); 11] = [
    (app_armor, None),
    (added_capabilities, Some(22)),
    (host_namespaces, None),
    (host_paths, None),
    (host_ports, None),
    (privileged, None),
    (proc_mount, None),
    (selinux, None),
    (unconfined, Some(SECCOMP_FIELDS)),
    (sysctls, None),
    (host_process, None),
];
/// Checks of `restricted`, each with the minor version since which there is one.
const RESTRICTED: [(Check, u32); 6] = [
    (privilege_escalation, 8),
    (capabilities, 22),
    (volume_types, 0),
    (run_as_non_root, 0),
    (run_as_user, 23),
    (seccomp, SECCOMP_FIELDS),
];

/// What a pod, or the template of one, violates of a standard.
pub(super) fn violations(standard: Standard, pod: &Value) -> Vec<String> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let minor = standard.version.0.unwrap_or(u32::MAX);
    let subject = Subject { spec: &pod["spec"], annotations: &pod["metadata"]["annotations"], minor };
    let restricted = standard.level == Level::Restricted;
    let overridden = |since: &Option<u32>| restricted && since.is_some_and(|since| minor >= since);
    let baseline = BASELINE.iter().filter(|(_, since)| !overridden(since)).map(|(check, _)| check);
    let rest = RESTRICTED.iter().filter(|(_, since)| restricted && minor >= *since).map(|(check, _)| check);
    baseline.chain(rest).filter_map(|check| check(&subject)).collect()
}

/// A violation without what is in parentheses: by it pods are counted.
pub(super) fn reason(violation: &str) -> &str {
    violation.split_once(" (").map_or(violation, |(reason, _)| reason)
}

fn annotations<'a>(pod: &Subject<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let all = pod.annotations.as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// `KEY="VALUE"` of annotations, sorted.
fn listed<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut texts: Vec<String> = annotations.map(|(key, value)| format!("{key}={value:?}")).collect();
    texts.sort();
    texts
}

fn for_windows(pod: &Subject<'_>) -> bool {
    pod.minor >= WINDOWS_EXEMPT && pod.spec["os"]["name"] == "windows"
}

fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
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

fn app_armor(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let allowed =
        |profile: &str| profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/");
    let of_apparmor = |key: &str| key.starts_with("container.apparmor.security.beta.kubernetes.io/");
    let wrong = listed(annotations(pod).filter(|(key, profile)| of_apparmor(key) && !allowed(profile)));
    if !wrong.is_empty() {
        return Some(format!("forbidden AppArmor profile{} ({})", s(wrong.len()), wrong.join(", ")));
    }
    let bad = |security: &Value| text(&security["appArmorProfile"], "type") == "Unconfined";
    let of_pod = bad(&spec["securityContext"]).then(|| "pod".to_owned());
    let who: Vec<String> =
        of_pod.into_iter().chain(named("container", &those(spec, |c| bad(&c["securityContext"])))).collect();
    let tail = "must not set AppArmor profile type to \"Unconfined\"";
    (!who.is_empty()).then(|| format!("forbidden AppArmor profile ({} {tail})", who.join(" and ")))
}

fn added_capabilities(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
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

fn host_namespaces(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!set.is_empty()).then(|| format!("host namespaces ({})", set.join(", ")))
}

fn host_paths(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let names: Vec<&str> =
        list(&spec["volumes"]).filter(|v| !v["hostPath"].is_null()).map(|v| text(v, "name")).collect();
    named("volume", &names).map(|who| format!("hostPath volumes ({who})"))
}

fn host_ports(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let ports = |c: &Value| -> Vec<String> {
        list(&c["ports"]).filter_map(|p| p["hostPort"].as_i64()).filter(|p| *p != 0).map(|p| p.to_string()).collect()
    };
    let bad = those(spec, |c| !ports(c).is_empty());
    let who = named("container", &bad)?;
    // Sorted as the texts that they are in the message.
    let all: BTreeSet<String> = containers(spec).flat_map(|(_, c)| ports(c)).collect();
    let (uses, plural) = (if bad.len() == 1 { "uses" } else { "use" }, s(all.len()));
    let all: Vec<String> = all.into_iter().collect();
    Some(format!("hostPort ({who} {uses} hostPort{plural} {})", all.join(", ")))
}

fn privileged(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let bad = |c: &Value| c["securityContext"]["privileged"] == true;
    must(spec, "privileged", bad, "not set securityContext.privileged=true")
}

fn proc_mount(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let bad = |c: &Value| !["", "Default"].contains(&text(&c["securityContext"], "procMount"));
    must(spec, "procMount", bad, "not set securityContext.procMount to \"Unmasked\"")
}

fn selinux(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let allowed = |name: &str| SELINUX_TYPES.iter().any(|(known, since)| *known == name && pod.minor >= *since);
    let set = |security: &Value, field: &str| text(&security["seLinuxOptions"], field).to_owned();
    let bad = |security: &Value| {
        !allowed(&set(security, "type")) || !set(security, "user").is_empty() || !set(security, "role").is_empty()
    };
    let all: Vec<&Value> = [&spec["securityContext"]]
        .into_iter()
        .chain(containers(spec).map(|(_, c)| &c["securityContext"]))
        .filter(|security| bad(security))
        .collect();
    let of_pod = bad(&spec["securityContext"]).then(|| "pod".to_owned());
    let who: Vec<String> =
        of_pod.into_iter().chain(named("container", &those(spec, |c| bad(&c["securityContext"])))).collect();
    let mut types: Vec<String> = all.iter().map(|o| set(o, "type")).filter(|name| !allowed(name)).collect();
    types.sort();
    types.dedup();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("type{} {}", s(types.len()), quoted(types.iter().map(String::as_str))));
    }
    for field in ["user", "role"] {
        if all.iter().any(|o| !set(o, field).is_empty()) {
            what.push(format!("{field} may not be set"));
        }
    }
    let (who, what) = (who.join(" and "), what.join("; "));
    (!all.is_empty()).then(|| format!("seLinuxOptions ({who} set forbidden securityContext.seLinuxOptions: {what})"))
}

fn profile(security: &Value) -> &str {
    text(&security["seccompProfile"], "type")
}

fn unconfined(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    if pod.minor < SECCOMP_FIELDS {
        return unconfined_by_annotation(pod);
    }
    let of_pod = (profile(&spec["securityContext"]) == "Unconfined").then(|| "pod".to_owned());
    let of_containers = named("container", &those(spec, |c| profile(&c["securityContext"]) == "Unconfined"));
    let who: Vec<String> = of_pod.into_iter().chain(of_containers).collect();
    let tail = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
    (!who.is_empty()).then(|| format!("seccompProfile ({} {tail})", who.join(" and ")))
}

/// What `baseline` asked before containers had fields for it.
fn unconfined_by_annotation(pod: &Subject<'_>) -> Option<String> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let ours = |key: &str| {
        let container = key.strip_prefix(CONTAINER);
        key == POD || container.is_some_and(|name| containers(pod.spec).any(|(c, _)| c == name))
    };
    let wrong = listed(annotations(pod).filter(|(key, value)| ours(key) && !allowed(value)));
    (!wrong.is_empty()).then(|| format!("seccompProfile (forbidden annotation{} {})", s(wrong.len()), wrong.join(", ")))
}

fn host_process(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let bad = |security: &Value| security["windowsOptions"]["hostProcess"] == true;
    let of_pod = bad(&spec["securityContext"]).then(|| "pod".to_owned());
    let of_containers = named("container", &those(spec, |c| bad(&c["securityContext"])));
    let who: Vec<String> = of_pod.into_iter().chain(of_containers).collect();
    let tail = "must not set securityContext.windowsOptions.hostProcess=true";
    (!who.is_empty()).then(|| format!("hostProcess ({} {tail})", who.join(" and ")))
}

fn sysctls(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let allowed = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && pod.minor >= *since);
    let all = list(&spec["securityContext"]["sysctls"]).map(|s| text(s, "name"));
    let bad: Vec<&str> = all.filter(|name| !allowed(name)).collect();
    (!bad.is_empty()).then(|| format!("forbidden sysctls ({})", bad.join(", ")))
}

fn privilege_escalation(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    if for_windows(pod) {
        return None;
    }
    let bad = |c: &Value| c["securityContext"]["allowPrivilegeEscalation"] != false;
    must(spec, "allowPrivilegeEscalation != false", bad, "set securityContext.allowPrivilegeEscalation=false")
}

fn capabilities(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    if for_windows(pod) {
        return None;
    }
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

fn volume_types(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
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

fn run_as_non_root(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
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

fn run_as_user(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    let root = |security: &Value| security["runAsUser"] == 0;
    let of_pod = root(&spec["securityContext"]).then(|| "pod".to_owned());
    let of_containers = named("container", &those(spec, |c| root(&c["securityContext"])));
    let who: Vec<String> = of_pod.into_iter().chain(of_containers).collect();
    (!who.is_empty()).then(|| format!("runAsUser=0 ({} must not set runAsUser=0)", who.join(" and ")))
}

fn seccomp(pod: &Subject<'_>) -> Option<String> {
    let spec = pod.spec;
    if for_windows(pod) {
        return None;
    }
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
#[path = "pod_standards_tests.rs"]
mod tests;
