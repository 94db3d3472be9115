//! From a client's body to an object of the target's kind: identity checks and decoding by schema.

use serde_json::Value;

use super::{Error, FieldValidation, Target, WriteOptions, meta};
use crate::registry::discovery;
use crate::registry::schema::Schema;
use crate::registry::{FieldError, FieldErrorKind};

/// Checks that a body is of the kind that is written, decodes it by its schema and gives it the request's namespace.
///
/// Returns the warnings that `fieldValidation` asks for.
pub(super) fn decode(target: &Target, body: &mut Value, options: &WriteOptions) -> Result<Vec<String>, Error> {
    let (api_version, kind, schema) = body_type(target);
    identity(body, &api_version, kind)?;
    let found = fields(schema, body);
    // Kubernetes reads a body in one go and names a duplicate of an unknown field only once.
    let known = |d: &&String| d.strip_prefix("duplicate").is_none_or(|d| !found.unknown.iter().any(|u| u.ends_with(d)));
    let strict = found.unknown.iter().chain(options.duplicate_fields.iter().filter(known)).cloned().collect();
    let short = api_version.rsplit('/').next().unwrap_or_default();
    let warnings = judged(found.error, strict, options).map_err(|why| {
        Error::BadRequest(format!("{kind} in version {short:?} cannot be handled as a {kind}: {why}"))
    })?;
    finish(target, body, api_version, kind)?;
    Ok(warnings)
}

/// [`decode`] for what a patch made of an object; `shown` is the patch as a refusal shows it.
pub(super) fn decode_patched(
    target: &Target,
    body: &mut Value,
    shown: impl FnOnce() -> String,
    options: &WriteOptions,
) -> Result<Vec<String>, Error> {
    let (api_version, kind, schema) = body_type(target);
    identity(body, &api_version, kind)?;
    let found = fields(schema, body);
    let strict = options.duplicate_fields.iter().chain(&found.unknown).cloned().collect();
    let warnings = judged(found.error, strict, options).map_err(|why| Error::Invalid {
        kind: String::new(),
        group: String::new(),
        name: String::new(),
        errors: vec![FieldError {
            field: "patch".into(),
            kind: FieldErrorKind::Invalid(format!("{:?}", shown())),
            detail: why,
        }],
    })?;
    finish(target, body, api_version, kind)?;
    Ok(warnings)
}

fn finish(target: &Target, body: &mut Value, api_version: String, kind: &str) -> Result<(), Error> {
    body["apiVersion"] = api_version.into();
    body["kind"] = kind.into();
    names(target, body)
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

/// What the schema says about a body, which is decoded in place.
struct Found {
    error: Option<String>,
    unknown: Vec<String>,
}

fn fields(schema: &str, body: &mut Value) -> Found {
    let decoded = Schema::builtin().decode(schema, body);
    Found { error: decoded.errors.into_iter().next(), unknown: decoded.unknown }
}

/// The warnings about fields that the schema does not know or that were given twice; why the request is refused, if
/// it asks for that.
fn judged(error: Option<String>, strict: Vec<String>, options: &WriteOptions) -> Result<Vec<String>, String> {
    if let Some(error) = error {
        return Err(error);
    }
    match options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(strict),
        FieldValidation::Strict if strict.is_empty() => Ok(strict),
        FieldValidation::Strict => Err(format!("strict decoding error: {}", strict.join(", "))),
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
