//! Lists in pages: tokens that say where a list goes on, and the snapshots that keep its pages consistent.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError as Base64Error, Engine};
use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::registry::schema::{ContentType, DecodeError, parse_body};
use crate::store::{Object, Revision, Snapshot};

/// Most snapshots kept for lists that may go on. Each pins the objects that changed since, so there must be a bound.
const MAX_PINNED: usize = 64;

/// How long a list may go on: as long as etcd keeps old revisions under apiserver's default compaction.
const PINNED_FOR: Duration = Duration::from_secs(5 * 60);

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// Longest token that is looked at: a namespace and a name, with room.
const MAX_TOKEN: usize = 2048;

/// Tokens are text without padding; as in Go, bits beyond the last byte mean nothing.
const TOKENS: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Continue {
    #[serde(default)]
    v: String,
    /// The revision of the first page; `None` (`-1` on the wire) takes the newest state, giving up consistency.
    #[serde(with = "revision_or_minus_one", default = "none_yet")]
    pub(crate) rv: Option<Revision>,
    /// Namespace of the last object of the page before.
    #[serde(default)]
    pub(crate) namespace: String,
    /// Its name.
    #[serde(default)]
    pub(crate) name: String,
}

/// The revision of a token that names none.
fn none_yet() -> Option<Revision> {
    Some(0)
}

/// Why a text is no base64, in Go's words.
fn go_base64_error(error: &Base64Error, length: usize) -> String {
    let at = match error {
        Base64Error::InvalidByte(at, _) | Base64Error::InvalidLastSymbol(at, _) => *at,
        Base64Error::InvalidLength(_) | Base64Error::InvalidPadding => length,
    };
    format!("illegal base64 data at input byte {at}")
}

/// Why a token is no JSON, in Go's words.
fn json_error(error: &DecodeError) -> String {
    match error {
        DecodeError::Json { message, .. } => message.clone(),
        DecodeError::TooLarge
        | DecodeError::Yaml { .. }
        | DecodeError::NoMagic
        | DecodeError::Protobuf(_)
        | DecodeError::UnknownKind { .. } => error.to_string(),
    }
}

mod revision_or_minus_one {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(rv: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match rv {
            Some(rv) => s.serialize_u64(*rv),
            None => s.serialize_i64(-1),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        match i64::deserialize(d)? {
            -1 => Ok(None),
            rv => u64::try_from(rv).map(Some).map_err(D::Error::custom),
        }
    }
}

impl Continue {
    /// After this object, at this revision.
    pub(crate) fn after(last: &Object, rv: Revision) -> Self {
        Self {
            v: TOKEN_VERSION.into(),
            rv: Some(rv),
            namespace: last.key.namespace.to_string(),
            name: last.key.name.to_string(),
        }
    }

