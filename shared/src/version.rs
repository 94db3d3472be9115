//! Which Kubernetes this is taken for.

/// The Kubernetes version whose API the hub serves.
pub const KUBERNETES: &str = "v1.33.0";

/// The version of hub and agents as Kubernetes' clients read versions: `v1.33.0+skiff-0.1.0`.
pub const GIT_VERSION: &str = concat!("v1.33.0+skiff-", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_see_kubernetes_version_first() {
        assert_eq!(GIT_VERSION.split_once("+skiff-").map(|(version, _)| version), Some(KUBERNETES));
    }
}
