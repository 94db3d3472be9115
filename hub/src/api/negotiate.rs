//! In which form a client wants its answer: JSON, YAML or protobuf, the objects themselves, a Table or only their
//! metadata.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName, USER_AGENT};

use super::query::Query;
use super::respond::{JSON, PROTOBUF, PROTOBUF_WATCH, YAML};
use super::status::Status;
use crate::registry::Kind;

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
    /// Where only metadata is wanted: whether that of a list.
    pub(crate) of_list: Option<bool>,
}

impl Negotiated {
    /// Whether the form fits an answer of a kind that is, or is not, a list.
    ///
    /// # Errors
    /// 406 where the client wants the metadata of the other.
    pub(crate) fn fits(&self, kind: &Kind, list: bool) -> Result<(), Status> {
        let package = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        match self.of_list {
            Some(false) if list => Err(Status::new(
                406,
                "NotAcceptable",
                format!(
                    "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{})",
                    kind.list_kind
                ),
            )),
            Some(true) if !list => Err(Status::new(
                406,
                "NotAcceptable",
                format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{})",
                    kind.kind
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What can be served, in the order in which refusals name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Objects of a kind that has a protobuf form.
    Objects,
    /// Objects of a kind that has none.
    Untyped,
    /// The events of a watch of a kind that has a protobuf form.
    Events,
    /// The events of a watch of a kind that has none.
    UntypedEvents,
}

impl Offer {
    fn formats(self) -> &'static [Format] {
        match self {
            Self::Objects => &[Format::Json, Format::Yaml, Format::Protobuf],
            Self::Untyped => &[Format::Json, Format::Yaml],
            Self::Events => &[Format::Json, Format::Protobuf],
            Self::UntypedEvents => &[Format::Json],
        }
    }

    /// The media types, as a 406 lists them.
    fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Objects => &[JSON, YAML, PROTOBUF],
            Self::Untyped => &[JSON, YAML],
            Self::Events => &["application/json;stream=watch", PROTOBUF_WATCH],
            Self::UntypedEvents => &["application/json;stream=watch"],
        }
    }
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
    Metadata {
        /// As of a Table.
        version: &'static str,
    },
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
pub(crate) fn negotiate(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Negotiated, Status> {
    let refused = || Status::not_acceptable(offer.media_types());
    let (format, view, of_list) = accept(&header(headers, ACCEPT), offer).ok_or_else(refused)?;
    let view = match view {
        View::Table { version, .. } => View::Table { version, include: include(query)? },
        View::Object | View::Metadata { .. } => view,
    };
    Ok(Negotiated { format, view, pretty: pretty(headers, query), gzip: takes_gzip(headers), of_list })
}

/// Whether a client takes answers that are compressed with gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let takes = |clause: &Clause<'_>| clause.quality > 0.0 && matches!(clause.media, "gzip" | "*");
    clauses(&header(headers, ACCEPT_ENCODING)).iter().any(takes)
}

/// Whether a person reads the answer: as `pretty` says, else by the client, as apiserver guesses it.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let guess = || ["curl", "Wget", "Mozilla/5.0"].iter().any(|start| agent.starts_with(start));
    query.get("pretty").map_or_else(guess, |_| query.flag("pretty"))
}

/// The encoding of a refusal: what the client would have taken the answer in, else JSON.
pub(crate) fn of_refusal(headers: &HeaderMap) -> Format {
    let accepted = header(headers, ACCEPT);
    clauses(&accepted).iter().find_map(Clause::format).unwrap_or(Format::Json)
}

fn header(headers: &HeaderMap, name: HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",")
}

fn include(query: &Query) -> Result<Include, Status> {
    match query.get("includeObject") {
        None | Some("Metadata") => Ok(Include::Metadata),
        Some("None") => Ok(Include::None),
        Some("Object") => Ok(Include::Object),
        Some(other) => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
        ))),
    }
}