    /// The token.
    pub(crate) fn encode(&self) -> String {
        TOKENS.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 for anything that is no token.
    pub(crate) fn decode(token: &str) -> Result<Self, Status> {
        let wrong =
            |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        if token.len() > MAX_TOKEN {
            return Err(wrong("too long"));
        }
        let bytes = TOKENS.decode(token).map_err(|e| wrong(&go_base64_error(&e, token.len())))?;
        parse_body(&bytes, ContentType::Json).map_err(|e| wrong(&json_error(&e)))?;
        let decoded: Self = serde_json::from_slice(&bytes).map_err(|e| wrong(&e.to_string()))?;
        if decoded.v != TOKEN_VERSION {
            return Err(wrong(&format!("server does not recognize this encoded version {:?}", decoded.v)));
        }
        match (decoded.rv, decoded.name.as_str()) {
            (Some(0), _) => Err(wrong("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            (_, "") => Err(wrong("encoded start key empty (version meta.k8s.io/v1)")),
            (_, _) => Ok(decoded),
        }
    }

    /// Whether an object comes after the page before.
    pub(crate) fn precedes(&self, object: &Object) -> bool {
        (&*object.key.namespace, &*object.key.name) > (self.namespace.as_str(), self.name.as_str())
    }

    /// 410 with a token that goes on without consistency.
    pub(crate) fn expired(&self) -> Status {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        let mut status = Status::new(410, "Expired", message);
        status.continue_token = Some(Self { rv: None, ..self.clone() }.encode());
        status
    }
}

/// The pinned snapshots, oldest use first.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<Pinned>);

#[derive(Debug, Default)]
struct Pinned {
    /// With the time at which each was last known to be the newest.
    snapshots: VecDeque<(Snapshot, Instant)>,
    /// The newest revision that is known to be out of date for longer than lists may go on.
    outdated: Revision,
}

impl Pages {
    /// Keeps a snapshot whose list goes on. Its time begins anew as long as it is the newest.
    pub(crate) fn pin(&self, snapshot: &Snapshot, newest: Revision, now: Instant) {
        let mut pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.drop_outdated(now);
        let known = pinned.snapshots.iter().position(|(s, _)| s.revision() == snapshot.revision());
        let since = known.and_then(|place| pinned.snapshots.remove(place)).map_or(now, |(_, since)| since);
        if pinned.snapshots.len() >= MAX_PINNED {
            pinned.snapshots.pop_front();
        }
        let since = if snapshot.revision() == newest { now } else { since };
        pinned.snapshots.push_back((snapshot.clone(), since));
    }

    /// The snapshot of a revision, if it is still kept.
    ///
    /// # Errors
    /// [`Outdated`] when lists of this revision may not go on.
    pub(crate) fn at(&self, revision: Revision, now: Instant) -> Result<Option<Snapshot>, Outdated> {
        let mut pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.drop_outdated(now);
        if revision <= pinned.outdated {
            return Err(Outdated);
        }
        Ok(pinned.snapshots.iter().find(|(s, _)| s.revision() == revision).map(|(s, _)| s.clone()))
    }
}

/// The revision was superseded too long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outdated;

impl Pinned {
    fn drop_outdated(&mut self, now: Instant) {
        let outdated = &mut self.outdated;
        self.snapshots.retain(|(snapshot, since)| {
            let keep = now.duration_since(*since) < PINNED_FOR;
            if !keep {
                *outdated = (*outdated).max(snapshot.revision());
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(rv: Option<Revision>) -> Continue {
        Continue { v: TOKEN_VERSION.into(), rv, namespace: "default".into(), name: "web".into() }
    }

    #[test]
    fn tokens_survive_the_round_trip() {
        for rv in [Some(7), None] {
            assert_eq!(Continue::decode(&token(rv).encode()), Ok(token(rv)));
        }
    }

    #[test]
    fn nonsense_is_no_token() {
        let other_version = TOKENS.encode(r#"{"v":"v9","rv":1,"namespace":"","name":""}"#);
        let negative = TOKENS.encode(r#"{"v":"meta.k8s.io/v1","rv":-2,"namespace":"","name":""}"#);
        let [start, nowhere] = [(0, "web"), (7, "")].map(|(rv, name)| {
            TOKENS.encode(format!(r#"{{"v":"meta.k8s.io/v1","rv":{rv},"namespace":"a","name":"{name}"}}"#))
        });
        for text in ["", "!", "abcd", &other_version, &negative, &start, &nowhere, &"a".repeat(5000)] {
            let status = Continue::decode(text).unwrap_err();
            assert_eq!(status.code, 400, "{text}");
            assert!(
                status.message.starts_with("invalid continue token: continue key is not valid: "),
                "{}",
                status.message
            );
        }
    }

    #[test]
    fn refusals_of_tokens_are_in_gos_words() {
        for (text, expected) in [
            ("bad", "invalid character 'm' looking for beginning of value"),
            ("%%%", "illegal base64 data at input byte 0"),
            ("e30", r#"server does not recognize this encoded version "#),
            ("eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ", "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            ("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", "encoded start key empty (version meta.k8s.io/v1)"),
        ] {
            let message = Continue::decode(text).unwrap_err().message;
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn an_expired_token_brings_a_new_one() {
        let status = token(Some(7)).expired();
        assert_eq!((status.code, status.reason), (410, "Expired"));
        assert_eq!(Continue::decode(&status.continue_token.unwrap()), Ok(token(None)));
    }

    #[test]
    fn a_list_goes_on_until_its_state_is_long_out_of_date() {
        let (pages, start) = (Pages::default(), Instant::now());
        let after = |fraction: u32| start + PINNED_FOR / 4 * fraction;
        let revision = |found: Result<Option<Snapshot>, Outdated>| found.map(|s| s.map(|s| s.revision()));
        let snapshot = Snapshot::default().rewound(7, &[]);
        pages.pin(&snapshot, 7, start);
        pages.pin(&snapshot, 7, after(1));
        assert_eq!(revision(pages.at(7, after(4))), Ok(Some(7)), "it was the newest a quarter later");
        pages.pin(&snapshot, 8, after(4));
        assert_eq!(revision(pages.at(8, after(4))), Ok(None));
        assert_eq!(revision(pages.at(7, after(5))), Err(Outdated), "reading on does not keep it");
        assert_eq!(revision(pages.at(6, after(5))), Err(Outdated), "what is older is out of date too");
        assert_eq!(revision(pages.at(8, after(5))), Ok(None));
    }
}
