//! `certificates.k8s.io/v1` CertificateSigningRequest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::certificate_rules as rules;
use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::go_values::shown_bytes;
use crate::registry::hooks::{PLAIN, empty_status};
use crate::registry::json::{at, copy, int, list_at, text, text_at, texts};
use crate::registry::printers::{self, AGE, NAME, human_duration, text as text_column};
use crate::registry::{Column, FieldError, Hooks, Kind, names, objectmeta};

/// The signer of the first version of this API.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// The conditions that stay once they are set.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
/// The conditions that only the approval subresource sets.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const SECONDS_MIN: i64 = 600;

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "certificates.k8s.io",
        version: "v1",
        kind: "CertificateSigningRequest",
        list_kind: "CertificateSigningRequestList",
        plural: "certificatesigningrequests",
        singular: "certificatesigningrequest",
        short_names: &["csr"],
        categories: &[],
        namespaced: false,
        subresources: &["approval", "status"],
        schema: "io.k8s.api.certificates.v1.CertificateSigningRequest",
        storage: "certificatesigningrequests.certificates.k8s.io".into(),
        hooks: Hooks {
            prepare_create: empty_status,
            prepare_update,
            validate,
            validate_status: Some(validate_status),
            field: |request, path| {
                (path == "spec.signerName").then(|| text_at(request, &["spec", "signerName"]).to_owned())
            },
            columns: COLUMNS,
            row,
            ..PLAIN
        },
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    text_column("SignerName", "signerName indicates the requested signer, and is a qualified name."),
    text_column("Requestor", "request contains an x509 certificate signing request encoded in a PEM block."),
    text_column(
        "RequestedDuration",
        "expirationSeconds is the requested duration of validity of the issued certificate.",
    ),
    text_column("Condition", "conditions applied to the request."),
];

/// A request is what it was when it was made.
fn prepare_update(request: &mut Value, old: &Value) {
    copy(request, old, "spec");
    copy(request, old, "status");
}

/// Judges new requests, writes of the whole, and decisions; see [`validate_status`] for the rest.
fn validate(request: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    objectmeta::validate(request, old, false, names::path_segment, &mut errors);
    let path = Path::new("spec");
    let spec = request.get("spec").unwrap_or(&Value::Null);
    let pem = STANDARD.decode(text(spec, "request")).unwrap_or_default();
    if let Err(complaint) = rules::request(&pem) {
        errors.invalid(&path.child("request"), shown_bytes(&pem), complaint);
    }
    usages(spec, &path.child("usages"), &mut errors);
    if text(spec, "signerName") == LEGACY_SIGNER {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.invalid(&path.child("signerName"), quoted(LEGACY_SIGNER), detail);
    } else {
        rules::signer_name(text(spec, "signerName"), &path.child("signerName"), &mut errors);
    }
    if let Some(seconds) = int(spec, "expirationSeconds").filter(|s| *s < SECONDS_MIN) {
        let detail = format!("may not specify a duration less than {SECONDS_MIN} seconds (10 minutes)");
        errors.invalid(&path.child("expirationSeconds"), seconds.to_string(), detail);
    }
    conditions(request, old, &Path::new("status").child("conditions"), &mut errors);
    errors.into_vec()
}

/// The signer's writes: they may not decide, and the certificate is given once.
fn validate_status(request: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let path = Path::new("status");
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        let conditions = list_at(object, &["status", "conditions"]).iter();
        conditions.filter(|c| text(c, "type") == kind).cloned().collect()
    };
    for kind in DECISIONS {
        let (before, after) = (of(old, kind), of(request, kind));
        if after.len() > before.len() {
            let detail = format!("updates may not add a condition of type {kind:?}");
            errors.forbidden(&path.child("conditions"), detail);
        } else if after.len() == before.len() && after != before {
            let detail = format!("updates may not modify a condition of type {kind:?}");
            errors.forbidden(&path.child("conditions"), detail);
        }
    }
    let [new, old_certificate] = [request, old].map(|r| text_at(r, &["status", "certificate"]));
    if new != old_certificate {
        let pem = STANDARD.decode(new).unwrap_or_default();
        if let Err(complaint) = rules::certificates(&pem) {
            errors.invalid(&path.child("certificate"), quoted("<certificate data>"), complaint);
        }
        if !old_certificate.is_empty() {
            errors.forbidden(&path.child("certificate"), "updates may not modify existing certificate content");
        }
    }
    let mut all = validate(request, Some(old));
    all.extend(errors.into_vec());
    all
}

fn usages(spec: &Value, path: &Path, errors: &mut Errors) {
    let usages = texts(spec, "usages");
    if usages.is_empty() {
        errors.required(path, "usages must be provided");
    }
    for (i, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
        errors.not_supported(&path.index(i), usage, &USAGES);
    }
    for (i, usage) in usages.iter().enumerate().filter(|(i, usage)| usages[..*i].contains(usage)) {
        errors.duplicate(&path.index(i), quoted(usage));
    }
}

