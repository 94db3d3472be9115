//! What every field of every built-in kind is: type checks and clean-up of what clients send, and merge rules for
//! patches.
//!
//! The schema is made by the build script from `k8s-openapi`'s types and embedded without descriptions
//! (`registry::openapi` has those). It is decoded once, on first use; its names borrow from the embedded bytes.

mod body;
mod complete;
mod decode;
mod encode;
mod go_types;
mod lines;
mod misfit;
pub(crate) mod model;
mod protobuf;
mod scalars;
mod strict;
mod wire;

use std::sync::LazyLock;

use model::{Field, Model, Parts, Strategy, Struct, Type};

pub use body::{ContentType, DecodeError, no_object, parse_body};
pub use decode::Decoded;
pub use encode::{ENVELOPE_END, ListEncoder, encode_protobuf, envelope, watch_frame};
pub use lines::duplicate_keys;
pub use protobuf::decode_protobuf;
pub use wire::WireError;

static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schema.bin"));

static BUILTIN: LazyLock<Schema> = LazyLock::new(|| Schema {
    // The build script wrote these bytes with the same model; a test decodes them.
    model: postcard::from_bytes(BYTES).expect("the embedded schema is what the build script wrote"),
});

/// The types of all built-in kinds.
#[derive(Debug)]
pub struct Schema {
    model: Model<'static>,
}

/// How one field of a struct merges in a strategic merge patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeRule {
    /// A list that merges; `false` for lists that are replaced as a whole.
    pub merge: bool,
    /// A union, whose patches carry `$retainKeys`.
    pub retain_keys: bool,
    /// Merge key of a list of objects; empty for scalars.
    pub key: &'static str,
}

/// What server-side apply finds in a value: which parts of it have owners of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape<'s> {
    /// None: it has an owner as a whole.
    Leaf,
    /// Its fields.
    Struct,
    /// Its entries.
    Map,
    /// Its items, told apart by these fields.
    Keyed(&'s [&'static str]),
    /// Its items, which are scalars.
    Set,
    /// Nothing is known: entries of a map; a list or scalar as a whole.
    Unknown,
}

/// The type of a value somewhere in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeRef(Type);

impl TypeRef {
    /// The type of a value of which nothing is known.
    pub const ANY: Self = Self(Type::Any);
}

impl Schema {
    /// The schema of all kinds that are built in.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Whether there is a definition of this name (`io.k8s.api.core.v1.Pod`).
    pub fn contains(&self, definition: &str) -> bool {
        self.find(definition).is_some()
    }

