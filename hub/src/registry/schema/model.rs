//! The compact schema as the build script writes it and the hub reads it: names, types and merge strategies, without
//! descriptions. Texts borrow from the embedded bytes.

use serde::{Deserialize, Serialize};

/// All types, sorted by name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Model<'a> {
    /// Structs.
    #[serde(borrow)]
    pub(crate) structs: Vec<Struct<'a>>,
    /// Element types of lists and maps.
    pub(crate) elements: Vec<Type>,
    /// How fields merge; the first is "replaced as a whole".
    #[serde(borrow)]
    pub(crate) strategies: Vec<Strategy<'a>>,
}

/// One struct.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Struct<'a> {
    /// `io.k8s.api.core.v1.Pod`.
    pub(crate) name: &'a str,
    /// Whether server-side apply owns it as a whole.
    pub(crate) atomic: bool,
    /// Sorted by name.
    #[serde(borrow)]
    pub(crate) fields: Box<[Field<'a>]>,
}

/// One field of a struct.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Field<'a> {
    /// JSON name.
    pub(crate) name: &'a str,
    /// Its type.
    pub(crate) ty: Type,
    /// Index into [`Model::strategies`].
    pub(crate) strategy: u8,
    /// Whether the document calls it required.
    pub(crate) required: bool,
    /// Where it is in protobuf.
    pub(crate) wire: Wire,
}

/// Where a field of a struct is in its protobuf message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// Number of the message that holds the field, where JSON has that message's fields inline; 0 for none.
    pub(crate) outer: u8,
    /// Field number; 0 for the fields of `TypeMeta`, which are not in the message.
    pub(crate) number: u8,
    /// Whether a zero value is said on purpose: Go writes fields that are no pointers even when they are not set.
    pub(crate) keep_zero: bool,
    /// Whether Go writes the field whatever its value: it is not `omitempty`, or a struct that is no pointer.
    pub(crate) always: bool,
}

/// A type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Type {
    /// `bool`.
    Bool,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `float64`.
    Double,
    /// `string`.
    String,
    /// Base64 text.
    Bytes,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// Anything: kept as it is.
    Any,
    /// Index into [`Model::structs`].
    Struct(u16),
    /// Index into [`Model::elements`].
    List(u16),
    /// Index into [`Model::elements`]; keys are strings.
    Map(u16),
}

/// How a field merges in a strategic merge patch and in server-side apply.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Strategy<'a> {
    /// A list that merges instead of being replaced.
    pub(crate) merge: bool,
    /// A union: `$retainKeys` is expected.
    pub(crate) retain_keys: bool,
    /// Merge key of a list of objects; empty for scalars.
    pub(crate) key: &'a str,
    /// How server-side apply tells the parts of it apart.
    #[serde(borrow)]
    pub(crate) parts: Parts<'a>,
}

/// What has an owner of its own in a field's value.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Parts<'a> {
    /// As the type says: fields and entries, but no items of lists.
    #[default]
    OfType,
    /// Nothing: it has an owner as a whole, whatever the type says.
    Atomic,
    /// Fields and entries, whatever the type says.
    Granular,
    /// The items of a list, told apart by these fields.
    Keyed(#[serde(borrow)] Vec<&'a str>),
    /// The items of a list of scalars.
    Set,
}
