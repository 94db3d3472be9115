//! Server-side apply: the edge of `registry::apply`.

use jiff::Timestamp;
use serde_json::Value;

use super::error::MODIFIED;
use super::ownership::{self, Claim};
use super::write::{CONFLICT_ATTEMPTS, preconditions};
use super::{Error, FieldValidation, Objects, Source, Target, WriteOptions, Written, decode, meta, subresource};
use crate::auth::{Attributes, User};
use crate::registry::apply::{self, ApplyError, Managers};
use crate::registry::schema::Schema;

/// What a client applies.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The fields that it wants to have, and to own.
    pub object: Value,
    /// Take fields from whoever owns them.
    pub force: bool,
}

/// A configuration that has been applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The object as it now is.
    pub written: Written,
    /// It was not there before.
    pub created: bool,
}

impl Objects {
    /// Applies a configuration to an object, or to the part that `target.subresource` names; creates the object when it
    /// is not there.
    ///
    /// # Errors
    /// [`Error::Apply`] when others own what it would change; else as Kubernetes would refuse.
    pub async fn apply(
        &self,
        target: &Target,
        configuration: Configuration,
        options: &WriteOptions,
    ) -> Result<Applied, Error> {
        let Configuration { mut object, force } = configuration;
        let warnings = check(target, &mut object, options)?;
        let pinned = ["resourceVersion", "uid"].iter().any(|field| !meta::text(&object, field).is_empty());
        for _ in 0..CONFLICT_ATTEMPTS {
            let there = self.get(target).is_some();
            let applied = if there {
                self.apply_to_current(target, &object, force, options).await
            } else if target.subresource.is_empty() {
                self.apply_new(target, &object, options).await
            } else {
                return Err(target.not_found());
            };
            match applied {
                Err(Error::Conflict { .. }) if !pinned => {}
                Err(Error::AlreadyExists { .. }) if !there => {}
                Err(Error::NotFound { .. }) if there && target.subresource.is_empty() => {}
                done => {
                    return done.map(|w| Applied { written: w.with_warnings(warnings), created: !there });
                }
            }
        }
        Err(target.conflict(MODIFIED))
    }

    /// Whether a user may create what a request of another verb would create: the right to that verb is not enough.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn may_create(&self, target: &Target, user: &User) -> Result<(), Error> {
        let Target { kind, namespace, name, .. } = target;
        let (group, resource) = (kind.group, kind.plural);
        let wanted = Attributes { verb: "create", group, resource, namespace, name, ..Attributes::default() };
        let decision = self.authorizer.authorize(user, &wanted, &self.snapshot());
        if decision.allowed {
            return Ok(());
        }
        Err(Error::Forbidden { resource: kind.group_resource(), name: name.clone(), detail: decision.reason })
    }

    async fn apply_new(&self, target: &Target, config: &Value, options: &WriteOptions) -> Result<Written, Error> {
        let uid = meta::text(config, "uid");
        if !uid.is_empty() {
            return Err(target.conflict(format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            )));
        }
        self.may_create(target, &options.user)?;
        let (manager, now) = (ownership::manager(target, options, true), meta::timestamp(Timestamp::now()));
        let managers = apply::create(&ownership::subject(target, &manager, &now), config);
        let mut object = config.clone();
        Schema::builtin().decode(target.kind.schema, &mut object);
        self.create_decoded(target, object, options, Claim::Applied(managers)).await
    }

    async fn apply_to_current(
        &self,
        target: &Target,
        config: &Value,
        force: bool,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let current = self.current(target)?;
        preconditions(target, &current, config)?;
        let live = target.view(&current)?;
        let managers = Managers::read(&live["metadata"]["managedFields"]).unwrap_or_default();
        let (manager, now) = (ownership::manager(target, options, true), meta::timestamp(Timestamp::now()));
        let subject = ownership::subject(target, &manager, &now);
        let (mut object, managers) = apply::apply(&subject, &live, config, managers, force).map_err(Error::Apply)?;
        // What the merge made is decoded like any body: an emptied struct may have become null.
        Schema::builtin().decode(target.kind.schema, &mut object);
        if target.subresource == subresource::SCALE {
            object = subresource::scale_of(&target.kind, &object);
        }
        self.replace(target, &current, object, options, Some(managers)).await
    }
}

