//! One session: says hello by digests, applies changes, reports what differs from what was said before.
//!
//! Reader and writer share a small state (`Wanted`) and nothing else: the reader never waits for the writer, so that
//! a hub that is busy sending is always read. What to send is computed from the node's state when the writer gets
//! to it, never queued.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use skiff_shared::ids::PodUid;
use skiff_shared::limits::MAX_FRAME;
use skiff_shared::report::{NodeReport, PodReport};
use skiff_shared::tls::io::{FrameReader, write};
use skiff_shared::wire::frame::{digest, inventory_digest, report_digest, reported_digest};
use skiff_shared::wire::{Digest, Hello, PodResources, ToAgent, ToHub, TokenRequest};
use tokio::sync::watch;

use super::connect::Dialer;
use super::identity::Identity;
use super::{LinkConfig, Node, SessionError, hang_up, streams};
use crate::desired::Reported;

/// Events in one frame.
const EVENTS: usize = 64;
/// How often the certificate's end is looked at.
const RENEWAL: Duration = Duration::from_secs(3600);

/// What the hub has asked for, counted: the writer compares with what it has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    welcomed: bool,
    inventories: u64,
    reports: u64,
    applied: u64,
    events_stored: u64,
    tokens: u64,
}

/// Runs one session to its end.
pub(super) async fn run(
    config: &LinkConfig,
    dialer: &Dialer,
    identity: &mut Identity,
    node: &Arc<dyn Node>,
) -> Result<(), SessionError> {
    let connection = dialer.connect(&identity.config()?).await?;
    let (send, recv) = connection.open_bi().await?;
    let identity = Mutex::new(identity);
    let (wanted, wants) = watch::channel(Wanted::default());
    let asked = Mutex::default();
    let reader = Reader { node, wanted, identity: &identity, asked: &asked };
    let (done, said) = (Wanted::default(), Said::default());
    let writer = Writer { node, send, wants, identity: &identity, asked: &asked, done, said };
    let ended = tokio::select! {
        ended = reader.run(FrameReader::new(recv, MAX_FRAME)) => ended,
        ended = writer.run(&config.version) => ended,
        ended = streams::serve(&connection, node) => ended,
    };
    hang_up(&connection);
    ended
}

/// Tokens that the hub has been asked for in this session and has not answered yet.
type Asked = Mutex<BTreeSet<TokenRequest>>;

struct Reader<'a, 'i> {
    node: &'a Arc<dyn Node>,
    wanted: watch::Sender<Wanted>,
    identity: &'a Mutex<&'i mut Identity>,
    asked: &'a Asked,
}

impl Reader<'_, '_> {
    async fn run(self, mut frames: FrameReader<quinn::RecvStream>) -> Result<(), SessionError> {
        while let Some(frame) = frames.read::<ToAgent>().await? {
            self.frame(frame).await?;
        }
        Ok(())
    }

    async fn frame(&self, frame: ToAgent) -> Result<(), SessionError> {
        match frame {
            ToAgent::Welcome(welcome) => {
                tracing::info!(
                    hub_version = welcome.version,
                    pod_cidr = welcome.pod_cidr,
                    "the hub welcomes this node"
                );
                let failed = |source| SessionError::Node("take in the hub's welcome", source);
                self.node.welcome(welcome).await.map_err(failed)?;
                self.wanted.send_modify(|w| w.welcomed = true);
            }
            ToAgent::SendInventory => self.wanted.send_modify(|w| w.inventories += 1),
            ToAgent::SendReports => self.wanted.send_modify(|w| w.reports += 1),
            ToAgent::Change(change) => {
                let seq = change.seq;
                self.node.apply(change).await.map_err(|source| SessionError::Node("apply a change", source))?;
                self.wanted.send_modify(|w| w.applied = seq);
            }
            ToAgent::EventsStored(seq) => {
                self.node.events_stored(seq);
                self.wanted.send_modify(|w| w.events_stored = w.events_stored.max(seq));
            }
            ToAgent::Renewed(certificate) => {
                self.identity.lock().unwrap_or_else(PoisonError::into_inner).renew(certificate)?;
                tracing::info!("this node's certificate is renewed");
            }
            ToAgent::Token(answer) => {
                let request = answer.request.clone();
                self.node.token(answer).await;
                // In this order: the pod may wish for it again already.
                self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
                self.wanted.send_modify(|w| w.tokens += 1);
            }
            ToAgent::Refused(text) => return Err(SessionError::Refused(text)),
            ToAgent::Joined(_) => return Err(SessionError::Protocol("Joined in a session")),
        }
        Ok(())
    }
}

/// The digests of the reports as the hub has them.
#[derive(Debug, Default)]
struct Said {
    node: Option<Digest>,
    pods: BTreeMap<PodUid, Digest>,
    /// Number of the newest event sent in this session.
    events: u64,
}

impl Said {
    fn everything(&mut self, reported: &Reported) {
        self.node = reported.node.as_deref().map(digest::<NodeReport>);
        self.pods = reported.pods.iter().map(|(uid, report)| (uid.clone(), report_digest(report))).collect();
    }
}