/// What documents are about: they come in different forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Documented {
    /// The API's groups, which can be had with all their resources.
    Root,
    /// One group or version.
    Group,
    /// OpenAPI.
    OpenApi,
}

/// The form of a document that a client wants most: one entry of its `Accept`.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn document_form(headers: &HeaderMap, what: Documented) -> Result<String, Status> {
    let accept = header(headers, ACCEPT);
    if accept.is_empty() {
        return Ok(JSON.to_owned());
    }
    let served = |clause: &&Clause<'_>| match what {
        Documented::OpenApi => clause.format() == Some(Format::Json) || clause.media.contains("proto-openapi.spec.v2"),
        Documented::Root => clause.format().is_some() && (clause.is_plain() || clause.aggregates()),
        Documented::Group => clause.format().is_some() && clause.is_plain(),
    };
    let refused = || Status::not_acceptable(Offer::Objects.media_types());
    clauses(&accept).iter().find(served).map(|clause| clause.text.to_owned()).ok_or_else(refused)
}

struct Clause<'a> {
    text: &'a str,
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
        Self { text, media, parameters, quality }
    }

    fn parameter(&self, key: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    fn format(&self) -> Option<Format> {
        match self.media {
            JSON | "application/*" | "*/*" => Some(Format::Json),
            YAML => Some(Format::Yaml),
            PROTOBUF => Some(Format::Protobuf),
            _ => None,
        }
    }

    /// Whether it wants things as they are.
    fn is_plain(&self) -> bool {
        let streams = self.parameter("stream").is_none_or(|s| s == "watch");
        streams && ["as", "g", "v"].iter().all(|key| self.parameter(key).is_none())
    }

    /// Whether it wants the groups with all their resources.
    fn aggregates(&self) -> bool {
        let (kind, group) = (self.parameter("as"), self.parameter("g"));
        let version = matches!(self.parameter("v"), Some("v2" | "v2beta1"));
        kind == Some("APIGroupDiscoveryList") && group == Some("apidiscovery.k8s.io") && version && self.media != YAML
    }

    fn of_list(&self) -> Option<bool> {
        match self.parameter("as") {
            Some("PartialObjectMetadata") => Some(false),
            Some("PartialObjectMetadataList") => Some(true),
            Some(_) | None => None,
        }
    }

    fn view(&self) -> Option<View> {
        if self.is_plain() {
            return Some(View::Object);
        }
        let version = match (self.parameter("g"), self.parameter("v")) {
            (Some("meta.k8s.io"), Some("v1")) => "v1",
            (Some("meta.k8s.io"), Some("v1beta1")) => "v1beta1",
            _ => return None,
        };
        match self.parameter("as") {
            Some("Table") => Some(View::Table { version, include: Include::Metadata }),
            // The old version has no messages of its own.
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if self.media == PROTOBUF => {
                Some(View::Metadata { version: "v1" })
            }
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(View::Metadata { version }),
            Some(_) | None => None,
        }
    }
}

/// The clauses of an `Accept`-like header, best first, in the client's order among equals.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<_> = header.split(',').map(str::trim).filter(|c| !c.is_empty()).map(Clause::parse).collect();
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    all
}

