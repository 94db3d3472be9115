//! Create, update and patch.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::decode::Purpose;
use super::error::{MODIFIED, not_found};
use super::ownership::{self, Claim};
use super::{
    Error, Objects, Patch, Target, WriteOptions, Written, admission, decode, meta, quota, strategies, subresource,
};
use crate::registry::apply::Managers;
use crate::registry::patch::{self, PatchError};
use crate::registry::schema::Schema;
use crate::registry::{FieldError, FieldErrorKind};
use crate::store::{Expected, Key, Meta, Object, Op, Snapshot, StoreError, Write};

/// How often a generated name that is taken is drawn again (apiserver `maxNameGenerationCreateAttempts`).
const NAME_ATTEMPTS: usize = 8;
/// How often a write that sets no resourceVersion is tried again on top of a newer state.
pub(super) const CONFLICT_ATTEMPTS: usize = 50;

impl Target {
    /// Where the object of this name is stored.
    pub(super) fn key(&self, name: &str) -> Key {
        let namespace = if self.kind.namespaced { self.namespace.as_str() } else { "" };
        Key { resource: self.kind.storage.clone(), namespace: namespace.into(), name: name.into() }
    }

    pub(super) fn not_found(&self) -> Error {
        not_found(&self.kind.group_resource(), &self.name)
    }

    pub(super) fn conflict(&self, detail: impl Into<String>) -> Error {
        Error::Conflict { resource: self.kind.group_resource(), name: self.name.clone(), detail: detail.into() }
    }

    /// Refuses the object when there are errors.
    pub(super) fn invalid(&self, object: &Value, errors: Vec<FieldError>) -> Result<(), Error> {
        if errors.is_empty() {
            return Ok(());
        }
        let (kind, group) = (self.kind.group_kind(), self.kind.group);
        let name = meta::text(object, "name");
        let name = if name.is_empty() { meta::text(object, "generateName") } else { name };
        Err(Error::Invalid { kind, group: group.to_owned(), name: name.to_owned(), errors })
    }

    /// Turns a stored object into this row's form.
    pub(super) fn view(&self, object: &Object) -> Result<Value, Error> {
        let value: Value = serde_json::from_slice(&object.json).map_err(|source| {
            Error::Store(StoreError::Backend { operation: "read a stored object", source: Box::new(source) })
        })?;
        Ok(match self.kind.hooks.from_stored {
            Some(convert) => convert(value),
            None => value,
        })
    }
}

impl Objects {
    /// Creates an object from a client's body, or performs a creating subresource (`binding`).
    ///
    /// # Errors
    /// [`Error`], as Kubernetes would refuse.
    pub async fn create(&self, target: &Target, mut body: Value, options: &WriteOptions) -> Result<Written, Error> {
        if subresource::is_binding(target) {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            if !target.subresource.is_empty() && name != target.name {
                return Err(Error::BadRequest("name in URL does not match name in Binding object".into()));
            }
            let warnings = decode::decode(target, &mut body, Purpose::Create, options)?;
            return self.bind(target, &body, options).await.map(|w| w.with_warnings(warnings));
        }
        let warnings = decode::decode(target, &mut body, Purpose::Create, options)?;
        let claim = Claim::Written(ownership::take_sent(&mut body));
        let written = self.create_decoded(target, body, options, claim).await?;
        Ok(written.with_warnings(warnings))
    }

    /// Creates an object from a body that has been decoded.
    pub(super) async fn create_decoded(
        &self,
        target: &Target,
        mut body: Value,
        options: &WriteOptions,
        claim: Claim,
    ) -> Result<Written, Error> {
        if !meta::text(&body, "resourceVersion").is_empty() {
            return Err(Error::BadRequest("resourceVersion should not be set on objects to be created".into()));
        }
        let hooks = &target.kind.hooks;
        let prefix = meta::text(&body, "generateName").to_owned();
        let generated = meta::text(&body, "name").is_empty() && !prefix.is_empty();
        let now = Timestamp::now();
        for attempt in 1.. {
            // Only a generated name can be taken and be drawn again.
            let mut object = if generated { body.clone() } else { std::mem::take(&mut body) };
            if generated {
                // Before the defaults, some of which come from the name.
                meta::metadata(&mut object).insert("name".into(), meta::generate_name(&prefix).into());
            }
            (hooks.default)(&mut object);
            meta::on_create(&mut object, now, hooks.has_generation);
            (hooks.prepare_create)(&mut object);
            Schema::builtin().complete(target.kind.schema, &mut object);
            ownership::on_create(target, &mut object, claim.clone(), options, now);
            let created = self.create_once(target, object, options).await;
            if attempt < NAME_ATTEMPTS && generated && matches!(created, Err(Error::AlreadyExists { .. })) {
                continue;
            }
            return created.map(|(object, warnings)| Written { object, warnings, removed: false });
        }
        Err(Error::BadRequest("no name could be generated".into()))
    }

