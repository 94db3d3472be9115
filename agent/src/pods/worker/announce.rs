//! Events for the delays of a pod.

use skiff_shared::pod::Pod;

use super::Worker;
use crate::pods::decide::Decision;
use crate::pods::status;
use crate::pods::view::{ImageState, roles};

impl Worker {
    /// Records an event for each delay that begins.
    pub(super) fn announce(&mut self, pod: &Pod, decision: &Decision) {
        // No container has an empty name.
        if self.progress.awaits_network && self.observed.is_empty() && self.announced.insert(String::new(), 0).is_none()
        {
            let message = "network is not ready: container runtime network not ready: NetworkReady=false \
                           reason:NetworkPluginNotReady message:the hub has not told this node its pod subnet yet";
            self.ctx.pod_event(pod, "", true, "NetworkNotReady", message.to_owned());
        }
        for name in &decision.backing_off {
            let end = self.facts.containers.get(name).and_then(|f| f.ended.as_ref()).map_or(0, |e| e.finished_ms);
            if self.announced.insert(name.clone(), end) != Some(end) {
                let message = format!(
                    "Back-off restarting failed container {name} in pod {}_{}({})",
                    pod.name, pod.namespace, pod.uid
                );
                self.ctx.pod_event(pod, name, true, "BackOff", message);
            }
        }
        let now_ms = self.ctx.clock.now_ms();
        for (container, _) in roles(pod) {
            if let Some(ImageState::Failed(failure)) = self.progress.images.get(&container.name)
                && failure.reason == "ErrImagePull"
                && now_ms >= failure.at_ms.saturating_add(status::PULL_ERROR_SHOWN_MS)
                && self.announced.insert(container.name.clone(), failure.at_ms) != Some(failure.at_ms)
            {
                let event =
                    |warning, reason, message| self.ctx.pod_event(pod, &container.name, warning, reason, message);
                event(false, "BackOff", format!("Back-off pulling image \"{}\"", container.image));
                event(true, "Failed", "Error: ImagePullBackOff".to_owned());
            }
        }
    }
}
