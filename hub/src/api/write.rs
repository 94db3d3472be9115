//! CREATE, UPDATE, PATCH, DELETE and DELETECOLLECTION: bytes to values, values to `Objects`, results to answers.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use serde_json::Value;
use skiff_shared::limits::MAX_REQUEST_BODY;

use super::listing::{Page, answer};
use super::negotiate::Negotiated;
use super::options::{APPLY, ListOptions, delete_options, user_agent_manager, write_options};
use super::read::{one, page, scope, snapshot};
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::status::{Status, about, success};
use super::virtuals;
use super::{body, eviction};
use crate::objects::eviction::EVICTION;
use crate::objects::{
    Applied, Configuration, Error, FieldValidation, Patch, Source, Target, WriteOptions, Written, created_by_update,
    yaml_errors,
};
use crate::registry::schema::{ContentType, DecodeError, parse_body};
use crate::registry::{Kind, discovery};
use crate::store::Object;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// The media types of patches.
pub(super) const PATCHES: &[&str] = &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Resources whose deletion answers with the object even when it is gone; others answer with a `Status`.
const RETURN_DELETED: [&str; 12] = [
    "pods",
    "podtemplates",
    "namespaces",
    "services",
    "serviceaccounts",
    "persistentvolumes",
    "persistentvolumeclaims",
    "resourcequotas",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
];

fn target(kind: &Arc<Kind>, path: &ResourcePath) -> Target {
    Target {
        kind: kind.clone(),
        namespace: if kind.namespaced { path.namespace.clone() } else { String::new() },
        name: path.name.clone(),
        subresource: path.subresource.clone(),
    }
}

/// The kind that a client sends to a path.
fn sent_kind<'a>(kind: &'a Kind, path: &ResourcePath) -> &'a str {
    if path.subresource.is_empty() {
        return kind.kind;
    }
    discovery::subresource(kind, &path.subresource).exchanges.map_or(kind.kind, |(_, _, kind)| kind)
}

/// Creates an object, or performs a creating subresource (`binding`).
pub(crate) async fn create(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    bytes: &Bytes,
) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let mut options = options(call, "CreateOptions")?;
    let (mut object, source) = body::object(&call.headers, bytes, sent_kind(kind, path))?;
    options.source = source;
    let target = target(kind, path);
    if target.subresource == EVICTION {
        return eviction::evict(call, &target, object, &options, &form).await;
    }
    if let Some(answer) = virtuals::create(call, &target, path, &mut object, &options) {
        return answer;
    }
    let written = call.state.objects.create(&target, object, &options).await?;
    let stored = path.subresource.is_empty() && !kind.list_kind.is_empty();
    if stored {
        return Ok(done(call, kind, path, &form, 201, written));
    }
    let mut response = respond::json(201, &form, success(None, Some(201)).into());
    respond::warn(&mut response, &written.warnings);
    Ok(response)
}

/// Replaces an object, or what a subresource is about.
pub(crate) async fn update(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    bytes: &Bytes,
) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let mut options = options(call, "UpdateOptions")?;
    let (object, source) = body::object(&call.headers, bytes, sent_kind(kind, path))?;
    options.source = source;
    let (objects, target) = (&call.state.objects, target(kind, path));
    if target.subresource.is_empty() && created_by_update(kind) && objects.get(&target).is_none() {
        objects.may_create(&target, &call.user)?;
        let written = objects.create(&target, object, &options).await?;
        return Ok(done(call, kind, path, &form, 201, written));
    }
    let written = objects.update(&target, object, &options).await?;
    Ok(done(call, kind, path, &form, 200, written))
}

/// Patches an object, or what a subresource is about.
pub(crate) async fn patch(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    bytes: &Bytes,
) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let media_type = body::media_type(&call.headers);
    if media_type == APPLY_PATCH {
        return apply(call, kind, path, bytes).await;
    }
    let (patch, strict) = parse_patch(media_type, bytes)?;
    let mut options = options(call, "PatchOptions")?;
    options.source = Source::Value(strict);
    let written = call.state.objects.patch(&target(kind, path), &patch, &options).await?;
    Ok(done(call, kind, path, &form, 200, written))
}

