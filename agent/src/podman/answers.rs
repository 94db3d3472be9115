//! Podman's answers: as much of them as is needed, in the forms of both Podman 4 and 5.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use skiff_shared::ids::PodUid;

use super::{Inspected, Labels, Listed, RunState};

#[derive(Deserialize)]
pub(super) struct Created {
    #[serde(alias = "ID", alias = "id", rename = "Id")]
    pub(super) id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListEntry {
    pub(super) id: String,
    #[serde(default)]
    pub(super) pod: String,
    #[serde(default)]
    pub(super) is_infra: bool,
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) exit_code: i32,
    #[serde(default)]
    pub(super) started_at: i64,
    #[serde(default)]
    pub(super) exited_at: i64,
    #[serde(default, rename = "ImageID")]
    pub(super) image_id: String,
}

impl ListEntry {
    pub(super) fn listed(self) -> Option<Listed> {
        let labels = Labels::parse(&self.labels?)?;
        // Go's zero time is far below 0.
        let millis = |seconds: i64| seconds.max(0).saturating_mul(1000);
        Some(Listed {
            id: self.id,
            pod_id: self.pod,
            infra: self.is_infra,
            labels,
            state: RunState::parse(&self.state),
            exit_code: self.exit_code,
            started_ms: millis(self.started_at),
            finished_ms: millis(self.exited_at),
            image_id: self.image_id,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspection {
    pub(super) state: InspectedState,
    #[serde(default, rename = "OCIConfigPath")]
    pub(super) oci_config_path: String,
    pub(super) config: Option<InspectedConfig>,
    pub(super) host_config: Option<InspectedHostConfig>,
    pub(super) network_settings: Option<NetworkSettings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedState {
    #[serde(default)]
    pub(super) exit_code: i32,
    #[serde(default, rename = "OOMKilled")]
    pub(super) oom_killed: bool,
    #[serde(default)]
    pub(super) started_at: String,
    #[serde(default)]
    pub(super) finished_at: String,
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) pid: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedConfig {
    #[serde(default)]
    pub(super) tty: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedHostConfig {
    pub(super) log_config: Option<InspectedLogConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedLogConfig {
    #[serde(default)]
    pub(super) path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ExecInspection {
    pub(super) running: bool,
    #[serde(default)]
    pub(super) exit_code: i32,
    #[serde(default)]
    pub(super) pid: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    #[serde(default, rename = "IPAddress")]
    pub(super) ip_address: String,
    pub(super) networks: Option<BTreeMap<String, NetworkEntry>>,
}

#[derive(Deserialize)]
pub(super) struct NetworkEntry {
    #[serde(default, rename = "IPAddress")]
    pub(super) ip_address: String,
}

impl Inspection {
    pub(super) fn inspected(self) -> Inspected {
        let networks = self.network_settings;
        let ip = networks.map(|n| {
            let mut addresses = n.networks.into_iter().flatten().map(|(_, entry)| entry.ip_address);
            addresses.find(|ip| !ip.is_empty()).unwrap_or(n.ip_address)
        });
        Inspected {
            exit_code: self.state.exit_code,
            oom_killed: self.state.oom_killed,
            started_ms: go_time_ms(&self.state.started_at),
            finished_ms: go_time_ms(&self.state.finished_at),
            ip: ip.unwrap_or_default(),
            error: self.state.error,
            pid: self.state.pid,
            tty: self.config.is_some_and(|c| c.tty),
            bundle: Path::new(&self.oci_config_path).parent().map(Path::to_owned).unwrap_or_default(),
            log_path: self.host_config.and_then(|h| h.log_config).map(|l| l.path).unwrap_or_default(),
        }
    }
}

/// Unix milliseconds of Go's RFC 3339 text; its zero time, and nonsense, give 0.
pub(super) fn go_time_ms(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().map_or(0, |t| t.as_millisecond().max(0))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImageInspection {
    pub(super) id: String,
    pub(super) repo_digests: Option<Vec<String>>,
    #[serde(default)]
    pub(super) size: u64,
    pub(super) config: Option<ImageConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImageConfig {
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) stop_signal: String,
}

#[derive(Deserialize)]
pub(super) struct NetworkAnswer {
    pub(super) subnets: Option<Vec<NetworkSubnet>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
pub(super) struct NetworkSubnet {
    pub(super) subnet: String,
}

#[derive(Deserialize)]
pub(super) struct InfoAnswer {
    pub(super) store: Store,
    pub(super) version: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Store {
    #[serde(default)]
    pub(super) graph_root: String,
    #[serde(default)]
    pub(super) graph_root_allocated: u64,
    #[serde(default)]
    pub(super) graph_root_used: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) version: String,
}

#[derive(Deserialize)]
pub(super) struct Event {
    #[serde(rename = "Actor")]
    pub(super) actor: Actor,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Actor {
    pub(super) attributes: Option<BTreeMap<String, String>>,
}

/// The pod that an event is about; `None` where it cannot be read.
pub(super) fn pod_of_event(line: &[u8]) -> Option<PodUid> {
    let event: Event = serde_json::from_slice(line).ok()?;
    Labels::pod_of(&event.actor.attributes?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_podman_4_and_5_are_read() {
        let exited = r#"{"State":{"ExitCode":137,"OOMKilled":true,"StartedAt":"2026-11-26T21:21:17.230970421Z",
            "FinishedAt":"0001-01-01T00:00:00Z","Error":"","Pid":0},"Config":{"StopSignal":"SIGTERM"},
            "NetworkSettings":{"IPAddress":"","Networks":{"podman":{"IPAddress":"10.88.0.7"}}}}"#;
        let inspected = serde_json::from_str::<Inspection>(exited).expect("readable").inspected();
        assert_eq!(
            inspected,
            Inspected {
                exit_code: 137,
                oom_killed: true,
                started_ms: 1_795_728_077_230,
                ip: "10.88.0.7".into(),
                ..Inspected::default()
            }
        );
    }

    #[test]
    fn foreign_containers_are_not_listed() {
        let json = r#"[{"Id":"a","Labels":null,"State":"running"},{"Id":"b","Labels":{"x":"y"}},
            {"Id":"c","Labels":{"io.skiff.pod-uid":"u"},"State":"exited","ExitedAt":5,"StartedAt":-62135596800}]"#;
        let entries: Vec<ListEntry> = serde_json::from_str(json).expect("readable");
        let listed: Vec<Listed> = entries.into_iter().filter_map(ListEntry::listed).collect();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].state, listed[0].started_ms, listed[0].finished_ms), (RunState::Exited, 0, 5000));
    }
}
