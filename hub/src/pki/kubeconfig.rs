//! The administrator's kubeconfig.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ADMIN;
use super::authority::Pair;

/// A kubeconfig with everything embedded, for the hub at `advertise` (else on this machine).
pub(super) fn render(ca_pem: &str, admin: &Pair, advertise: Option<IpAddr>, port: u16) -> String {
    let server = SocketAddr::new(advertise.unwrap_or(Ipv4Addr::LOCALHOST.into()), port);
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&admin.certificate_pem);
    let key = STANDARD.encode(&admin.key_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: skiff
  cluster:
    certificate-authority-data: {ca}
    server: https://{server}
users:
- name: {ADMIN}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {ADMIN}@skiff
  context:
    cluster: skiff
    user: {ADMIN}
current-context: {ADMIN}@skiff
preferences: {{}}
"
    )
}
