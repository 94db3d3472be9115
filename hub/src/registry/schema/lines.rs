//! Keys that a YAML document has twice, with the lines of their values, as Go's YAML parser tells them.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// `line 5: key "name" already set in map` for each key that a map of the document has already. None where the document
/// is not YAML.
pub fn duplicate_keys(document: &[u8]) -> Vec<String> {
    let document = super::body::first_document(document);
    let told: Result<Told, _> = serde_saphyr::from_slice_with_options(document, super::body::yaml_options());
    told.map(|told| told.0).unwrap_or_default()
}

/// How many keys are told.
const MAX_TOLD: usize = 100;

/// What one value has to tell.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn add(&mut self, others: Vec<String>) {
        let room = MAX_TOLD.saturating_sub(self.0.len());
        self.0.extend(others.into_iter().take(room));
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ToldVisitor)
    }
}

struct ToldVisitor;

impl<'de> Visitor<'de> for ToldVisitor {
    type Value = Told;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Told, E> {
        Ok(Told::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Told, E> {
        Ok(Told::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Told, E> {
        Ok(Told::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Told, E> {
        Ok(Told::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Told, E> {
        Ok(Told::default())
    }

    fn visit_unit<E>(self) -> Result<Told, E> {
        Ok(Told::default())
    }

    fn visit_none<E>(self) -> Result<Told, E> {
        Ok(Told::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Told, D::Error> {
        Told::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Told, A::Error> {
        let mut told = Told::default();
        while let Some(item) = seq.next_element::<Told>()? {
            told.add(item.0);
        }
        Ok(told)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Told, A::Error> {
        let (mut told, mut keys) = (Told::default(), BTreeSet::new());
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value::<Spanned<Told>>()?;
            told.add(value.value.0);
            if keys.contains(&key) {
                told.add(vec![format!("line {}: key {key:?} already set in map", value.referenced.line())]);
            }
            keys.insert(key);
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_with_the_lines_of_their_values() {
        for (document, expected) in [
            ("a: 1\nb: 2", &[][..]),
            (
                "a: 1\nb:\n  c: 1\n  c: 2\na: 3",
                &["line 4: key \"c\" already set in map", "line 5: key \"a\" already set in map"],
            ),
            ("l:\n- a: 1\n  a: 2\n- b: 1", &["line 3: key \"a\" already set in map"]),
            ("m:\n  x: 1\nm:\n  y: 2", &["line 4: key \"m\" already set in map"]),
            ("{\n\t\"a\": 1,\n\t\"a\": 2\n}", &["line 3: key \"a\" already set in map"]),
            ("a: [", &[]),
        ] {
            assert_eq!(duplicate_keys(document.as_bytes()), expected, "{document}");
        }
    }
}
