//! The endpoints controllers: Services and pods in, Endpoints and slices out.

use std::collections::BTreeMap;

use super::*;
use crate::controllers::testing::{World, yaml};
use crate::reconcile::view::key;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, labels: {tier: front}}
spec:
  clusterIP: 10.43.0.20
  selector: {app: web}
  ports: [{name: http, port: 80, protocol: TCP, targetPort: http}, {name: admin, port: 81, protocol: TCP, targetPort: 9000}]
";

fn pod(name: &str, ip: &str, state: &str) -> Value {
    let mut pod = yaml(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web}}}}
spec:
  nodeName: edge-1
  hostname: {name}
  subdomain: web
  containers: [{{name: main, ports: [{{name: http, containerPort: 8080}}]}}]
status:
  phase: Running
  podIPs: [{{ip: {ip}}}]
  conditions: [{{type: Ready, status: 'True'}}]
"
    ));
    match state {
        "unready" => pod["status"]["conditions"][0]["status"] = "False".into(),
        "leaving" => pod["metadata"]["deletionTimestamp"] = "2026-01-01T10:00:00Z".into(),
        "ended" => pod["status"]["phase"] = "Succeeded".into(),
        _ => {}
    }
    pod
}

fn endpoints() -> Endpoints {
    Endpoints::new(Sources::new(Arc::new(Memo::new(100))))
}

fn slices() -> Slices {
    Slices::new(Sources::new(Arc::new(Memo::new(100))))
}

fn service() -> Key {
    key("services", "default", "web")
}

fn read(world: &World) -> Value {
    world.get(&key("endpoints", "default", "web")).unwrap_or_default()
}

/// The slices of the Service, by name.
fn read_slices(world: &World) -> BTreeMap<String, Value> {
    let snapshot = world.snapshot();
    let all = snapshot.list(&"endpointslices.discovery.k8s.io".into(), None);
    all.map(|o| (o.key.name.to_string(), o.parse().unwrap())).collect()
}

/// The addresses of a subset.
fn ips(subset: &Value, field: &str) -> Vec<String> {
    let list = subset[field].as_array().into_iter().flatten();
    list.map(|a| a["ip"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Feeds a controller every change since `revision`, and tells which keys it asks for.
fn feed(world: &World, controller: &dyn Controller, revision: u64) -> Vec<String> {
    let snapshot = world.snapshot();
    let keys = world.changes(revision).into_iter().flat_map(|e| controller.keys(&e, &snapshot));
    keys.map(|k| k.name.to_string()).collect()
}

#[test]
fn endpoints_list_ready_pods_apart_from_the_others() {
    let mut world = World::of(SERVICE);
    for (name, ip, state) in [
        ("a", "10.42.0.2", ""),
        ("b", "10.42.0.3", "unready"),
        ("c", "10.42.0.4", "leaving"),
        ("d", "10.42.0.5", "ended"),
        ("e", "''", ""),
    ] {
        world.put(pod(name, ip, state));
    }
    let controller = endpoints();
    assert_eq!(world.settle(&controller, &service()), "create endpoints/web");
    let object = read(&world);
    assert_eq!(object["metadata"]["labels"], json!({"tier": "front", MANAGED_BY: MANAGER}));
    assert_eq!(
        object["subsets"],
        json!([{
            "addresses": [{"ip": "10.42.0.2", "hostname": "a", "nodeName": "edge-1",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "uid-a"}}],
            "notReadyAddresses": [{"ip": "10.42.0.3", "hostname": "b", "nodeName": "edge-1",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "b", "uid": "uid-b"}}],
            "ports": [{"name": "admin", "port": 9000, "protocol": "TCP"}, {"name": "http", "port": 8080, "protocol": "TCP"}],
        }])
    );
    world.edit(&service(), |s| s["spec"]["publishNotReadyAddresses"] = true.into());
    world.settle(&controller, &service());
    assert_eq!(ips(&read(&world)["subsets"][0], "addresses"), ["10.42.0.2", "10.42.0.3", "10.42.0.4"]);
    world.remove(&service());
    assert_eq!(world.settle(&controller, &service()), "delete endpoints/web");
}

#[test]
fn pods_without_a_named_port_are_a_subset_of_their_own() {
    let mut world = World::of(SERVICE);
    world.put(pod("a", "10.42.0.2", ""));
    let mut bare = pod("b", "10.42.0.3", "");
    bare["spec"]["containers"][0]["ports"] = Value::Null;
    world.put(bare);
    world.settle(&endpoints(), &service());
    let subsets = read(&world)["subsets"].clone();
    let shape = |s: &Value| (ips(s, "addresses"), s["ports"].as_array().map(Vec::len));
    assert_eq!(shape(&subsets[0]), (vec!["10.42.0.3".to_owned()], Some(1)));
    assert_eq!(shape(&subsets[1]), (vec!["10.42.0.2".to_owned()], Some(2)));
    world.settle(&slices(), &service());
    let ports: Vec<usize> = read_slices(&world).values().map(|s| s["ports"].as_array().unwrap().len()).collect();
    assert_eq!(ports, [1, 2]);
}

#[test]
fn services_that_select_nothing_get_no_endpoints() {
    for (what, spec) in [
        ("no selector", "{ports: [{port: 80}]}"),
        ("another name", "{type: ExternalName, externalName: example.com, selector: {app: web}}"),
    ] {
        let mut world = World::of(&format!("{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {spec}}}"));
        world.put(pod("a", "10.42.0.2", ""));
        assert_eq!(world.settle(&endpoints(), &service()), "", "{what}");
        assert_eq!(world.settle(&slices(), &service()), "", "{what}");
    }
}

#[test]
fn headless_services_need_no_ports() {
    let headless =
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: None, selector: {app: web}}}";
    let mut world = World::of(headless);
    world.put(pod("a", "10.42.0.2", ""));
    world.settle(&endpoints(), &service());
    let object = read(&world);
    assert_eq!(object["metadata"]["labels"][HEADLESS], "");
    assert_eq!(ips(&object["subsets"][0], "addresses"), ["10.42.0.2"]);
    assert_eq!(object["subsets"][0].get("ports"), None);
}

