//! What the link tells the rest of the hub: sessions to the node life cycle, nodes' events to the recorder.

use async_trait::async_trait;
use jiff::Timestamp;
use skiff_shared::ids::NodeName;
use skiff_shared::report::EventReport;

use crate::link::{NodeEvents, NodeLife};
use crate::reconcile::{Liveness, Recorder};

#[async_trait]
impl NodeEvents for Recorder {
    async fn record_node_event(&self, node: &NodeName, node_uid: &str, event: &EventReport) {
        Recorder::record_node_event(self, node, node_uid, event).await;
    }
}

impl NodeLife for Liveness {
    fn connected(&self, node: &NodeName) {
        Liveness::connected(self, node);
    }

    fn lost(&self, node: &NodeName, at: Timestamp) {
        Liveness::lost(self, node, at);
    }
}
