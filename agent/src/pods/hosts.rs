//! The hosts file of a pod's containers, in a kubelet's form: pure.

use skiff_shared::pod::Pod;

/// Where containers see it.
pub const PATH: &str = "/etc/hosts";

/// Names of the machine itself, as every pod of its own network has them.
const LOCAL: &str = "# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The content for a pod of this address in a cluster of this domain; `machine` is the machine's own file, which pods on
/// its network see.
pub fn content(pod: &Pod, address: &str, domain: &str, machine: &str) -> String {
    let full = pod.full_hostname(domain).map(|(name, _)| format!("{name}\t")).unwrap_or_default();
    let mut text = if pod.host_network {
        format!("# Kubernetes-managed hosts file (host network).\n{machine}")
    } else {
        format!("{LOCAL}{address}\t{full}{}\n", pod.hostname)
    };
    for (i, alias) in pod.host_aliases().enumerate() {
        if i == 0 {
            text.push_str("\n# Entries added by HostAliases.\n");
        }
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
    text
}

/// Whether a container gets the file; one that mounts something there itself does not.
pub fn wanted(pod: &Pod, container: &str) -> bool {
    pod.mounts(container).all(|mount| mount.path != PATH)
}

#[cfg(test)]
mod tests {
    use skiff_shared::pod::{Extra, HostAlias, Mount, RestartPolicy};

    use super::*;
    use crate::pods::tests::world::pod;

    #[test]
    fn pods_see_themselves_their_aliases_or_the_machine() {
        let alias = |ip: &str, names: &[&str]| {
            Extra::HostAlias(HostAlias { ip: ip.into(), hostnames: names.iter().map(|n| (*n).to_owned()).collect() })
        };
        let mut pod = pod(RestartPolicy::Always, &[], &["a", "b"]);
        assert_eq!(content(&pod, "10.42.0.7", "d", "x"), format!("{LOCAL}10.42.0.7\tweb\n"));
        pod.extras = vec![alias("192.0.2.1", &["x", "y"]), alias("192.0.2.2", &["z"])];
        let subdomain = Extra::Subdomain { name: "sub".into(), in_hostname: false };
        let named = Pod { extras: vec![subdomain], ..pod.clone() };
        let expected = format!("{LOCAL}10.42.0.7\tweb.sub.ns.svc.d\tweb\n");
        assert_eq!(content(&named, "10.42.0.7", "d", "x"), expected);
        let aliases = "\n# Entries added by HostAliases.\n192.0.2.1\tx\ty\n192.0.2.2\tz\n";
        assert_eq!(content(&pod, "10.42.0.7", "d", "x"), format!("{LOCAL}10.42.0.7\tweb\n{aliases}"));
        pod.host_network = true;
        let expected = format!("# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n{aliases}");
        assert_eq!(content(&pod, "", "d", "127.0.0.1 me\n"), expected);
        pod.extras.push(Extra::Mount(Mount {
            container: "a".into(),
            volume: "v".into(),
            path: PATH.into(),
            sub_path: String::new(),
            expand: false,
            read_only: false,
            propagation: String::new(),
        }));
        assert_eq!((wanted(&pod, "a"), wanted(&pod, "b")), (false, true));
    }
}
