//! Volumes, their claims, and the classes that are filled in.

use super::*;

#[tokio::test]
async fn claims_and_ingresses_without_a_class_get_the_default_one() {
    let class = |kind: &str, name: &str, mark: &str| {
        let storage = kind == "StorageClass";
        let group = if storage { "storage.k8s.io/v1" } else { "networking.k8s.io/v1" };
        let mut class =
            json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "annotations": {mark: "true"}}});
        if storage {
            class["provisioner"] = "x.y/z".into()
        } else {
            class["spec"] = json!({"controller": "x.y/z"})
        }
        class
    };
    let world = World::of(vec![
        class("StorageClass", "b", "storageclass.kubernetes.io/is-default-class"),
        class("StorageClass", "a", "storageclass.beta.kubernetes.io/is-default-class"),
        class("StorageClass", "0", "other"),
        class("IngressClass", "i", "ingressclass.kubernetes.io/is-default-class"),
    ])
    .await;
    let claim = |fields: Value| {
        let mut claim = in_a(
            "PersistentVolumeClaim",
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        );
        json_patch::merge(&mut claim, &fields);
        (claim, "storageClassName")
    };
    let ingress = |fields: Value| {
        let mut ingress =
            in_a("Ingress", json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}));
        ingress["apiVersion"] = "networking.k8s.io/v1".into();
        json_patch::merge(&mut ingress, &fields);
        (ingress, "ingressClassName")
    };
    for (index, ((mut object, field), expected)) in [
        // Both were made in the same second.
        (claim(json!({})), json!("a")),
        (claim(json!({"spec": {"storageClassName": "0"}})), json!("0")),
        (claim(json!({"spec": {"storageClassName": ""}})), json!("")),
        (claim(json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "0"}}})), Value::Null),
        (ingress(json!({})), json!("i")),
        (ingress(json!({"spec": {"ingressClassName": "other"}})), json!("other")),
        (ingress(json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "old"}}})), Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        object["metadata"]["name"] = format!("o{index}").into();
        assert_eq!(world.put(object.clone()).await.unwrap()["spec"][field], expected, "{object}");
    }
}

#[tokio::test]
async fn volumes_and_claims_are_protected_and_grow_where_their_class_lets_them() {
    let class = |name: &str, grows: bool| json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}, "provisioner": "x.y/z", "allowVolumeExpansion": grows});
    let world = World::of(vec![class("grows", true), class("rigid", false)]).await;
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}},
    });
    let made = world.put(volume).await.unwrap();
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    for (class, grows) in [("grows", true), ("rigid", false), ("", false)] {
        let mut claim = in_a(
            "PersistentVolumeClaim",
            json!({"storageClassName": class, "volumeName": "disk", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        );
        claim["metadata"]["name"] = format!("c{class}").into();
        let mut made = world.put(claim).await.unwrap();
        assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        made["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        let mut bound = world.update("status", made).await.unwrap();
        bound["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        let refused = format!(
            r#"persistentvolumeclaims "c{class}" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"#
        );
        let expected = if grows { Ok(()) } else { Err(refused) };
        assert_eq!(world.update("", bound).await.map(|_| ()), expected, "{class}");
    }
}
