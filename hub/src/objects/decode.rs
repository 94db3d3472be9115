//! From a client's body to an object of the target's kind: identity checks and decoding by schema.

use serde_json::Value;

use super::{Error, FieldValidation, Target, WriteOptions, meta};
use crate::registry::discovery;
use crate::registry::schema::Schema;

/// Checks that a body is of the kind that is written, decodes it by its schema and gives it the request's namespace.
///
/// Returns the warnings that `fieldValidation` asks for.
pub(super) fn decode(target: &Target, body: &mut Value, options: &WriteOptions) -> Result<Vec<String>, Error> {
    let (api_version, kind, schema) = body_type(target);
    identity(body, &api_version, kind)?;
    let warnings = fields(schema, body, &api_version, kind, options)?;
    body["apiVersion"] = api_version.into();
    body["kind"] = kind.into();
    names(target, body)?;
    Ok(warnings)
}

/// apiVersion, kind and schema of what a target is written by.
pub(super) fn body_type(target: &Target) -> (String, &'static str, &'static str) {
    if target.subresource.is_empty() {
        return (target.kind.api_version(), target.kind.kind, target.kind.schema);
    }
    let exchanged = discovery::subresource(&target.kind, &target.subresource);
    let schema = exchanged.schema.unwrap_or(target.kind.schema);
    match exchanged.exchanges {
        Some(("", version, kind)) => (version.to_owned(), kind, schema),
        Some((group, version, kind)) => (format!("{group}/{version}"), kind, schema),
        None => (target.kind.api_version(), target.kind.kind, schema),
    }
}

fn identity(body: &Value, api_version: &str, kind: &str) -> Result<(), Error> {
    if !body.is_object() {
        return Err(Error::BadRequest(format!(
            "couldn't get version/kind; json parse error: the body is no {kind} object"
        )));
    }
    let given = |field: &str| body[field].as_str().unwrap_or_default();
    let (version, name) = (given("apiVersion"), given("kind"));
    if !name.is_empty() && name != kind || !version.is_empty() && version != api_version {
        let short = version.rsplit('/').next().unwrap_or_default();
        return Err(Error::BadRequest(format!(
            "{name} in version {short:?} cannot be handled as a {kind}: converting ({version}.{name}) to ({api_version}.{kind}): unknown conversion"
        )));
    }
    Ok(())
}

fn fields(
    schema: &str,
    body: &mut Value,
    api_version: &str,
    kind: &str,
    options: &WriteOptions,
) -> Result<Vec<String>, Error> {
    let short = api_version.rsplit('/').next().unwrap_or_default();
    let refuse =
        |why: String| Error::BadRequest(format!("{kind} in version {short:?} cannot be handled as a {kind}: {why}"));
    let decoded = Schema::builtin().decode(schema, body);
    if let Some(error) = decoded.errors.into_iter().next() {
        return Err(refuse(error));
    }
    let mut strict: Vec<String> = options.duplicate_fields.clone();
    strict.extend(decoded.unknown);
    match options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(strict),
        FieldValidation::Strict if strict.is_empty() => Ok(strict),
        FieldValidation::Strict => Err(refuse(format!("strict decoding error: {}", strict.join(", ")))),
    }
}

/// Gives a body the name and namespace of the request, which it may leave out but not contradict.
pub(super) fn names(target: &Target, body: &mut Value) -> Result<(), Error> {
    let namespace = meta::text(body, "namespace").to_owned();
    if target.kind.namespaced {
        if !namespace.is_empty() && namespace != target.namespace {
            return Err(Error::BadRequest(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({namespace} does not match {})",
                target.namespace
            )));
        }
        meta::metadata(body).insert("namespace".into(), target.namespace.as_str().into());
    } else if !namespace.is_empty() {
        meta::metadata(body).remove("namespace");
    }
    let name = meta::text(body, "name");
    if !target.name.is_empty() && !name.is_empty() && name != target.name {
        return Err(Error::BadRequest(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    if !target.name.is_empty() && name.is_empty() {
        meta::metadata(body).insert("name".into(), target.name.as_str().into());
    }
    Ok(())
}
