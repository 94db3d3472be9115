//! In which form a client wants its answer: JSON or YAML, the objects themselves, a Table or only their metadata.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING};

use super::query::Query;
use super::status::Status;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// Encoding.
    pub(crate) format: Format,
    /// What is shown of each object.
    pub(crate) view: View,
    /// Indented, for people.
    pub(crate) pretty: bool,
    /// Whether the client takes gzip.
    pub(crate) gzip: bool,
}

/// Encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// What is shown of each object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// All of it.
    Object,
    /// A row of printer columns.
    Table {
        /// `v1` or `v1beta1` of `meta.k8s.io`.
        version: &'static str,
        /// What comes with each row.
        include: Include,
    },
    /// `PartialObjectMetadata`.
    Metadata,
}

/// `includeObject`: what comes with each row of a Table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// The metadata.
    Metadata,
    /// The object.
    Object,
}

/// Reads `Accept`, `Accept-Encoding`, `includeObject` and `pretty`.
///
/// # Errors
/// 406 when nothing acceptable can be served, 400 for a wrong `includeObject`.
pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Negotiated, Status> {
    let text = |name| headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",");
    let (format, view) = accept(&text(ACCEPT)).ok_or_else(Status::not_acceptable)?;
    let view = match view {
        View::Table { version, .. } => View::Table { version, include: include(query)? },
        View::Object | View::Metadata => view,
    };
    let gzip = clauses(&text(ACCEPT_ENCODING)).iter().any(|c| c.media == "gzip" || c.media == "*");
    Ok(Negotiated { format, view, pretty: query.flag("pretty"), gzip })
}

fn include(query: &Query) -> Result<Include, Status> {
    match query.get("includeObject") {
        None | Some("Metadata") => Ok(Include::Metadata),
        Some("None") => Ok(Include::None),
        Some("Object") => Ok(Include::Object),
        Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<_> =
            parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim().trim_matches('"'))).collect();
        let quality = parameters.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
        Self { media, parameters, quality }
    }

    fn parameter(&self, key: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    fn format(&self) -> Option<Format> {
        match self.media {
            "application/json" | "application/*" | "*/*" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            _ => None,
        }
    }

    fn view(&self) -> Option<View> {
        let group = self.parameter("g").is_none_or(|g| g == "meta.k8s.io");
        let version = match self.parameter("v") {
            None | Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            Some(_) => None,
        };
        match self.parameter("as") {
            None => Some(View::Object),
            Some("Table") if group => version.map(|version| View::Table { version, include: Include::Metadata }),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if group => version.map(|_| View::Metadata),
            Some(_) => None,
        }
    }
}

/// The clauses of an `Accept`-like header that are not refused, best first, in the client's order among equals.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<_> = header
        .split(',')
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .map(Clause::parse)
        .filter(|c| c.quality > 0.0)
        .collect();
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    all
}

fn accept(header: &str) -> Option<(Format, View)> {
    if header.trim().is_empty() {
        return Some((Format::Json, View::Object));
    }
    clauses(header).iter().find_map(|c| Some((c.format()?, c.view()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(accept: &str, query: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        match negotiate(&headers, &Query::parse(query)) {
            Err(status) => status.code.to_string(),
            Ok(n) => match n.view {
                View::Object => format!("{:?}", n.format),
                View::Metadata => format!("{:?} metadata", n.format),
                View::Table { version, include } => format!("{:?} table {version} {include:?}", n.format),
            },
        }
    }

    #[test]
    fn accept_headers_choose_a_form() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        for (accept, query, expected) in [
            ("", "", "Json"),
            ("*/*", "", "Json"),
            ("application/json", "", "Json"),
            ("application/yaml", "", "Yaml"),
            ("application/json;q=0.5, application/yaml", "", "Yaml"),
            ("application/json;stream=watch", "", "Json"),
            (kubectl, "", "Json table v1 Metadata"),
            (kubectl, "includeObject=Object", "Json table v1 Object"),
            (kubectl, "includeObject=None", "Json table v1 None"),
            (kubectl, "includeObject=Some", "400"),
            (partial, "", "Json metadata"),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", "", "406"),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", "", "Json"),
            ("application/vnd.kubernetes.protobuf", "", "406"),
            ("application/vnd.kubernetes.protobuf,application/json", "", "Json"),
            ("text/html", "", "406"),
            ("application/json;q=0", "", "406"),
        ] {
            assert_eq!(outcome(accept, query), expected, "{accept} {query}");
        }
    }

    #[test]
    fn gzip_must_be_accepted() {
        for (header, expected) in [("gzip", true), ("deflate, gzip;q=0.5", true), ("gzip;q=0", false), ("br", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, header.parse().unwrap());
            assert_eq!(negotiate(&headers, &Query::default()).unwrap().gzip, expected, "{header}");
        }
    }
}