    async fn create_once(
        &self,
        target: &Target,
        mut body: Value,
        options: &WriteOptions,
    ) -> Result<(Arc<Object>, Vec<String>), Error> {
        admission::service_account::wait(self, target, &body).await;
        let mut turn = self.quotas.enter(target, &self.snapshot()).await;
        let snapshot = self.snapshot();
        let admitted = self.admit(target, None, &snapshot, options, &mut body)?;
        let _addresses = self.networks.allocate(target, self, &mut body, None).await?;
        target.invalid(&body, (target.kind.hooks.validate)(&body, None))?;
        let warnings = [(target.kind.hooks.warn)(&body, None), admitted].concat();
        if let Some(counted) = &mut turn {
            quota::check(target, &snapshot, &body, None, counted, Timestamp::now())?;
        }
        let key = target.key(meta::text(&body, "name"));
        if let Some(convert) = target.kind.hooks.to_stored {
            body = convert(body);
        }
        if options.dry_run {
            return match self.snapshot().get(&key) {
                Some(_) => Err(self.refused(target, StoreError::Exists(key))),
                None => Ok((unsaved(key, 0, &body), warnings)),
            };
        }
        let write = Write { key, expected: Expected::Absent, op: Op::Put(body) };
        Ok((self.commit_one(target, write).await?, warnings))
    }

