//! Objects as a client wants to see them: as stored, as rows of a Table, or only their metadata.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::negotiate::{Include, View};
use crate::objects::subresource::scale_of;
use crate::registry::excerpt::{Excerpt, Field, fields};
use crate::registry::{Column, Kind, printers};
use crate::store::{Object, Revision};

/// Turns the objects of one kind into JSON.
#[derive(Debug, Clone)]
pub(crate) struct Renderer {
    pub(crate) kind: Arc<Kind>,
    pub(crate) view: View,
    /// Unix seconds, for ages.
    pub(crate) now: i64,
}

/// `meta/v1.ListMeta`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    pub(crate) resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    pub(crate) continue_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_item_count: Option<usize>,
}

/// What a list calls itself and its parts.
#[derive(Debug)]
pub(crate) struct ListNames {
    pub(crate) api_version: String,
    pub(crate) list_kind: &'static str,
    pub(crate) item_kind: &'static str,
    /// The field that has the elements.
    pub(crate) list: &'static str,
}

/// The columns of kinds whose row has none, as apiserver's default table has them.
const DEFAULT_COLUMNS: &[Column] = &[
    Column {
        name: "Name",
        kind: "string",
        format: "name",
        description: "Name must be unique within a namespace.",
        priority: 0,
    },
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        description: "CreationTimestamp is a timestamp representing the server time when this object was created.",
        priority: 0,
    },
];

/// The fields that those need.
const DEFAULT_FIELDS: &[Field] = fields! { metadata { name creationTimestamp } };

/// The columns of a Scale.
const SCALE_COLUMNS: &[Column] = &[
    printers::NAME,
    printers::integer("Desired", "replicas is the desired number of instances for the scaled object."),
    printers::integer("Available", "replicas is the actual number of observed instances of the scaled object."),
    printers::AGE,
];

/// What closes a list that [`Renderer::list_head`] opened.
pub(crate) const LIST_TAIL: &[u8] = b"]}";

impl Renderer {
    /// The object in this kind's form: the stored bytes, unless the kind converts them.
    pub(crate) fn object(&self, object: &Object) -> Bytes {
        match self.kind.hooks.from_stored {
            None => object.json.clone(),
            Some(convert) => encode(&convert(parse(&object.json))),
        }
    }

    /// One element of a list.
    pub(crate) fn item(&self, object: &Object) -> Bytes {
        match self.view {
            View::Object => self.object(object),
            View::Metadata { version } => {
                partial(version, excerpt(&object.json, fields! { metadata { name } }).metadata).into()
            }
            View::Table { version, include } => self.row(&self.object(object), version, include).into(),
        }
    }

    /// One object as a whole answer, or as the object of a watch event; only the first event has column definitions.
    pub(crate) fn single(&self, object: &Object, with_columns: bool) -> Bytes {
        match self.view {
            View::Object | View::Metadata { .. } => self.item(object),
            View::Table { version, include } => {
                let columns = if with_columns { self.columns() } else { Value::Null };
                self.table(version, object.revision, &columns, &self.row(&self.object(object), version, include))
            }
        }
    }

    /// The Scale of an object that has `spec.replicas`.
    pub(crate) fn scale(&self, object: &Object) -> Bytes {
        let (scale, revision) = (scale_of(&self.kind, &parse(&object.json)), object.revision);
        let metadata = scale["metadata"].to_string();
        let (version, include) = match self.view {
            View::Object => return encode(&scale),
            View::Metadata { version } => return partial(version, &metadata).into(),
            View::Table { version, include } => (version, include),
        };
        let replicas = |part: &str| scale[part]["replicas"].clone();
        let cells = [printers::name(&scale), replicas("spec"), replicas("status"), printers::age(&scale, self.now)];
        let object = match include {
            Include::None => "null".to_owned(),
            Include::Metadata => partial(version, &metadata),
            Include::Object => scale.to_string(),
        };
        self.table(version, revision, &column_definitions(SCALE_COLUMNS), &row(&cells, None, &object))
    }