    /// Whether there is a kind of this name, or a list of it, in an API version (`apps/v1`), or one that all versions have.
    pub fn has_kind(&self, api_version: &str, kind: &str) -> bool {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
        let package = group.split('.').next().unwrap_or_default();
        // Kinds have their own definitions; so have parts of them, which no version knows as kinds.
        let has = |name: &str| self.find(name).is_some_and(|index| self.field(self.structure(index), "kind").is_some());
        has(&format!("io.k8s.api.{package}.{version}.{kind}"))
            || (version == "v1" && has(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")))
    }

    /// The names of all definitions, sorted.
    pub fn definitions(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.model.structs.iter().map(|s| s.name)
    }

    /// The type that a definition names; [`TypeRef::ANY`] when there is none.
    pub fn type_of(&self, definition: &str) -> TypeRef {
        self.find(definition).map_or(TypeRef::ANY, |index| TypeRef(Type::Struct(index)))
    }

    /// Type and merge rule of a field of a struct or of an entry of a map; `None` for unknown fields and other types.
    pub fn field_type(&self, ty: TypeRef, field: &str) -> Option<(TypeRef, MergeRule)> {
        match ty.0 {
            Type::Struct(index) => {
                let field = self.field(self.structure(index), field)?;
                Some((TypeRef(field.ty), self.rule(field)))
            }
            Type::Map(element) => Some((TypeRef(self.element(element)), MergeRule::REPLACED)),
            Type::Bool
            | Type::Int32
            | Type::Int64
            | Type::Double
            | Type::String
            | Type::Bytes
            | Type::Time
            | Type::MicroTime
            | Type::Quantity
            | Type::IntOrString
            | Type::Any
            | Type::List(_) => None,
        }
    }

    /// Type of the items of a list; [`TypeRef::ANY`] for other types.
    pub fn item_type(&self, ty: TypeRef) -> TypeRef {
        if let Type::List(element) = ty.0 { TypeRef(self.element(element)) } else { TypeRef::ANY }
    }

    /// What server-side apply finds in a value of this type, where no field says more.
    pub fn shape(&self, ty: TypeRef) -> Shape<'_> {
        match ty.0 {
            Type::Struct(index) if self.structure(index).atomic => Shape::Leaf,
            // A struct without fields stands for one that is not known.
            Type::Struct(index) if self.structure(index).fields.is_empty() => Shape::Unknown,
            Type::Struct(_) => Shape::Struct,
            Type::Map(_) => Shape::Map,
            Type::Any => Shape::Unknown,
            Type::Bool
            | Type::Int32
            | Type::Int64
            | Type::Double
            | Type::String
            | Type::Bytes
            | Type::Time
            | Type::MicroTime
            | Type::Quantity
            | Type::IntOrString
            | Type::List(_) => Shape::Leaf,
        }
    }

    /// Type and shape of a field of a struct or of an entry of a map; nothing is known of other fields.
    pub fn part(&self, ty: TypeRef, field: &str) -> (TypeRef, Shape<'_>) {
        let Type::Struct(index) = ty.0 else {
            let ty = self.field_type(ty, field).map_or(TypeRef::ANY, |(ty, _)| ty);
            return (ty, self.shape(ty));
        };
        let Some(field) = self.field(self.structure(index), field) else { return (TypeRef::ANY, Shape::Unknown) };
        let ty = TypeRef(field.ty);
        let shape = match &self.model.strategies[usize::from(field.strategy)].parts {
            // A field that may hold anything (`data` of a ControllerRevision) is owned as a whole.
            Parts::OfType if matches!(field.ty, Type::Any) => Shape::Leaf,
            Parts::OfType => self.shape(ty),
            Parts::Atomic => Shape::Leaf,
            Parts::Granular => Shape::Struct,
            Parts::Keyed(keys) => Shape::Keyed(keys),
            Parts::Set => Shape::Set,
        };
        (ty, shape)
    }

    fn find(&self, definition: &str) -> Option<u16> {
        let index = self.model.structs.binary_search_by(|s| s.name.cmp(definition)).ok()?;
        u16::try_from(index).ok()
    }

    fn structure(&self, index: u16) -> &Struct<'static> {
        &self.model.structs[usize::from(index)]
    }

    fn element(&self, index: u16) -> Type {
        self.model.elements[usize::from(index)]
    }

    fn field<'a>(&self, structure: &'a Struct<'static>, name: &str) -> Option<&'a Field<'static>> {
        let index = structure.fields.binary_search_by(|f| f.name.cmp(name)).ok()?;
        Some(&structure.fields[index])
    }

    fn rule(&self, field: &Field<'_>) -> MergeRule {
        let Strategy { merge, retain_keys, key, .. } = self.model.strategies[usize::from(field.strategy)];
        MergeRule { merge, retain_keys, key }
    }
}

impl MergeRule {
    /// Replaced as a whole: the rule of everything that is not marked otherwise.
    pub const REPLACED: Self = Self { merge: false, retain_keys: false, key: "" };
}

/// The text of a 400 for a body that does not decode (`Deployment in version "v1" cannot be handled as a Deployment: …`).
pub fn cannot_be_handled(kind: &str, version: &str, cause: &str) -> String {
    format!("{kind} in version {version:?} cannot be handled as a {kind}: {cause}")
}

/// The text of a strict refusal, which [`cannot_be_handled`] takes as its cause.
pub fn strict_decoding_error(problems: &[String]) -> String {
    format!("strict decoding error: {}", problems.join(", "))
}

/// The text of a 400 for a body that is no object at all: what it should have been, why it is not, and how it starts.
pub fn unrecognized(kind: &str, cause: &str, body: &[u8]) -> String {
    format!("the object provided is unrecognized (must be of type {kind}): {cause} ({})", beginning(body))
}