    /// Replaces an object, or the part that `target.subresource` names. A `resourceVersion` in the body is a precondition.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update(&self, target: &Target, mut body: Value, options: &WriteOptions) -> Result<Written, Error> {
        let warnings = decode::decode(target, &mut body, Purpose::Replace, options)?;
        let pinned = !matches!(meta::text(&body, "resourceVersion"), "" | "0");
        for _ in 0..CONFLICT_ATTEMPTS {
            let current = self.current(target)?;
            if !pinned && strategies::is_pinned(&target.kind) {
                return Err(unpinned(target));
            }
            match self.replace(target, &current, body.clone(), options, None).await {
                Err(Error::Conflict { .. }) if !pinned && self.moved_on(&current) => {}
                done => return done.map(|w| w.with_warnings(warnings)),
            }
        }
        Err(target.conflict(MODIFIED))
    }

    /// Patches an object; tried again on newer states unless the patch sets `resourceVersion`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn patch(&self, target: &Target, patch: &Patch, options: &WriteOptions) -> Result<Written, Error> {
        for _ in 0..CONFLICT_ATTEMPTS {
            let current = self.current(target)?;
            let mut body = patched(target, &current, patch)?;
            let pinned = meta::text(&body, "resourceVersion") != current.revision.to_string();
            // Decoding changes the body, so what a refusal shows is made again for the few that are refused.
            let shown = || match patch {
                Patch::Strategic(patch) => patch::printed(patch),
                Patch::Json(_) | Patch::Merge(_) => {
                    patched(target, &current, patch).map_or_else(|_| String::new(), |body| body.to_string())
                }
            };
            let warnings = decode::decode_patched(target, &mut body, shown, patch, options)?;
            same_uid(target, &current, &body)?;
            match self.replace(target, &current, body, options, None).await {
                Err(Error::Conflict { .. }) if !pinned && self.moved_on(&current) => {}
                done => return done.map(|w| w.with_warnings(warnings)),
            }
        }
        Err(target.conflict(MODIFIED))
    }

    /// Runs admission, and gives its warnings.
    fn admit(
        &self,
        target: &Target,
        old: Option<&Value>,
        snapshot: &Snapshot,
        options: &WriteOptions,
        object: &mut Value,
    ) -> Result<Vec<String>, Error> {
        let warnings = RefCell::default();
        let (user, authorizer) = (&options.user, &*self.authorizer);
        let (pod_security, audit) = (&*self.pod_security, &options.audit);
        let request = admission::Request { target, old, snapshot, user, authorizer, pod_security, audit, warnings };
        admission::admit(&request, object)?;
        Ok(request.warnings.into_inner())
    }

    /// The stored object a request is about.
    pub(super) fn current(&self, target: &Target) -> Result<Arc<Object>, Error> {
        self.get(target).ok_or_else(|| target.not_found())
    }

    /// Whether a newer state than `seen` is there, so that trying again makes sense.
    pub(super) fn moved_on(&self, seen: &Object) -> bool {
        self.snapshot().get(&seen.key).is_none_or(|o| o.revision != seen.revision)
    }

    /// One try at replacing `current` by `body`. `applied` are the owners when it comes from server-side apply.
    pub(super) async fn replace(
        &self,
        target: &Target,
        current: &Arc<Object>,
        body: Value,
        options: &WriteOptions,
        applied: Option<Managers>,
    ) -> Result<Written, Error> {
        preconditions(target, current, &body)?;
        let mut old = target.view(current)?;
        Schema::builtin().renew(target.kind.schema, &mut old);
        let mut new = subresource::merge(target, &old, body)?;
        let mut turn = None;
        if quota::may_grow(target) {
            turn = self.quotas.enter(target, &self.snapshot()).await;
        }
        let snapshot = self.snapshot();
        let (mut _addresses, mut warnings) = (None, Vec::new());
        let claim = applied.map_or_else(|| Claim::Written(ownership::take_sent(&mut new)), Claim::Applied);
        meta::on_update(&mut new, &old);
        let part = target.kind.part(&target.subresource);
        let is_spec = part.is_some() || matches!(target.subresource.as_str(), "" | subresource::SCALE);
        (target.kind.hooks.default)(&mut new);
        Schema::builtin().complete(target.kind.schema, &mut new);
        ownership::on_update(target, &mut new, &old, claim, options);
        if is_spec {
            (target.kind.hooks.prepare_update)(&mut new, &old);
            warnings = self.admit(target, Some(&old), &snapshot, options, &mut new)?;
            _addresses = self.networks.allocate(target, self, &mut new, Some(&old)).await?;
        }
        if subresource::is_judged(target) {
            self.admit(target, Some(&old), &snapshot, options, &mut new)?;
        }
        target.invalid(&new, complaints(target, &new, &old))?;
        if target.subresource.is_empty() {
            warnings.splice(0..0, (target.kind.hooks.warn)(&new, Some(&old)));
        }
        if let Some(counted) = &mut turn {
            quota::check(target, &snapshot, &new, Some(&old), counted, Timestamp::now())?;
        }
        let hooks = &target.kind.hooks;
        if hooks.has_generation && (meta::spec_changed(&new, &old) || is_spec && (hooks.next_generation)(&new, &old)) {
            meta::bump_generation(&mut new);
        }
        if new == old || ownership::only_times_differ(&new, &old) {
            return Ok(Written { object: current.clone(), warnings, removed: false });
        }
        let saved = self.save(target, current, new, options.dry_run).await?;
        Ok(Written { warnings, ..saved })
    }

    /// Stores a changed object, or removes it when nothing holds it any more.
    pub(super) async fn save(
        &self,
        target: &Target,
        current: &Arc<Object>,
        mut new: Value,
        dry_run: bool,
    ) -> Result<Written, Error> {
        let removed = super::delete::is_released(&target.kind, &new);
        if let Some(convert) = target.kind.hooks.to_stored {
            new = convert(new);
        }
        let write = |op| Write { key: current.key.clone(), expected: Expected::At(current.revision), op };
        let object = if dry_run {
            unsaved(current.key.clone(), current.revision, &new)
        } else if removed {
            let gone = self.commit_one(target, write(Op::Delete(None))).await?;
            unsaved(current.key.clone(), gone.revision, &new)
        } else {
            self.commit_one(target, write(Op::Put(new))).await?
        };
        Ok(Written { object, warnings: Vec::new(), removed })
    }

    pub(super) async fn commit_one(&self, target: &Target, write: Write) -> Result<Arc<Object>, Error> {
        let mut done = self.store.commit(vec![write]).await.map_err(|e| self.refused(target, e))?;
        done.pop().ok_or(Error::Store(StoreError::Closed))
    }

    fn refused(&self, target: &Target, error: StoreError) -> Error {
        match error {
            StoreError::Exists(key) => {
                Error::AlreadyExists { resource: target.kind.group_resource(), name: key.name.to_string() }
            }
            StoreError::Missing(_) => target.not_found(),
            StoreError::Conflict { .. } => target.conflict(MODIFIED),
            other @ (StoreError::Compacted { .. } | StoreError::Backend { .. } | StoreError::Closed) => {
                Error::Store(other)
            }
        }
    }
}

