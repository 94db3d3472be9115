//! `v1` PodTemplate.

use serde_json::Value;

use super::workload;
use crate::registry::fields::{Errors, Path};
use crate::registry::hooks::PLAIN;
use crate::registry::json::{at, list_at, text};
use crate::registry::printers::{self, NAME, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta, podspec, warnings};

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "PodTemplate",
        list_kind: "PodTemplateList",
        plural: "podtemplates",
        singular: "podtemplate",
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.core.v1.PodTemplate",
        storage: "podtemplates".into(),
        hooks: Hooks {
            default: workload::default_template,
            validate,
            warn: warnings::pod_template,
            has_generation: true,
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    text_column("Containers", "Names of each container in the template."),
    text_column("Images", "Images referenced by each container in the template."),
    text_column("Pod Labels", "The labels for the pod template."),
];

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(object, old, true, names::dns_subdomain, &mut errors);
    podspec::template(object.get("template").unwrap_or(&Value::Null), &Path::new("template"), &mut errors);
    errors.into_vec()
}

fn row(object: &Value, _now: i64) -> Vec<Value> {
    let containers = list_at(object, &["template", "spec", "containers"]);
    let joined = |field| Value::from(containers.iter().map(|c| text(c, field)).collect::<Vec<_>>().join(","));
    let labels = printers::labels(at(object, &["template", "metadata", "labels"]));
    vec![printers::name(object), joined("name"), joined("image"), labels.into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{complaints, created};
    use serde_json::json;

    #[test]
    fn the_template_is_defaulted_checked_and_shown() {
        let containers = json!([{"name": "c", "image": "i"}]);
        let template = json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}});
        let object = created(&kind(), template);
        assert_eq!(object["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(row(&object, 0), [json!("a"), json!("c"), json!("i"), json!("a=b")]);
        assert_eq!(complaints(&kind(), json!({}), None), ["template.spec.containers: Required value"]);
    }
}
