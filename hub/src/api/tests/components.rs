//! Kinds of the core group that are never stored: ComponentStatus and Binding.

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
const PARTS: &str = "/api/v1/componentstatuses";

async fn api() -> Api {
    let mut api = Api::over(Registry::builtin(), &[pod("a", "one"), free("two"), free("gated")]).await;
    let check = |name, why: Option<&'static str>| Check {
        name,
        ready_only: false,
        run: Box::new(move || why.map_or(Ok(()), |why| Err(why.to_owned()))),
    };
    let state = Arc::get_mut(&mut api.state).unwrap();
    state.components = vec![check("scheduler", None), check("etcd-0", Some("the store is closed"))];
    api
}

/// A pod without a node.
fn free(name: &str) -> (&'static str, Value) {
    let (resource, mut pod) = pod("a", name);
    pod["spec"] = json!({"containers": [{"name": "main"}]});
    if name == "gated" {
        pod["spec"]["schedulingGates"] = json!([{"name": "wait"}]);
    }
    (resource, pod)
}

#[tokio::test]
async fn parts_show_their_health() {
    let api = api().await;
    let answer = api.send("GET", PARTS, &[TABLE], "").await;
    let rows: Vec<_> = answer.json()["rows"].as_array().unwrap().iter().map(|r| r["cells"].clone()).collect();
    assert_eq!(
        rows,
        [json!(["scheduler", "Healthy", "ok", ""]), json!(["etcd-0", "Unhealthy", "", "the store is closed"])]
    );
    assert_eq!(answer.header("warning"), "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    assert_eq!(names(&api.get(&format!("{PARTS}?fieldSelector=metadata.name%3Detcd-0")).await.json()), ["etcd-0"]);
    let one = api.get(&format!("{PARTS}/scheduler")).await;
    assert_eq!((one.code, &one.json()["kind"]), (200, &json!("ComponentStatus")));
    assert_eq!(one.json()["conditions"], json!([{"type": "Healthy", "status": "True", "message": "ok"}]));
    for (method, url, code) in [
        ("GET", "/api/v1/componentstatuses/etcd-9", 404),
        ("POST", PARTS, 405),
        ("GET", "/api/v1/componentstatuses?watch=1", 405),
    ] {
        assert_eq!(api.send(method, url, &[JSON], "{}").await.code, code, "{method} {url}");
    }
}

#[tokio::test]
async fn a_binding_binds_a_pod_once() {
    const ANY: &str = "/api/v1/namespaces/a/bindings";
    let api = api().await;
    let binding = |name: &str, target: Value| {
        let metadata = json!({"name": name, "annotations": {"by": "test"}});
        json!({"kind": "Binding", "apiVersion": "v1", "metadata": metadata, "target": target})
    };
    let node = json!({"kind": "Node", "name": "edge-2"});
    let mut other = binding("two", node.clone());
    other["metadata"]["uid"] = "other".into();
    for (url, body, code, message) in [
        (ANY, binding("none", node.clone()), 404, "pods \"none\" not found"),
        (ANY, binding("", node.clone()), 400, "Name parameter required."),
        (
            ANY,
            binding("one", node.clone()),
            409,
            "Operation cannot be fulfilled on pods/binding \"one\": pod one is already assigned to node \"edge-1\"",
        ),
        (
            ANY,
            binding("gated", node.clone()),
            409,
            "Operation cannot be fulfilled on pods/binding \"gated\": pod gated has non-empty .spec.schedulingGates",
        ),
        (
            ANY,
            binding("two", json!({"kind": "Pod"})),
            422,
            "Binding \"two\" is invalid: [target.kind: Unsupported value: \"Pod\": supported values: \"<empty>\", \"Node\", target.name: Required value]",
        ),
        (
            ANY,
            other,
            409,
            "Operation cannot be fulfilled on pods \"two\": Precondition failed: UID in precondition: other, UID in object meta: uid-two",
        ),
        (
            "/api/v1/namespaces/a/pods/two/binding",
            binding("one", node.clone()),
            400,
            "name in URL does not match name in Binding object",
        ),
        (ANY, binding("two", node.clone()), 201, ""),
        (
            "/api/v1/namespaces/a/pods/two/binding",
            binding("two", node),
            409,
            "Operation cannot be fulfilled on pods/binding \"two\": pod two is already assigned to node \"edge-2\"",
        ),
    ] {
        let answer = api.send("POST", url, &[JSON], body.to_string()).await;
        let said = answer.json();
        assert_eq!((answer.code, said["message"].as_str().unwrap_or_default()), (code, message), "{body}");
    }
    let bound = api.get("/api/v1/namespaces/a/pods/two").await.json();
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["metadata"]["annotations"]),
        (&json!("edge-2"), &json!({"by": "test"}))
    );
}