/// A patch may not give an object another uid: in the body of a PUT, it is a precondition.
fn same_uid(target: &Target, current: &Object, body: &Value) -> Result<(), Error> {
    let uid = meta::text(body, "uid");
    if uid.is_empty() || uid == &*current.meta.uid {
        return Ok(());
    }
    if target.subresource == subresource::SCALE {
        return Err(other_uid(target, current, uid));
    }
    let kind = FieldErrorKind::Invalid(format!("{uid:?}"));
    let error = FieldError { field: "metadata.uid".into(), kind, detail: "field is immutable".into() };
    target.invalid(body, vec![error])
}

/// The refusal of an update that does not say which state it replaces. Kubernetes names the resource, not the kind.
fn unpinned(target: &Target) -> Error {
    let error = FieldError {
        field: "metadata.resourceVersion".into(),
        kind: FieldErrorKind::Invalid("0x0".into()),
        detail: "must be specified for an update".into(),
    };
    let (kind, group) = (target.kind.group_resource(), target.kind.group.to_owned());
    Error::Invalid { kind, group, name: target.name.clone(), errors: vec![error] }
}

/// What is wrong with a change, by the rules for what the target names of its object.
fn complaints(target: &Target, new: &Value, old: &Value) -> Vec<FieldError> {
    let hooks = &target.kind.hooks;
    match (target.kind.part(&target.subresource), hooks.validate_status) {
        (Some(part), _) => (part.validate)(new, old),
        (None, Some(validate)) if target.subresource == subresource::STATUS => validate(new, old),
        (None, _) => (hooks.validate)(new, Some(old)),
    }
}

/// An object that a dry run answers with.
pub(super) fn unsaved(key: Key, revision: u64, value: &Value) -> Arc<Object> {
    Arc::new(Object { key, revision, json: Bytes::from(value.to_string()), meta: Meta::default() })
}

/// An object, or its Scale, with a patch applied.
fn patched(target: &Target, current: &Object, patch: &Patch) -> Result<Value, Error> {
    let view = target.view(current)?;
    let is_scale = target.subresource == subresource::SCALE;
    let mut body = if is_scale { subresource::scale_of(&target.kind, &view) } else { view };
    apply(target, patch, &mut body)?;
    Ok(body)
}

fn apply(target: &Target, patch: &Patch, body: &mut Value) -> Result<(), Error> {
    let definition =
        if target.subresource == subresource::SCALE { subresource::SCALE_SCHEMA } else { target.kind.schema };
    let applied = match patch {
        Patch::Json(operations) => patch::apply_json(body, operations),
        Patch::Merge(merge) => patch::apply_merge(body, merge),
        Patch::Strategic(strategic) => patch::strategic(Schema::builtin(), definition, body, strategic),
    };
    applied.map_err(|e| match e {
        PatchError::BadRequest(message) => Error::BadRequest(message),
        PatchError::Unprocessable { detail } => Error::UnprocessablePatch(detail),
        PatchError::TooLarge(message) => Error::TooLarge(message),
    })
}

/// `resourceVersion` and `uid` in a body are preconditions.
pub(super) fn preconditions(target: &Target, current: &Object, body: &Value) -> Result<(), Error> {
    let uid = meta::text(body, "uid");
    if !uid.is_empty() && uid != &*current.meta.uid {
        return Err(other_uid(target, current, uid));
    }
    let version = meta::text(body, "resourceVersion");
    if !version.is_empty() {
        let asked: u64 = version.parse().map_err(|_| Error::Invalid {
            kind: target.kind.kind.to_owned(),
            group: target.kind.group.to_owned(),
            name: target.name.clone(),
            errors: vec![FieldError {
                field: "metadata.resourceVersion".into(),
                kind: FieldErrorKind::Invalid(format!("{version:?}")),
                detail: "must be a resource version that the server gave".into(),
            }],
        })?;
        if asked != 0 && asked != current.revision {
            return Err(target.conflict(MODIFIED));
        }
    }
    Ok(())
}

/// The refusal of a PUT of another object than the one that is there, as Kubernetes' storage words it.
fn other_uid(target: &Target, current: &Object, uid: &str) -> Error {
    let mismatch = super::delete::uid_mismatch(uid, &current.meta.uid);
    if target.subresource == subresource::SCALE {
        let resource = subresource::scale_resource(&target.kind);
        return Error::Conflict { resource, name: target.name.clone(), detail: mismatch };
    }
    let namespace = if target.kind.namespaced { format!("{}/", target.namespace) } else { String::new() };
    let place = format!("/registry/{}/{namespace}{}", strategies::stored_as(&target.kind), target.name);
    target.conflict(format!(
        "StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: {mismatch}"
    ))
}
