//! The encoding of an [`Item`]. A pod without extras keeps the bytes it had before there were any, so that agents and
//! ledgers of that time can read it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Data, Extra, Item, Pod};

#[derive(Serialize)]
#[serde(rename = "Item")]
enum Written<'a> {
    Pod(&'a Pod),
    ConfigMap(&'a Data),
    Secret(&'a Data),
    PodWith(&'a Pod, &'a [Extra]),
}

#[derive(Deserialize)]
#[serde(rename = "Item")]
enum Read {
    Pod(Pod),
    ConfigMap(Data),
    Secret(Data),
    PodWith(Pod, Vec<Extra>),
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::Pod(pod) if pod.extras.is_empty() => Written::Pod(pod),
            Self::Pod(pod) => Written::PodWith(pod, &pod.extras),
            Self::ConfigMap(data) => Written::ConfigMap(data),
            Self::Secret(data) => Written::Secret(data),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Read::deserialize(deserializer)? {
            Read::Pod(pod) => Self::Pod(pod),
            Read::PodWith(pod, extras) => Self::Pod(Pod { extras, ..pod }),
            Read::ConfigMap(data) => Self::ConfigMap(data),
            Read::Secret(data) => Self::Secret(data),
        })
    }
}