    fn table(&self, version: &str, revision: Revision, columns: &Value, row: &str) -> Bytes {
        let head = r#"{"kind":"Table","apiVersion":"meta.k8s.io/"#;
        let metadata = format!(r#"{{"resourceVersion":"{revision}"}}"#);
        format!(r#"{head}{version}","metadata":{metadata},"columnDefinitions":{columns},"rows":[{row}]}}"#).into()
    }

    /// The beginning of a list, up to its first element.
    pub(crate) fn list_head(&self, meta: &ListMeta) -> Vec<u8> {
        let meta = serde_json::to_string(meta).unwrap_or_default();
        let ListNames { api_version, list_kind, list, .. } = self.list_names();
        let columns = match self.view {
            View::Object | View::Metadata { .. } => String::new(),
            View::Table { .. } => format!(r#""columnDefinitions":{},"#, self.columns()),
        };
        let head =
            format!(r#"{{"kind":"{list_kind}","apiVersion":"{api_version}","metadata":{meta},{columns}"{list}":["#);
        head.into_bytes()
    }

    /// A list without elements.
    pub(crate) fn empty_list(&self, meta: &ListMeta) -> Value {
        let mut text = self.list_head(meta);
        text.extend_from_slice(LIST_TAIL);
        parse(&text)
    }

    /// What a list calls itself and its parts.
    pub(crate) fn list_names(&self) -> ListNames {
        let meta = |list_kind, item_kind, list, version| ListNames {
            api_version: format!("meta.k8s.io/{version}"),
            list_kind,
            item_kind,
            list,
        };
        match self.view {
            View::Object => ListNames {
                api_version: self.kind.api_version(),
                list_kind: self.kind.list_kind,
                item_kind: self.kind.kind,
                list: "items",
            },
            View::Metadata { version } => meta("PartialObjectMetadataList", "PartialObjectMetadata", "items", version),
            View::Table { version, .. } => meta("Table", "TableRow", "rows", version),
        }
    }

    /// The object of a bookmark event.
    pub(crate) fn bookmark(&self, revision: Revision, initial_events_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let version = self.kind.api_version();
        encode(&match self.view {
            View::Object => json!({"kind": self.kind.kind, "apiVersion": version, "metadata": metadata}),
            View::Metadata { version } => return partial(version, &metadata.to_string()).into(),
            View::Table { version: table, include } => {
                let object = json!({"kind": self.kind.kind, "apiVersion": version, "metadata": metadata});
                return self.table(table, revision, &Value::Null, &self.row(&encode(&object), table, include));
            }
        })
    }

    fn definitions(&self) -> &'static [Column] {
        if self.kind.hooks.columns.is_empty() { DEFAULT_COLUMNS } else { self.kind.hooks.columns }
    }

    fn columns(&self) -> Value {
        column_definitions(self.definitions())
    }

    /// A row, from an object in this kind's form. Only what the cells need is parsed: lists have thousands of rows.
    fn row(&self, json: &Bytes, version: &str, include: Include) -> String {
        let own = !self.kind.hooks.columns.is_empty();
        let Excerpt { value, metadata } = excerpt(json, if own { self.kind.hooks.row_fields } else { DEFAULT_FIELDS });
        let cells = if own { (self.kind.hooks.row)(&value, self.now) } else { default_cells(&value) };
        let completed = (self.kind.hooks.completed)(&value).map(
            |(reason, message)| json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]),
        );
        let object = match include {
            Include::None => "null".into(),
            Include::Metadata => partial(version, metadata).into(),
            Include::Object => String::from_utf8_lossy(json),
        };
        row(&cells, completed.as_ref(), &object)
    }
}

fn row(cells: &[Value], conditions: Option<&Value>, object: &str) -> String {
    let cells = serde_json::to_string(cells).unwrap_or_default();
    let conditions = conditions.map(|conditions| format!(r#""conditions":{conditions},"#)).unwrap_or_default();
    format!(r#"{{"cells":{cells},{conditions}"object":{object}}}"#)
}

fn column_definitions(columns: &[Column]) -> Value {
    let column = |c: &Column| json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority});
    columns.iter().map(column).collect()
}

fn default_cells(object: &Value) -> Vec<Value> {
    ["name", "creationTimestamp"].iter().map(|f| object["metadata"][*f].clone()).collect()
}

fn partial(version: &str, metadata: &str) -> String {
    let metadata = if metadata.is_empty() { "null" } else { metadata };
    format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":{metadata}}}"#)
}

fn excerpt<'a>(json: &'a [u8], fields: &'static [Field]) -> Excerpt<'a> {
    // The store holds only what it encoded itself.
    Excerpt::parse(json, fields).unwrap_or(Excerpt { value: Value::Null, metadata: "" })
}

fn parse(json: &[u8]) -> Value {
    // The store holds only what it encoded itself.
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

fn encode(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}
