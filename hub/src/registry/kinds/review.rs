//! `authentication.k8s.io/v1` and `authorization.k8s.io/v1`: kinds that are only ever created, and answered at once.

use crate::registry::Kind;
use crate::registry::hooks::PLAIN;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// The rows.
pub(in crate::registry) fn kinds() -> [Kind; 6] {
    [
        row(
            AUTHENTICATION,
            "SelfSubjectReview",
            "selfsubjectreviews",
            "selfsubjectreview",
            "io.k8s.api.authentication.v1.SelfSubjectReview",
        ),
        row(AUTHENTICATION, "TokenReview", "tokenreviews", "tokenreview", "io.k8s.api.authentication.v1.TokenReview"),
        Kind {
            namespaced: true,
            ..row(
                AUTHORIZATION,
                "LocalSubjectAccessReview",
                "localsubjectaccessreviews",
                "localsubjectaccessreview",
                "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
            )
        },
        row(
            AUTHORIZATION,
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            "selfsubjectaccessreview",
            "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        ),
        row(
            AUTHORIZATION,
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            "selfsubjectrulesreview",
            "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        ),
        row(
            AUTHORIZATION,
            "SubjectAccessReview",
            "subjectaccessreviews",
            "subjectaccessreview",
            "io.k8s.api.authorization.v1.SubjectAccessReview",
        ),
    ]
}

/// A row without a list: its objects are never stored.
fn row(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    schema: &'static str,
) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        list_kind: "",
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: false,
        subresources: &[],
        schema,
        storage: format!("{plural}.{group}").into(),
        hooks: PLAIN,
    }
}