/// Applies a configuration: server-side apply.
async fn apply(call: &Call, kind: &Arc<Kind>, path: &ResourcePath, bytes: &Bytes) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let mut options = options(call, APPLY)?;
    let (object, duplicates) = body::configuration(bytes)?;
    if let Some(errors) = yaml_errors(&duplicates).filter(|_| options.field_validation == FieldValidation::Strict) {
        let message = format!("error strict decoding YAML: error converting YAML to JSON: {errors}");
        return Err(Status::bad_request(message));
    }
    options.source = Source::Yaml(duplicates);
    let configuration = Configuration { object, force: call.query.flag("force") };
    let Applied { written, created } = call.state.objects.apply(&target(kind, path), configuration, &options).await?;
    Ok(done(call, kind, path, &form, if created { 201 } else { 200 }, written))
}

/// The options of a write. A client that does not name itself as a field manager goes by its user agent.
fn options(call: &Call, kind: &str) -> Result<WriteOptions, Status> {
    let mut options = write_options(&call.query, &call.user, kind)?;
    if options.field_manager.is_empty() {
        options.field_manager = user_agent_manager(&call.headers);
    }
    if let Some(record) = &call.audit {
        options.audit = record.annotations();
    }
    Ok(options)
}

/// Reads a patch by its content type. Beside it come the fields that it names twice, and those of a JSON patch's
/// operations that mean nothing.
fn parse_patch(media_type: &str, bytes: &[u8]) -> Result<(Patch, Vec<String>), Status> {
    if ![JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH].contains(&media_type) {
        return Err(Status::unsupported_media_type(PATCHES));
    }
    let prefix = if media_type == STRATEGIC_PATCH { "" } else { "error decoding patch: " };
    let wrong = |cause: &str| Status::bad_request(format!("{prefix}{cause}"));
    let (value, duplicates) = parse_body(bytes, ContentType::Json).map_err(|e| match e {
        DecodeError::TooLarge => Status::too_large(MAX_REQUEST_BODY),
        DecodeError::Json { message, .. } => wrong(&message),
        other @ (DecodeError::Yaml { .. }
        | DecodeError::NoMagic
        | DecodeError::Protobuf(_)
        | DecodeError::UnknownKind { .. }) => wrong(&other.to_string()),
    })?;
    let unfit =
        |wanted: &str| wrong(&format!("json: cannot unmarshal {} into Go value of type {wanted}", go_name(&value)));
    if media_type == JSON_PATCH {
        if value.is_null() {
            return Ok((Patch::Json(json_patch::Patch::default()), Vec::new()));
        }
        let Some(operations) = value.as_array() else { return Err(unfit("[]interface {}")) };
        if let Some(other) = operations.iter().find(|o| !o.is_object()) {
            let found = go_name(other);
            return Err(Status::bad_request(format!(
                "json: cannot unmarshal {found} into Go value of type jsonpatch.Operation"
            )));
        }
        let strict = operation_fields(&value, &duplicates);
        // What makes no operation is refused as one that does not apply.
        let patch = serde_json::from_value(with_values(value)).map_err(|e| Error::UnprocessablePatch(e.to_string()))?;
        return Ok((Patch::Json(patch), strict));
    }
    let value = match value {
        Value::Null if media_type == STRATEGIC_PATCH => Value::Object(serde_json::Map::new()),
        Value::Null => return Err(Status::bad_request("Invalid JSON Patch")),
        Value::Object(_) => value,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(unfit("map[string]interface {}"));
        }
    };
    Ok((if media_type == MERGE_PATCH { Patch::Merge(value) } else { Patch::Strategic(value) }, duplicates))
}

/// Operations that need a value, with null where they have none.
fn with_values(mut patch: Value) -> Value {
    for operation in patch.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if matches!(operation.get("op").and_then(Value::as_str), Some("add" | "replace" | "test")) {
            operation.entry("value").or_insert(Value::Null);
        }
    }
    patch
}

/// What Go calls the type of a JSON value.
fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What is wrong with the fields of a JSON patch's operations, as the strict check tells it.
fn operation_fields(patch: &Value, duplicates: &[String]) -> Vec<String> {
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let unknown = operations.flat_map(|(index, operation)| {
        let fields = operation.as_object().into_iter().flatten().map(|(name, _)| name);
        let unknown = fields.filter(|name| !["op", "path", "from", "value"].contains(&name.as_str()));
        unknown.map(move |name| format!("json patch unknown field \"[{index}].{name}\"")).collect::<Vec<_>>()
    });
    // What stands in a value is not told.
    let of_operations = duplicates.iter().filter(|d| d.matches(['.', '[']).count() == 2);
    unknown.chain(of_operations.map(|d| format!("json patch {d}"))).collect()
}

