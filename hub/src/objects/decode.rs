//! From a client's body to an object of the target's kind: identity checks and decoding by schema.

use serde_json::Value;

use super::{Error, FieldValidation, Patch, Source, Target, WriteOptions, meta};
use crate::registry::discovery;
use crate::registry::schema::{Schema, strict_decoding_error};
use crate::registry::{FieldError, FieldErrorKind};

/// What a body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new object.
    Create,
    /// What the object of the URL is to become: it must name that.
    Replace,
}

/// Checks that a body is of the kind that is written, decodes it by its schema and gives it the request's namespace.
///
/// Returns the warnings that `fieldValidation` asks for.
pub(super) fn decode(
    target: &Target,
    body: &mut Value,
    purpose: Purpose,
    options: &WriteOptions,
) -> Result<Vec<String>, Error> {
    let (api_version, kind, schema) = body_type(target);
    identity(body, &api_version, kind).map_err(|wrong| wrong.of_body(body, kind))?;
    let found = fields(schema, body);
    let strict = match &options.source {
        Source::Json(json, twice) if *twice || found.unknown.len() > 1 => Schema::builtin().strict_fields(schema, json),
        Source::Json(..) | Source::Value(_) | Source::Yaml(_) => found.unknown,
    };
    let short = api_version.rsplit('/').next().unwrap_or_default();
    let warnings = judged(found.error, strict, options).map_err(|why| {
        Error::BadRequest(format!("{kind} in version {short:?} cannot be handled as a {kind}: {why}"))
    })?;
    finish(target, body, purpose, api_version, kind)?;
    Ok(with_owners_once(warnings, body))
}

/// [`decode`] for what a patch made of an object; `shown` is the patch as a refusal shows it. A strategic merge patch is
/// of the object's own type, whatever it says.
pub(super) fn decode_patched(
    target: &Target,
    body: &mut Value,
    shown: impl Fn() -> String,
    patch: &Patch,
    options: &WriteOptions,
) -> Result<Vec<String>, Error> {
    let (api_version, kind, schema) = body_type(target);
    let refused = |why: String| Error::Invalid {
        kind: String::new(),
        group: String::new(),
        name: String::new(),
        errors: vec![FieldError {
            field: "patch".into(),
            kind: FieldErrorKind::Invalid(format!("{:?}", shown())),
            detail: why,
        }],
    };
    match patch {
        Patch::Strategic(_) => {}
        Patch::Json(_) | Patch::Merge(_) => {
            identity(body, &api_version, kind).map_err(|wrong| refused(wrong.to_string()))?;
        }
    }
    let misfit = match patch {
        Patch::Strategic(_) => Schema::builtin().misfit(schema, body),
        Patch::Json(_) | Patch::Merge(_) => None,
    };
    let found = fields(schema, body);
    let warnings = judged(misfit.or(found.error), found.unknown, options).map_err(refused)?;
    finish(target, body, Purpose::Replace, api_version, kind)?;
    Ok(with_owners_once(warnings, body))
}

/// Drops owners that are named twice, and warns of it.
fn with_owners_once(mut warnings: Vec<String>, body: &mut Value) -> Vec<String> {
    let owners = body.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
    let Some(owners) = owners else { return warnings };
    let (mut once, mut twice) = (Vec::with_capacity(owners.len()), Vec::new());
    for owner in owners.drain(..) {
        if once.contains(&owner) {
            twice.push(text(&owner, "uid").to_owned());
        } else {
            once.push(owner);
        }
    }
    *owners = once;
    if !twice.is_empty() {
        warnings.push(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        ));
    }
    warnings
}

fn finish(target: &Target, body: &mut Value, purpose: Purpose, api_version: String, kind: &str) -> Result<(), Error> {
    body["apiVersion"] = api_version.into();
    body["kind"] = kind.into();
    if purpose == Purpose::Replace && meta::text(body, "name").is_empty() {
        return Err(Error::BadRequest(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        )));
    }
    names(target, body, purpose)
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

/// What a body is instead of what it should be.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}")]
    Unknown { version: String, kind: String },
    #[error("converting ({given}) to ({wanted}): unknown conversion")]
    Kind { given: String, wanted: String },
    #[error("the API version in the data ({given}) does not match the expected API version ({wanted})")]
    Version { given: String, wanted: String },
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

/// What Kubernetes calls its table of types.
const SCHEME: &str = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30";