fn accept(header: &str, offer: Offer) -> Option<(Format, View, Option<bool>)> {
    if header.trim().is_empty() {
        return Some((Format::Json, View::Object, None));
    }
    let served = |(format, view, _): &(Format, View, Option<bool>)| {
        // Rows of a Table have cells of any type, which protobuf cannot say.
        offer.formats().contains(format) && !(*format == Format::Protobuf && matches!(view, View::Table { .. }))
    };
    clauses(header).iter().filter_map(|c| Some((c.format()?, c.view()?, c.of_list()))).find(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(accept: &str, query: &str) -> String {
        outcome_of(Offer::Objects, accept, query)
    }

    fn outcome_of(offer: Offer, accept: &str, query: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        match negotiate(&headers, &Query::parse(query), offer) {
            Err(status) => status.code.to_string(),
            Ok(n) => match n.view {
                View::Object => format!("{:?}", n.format),
                View::Metadata { version } => format!("{:?} metadata {version}", n.format),
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
            (partial, "", "Protobuf metadata v1"),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", "", "406"),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", "", "Json"),
            (PROTOBUF, "", "Protobuf"),
            ("application/vnd.kubernetes.protobuf,application/json", "", "Protobuf"),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "", "406"),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
                "",
                "Json table v1 Metadata",
            ),
            ("text/html", "", "406"),
            ("application/json;q=0", "", "Json"),
            ("application/json;stream=other", "", "406"),
            ("application/json;v=v1", "", "406"),
            ("application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io", "", "Json metadata v1beta1"),
            ("application/json;as=Table", "", "406"),
            ("application/json;as=Table;g=meta.k8s.io", "", "406"),
            ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "", "Json metadata v1"),
        ] {
            assert_eq!(outcome(accept, query), expected, "{accept} {query}");
        }
    }

    #[test]
    fn not_everything_has_every_form() {
        let both = "application/vnd.kubernetes.protobuf,application/json";
        for (offer, accept, expected) in [
            (Offer::Untyped, PROTOBUF, "406"),
            (Offer::Untyped, both, "Json"),
            (Offer::Events, PROTOBUF_WATCH, "Protobuf"),
            (Offer::Events, "application/json;stream=watch", "Json"),
            (Offer::Events, YAML, "406"),
            (Offer::UntypedEvents, PROTOBUF_WATCH, "406"),
        ] {
            assert_eq!(outcome_of(offer, accept, ""), expected, "{offer:?} {accept}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "text/html".parse().unwrap());
        let refusal = |offer| negotiate(&headers, &Query::default(), offer).unwrap_err().message;
        let objects = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let events = "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!((refusal(Offer::Objects), refusal(Offer::Events)), (objects.into(), events.into()));
        assert_eq!(of_refusal(&headers), Format::Json);
    }

    #[test]
    fn documents_have_forms_of_their_own() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let both = format!("{aggregated},application/json");
        let spec = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        for (what, accept, expected) in [
            (Documented::Root, "", Some(JSON)),
            (Documented::Root, &*both, Some(aggregated)),
            (Documented::Root, "application/json;q=0.5,application/yaml", Some("application/yaml")),
            (Documented::Root, "text/html,*/*;q=0.1", Some("*/*;q=0.1")),
            (Documented::Root, "application/json;as=Table;v=v1;g=meta.k8s.io", None),
            (Documented::Root, "text/html", None),
            (Documented::Group, &*both, Some(JSON)),
            (Documented::Group, aggregated, None),
            (Documented::Group, PROTOBUF, Some(PROTOBUF)),
            (Documented::OpenApi, spec, Some(spec)),
            (Documented::OpenApi, "application/*", Some("application/*")),
            (Documented::OpenApi, YAML, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(document_form(&headers, what).ok().as_deref(), expected, "{what:?} {accept}");
        }
    }

    #[test]
    fn people_get_indented_answers() {
        for (agent, query, expected) in [
            ("kubectl/v1.33.1 (linux/amd64)", "", false),
            ("kubectl/v1.33.1 (linux/amd64)", "pretty=true", true),
            ("curl/8.5.0", "", true),
            ("curl/8.5.0", "pretty=0", false),
            ("Mozilla/5.0 (X11; Linux x86_64)", "", true),
            ("libcurl", "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, agent.parse().unwrap());
            assert_eq!(pretty(&headers, &Query::parse(query)), expected, "{agent} {query}");
        }
    }

    #[test]
    fn gzip_must_be_accepted() {
        for (header, expected) in [("gzip", true), ("deflate, gzip;q=0.5", true), ("gzip;q=0", false), ("br", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, header.parse().unwrap());
            assert_eq!(negotiate(&headers, &Query::default(), Offer::Objects).unwrap().gzip, expected, "{header}");
        }
    }
}