/// The first bytes of a body: as they are where it looks like JSON, else in hexadecimal.
fn beginning(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let start = &body[..body.len().min(SHOWN)];
    let shown = match start.first() {
        None => return "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SHOWN { format!("{shown} ...") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_schema_decodes_and_is_small() {
        let schema = Schema::builtin();
        assert!(schema.contains("io.k8s.api.apps.v1.Deployment"));
        assert!(schema.contains("io.k8s.api.core.v1.PodList"));
        assert!(BYTES.len() < 300_000, "{}", BYTES.len());
    }

    #[test]
    fn kinds_are_known_by_version_and_name() {
        for (api_version, kind, known) in [
            ("v1", "Pod", true),
            ("v1", "PodList", true),
            ("v1", "PodSpec", false),
            ("v1", "Deployment", false),
            ("apps/v1", "Deployment", true),
            ("apps/v1", "Pod", false),
            ("rbac.authorization.k8s.io/v1", "Role", true),
            ("v1", "Status", true),
            ("v1", "DeleteOptions", true),
            ("v2", "Pod", false),
        ] {
            assert_eq!(Schema::builtin().has_kind(api_version, kind), known, "{api_version} {kind}");
        }
    }

    #[test]
    fn fields_are_found_with_their_rules() {
        let schema = Schema::builtin();
        for (definition, field, merge, retain_keys, key) in [
            ("io.k8s.api.core.v1.PodSpec", "containers", true, false, "name"),
            ("io.k8s.api.core.v1.PodSpec", "volumes", true, true, "name"),
            ("io.k8s.api.core.v1.PodSpec", "tolerations", false, false, ""),
            ("io.k8s.api.core.v1.ServiceSpec", "ports", true, false, "port"),
            ("io.k8s.api.apps.v1.DeploymentSpec", "strategy", false, true, ""),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers", true, false, ""),
        ] {
            let (_, rule) = schema.field_type(schema.type_of(definition), field).expect(field);
            assert_eq!(rule, MergeRule { merge, retain_keys, key }, "{definition}.{field}");
        }
        assert_eq!(schema.field_type(schema.type_of("io.k8s.api.core.v1.PodSpec"), "nonsense"), None);
    }

    #[test]
    fn parts_have_their_shapes() {
        let schema = Schema::builtin();
        for (definition, field, shape) in [
            ("io.k8s.api.core.v1.PodSpec", "containers", Shape::Keyed(&["name"])),
            ("io.k8s.api.core.v1.Container", "ports", Shape::Keyed(&["containerPort", "protocol"])),
            ("io.k8s.api.core.v1.Container", "command", Shape::Leaf),
            ("io.k8s.api.core.v1.Container", "resources", Shape::Struct),
            ("io.k8s.api.core.v1.PodSpec", "nodeSelector", Shape::Leaf),
            ("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef", Shape::Struct),
            ("io.k8s.api.apps.v1.DeploymentSpec", "selector", Shape::Leaf),
            ("io.k8s.api.apps.v1.DeploymentSpec", "replicas", Shape::Leaf),
            ("io.k8s.api.apps.v1.ControllerRevision", "data", Shape::Leaf),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "labels", Shape::Map),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers", Shape::Set),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "nonsense", Shape::Unknown),
        ] {
            assert_eq!(schema.part(schema.type_of(definition), field).1, shape, "{definition}.{field}");
        }
    }

    #[test]
    fn refusals_read_as_kubernetes_writes_them() {
        assert_eq!(
            cannot_be_handled("Deployment", "v1", &strict_decoding_error(&[r#"unknown field "spec.foo""#.into()])),
            r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.foo""#
        );
        for (body, shown) in [
            ("", "<empty>"),
            ("{x", "{x"),
            ("a: [", "613a205b"),
            ("{\"a\": \"0123456789012345678901234\"}", "{\"a\": \"01234567890123456789012 ..."),
        ] {
            assert_eq!(
                unrecognized("Pod", "couldn't get version/kind", body.as_bytes()),
                format!(
                    "the object provided is unrecognized (must be of type Pod): couldn't get version/kind ({shown})"
                )
            );
        }
    }
}