/// A decision is made once, one way, and never taken back.
fn conditions(request: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let conditions = list_at(request, &["status", "conditions"]);
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let (path, kind, status) = (path.index(i), text(condition, "type"), text(condition, "status"));
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        let allowed: &[&str] = if FINAL.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.required(&path.child("status"), "");
        } else if !allowed.contains(&status) {
            errors.not_supported(&path.child("status"), status, allowed);
        }
        let excluded = [("Approved", "Denied"), ("Denied", "Approved")];
        if excluded.iter().any(|(one, other)| kind == *one && seen.contains(other)) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(&path.child("type"), quoted(kind), detail);
        }
        if seen.contains(&kind) {
            errors.duplicate(&path.child("type"), quoted(kind));
        }
        seen.push(kind);
    }
    let before = old.map_or(&[][..], |old| list_at(old, &["status", "conditions"]));
    let count = |conditions: &[Value], kind: &str| conditions.iter().filter(|c| text(c, "type") == kind).count();
    for kind in FINAL.iter().filter(|kind| count(conditions, kind) < count(before, kind)) {
        errors.forbidden(path, format!("updates may not remove a condition of type {kind:?}"));
    }
}

fn row(request: &Value, now: i64) -> Vec<Value> {
    let spec = request.get("spec").unwrap_or(&Value::Null);
    let duration = int(spec, "expirationSeconds").map_or_else(|| "<none>".to_owned(), human_duration);
    vec![
        printers::name(request),
        printers::age(request, now),
        text(spec, "signerName").into(),
        text(spec, "username").into(),
        duration.into(),
        condition(request).into(),
    ]
}

/// `Pending`, `Approved`, `Approved,Issued`, `Denied`.
fn condition(request: &Value) -> String {
    let conditions = list_at(request, &["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|c| text(c, "type") == kind);
    let mut words = match (has("Denied"), has("Approved")) {
        (true, _) => vec!["Denied"],
        (false, true) => vec!["Approved"],
        (false, false) => vec!["Pending"],
    };
    if has("Failed") {
        words.push("Failed");
    }
    if at(request, &["status", "certificate"]).is_some_and(|c| c.as_str() != Some("")) {
        words.push("Issued");
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::{REQUEST, complaints, created};
    use serde_json::json;

    fn spec(fields: Value) -> Value {
        let mut spec = json!({"request": REQUEST, "signerName": "example.com/serving", "usages": ["client auth"]});
        json_patch::merge(&mut spec, &fields);
        json!({"spec": spec})
    }

    #[test]
    fn conditions_are_told_in_words() {
        let mut object = created(&kind(), spec(json!({"username": "jane", "expirationSeconds": 7200})));
        let cells = row(&object, 1_767_225_600);
        assert_eq!(
            cells[1..],
            [json!("60s"), json!("example.com/serving"), json!("jane"), json!("120m"), json!("Pending")]
        );
        object["status"] = json!({"conditions": [{"type": "Approved"}], "certificate": "eA=="});
        assert_eq!(condition(&object), "Approved,Issued");
        object["status"] = json!({"conditions": [{"type": "Denied"}]});
        assert_eq!(condition(&object), "Denied");
    }

    #[test]
    fn validation() {
        for (fields, expected) in [
            (json!({}), vec![]),
            (
                json!({"request": "eA=="}),
                vec!["spec.request: Invalid value: []byte{0x78}: PEM block type must be CERTIFICATE REQUEST"],
            ),
            (
                json!({"usages": null, "expirationSeconds": 5}),
                vec![
                    "spec.usages: Required value: usages must be provided",
                    "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)",
                ],
            ),
            (
                json!({"signerName": "kubernetes.io/legacy-unknown", "usages": ["any", "any"]}),
                vec![
                    "spec.usages[1]: Duplicate value: \"any\"",
                    "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
                ],
            ),
        ] {
            assert_eq!(complaints(&kind(), spec(fields.clone()), None), expected, "{fields}");
        }
        let unknown = complaints(&kind(), spec(json!({"usages": ["fun"]})), None);
        assert!(unknown[0].starts_with("spec.usages[0]: Unsupported value: \"fun\": supported values: \"any\", "));
    }

    #[test]
    fn signers_write_certificates_once() {
        let with = |status: Value| {
            let mut request = created(&kind(), spec(json!({})));
            request["status"] = status;
            request
        };
        let approved = json!([{"type": "Approved", "status": "True", "reason": "a"}]);
        let other = json!([{"type": "Approved", "status": "True", "reason": "b"}]);
        for (new, old, expected) in [
            (json!({"conditions": approved}), json!({"conditions": approved}), vec![]),
            (
                json!({"conditions": approved}),
                json!({}),
                vec!["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
            ),
            (
                json!({"conditions": other}),
                json!({"conditions": approved}),
                vec!["status.conditions: Forbidden: updates may not modify a condition of type \"Approved\""],
            ),
            (
                json!({"certificate": "eA=="}),
                json!({"certificate": "eQ=="}),
                vec![
                    "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block",
                    "status.certificate: Forbidden: updates may not modify existing certificate content",
                ],
            ),
        ] {
            let found = validate_status(&with(new), &with(old));
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn decisions_are_final() {
        let with = |conditions: Value| {
            let mut request = created(&kind(), spec(json!({})));
            request["status"] = json!({"conditions": conditions});
            request
        };
        let of = |kinds: &[&str]| kinds.iter().map(|k| json!({"type": k, "status": "True"})).collect::<Value>();
        for (new, old, expected) in [
            (of(&["Approved", "Failed", "Own"]), of(&["Approved"]), vec![]),
            (
                of(&["Denied"]),
                of(&["Approved"]),
                vec!["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""],
            ),
            (
                of(&["Approved", "Denied"]),
                of(&[]),
                vec![
                    "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
                ],
            ),
            (
                json!([{"type": "Denied", "status": "False"}]),
                of(&[]),
                vec!["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""],
            ),
        ] {
            let found = validate(&with(new), Some(&with(old)));
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }
}
