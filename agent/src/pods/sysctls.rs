//! Which kernel parameters pods may set: those that a kubelet takes for safe, since they concern the pod alone. Pure.

use skiff_shared::pod::Pod;

use crate::ledger::facts::Failure;

const SAFE: [&str; 10] = [
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

/// Why a pod is not run for the sake of its kernel parameters.
pub fn refusal(pod: &Pod) -> Option<Failure> {
    let why = pod.sysctls().find_map(|(name, _)| {
        // The same names with slashes mean the same.
        let name = name.replace('/', ".");
        if !SAFE.contains(&name.as_str()) {
            Some(format!("forbidden sysctl: {name:?} not allowlisted"))
        } else if pod.host_network && name.starts_with("net.") {
            Some(format!("forbidden sysctl: {name:?} not allowed with host net enabled"))
        } else if pod.host_ipc() && name.starts_with("kernel.") {
            Some(format!("forbidden sysctl: {name:?} not allowed with host ipc enabled"))
        } else {
            None
        }
    });
    why.map(|message| Failure { reason: "SysctlForbidden".to_owned(), message })
}

#[cfg(test)]
mod tests {
    use skiff_shared::pod::{Extra, RestartPolicy};

    use super::*;
    use crate::pods::tests::world::pod;

    #[test]
    fn only_safe_parameters_are_taken() {
        for (name, host, expected) in [
            ("net.ipv4.tcp_syncookies", false, None),
            ("net/ipv4/tcp_syncookies", false, None),
            (
                "net.ipv4.tcp_syncookies",
                true,
                Some("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"),
            ),
            ("kernel.msgmax", false, Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted")),
        ] {
            let mut pod = pod(RestartPolicy::Always, &[], &["a"]);
            pod.host_network = host;
            pod.extras = vec![Extra::Sysctl(name.into(), "1".into())];
            assert_eq!(refusal(&pod).map(|f| f.message).as_deref(), expected, "{name}");
        }
    }
}