#[test]
fn too_many_addresses_are_cut_the_ready_ones_last() {
    let address = |n: u16, ready| Address {
        ip: Ipv4Addr::from(u32::from(n)),
        uid: "u".into(),
        shown: json!({"n": n}),
        ready,
        ports: BTreeSet::new(),
    };
    let (all, truncated) = subsets((0..1500).map(|n| address(n, n >= 600)).collect());
    let count = |field: &str| all[0][field].as_array().map(Vec::len);
    assert!(truncated);
    assert_eq!((count("addresses"), count("notReadyAddresses")), (Some(900), Some(100)));
}

#[test]
fn slices_tell_how_each_pod_fares() {
    let mut world = World::of(SERVICE);
    let controller = slices();
    world.settle(&controller, &service());
    let placeholder = read_slices(&world);
    let (name, slice) = placeholder.first_key_value().unwrap();
    assert_eq!((&slice["endpoints"], &slice["ports"], &slice["addressType"]), (&json!([]), &json!([]), &json!("IPv4")));
    let labels = json!({"tier": "front", "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    assert_eq!(slice["metadata"]["labels"], labels);
    let owner = json!([{"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "uid-web", "controller": true, "blockOwnerDeletion": true}]);
    assert_eq!(slice["metadata"]["ownerReferences"], owner);

    world
        .put(yaml("{apiVersion: v1, kind: Node, metadata: {name: edge-1, labels: {topology.kubernetes.io/zone: z1}}}"));
    for (pod_name, ip, state) in [
        ("a", "10.42.0.2", ""),
        ("b", "10.42.0.3", "unready"),
        ("c", "10.42.0.4", "leaving"),
        ("d", "10.42.0.5", "ended"),
    ] {
        world.put(pod(pod_name, ip, state));
        feed(&world, &controller, 0);
    }
    world.settle(&controller, &service());
    let all = read_slices(&world);
    assert_eq!(all.keys().collect::<Vec<_>>(), [name], "the empty slice is used");
    let endpoints = all[name]["endpoints"].as_array().unwrap();
    let conditions = |ready: bool, serving: bool, terminating: bool| json!({"ready": ready, "serving": serving, "terminating": terminating});
    let told: Vec<&Value> = endpoints.iter().map(|e| &e["conditions"]).collect();
    assert_eq!(
        told,
        [&conditions(true, true, false), &conditions(false, false, false), &conditions(false, true, true)]
    );
    let rest = json!({"addresses": ["10.42.0.2"], "conditions": conditions(true, true, false), "hostname": "a", "nodeName": "edge-1", "zone": "z1",
        "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "uid-a"}});
    assert_eq!(endpoints[0], rest);
}

#[test]
fn a_change_of_a_pod_concerns_the_services_that_show_it() {
    let mut world = World::of(SERVICE);
    world.put(yaml("{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {selector: {app: other}}}"));
    let controller = endpoints();
    feed(&world, &controller, 0);
    let pod_key = world.put(pod("a", "10.42.0.2", ""));
    world.settle(&controller, &service());
    for (what, edit, expected) in [
        ("nothing of interest", json!({"metadata": {"annotations": {"x": "y"}}}), vec![]),
        ("not ready", json!({"status": {"conditions": []}}), vec!["web"]),
        ("another address", json!({"status": {"podIPs": [{"ip": "10.42.0.9"}]}}), vec!["web"]),
        ("other labels", json!({"metadata": {"labels": {"app": "other"}}}), vec!["other", "web"]),
        ("ended", json!({"status": {"phase": "Failed"}}), vec!["other"]),
    ] {
        let revision = world.snapshot().revision();
        world.edit(&pod_key, |pod| json_patch::merge(pod, &edit));
        assert_eq!(feed(&world, &controller, revision), expected, "{what}");
    }
    world.settle(&controller, &service());
    assert_eq!(read(&world).get("subsets"), None);
}

#[test]
fn pods_that_were_never_searched_for_are_found() {
    let mut world = World::of(SERVICE);
    world.put(pod("a", "10.42.0.2", ""));
    let controller = endpoints();
    world.settle(&controller, &service());
    // Another selector, which no event of a pod was ever compared with.
    let mut other = pod("b", "10.42.0.3", "");
    other["metadata"]["labels"]["app"] = "api".into();
    world.put(other);
    feed(&world, &controller, 0);
    world.edit(&service(), |s| s["spec"]["selector"]["app"] = "api".into());
    world.settle(&controller, &service());
    assert_eq!(ips(&read(&world)["subsets"][0], "addresses"), ["10.42.0.3"]);
}

#[test]
fn endpoints_written_by_hand_are_mirrored() {
    let mut world = World::of("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}");
    let by_hand = world.put(yaml(
        "
apiVersion: v1
kind: Endpoints
metadata: {name: web, labels: {by: hand}, annotations: {note: x, kubectl.kubernetes.io/last-applied-configuration: all}}
subsets:
  - addresses: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}]
    notReadyAddresses: [{ip: 192.0.2.2}]
    ports: [{port: 8080, protocol: TCP}]
",
    ));
    let controller = Mirroring::default();
    world.settle(&controller, &by_hand);
    let all = read_slices(&world);
    let shape: Vec<(&Value, Vec<&Value>)> = all
        .values()
        .map(|s| {
            (&s["addressType"], s["endpoints"].as_array().unwrap().iter().map(|e| &e["conditions"]["ready"]).collect())
        })
        .collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(shape, [(&json!("IPv4"), vec![&yes, &no]), (&json!("IPv6"), vec![&yes])]);
    let metadata = &all.values().next().unwrap()["metadata"];
    assert_eq!(
        metadata["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslicemirroring-controller.k8s.io"
    );
    assert_eq!((&metadata["labels"]["by"], &metadata["annotations"]), (&json!("hand"), &json!({"note": "x"})));
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Endpoints");
    world.edit(&by_hand, |e| e["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = "true".into());
    world.settle(&controller, &by_hand);
    assert!(read_slices(&world).is_empty());
}