impl Wrong {
    /// The refusal of a body of kind `wanted`.
    fn of_body(self, body: &Value, wanted: &str) -> Error {
        let version = text(body, "apiVersion").rsplit('/').next().unwrap_or_default();
        let given = match text(body, "kind") {
            "" => wanted,
            given => given,
        };
        Error::BadRequest(match self {
            Self::Version { .. } => self.to_string(),
            Self::Unknown { .. } | Self::Kind { .. } => {
                format!("{given} in version {version:?} cannot be handled as a {wanted}: {self}")
            }
        })
    }
}

/// Whether a body is of a type, which it may leave out.
fn identity(body: &Value, api_version: &str, kind: &str) -> Result<(), Wrong> {
    let or = |given: &str, wanted: &str| if given.is_empty() { wanted.to_owned() } else { given.to_owned() };
    let (version, name) = (or(text(body, "apiVersion"), api_version), or(text(body, "kind"), kind));
    let known = Schema::builtin().has_kind(&version, &name);
    let short = |version: &str| version.rsplit('/').next().unwrap_or_default().to_owned();
    if version == api_version && name == kind {
        return Ok(());
    }
    if name == kind && (known || LEGACY.contains(&version.as_str())) {
        return Err(Wrong::Version { given: version, wanted: api_version.to_owned() });
    }
    if !known {
        return Err(Wrong::Unknown { version, kind: name });
    }
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let package = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or_default() };
    Err(Wrong::Kind { given: format!("{}.{name}", short(&version)), wanted: format!("{package}.{kind}") })
}

/// Versions that Kubernetes still knows and no longer serves.
const LEGACY: [&str; 16] = [
    "apps/v1beta1",
    "apps/v1beta2",
    "autoscaling/v2beta1",
    "autoscaling/v2beta2",
    "batch/v1beta1",
    "certificates.k8s.io/v1beta1",
    "coordination.k8s.io/v1beta1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1beta1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1beta1",
    "scheduling.k8s.io/v1beta1",
    "storage.k8s.io/v1beta1",
];

/// What the schema says about a body, which is decoded in place.
struct Found {
    error: Option<String>,
    unknown: Vec<String>,
}

fn fields(schema: &str, body: &mut Value) -> Found {
    let decoded = Schema::builtin().decode(schema, body);
    Found { error: decoded.errors.into_iter().next(), unknown: decoded.unknown }
}

/// The warnings about fields that were given twice or that the schema does not know; why the request is refused, if it
/// asks for that.
fn judged(error: Option<String>, unknown: Vec<String>, options: &WriteOptions) -> Result<Vec<String>, String> {
    if let Some(error) = error {
        return Err(error);
    }
    let (mut first, together) = match &options.source {
        Source::Value(found) => (found.clone(), None),
        Source::Json(..) => (Vec::new(), None),
        Source::Yaml(lines) => (lines.clone(), yaml_errors(lines)),
    };
    match options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => {
            first.extend(unknown);
            Ok(first)
        }
        FieldValidation::Strict => {
            // The YAML parser tells all of its findings as one.
            let told: Vec<String> = together.map_or(first, |errors| vec![errors]).into_iter().chain(unknown).collect();
            if told.is_empty() { Ok(told) } else { Err(strict_decoding_error(&told)) }
        }
    }
}

/// What Go's YAML parser says of keys that a document has twice; `None` where there are none.
pub fn yaml_errors(lines: &[String]) -> Option<String> {
    (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", lines.join("\n  ")))
}

/// Gives a body the name and namespace of the request, which it may leave out but not contradict.
pub(super) fn names(target: &Target, body: &mut Value, purpose: Purpose) -> Result<(), Error> {
    let name = meta::text(body, "name");
    if !target.name.is_empty() && !name.is_empty() && name != target.name {
        return Err(Error::BadRequest(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let namespace = meta::text(body, "namespace").to_owned();
    if target.kind.namespaced {
        if !namespace.is_empty() && namespace != target.namespace {
            return Err(Error::BadRequest(match purpose {
                Purpose::Create => {
                    "the namespace of the provided object does not match the namespace sent on the request".to_owned()
                }
                Purpose::Replace => format!(
                    "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
                    target.namespace
                ),
            }));
        }
        meta::metadata(body).insert("namespace".into(), target.namespace.as_str().into());
    } else if !namespace.is_empty() {
        meta::metadata(body).remove("namespace");
    }
    if !target.name.is_empty() && meta::text(body, "name").is_empty() {
        meta::metadata(body).insert("name".into(), target.name.as_str().into());
    }
    Ok(())
}