struct Writer<'a, 'i> {
    node: &'a Arc<dyn Node>,
    send: quinn::SendStream,
    wants: watch::Receiver<Wanted>,
    identity: &'a Mutex<&'i mut Identity>,
    asked: &'a Asked,
    done: Wanted,
    said: Said,
}

impl Writer<'_, '_> {
    async fn run(mut self, version: &str) -> Result<(), SessionError> {
        let mut reported = self.node.reported();
        let mut events = self.node.events_changed();
        let mut wishes = self.node.token_wishes();
        let mut renewal = tokio::time::interval(RENEWAL);
        let now = reported.borrow_and_update().clone();
        self.hello(version, &now).await?;
        loop {
            let wants = *self.wants.borrow_and_update();
            self.answer(wants).await?;
            let now = reported.borrow_and_update().clone();
            self.report(&now).await?;
            events.mark_unchanged();
            self.events(wants).await?;
            let wished = wishes.borrow_and_update().clone();
            self.ask(wants, &wished).await?;
            // Only wake-ups are raced; every write above runs to its end.
            tokio::select! {
                changed = self.wants.changed() => if changed.is_err() { return Ok(()) },
                changed = reported.changed() => if changed.is_err() { return Ok(()) },
                changed = events.changed() => if changed.is_err() { return Ok(()) },
                changed = wishes.changed() => if changed.is_err() { return Ok(()) },
                _ = renewal.tick() => self.renew().await?,
            }
        }
    }

    async fn hello(&mut self, version: &str, reported: &Reported) -> Result<(), SessionError> {
        let desired = self.node.desired();
        let hello = Hello {
            version: version.to_owned(),
            desired: inventory_digest(desired.items.iter().map(|(key, (digest, _))| (key, *digest))),
            reported: reported_digest(
                reported.node.as_deref(),
                reported.pods.iter().map(|(uid, report)| (uid, &**report)),
            ),
        };
        // If the hub remembers something else, it asks for everything.
        self.said.everything(reported);
        self.tell(ToHub::Hello(hello)).await
    }

    /// Does what the hub has asked for since the last time.
    async fn answer(&mut self, wants: Wanted) -> Result<(), SessionError> {
        if wants.inventories > self.done.inventories {
            let desired = self.node.desired();
            let inventory = desired.items.iter().map(|(key, (digest, _))| (key.clone(), *digest)).collect();
            self.tell(ToHub::Inventory(inventory)).await?;
        }
        if wants.reports > self.done.reports {
            self.said.node = None;
            self.said.pods.clear();
        }
        if wants.applied > self.done.applied {
            self.tell(ToHub::Applied(wants.applied)).await?;
        }
        self.done = wants;
        Ok(())
    }

    /// Sends the reports that differ from what was said.
    async fn report(&mut self, reported: &Reported) -> Result<(), SessionError> {
        if let Some(node) = &reported.node {
            let now = digest::<NodeReport>(node);
            if self.said.node != Some(now) {
                self.said.node = Some(now);
                self.tell(ToHub::Node(Box::new(NodeReport::clone(node)))).await?;
            }
        }
        for (uid, report) in &reported.pods {
            let now = report_digest(report);
            if self.said.pods.get(uid) != Some(&now) {
                self.said.pods.insert(uid.clone(), now);
                if !report.resources.is_empty() {
                    let resources = PodResources { pod: uid.clone(), containers: report.resources.clone() };
                    self.tell(ToHub::PodResources(resources)).await?;
                }
                self.tell(ToHub::Pod(Box::new(PodReport::clone(report)))).await?;
            }
        }
        let forgotten: Vec<PodUid> =
            self.said.pods.keys().filter(|uid| !reported.pods.contains_key(uid)).cloned().collect();
        for uid in forgotten {
            self.said.pods.remove(&uid);
            self.tell(ToHub::PodForgotten(uid)).await?;
        }
        Ok(())
    }

    /// Sends events, one frame at a time until the hub has stored it. What it has not stored is sent again next time.
    async fn events(&mut self, wants: Wanted) -> Result<(), SessionError> {
        if !wants.welcomed || self.said.events > wants.events_stored {
            return Ok(());
        }
        let events = self.node.events_after(wants.events_stored, EVENTS);
        if let Some(last) = events.last() {
            self.said.events = last.seq;
            self.tell(ToHub::Events(events)).await?;
        }
        Ok(())
    }

    /// Asks for the tokens that were not asked for yet.
    async fn ask(&mut self, wants: Wanted, wished: &BTreeSet<TokenRequest>) -> Result<(), SessionError> {
        if !wants.welcomed {
            return Ok(());
        }
        for request in wished {
            if self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(request.clone()) {
                self.tell(ToHub::TokenRequest(request.clone())).await?;
            }
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), SessionError> {
        let request = {
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            if identity.is_due(Timestamp::now()) { Some(identity.request()?) } else { None }
        };
        match request {
            Some(request) => self.tell(ToHub::Renew(request)).await,
            None => Ok(()),
        }
    }

    async fn tell(&mut self, message: ToHub) -> Result<(), SessionError> {
        Ok(write(&mut self.send, &message).await?)
    }
}
