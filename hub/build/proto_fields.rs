//! How objects are laid out in protobuf: the facts of `proto_fields.txt`, which `k8s-openapi`'s schemas do not carry.

use std::collections::BTreeMap;

use crate::kinds::Definitions;
use crate::model::Wire;

const TEXT: &str = include_str!("proto_fields.txt");

/// Fields that JSON has of `TypeMeta`; in protobuf they are in the envelope around an object.
const TYPE_META: [&str; 2] = ["apiVersion", "kind"];

/// Wire facts by definition and field.
#[derive(Debug)]
pub(crate) struct ProtoFields(BTreeMap<&'static str, BTreeMap<&'static str, Wire>>);

impl ProtoFields {
    /// Parses the table. Every fact must be about a known definition and field, so that a typing error fails the build.
    pub(crate) fn parse(definitions: &Definitions) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            let schema = definitions.get(name).ok_or_else(|| format!("field numbers of unknown {name}"))?;
            let fields = words.map(|word| fact(word).ok_or_else(|| format!("{name}: strange fact {word:?}")));
            let fields: BTreeMap<_, _> = fields.collect::<Result<_, _>>()?;
            if let Some(field) = fields.keys().find(|field| schema["properties"][**field].is_null()) {
                return Err(format!("a field number of unknown {name}.{field}"));
            }
            all.insert(name, fields);
        }
        Ok(Self(all))
    }

    /// Where a field is found in protobuf. An unknown number is an error: such a field would be lost.
    pub(crate) fn wire(&self, definition: &str, field: &str) -> Result<Wire, String> {
        let fields = self.0.get(definition).ok_or_else(|| format!("no field numbers of {definition}"))?;
        match fields.get(field) {
            Some(wire) => Ok(*wire),
            None if TYPE_META.contains(&field) => Ok(Wire::default()),
            None => Err(format!("no field number of {definition}.{field}")),
        }
    }
}

fn fact(word: &'static str) -> Option<(&'static str, Wire)> {
    let (field, number) = word.split_once('=')?;
    let digits = number.trim_end_matches(['*', '+']);
    let (always, keep_zero) = (number.ends_with('+'), number.len() > digits.len());
    let (outer, digits) = digits.split_once('.').unwrap_or(("0", digits));
    Some((field, Wire { outer: outer.parse().ok()?, number: digits.parse().ok()?, keep_zero, always }))
}
