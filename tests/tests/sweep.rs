//! Broken bodies for every kind, made from the hub's own OpenAPI documents: each field in turn gets values that do not
//! fit it. Nothing may end in a 5xx, and every refusal is a Status that says what is wrong.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::{Map, Value, json};
use skiff_tests::Hub;
use skiff_tests::api::Connection;

/// How deep fields are tried; what lies deeper is the pod template again.
const DEPTH: usize = 5;
/// Fields tried of one kind.
const FIELDS: usize = 400;

/// A field of a kind: where it is and what it holds.
struct Field {
    /// Names from the top; `[]` for the item of a list.
    path: Vec<String>,
    /// OpenAPI type; empty for what takes several.
    holds: String,
}

/// A kind that can be created.
struct Kind {
    url: String,
    api_version: String,
    kind: String,
    fields: Vec<Field>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_field_of_any_kind_takes_what_it_should_not() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let mut connection = hub.api().connect().await.unwrap();
    let kinds = kinds(&mut connection).await;
    assert!(kinds.len() > 40, "{} kinds", kinds.len());
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for kind in &kinds {
        for field in &kind.fields {
            for value in values(&field.holds) {
                tried += 1;
                let body = body(kind, field, &value).to_string();
                let url = format!("{}?dryRun=All", kind.url);
                let reply = connection.send("POST", &url, "application/json", body).await.unwrap();
                let about = field.path.iter().rev().find(|p| *p != "[]").filter(|_| mismatch(&field.holds, &value));
                if let Err(why) = judge(reply.status, &reply.json(), about.map(String::as_str)) {
                    let shown: String = value.to_string().chars().take(60).collect();
                    wrong.push(format!("{} {} = {shown}: {why}", kind.kind, field.path.join(".")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 10_000, "only {tried} bodies");
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}

/// What is wrong with an answer; `field` is what a refusal must name.
fn judge(code: u16, answer: &Value, field: Option<&str>) -> Result<(), String> {
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    if code < 300 && field.is_none() {
        return Ok(());
    }
    let right = (400..500).contains(&code)
        && text("kind") == "Status"
        && answer["code"] == code
        && !text("reason").is_empty()
        && text("message").contains(field.unwrap_or(" "));
    if right { Ok(()) } else { Err(format!("{code} {}", answer.to_string().chars().take(300).collect::<String>())) }
}

/// Values for a field of this type, few of which fit.
fn values(holds: &str) -> Vec<Value> {
    let mut values = vec![json!({"x": [1]}), json!([[]]), json!("\u{0}ü"), Value::Null];
    values.extend(match holds {
        "string" => vec![json!(""), json!(1), json!("x".repeat(70_000)), json!("A B/..")],
        "integer" => vec![json!("1"), json!(-1), json!(1.5), json!(i64::MAX), json!(i64::MIN)],
        "boolean" => vec![json!("true"), json!(1)],
        "array" => vec![json!([]), json!([null]), json!([{}]), json!({})],
        _ => vec![json!({}), json!(-1), json!("A B/.."), json!({"A B/..": "x"})],
    });
    values
}

/// Whether JSON of this kind can be no value of the type, so that it is refused by its name.
fn mismatch(holds: &str, value: &Value) -> bool {
    match holds {
        "string" => value.is_number() || value.is_object() || value.is_array(),
        "integer" => value.is_string() || value.is_object() || value.is_array() || value.is_f64(),
        "boolean" => !value.is_boolean() && !value.is_null(),
        "array" => value.is_string() || value.is_object(),
        "object" => value.is_string() || value.is_number() || value.is_array(),
        _ => false,
    }
}

fn body(kind: &Kind, field: &Field, value: &Value) -> Value {
    let nested = field.path.iter().rev().fold(value.clone(), |inner, name| match name.as_str() {
        "[]" => json!([inner]),
        name => json!({name: inner}),
    });
    let mut body = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "a"}});
    if field.path[0] == "metadata" && field.path.len() > 1 {
        let within = nested["metadata"].as_object().unwrap().clone();
        body["metadata"].as_object_mut().unwrap().extend(within);
    } else {
        body.as_object_mut().unwrap().extend(nested.as_object().unwrap().clone());
    }
    body
}

async fn get(connection: &mut Connection, url: &str) -> Value {
    connection.send("GET", url, "application/json", "").await.unwrap().json()
}

/// Every kind of discovery that can be created by itself.
async fn kinds(connection: &mut Connection) -> Vec<Kind> {
    let groups = get(connection, "/apis").await;
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|g| g["versions"].as_array().unwrap());
    let mut roots: Vec<String> = versions.map(|v| format!("apis/{}", v["groupVersion"].as_str().unwrap())).collect();
    roots.push("api/v1".into());
    let mut kinds = Vec::new();
    for root in roots {
        let document = get(connection, &format!("/openapi/v3/{root}")).await;
        let resources = get(connection, &format!("/{root}")).await;
        for resource in resources["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let creates = resource["verbs"].as_array().unwrap().iter().any(|v| v == "create");
            if !creates || name.contains('/') {
                continue;
            }
            let api_version = root.split_once('/').unwrap().1.to_owned();
            let kind = resource["kind"].as_str().unwrap().to_owned();
            let scope = if resource["namespaced"] == true { "namespaces/default/" } else { "" };
            let url = format!("/{root}/{scope}{name}");
            kinds.push(Kind { url, fields: fields(&document, &api_version, &kind), api_version, kind });
        }
    }
    kinds
}

fn fields(document: &Value, api_version: &str, kind: &str) -> Vec<Field> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = json!({"group": group, "version": version, "kind": kind});
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let ours = |s: &&Value| s["x-kubernetes-group-version-kind"].as_array().is_some_and(|g| g.contains(&gvk));
    let schema = schemas.values().find(ours).unwrap_or_else(|| panic!("{api_version} {kind} has no schema"));
    let mut found = Vec::new();
    let mut level = vec![(Vec::new(), schema)];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for (path, schema) in level {
            walk(schemas, &path, schema, &mut found, &mut next);
        }
        level = next;
    }
    found.retain(|f| !matches!(f.path[0].as_str(), "apiVersion" | "kind" | "status"));
    found.truncate(FIELDS);
    found
}

/// Adds the fields of a struct, and what is to be walked next.
fn walk<'a>(
    schemas: &'a Map<String, Value>,
    path: &[String],
    schema: &'a Value,
    found: &mut Vec<Field>,
    next: &mut Vec<(Vec<String>, &'a Value)>,
) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let mut path = path.to_vec();
        path.push(name.clone());
        let resolved = resolve(schemas, property);
        let plain = resolved["format"].is_null() || resolved["type"] == "integer";
        // Refusals of quantities name no field, as those of Kubernetes.
        let plain = plain && !property.to_string().contains("resource.Quantity\"");
        // An object of which nothing is said may be anything.
        let plain = plain
            && (resolved["type"] != "object"
                || !resolved["properties"].is_null()
                || !resolved["additionalProperties"].is_null());
        let holds = if plain { resolved["type"].as_str().unwrap_or_default() } else { "" };
        found.push(Field { path: path.clone(), holds: holds.to_owned() });
        if !resolved["items"].is_null() {
            path.push("[]".into());
            next.push((path, resolve(schemas, &resolved["items"])));
        } else {
            next.push((path, resolved));
        }
    }
}

fn resolve<'a>(schemas: &'a Map<String, Value>, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    reference.and_then(|r| schemas.get(r.rsplit('/').next()?)).unwrap_or(schema)
}
