//! The first stage: texts by name, from several sources.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::SETTINGS;

/// The settings of one source.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) values: BTreeMap<&'static str, String>,
}

/// Where settings come from.
#[derive(Debug)]
pub(super) enum Origin {
    Flag,
    Environment,
    File(PathBuf),
    Default,
}

impl Layer {
    /// Empty variables count as unset: that is how most tools that set them clear them.
    pub(super) fn environment(env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| env(&variable(name)).filter(|value| !value.is_empty()).map(|value| (name, value));
        Self { origin: Origin::Environment, values: SETTINGS.iter().filter_map(|s| set(s.name)).collect() }
    }

    pub(super) fn defaults() -> Self {
        let values = SETTINGS.iter().filter_map(|s| Some((s.name, s.default?.to_owned()))).collect();
        Self { origin: Origin::Default, values }
    }

    /// Strict: every key must be a setting (but not the file itself), every value a string.
    pub(super) fn file(path: PathBuf, text: &str, errors: &mut Vec<String>) -> Self {
        let mut values = BTreeMap::new();
        let mut complain = |message: String| errors.push(format!("{}: {message}", path.display()));
        let table = text.parse::<toml::Table>().unwrap_or_else(|error| {
            complain(error.to_string().trim_end().to_owned());
            toml::Table::new()
        });
        for (key, value) in table {
            let known = SETTINGS.iter().find(|s| s.name == key && s.name != "config");
            match (known, value) {
                (None, _) => complain(format!("unknown key {key:?}")),
                (Some(setting), toml::Value::String(text)) => drop(values.insert(setting.name, text)),
                (Some(_), other) => {
                    let kind = other.type_str();
                    complain(format!("{key} must be a string, not {kind}: {}", serde_json::json!(other)));
                }
            }
        }
        Self { origin: Origin::File(path), values }
    }
}

/// `SKIFF_HUB_DATA_DIR` for `data-dir`.
fn variable(name: &str) -> String {
    format!("SKIFF_HUB_{}", name.to_uppercase().replace('-', "_"))
}

/// All sources, the one that wins first.
#[derive(Debug)]
pub(super) struct Layers(pub(super) Vec<Layer>);

impl Layers {
    /// The text that wins.
    pub(super) fn get(&self, name: &str) -> Option<(&Origin, &str)> {
        self.0.iter().find_map(|layer| Some((&layer.origin, layer.values.get(name)?.as_str())))
    }

    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        errors: &mut Vec<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (_, text) = self.get(name)?;
        parse(text).map_err(|reason| errors.push(self.complaint(name, &reason))).ok()
    }

    pub(super) fn required<T>(
        &self,
        name: &'static str,
        errors: &mut Vec<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.get(name).is_none() {
            errors
                .push(format!("--{name} is missing (or {} or the key {name} in a configuration file)", variable(name)));
        }
        self.optional(name, errors, parse)
    }

    /// An error about a setting that some source has: names the source, the text and the reason.
    pub(super) fn complaint(&self, name: &str, reason: &str) -> String {
        match self.get(name) {
            None => format!("{name} {reason}"),
            Some((origin, text)) => format!("{} {text:?} {reason}", Named(origin, name)),
        }
    }
}

/// How a user knows a setting of a source.
struct Named<'a>(&'a Origin, &'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.1;
        match self.0 {
            Origin::Flag => write!(f, "--{name}"),
            Origin::Environment => f.write_str(&variable(name)),
            Origin::File(path) => write!(f, "{}: {name}", path.display()),
            Origin::Default => write!(f, "{name} (default)"),
        }
    }
}