/// Checks a configuration, and brings it into the form that is applied to the object: without what this part of the
/// object cannot set. Returns warnings.
fn check(target: &Target, config: &mut Value, options: &WriteOptions) -> Result<Vec<String>, Error> {
    let (api_version, kind, schema) = decode::body_type(target);
    if !config.is_object() {
        return Err(Error::BadRequest("error decoding YAML: the configuration is no object".into()));
    }
    let (given_version, given_kind) = (config["apiVersion"].as_str(), config["kind"].as_str());
    if given_version != Some(&api_version) {
        return Err(Error::BadRequest(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {api_version}",
            given_version.unwrap_or_default()
        )));
    }
    if given_kind != Some(kind) {
        let given = given_kind.unwrap_or_default();
        return Err(Error::BadRequest(format!("{given} in version {api_version:?} cannot be applied to a {kind}")));
    }
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Error::BadRequest("metadata.managedFields must be nil".into()));
    }
    decode::names(target, config, decode::Purpose::Replace)?;
    typed(target, config, schema)?;
    if target.subresource == subresource::SCALE {
        let replicas = config["spec"]["replicas"].take();
        *config = serde_json::json!({"metadata": config["metadata"].take(), "spec": {"replicas": replicas}});
        return Ok(Vec::new());
    }
    leave_others_alone(target, config);
    Ok(match (&options.source, options.field_validation) {
        (_, FieldValidation::Ignore) => Vec::new(),
        (Source::Yaml(lines) | Source::Value(lines), FieldValidation::Warn | FieldValidation::Strict) => lines.clone(),
        (Source::Json(..), FieldValidation::Warn | FieldValidation::Strict) => Vec::new(),
    })
}

/// Decodes a configuration by its schema. Unlike other bodies it may not have fields that are not known.
fn typed(target: &Target, config: &mut Value, schema: &str) -> Result<(), Error> {
    let (version, kind, _) = decode::body_type(target);
    let version = if version.contains('/') { version } else { format!("/{version}") };
    let decoded = Schema::builtin().decode_applied(schema, config);
    let unknown = decoded.unknown.iter().filter_map(|text| text.strip_prefix("unknown field \"")?.strip_suffix('"'));
    let mut problems: Vec<String> = unknown.map(|path| format!(".{path}: field not declared in schema")).collect();
    problems.extend(apply::check(schema, config).err().map(|e| e.to_string()));
    if problems.is_empty() {
        problems.extend(decoded.errors);
    }
    let text = match problems.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        more => format!("errors:\n  {}", more.join("\n  ")),
    };
    let (namespace, name) = (meta::text(config, "namespace"), &target.name);
    Err(Error::Apply(ApplyError::Malformed(format!(
        "failed to create typed patch object ({namespace}/{name}; {version}, Kind={kind}): {text}"
    ))))
}

/// The object itself leaves its status alone, its status everything but the status and some metadata, and another part
/// everything but itself.
fn leave_others_alone(target: &Target, config: &mut Value) {
    let has_status = target.kind.subresources.contains(&subresource::STATUS);
    let Some(fields) = config.as_object_mut() else { return };
    match target.subresource.as_str() {
        "" if has_status => drop(fields.remove("status")),
        subresource::STATUS => {
            fields.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
        }
        other => {
            if let Some(part) = target.kind.part(other) {
                fields.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec"));
                if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.retain(|name, _| {
                        !matches!(name.as_str(), "annotations" | "finalizers" | "labels" | "ownerReferences")
                    });
                }
                fields.get_mut("spec").map(part.keep);
            }
        }
    }
}
