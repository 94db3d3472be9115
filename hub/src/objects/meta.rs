//! Object metadata: what the server sets, keeps and counts, whatever the kind.

use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};

/// Kubernetes' alphabet for generated name suffixes: no vowels, no look-alikes.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// Longest `generateName` prefix that is kept: the name must fit 63 characters (apiserver `maxGeneratedNameLength`).
const MAX_PREFIX: usize = 63 - SUFFIX_LENGTH;

/// What a client may not set in the `metadata` of a new object.
const SERVER_SET: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "resourceVersion",
];
/// What an update leaves as it is, whatever it says.
const KEPT: [&str; 6] = ["creationTimestamp", "generation", "managedFields", "name", "namespace", "resourceVersion"];

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The system's random source does not fail on Linux once it has been seeded, which is long before a hub starts.
    SystemRandom::new().fill(&mut bytes).expect("the system's random source works");
    bytes
}

/// A random version 4 UUID.
pub fn new_uid() -> String {
    let mut b = random::<16>();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A name from `generateName`: the prefix, cut where needed, and five random characters.
pub(super) fn generate_name(prefix: &str) -> String {
    let cut = prefix.char_indices().nth(MAX_PREFIX).map_or(prefix.len(), |(i, _)| i);
    let suffix = random::<SUFFIX_LENGTH>().map(|b| char::from(SUFFIX_ALPHABET[usize::from(b) % SUFFIX_ALPHABET.len()]));
    prefix[..cut].chars().chain(suffix).collect()
}

/// A time as Kubernetes writes it: RFC 3339, whole seconds, UTC.
pub(super) fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The `metadata` map of an object, made where it is missing or no map.
pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("made an object just above")
}

/// A text in `metadata`, empty where it is not set.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Sets what the server owns on a new object and drops what a client may not set.
pub(super) fn on_create(object: &mut Value, now: Timestamp, has_generation: bool) {
    let m = metadata(object);
    for field in SERVER_SET {
        m.remove(field);
    }
    m.insert("uid".into(), new_uid().into());
    m.insert("creationTimestamp".into(), timestamp(now).into());
    if has_generation {
        m.insert("generation".into(), 1.into());
    }
}

/// Takes over what the server owns from the stored object. A uid or the marks of a deletion that differ stay, to be
/// refused.
pub(super) fn on_update(new: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let m = metadata(new);
    m.remove("selfLink");
    for field in KEPT {
        match old.get(field) {
            Some(value) => m.insert(field.into(), value.clone()),
            None => m.remove(field),
        };
    }
    for (field, settled) in [("uid", false), ("deletionTimestamp", true), ("deletionGracePeriodSeconds", false)] {
        let unset = m.get(field).is_none_or(|value| value.is_null() || value == "");
        match old.get(field) {
            Some(value) if unset || settled => drop(m.insert(field.into(), value.clone())),
            None if unset => drop(m.remove(field)),
            Some(_) | None => {}
        }
    }
}

/// Whether anything but `metadata` and `status` differs: what counts up the generation.
pub(super) fn spec_changed(new: &Value, old: &Value) -> bool {
    fn rest(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
        object.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata" && *field != "status")
    }
    !rest(new).eq(rest(old))
}

/// Counts up `metadata.generation`.
pub(super) fn bump_generation(object: &mut Value) {
    let next = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
    metadata(object).insert("generation".into(), next.into());
}

/// The finalizers of an object.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .map(|a| a.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Adds and removes finalizers.
pub(super) fn set_finalizer(object: &mut Value, name: &str, present: bool) {
    let mut list: Vec<String> = finalizers(object).into_iter().filter(|f| *f != name).map(str::to_owned).collect();
    if present {
        list.push(name.to_owned());
    }
    if list.is_empty() {
        metadata(object).remove("finalizers");
    } else {
        metadata(object).insert("finalizers".into(), json!(list));
    }
}

/// Marks an object as being deleted, to be gone at `at`.
pub(super) fn mark_deleted(object: &mut Value, at: Timestamp, grace_seconds: i64) {
    let m = metadata(object);
    m.insert("deletionTimestamp".into(), timestamp(at).into());
    m.insert("deletionGracePeriodSeconds".into(), grace_seconds.into());
}

/// Whether an object is marked as being deleted.
pub(super) fn is_deleting(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some_and(|t| !t.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_version_4_and_differ() {
        let (a, b) = (new_uid(), new_uid());
        assert_eq!((a.len(), &a[14..15], a.matches('-').count()), (36, "4", 4));
        assert_ne!(a, b);
    }

    #[test]
    fn generated_names_keep_the_prefix_and_fit_a_label() {
        let name = generate_name("web-");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_eq!(generate_name(&"x".repeat(300)).len(), 63);
        assert!(generate_name(&"é".repeat(300)).starts_with('é'));
    }

    #[test]
    fn an_update_cannot_change_what_the_server_owns() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "creationTimestamp": "t", "generation": 3}});
        let mut new = json!({"metadata": {"name": "a", "generateName": "b", "generation": 9, "labels": {"a": "b"}}});
        on_update(&mut new, &old);
        assert_eq!(
            new["metadata"],
            json!({
                "name": "a", "generateName": "b", "uid": "1", "creationTimestamp": "t", "generation": 3,
                "labels": {"a": "b"},
            })
        );
    }

    #[test]
    fn the_marks_of_a_deletion_stay() {
        let marks = |time, grace| json!({"metadata": {"deletionTimestamp": time, "deletionGracePeriodSeconds": grace}});
        for (old, new, kept) in [
            (marks("t", 5), json!({}), marks("t", 5)),
            (marks("t", 5), marks("u", 6), marks("t", 6)),
            (json!({}), marks("u", 6), marks("u", 6)),
        ] {
            let mut updated = new;
            on_update(&mut updated, &old);
            assert_eq!(updated, kept);
        }
    }
}