fn done(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    form: &Negotiated,
    code: u16,
    written: Written,
) -> Response<Body> {
    let mut response = one(call, kind, path, form, code, &written.object);
    respond::warn(&mut response, &written.warnings);
    response
}

/// Deletes an object. What is only marked for deletion comes back as it now is.
pub(crate) async fn delete(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    bytes: &Bytes,
) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let options = delete_options(&call.query, body::delete_options(&call.headers, bytes)?, &call.user)?;
    let written = call.state.objects.delete(&target(kind, path), &options).await?;
    let waits = options.orphan_dependents == Some(false) && !written.removed && !options.dry_run;
    // As ever, only who asks in the old way is told that it takes a while.
    if waits {
        return Ok(done(call, kind, path, &form, 202, written));
    }
    if !written.removed || RETURN_DELETED.contains(&&*kind.group_resource()) {
        return Ok(done(call, kind, path, &form, 200, written));
    }
    let mut details = about(&kind.group_resource(), &written.object.key.name);
    details.uid = written.object.meta.uid.to_string();
    let mut response = respond::json(200, &form, success(Some(&details), None).into());
    respond::warn(&mut response, &written.warnings);
    Ok(response)
}

/// Deletes every object that the query selects, one after another, and lists them.
pub(crate) async fn delete_collection(
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    bytes: &Bytes,
) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let options = delete_options(&call.query, body::delete_options(&call.headers, bytes)?, &call.user)?;
    let list = ListOptions::parse(&call.query, kind, false)?;
    let objects = &call.state.objects;
    let selected = page(objects.registry(), &snapshot(call, &list).await?, &scope(kind, path, &list), &list);
    let mut deleted: Vec<Arc<Object>> = Vec::with_capacity(selected.items.len());
    for object in selected.items {
        let target = Target {
            kind: kind.clone(),
            namespace: object.key.namespace.to_string(),
            name: object.key.name.to_string(),
            subresource: String::new(),
        };
        match objects.delete(&target, &options).await {
            Ok(written) => deleted.push(written.object),
            // Someone else was faster.
            Err(Error::NotFound { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(answer(&form, call.renderer(kind, &form), Page { items: deleted, ..selected }).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_read_by_content_type() {
        let kind = |media_type, bytes: &str| match parse_patch(media_type, bytes.as_bytes()) {
            Ok((Patch::Json(_), _)) => "json".to_owned(),
            Ok((Patch::Merge(_), _)) => "merge".to_owned(),
            Ok((Patch::Strategic(_), _)) => "strategic".to_owned(),
            Err(status) => status.code.to_string(),
        };
        for (media_type, bytes, expected) in [
            (JSON_PATCH, r#"[{"op":"add","path":"/a","value":1}]"#, "json"),
            (JSON_PATCH, r#"[{"op":"add","path":"/a"}]"#, "json"),
            (JSON_PATCH, "null", "json"),
            (JSON_PATCH, r#"{"a":1}"#, "400"),
            (MERGE_PATCH, r#"{"a":1}"#, "merge"),
            (MERGE_PATCH, "[]", "400"),
            (MERGE_PATCH, "{", "400"),
            (STRATEGIC_PATCH, r#"{"a":1}"#, "strategic"),
            ("application/json", "{}", "415"),
            ("", "{}", "415"),
        ] {
            assert_eq!(kind(media_type, bytes), expected, "{media_type} {bytes}");
        }
    }

    #[test]
    fn fields_of_patches_that_mean_nothing_are_told() {
        let told = |media_type, bytes: &str| parse_patch(media_type, bytes.as_bytes()).unwrap().1;
        let operations = r#"[{"op":"add","path":"/a","value":{"k":1,"k":2},"foo":1},
            {"op":"add","path":"/b","path":"/c","value":1}]"#;
        assert_eq!(
            told(JSON_PATCH, operations),
            [r#"json patch unknown field "[0].foo""#, r#"json patch duplicate field "[1].path""#]
        );
        for media_type in [MERGE_PATCH, STRATEGIC_PATCH] {
            assert_eq!(told(media_type, r#"{"spec":{"a":1,"a":2}}"#), [r#"duplicate field "spec.a""#]);
        }
    }
}
