//! Certificate signing requests.

use super::*;
use crate::registry::REQUEST;

#[tokio::test]
async fn only_those_who_may_sign_change_what_is_said_of_a_certificate() {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "signs"},
        "rules": [{"verbs": ["sign"], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/mine"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "signs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "signs"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "signer"}],
    });
    let world = World::of(vec![role, binding]).await;
    let failed = json!([{"type": "Failed", "status": "True", "reason": "No", "message": "no"}]);
    for (signer, user, allowed) in [
        ("example.com/mine", "signer", true),
        ("example.com/other", "signer", false),
        ("example.com/mine", "bob", false),
    ] {
        let name = format!("{}-{user}", signer.replace('/', "-"));
        let made = world.put(json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": REQUEST, "signerName": signer, "usages": ["client auth"]},
        }));
        let mut made = made.await.unwrap();
        made["status"] = json!({"conditions": failed});
        let user = User { name: user.into(), ..User::default() };
        let written = world.update_as(&user, "status", made).await.map(|_| ());
        let refused = format!(
            "certificatesigningrequests.certificates.k8s.io {name:?} is forbidden: user not permitted to sign requests with signerName {signer:?}"
        );
        assert_eq!(written, if allowed { Ok(()) } else { Err(refused) }, "{name}");
    }
}
