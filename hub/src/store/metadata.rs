//! What the store itself reads and writes in an object: `metadata`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Key, Meta, Object, Owner, Revision, StoreError};

/// More than most objects take when they are encoded.
const USUAL_BYTES: usize = 16 << 10;

impl Object {
    /// Encodes a value as the state of an object at a revision: sets `metadata.resourceVersion` and takes [`Meta`] out.
    ///
    /// # Errors
    /// [`StoreError::Backend`] when the value is no object with well-formed `metadata`.
    pub fn encode(key: Key, revision: Revision, mut value: Value) -> Result<Self, StoreError> {
        let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else {
            return Err(StoreError::backend("encode an object", format!("{key:?} has no metadata")));
        };
        metadata.insert("resourceVersion".into(), revision.to_string().into());
        let failed = |e| StoreError::backend("encode an object", e);
        let meta = RawMeta::deserialize(&value["metadata"]).map_err(failed)?.into();
        // Copied: objects live long, and a buffer that grows while encoding leaves holes in the heap around each.
        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, &value).map_err(failed)?;
        Ok(Self { key, revision, json: Bytes::copy_from_slice(&json), meta })
    }

    /// Reads an encoded object whose revision is known.
    ///
    /// # Errors
    /// When the JSON is no object with well-formed `metadata`.
    pub fn decode(key: Key, revision: Revision, json: Bytes) -> Result<Self, serde_json::Error> {
        let meta = serde_json::from_slice::<RawObject>(&json)?.metadata.into();
        Ok(Self { key, revision, json, meta })
    }

    /// The same state under another revision, as deletions show it.
    ///
    /// # Errors
    /// [`StoreError::Backend`] when the stored JSON cannot be read.
    pub fn at_revision(&self, revision: Revision) -> Result<Arc<Self>, StoreError> {
        let value = self.parse::<Value>().map_err(|e| StoreError::backend("read an object", e))?;
        Self::encode(self.key.clone(), revision, value).map(Arc::new)
    }
}

impl StoreError {
    pub(crate) fn backend(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Backend { operation, source: source.into() }
    }
}

#[derive(Deserialize)]
struct RawObject {
    metadata: RawMeta,
}

/// `null` counts as missing everywhere, as in Kubernetes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    uid: Option<Box<str>>,
    generation: Option<i64>,
    labels: Option<BTreeMap<Box<str>, Option<Box<str>>>>,
    owner_references: Option<Vec<RawOwner>>,
    finalizers: Option<Box<[Box<str>]>>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOwner {
    api_version: Option<Box<str>>,
    kind: Option<Box<str>>,
    name: Option<Box<str>>,
    uid: Option<Box<str>>,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

impl From<RawMeta> for Meta {
    fn from(raw: RawMeta) -> Self {
        Self {
            uid: raw.uid.unwrap_or_default(),
            generation: raw.generation.unwrap_or_default(),
            labels: raw.labels.into_iter().flatten().map(|(k, v)| (k, v.unwrap_or_default())).collect(),
            owners: raw.owner_references.into_iter().flatten().map(Owner::from).collect(),
            finalizers: raw.finalizers.unwrap_or_default(),
            deleting: raw.deletion_timestamp.is_some(),
        }
    }
}

impl From<RawOwner> for Owner {
    fn from(raw: RawOwner) -> Self {
        Self {
            api_version: raw.api_version.unwrap_or_default(),
            kind: raw.kind.unwrap_or_default(),
            name: raw.name.unwrap_or_default(),
            uid: raw.uid.unwrap_or_default(),
            controller: raw.controller.unwrap_or_default(),
            block_owner_deletion: raw.block_owner_deletion.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Key {
        Key { resource: "pods".into(), namespace: "default".into(), name: "a".into() }
    }

    #[test]
    fn meta_is_taken_from_metadata_alike_on_write_and_on_load() {
        let value = json!({"metadata": {
            "name": "a", "uid": "u-1", "generation": 3, "deletionTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"tier": "web", "app": "shop", "empty": null}, "finalizers": ["x/y"],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u-0", "controller": true}],
        }});
        let written = Object::encode(key(), 7, value).unwrap();
        let loaded = Object::decode(key(), 7, written.json.clone()).unwrap();
        assert_eq!(written.meta, loaded.meta);
        assert_eq!(written.parse::<Value>().unwrap()["metadata"]["resourceVersion"], "7");
        let meta = &written.meta;
        assert_eq!((&*meta.uid, meta.generation, meta.deleting), ("u-1", 3, true));
        let labels: Vec<_> = meta.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(labels, [("app", "shop"), ("empty", ""), ("tier", "web")]);
        assert_eq!(&*written.controller().unwrap().name, "r");
        assert!(!meta.owners[0].block_owner_deletion);
    }

    #[test]
    fn null_and_missing_fields_are_empty() {
        let nulls = json!({"metadata": {"uid": null, "labels": null, "finalizers": null, "deletionTimestamp": null}});
        assert_eq!(Object::encode(key(), 1, nulls).unwrap().meta, Meta::default());
        assert_eq!(Object::encode(key(), 1, json!({"metadata": {}})).unwrap().meta, Meta::default());
    }

    #[test]
    fn malformed_metadata_is_refused() {
        for bad in
            [json!({}), json!([]), json!("x"), json!({"metadata": null}), json!({"metadata": {"labels": {"a": 1}}})]
        {
            let refusal = Object::encode(key(), 1, bad.clone());
            assert!(matches!(refusal, Err(StoreError::Backend { .. })), "{bad}: {refusal:?}");
        }
    }
}
