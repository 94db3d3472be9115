//! Access to the embedded definitions: a set of them with all that they refer to, in the form of either version.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::DeflateDecoder;

use super::packages::{Definition, Packages, REFERENCE_END, REFERENCE_START};

/// What the build script wrote.
pub(super) static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/definitions.bin"));

static PACKAGES: LazyLock<Packages<'static>> =
    LazyLock::new(|| postcard::from_bytes(BYTES).expect("the embedded definitions are what the build script wrote"));

/// How references are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `"$ref":"#/definitions/NAME"`.
    V2,
    /// `"allOf":[{"$ref":"#/components/schemas/NAME"}]`: version 3 allows nothing beside a `$ref`.
    V3,
}

/// The definitions of these names and all that they refer to: JSON texts by name, references still marked. Unknown
/// names are left out.
pub(super) fn closure(roots: impl IntoIterator<Item = String>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut seen: BTreeSet<String> = roots.into_iter().collect();
    let mut left: Vec<String> = seen.iter().cloned().collect();
    let mut inflated: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    while let Some(name) = left.pop() {
        let Some((package, _)) = name.rsplit_once('.') else { continue };
        let bytes = match inflated.entry(package.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(inflate(package)),
        };
        let Some(json) = find(bytes, &name) else { continue };
        left.extend(references(json).filter(|name| seen.insert((*name).to_owned())).map(str::to_owned));
        out.insert(name, json.to_owned());
    }
    out
}

/// The text with its references in the style of a version.
pub(super) fn styled(json: &str, style: Style) -> String {
    let (before, after) = match style {
        Style::V2 => ("\"$ref\":\"#/definitions/", "\""),
        Style::V3 => ("\"allOf\":[{\"$ref\":\"#/components/schemas/", "\"}]"),
    };
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let mut rest = json;
    while let Some((text, marked)) = rest.split_once(REFERENCE_START) {
        let (name, left) = marked.split_once(REFERENCE_END).unwrap_or((marked, ""));
        for piece in [text, before, name, after] {
            out.push_str(piece);
        }
        rest = left;
    }
    out.push_str(rest);
    out
}

fn references(json: &str) -> impl Iterator<Item = &str> {
    json.split(REFERENCE_START).skip(1).filter_map(|marked| marked.split_once(REFERENCE_END)).map(|(name, _)| name)
}

/// The encoded definitions of a package; empty when there is none.
fn inflate(package: &str) -> Vec<u8> {
    let packages = &PACKAGES.packages;
    let Ok(index) = packages.binary_search_by(|p| p.name.cmp(package)) else { return Vec::new() };
    let package = &packages[index];
    let mut out = Vec::with_capacity(usize::try_from(package.size).unwrap_or_default());
    DeflateDecoder::new(package.deflated).read_to_end(&mut out).expect("the build script deflated the package");
    out
}

fn find<'a>(package: &'a [u8], name: &str) -> Option<&'a str> {
    let definitions: Vec<Definition<'a>> = postcard::from_bytes(package).ok()?;
    let index = definitions.binary_search_by(|d| d.name.cmp(name)).ok()?;
    Some(definitions[index].json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(json: &str, style: Style) -> Value {
        serde_json::from_str(&styled(json, style)).expect("a definition is JSON")
    }

    #[test]
    fn a_closure_holds_everything_that_is_referred_to() {
        let all = closure(["io.k8s.api.apps.v1.Deployment".to_owned(), "no.such.Thing".to_owned()]);
        for name in [
            "io.k8s.api.core.v1.Container",
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "io.k8s.apimachinery.pkg.api.resource.Quantity",
        ] {
            assert!(all.contains_key(name), "{name}");
        }
        assert!(!all.contains_key("io.k8s.api.core.v1.Service"));
        assert!(all.values().flat_map(|json| references(json)).all(|name| all.contains_key(name)));
    }

    #[test]
    fn references_take_the_style_of_the_version() {
        let all = closure(["io.k8s.api.apps.v1.Deployment".to_owned()]);
        let deployment = &all["io.k8s.api.apps.v1.Deployment"];
        let v2 = parse(deployment, Style::V2);
        assert_eq!(v2["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
        let v3 = parse(deployment, Style::V3);
        assert_eq!(
            v3["properties"]["spec"]["allOf"],
            json!([{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}])
        );
        assert!(v3["properties"]["spec"]["description"].is_string());
        assert_eq!(
            v3["x-kubernetes-group-version-kind"],
            json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
        );
    }

    #[test]
    fn merge_facts_are_in_the_definitions() {
        let all = closure(["io.k8s.api.core.v1.Pod".to_owned()]);
        let spec = parse(&all["io.k8s.api.core.v1.PodSpec"], Style::V2);
        let containers = &spec["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(spec["properties"]["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
    }

    #[test]
    fn every_type_of_the_schema_is_described() {
        let names: Vec<String> = crate::registry::schema::Schema::builtin().definitions().map(str::to_owned).collect();
        let all = closure(names.clone());
        let missing: Vec<&String> = names.iter().filter(|name| !all.contains_key(*name)).collect();
        assert_eq!(missing, [""; 0]);
        for json in all.values() {
            assert!(parse(json, Style::V2)["description"].is_string(), "{json}");
        }
    }
}
