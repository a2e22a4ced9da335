//! The parties' links: a task reads each, a task writes each, and all of it meets in one channel. Neither way does memory
//! grow with what a party sends or does not read (`ROUND-32`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::ModelParts;
use cloister_protocol::model::Model;
use cloister_transport::{FrameReceiver, FrameSender, Link, LinkHandle};
use cloister_wire::frame::Frame;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::outbox::{Outbox, ToWrite, Waiting, outbox};

/// The reason with which links are closed after the last round; a client that reads it ends without an error.
const FINISHED: &str = "the last round has ended";

/// How long the last frames of a link may take to arrive before it is dropped.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Reports that wait for the coordinator, each of one frame at most; beyond them each link's reader waits its turn, and with
/// it the link's sender.
const MOST_REPORTS: usize = 16;

/// The number of the link that a party which has not come yet does not have.
pub(crate) const NEVER: u64 = 0;

/// What links report.
#[derive(Debug)]
pub(crate) enum LinkReport {
    /// A frame came.
    Frame(PartyId, Frame),
    /// The peer broke framing or encoding, or its link ended; the number tells which of its links.
    Ended(PartyId, u64, String),
    /// The time to reconnect has passed for the party's link of this number.
    GraceOver(PartyId, u64),
}

/// The end of a link's writer, and whether the peer acknowledged all frames and the close.
#[derive(Debug)]
struct Written {
    party: PartyId,
    number: u64,
    acknowledged: bool,
}

#[derive(Debug)]
struct OpenLink {
    number: u64,
    handle: LinkHandle,
    outbox: Outbox,
    reader: AbortHandle,
    /// Why this side has cut it.
    cut: Option<String>,
}

/// All links, by party; a new link of a party replaces its old one.
#[derive(Debug)]
pub(crate) struct Links {
    open: BTreeMap<PartyId, OpenLink>,
    count: u64,
    most_waiting: u64,
    reports: mpsc::Sender<LinkReport>,
    writers: tokio::task::JoinSet<Written>,
}

impl Links {
    /// No links yet; for each at most so many bytes will wait.
    pub(crate) fn new(most_waiting: u64) -> (Self, mpsc::Receiver<LinkReport>) {
        let (reports, incoming) = mpsc::channel(MOST_REPORTS);
        let writers = tokio::task::JoinSet::new();
        (Self { open: BTreeMap::new(), count: 0, most_waiting, reports, writers }, incoming)
    }

    /// Takes a link into use.
    pub(crate) fn add(&mut self, link: Link) -> PartyId {
        // Writers of links that ended have nothing more to tell.
        while self.writers.try_join_next().is_some() {}
        let (party, handle) = (link.peer(), link.handle());
        self.count += 1;
        let number = self.count;
        let (sender, receiver) = link.split();
        let (outbox, waiting) = outbox(self.most_waiting);
        let writing = write_frames(sender, waiting, handle.clone());
        self.writers.spawn(async move { Written { party, number, acknowledged: writing.await } });
        let reading = tokio::spawn(read_frames(party, number, receiver, self.reports.clone()));
        let open = OpenLink { number, handle, outbox, reader: reading.abort_handle(), cut: None };
        if let Some(old) = self.open.insert(party, open) {
            old.handle.abort("a newer link of this party replaces this one");
            // Or a party that connects again and again would have a frame of each link wait.
            old.reader.abort();
        }
        party
    }

    /// Sends a frame, or cuts the link of a party that does not read.
    pub(crate) fn send(&mut self, to: PartyId, frame: &Frame) {
        let Some(link) = self.open.get(&to).filter(|link| link.cut.is_none()) else { return };
        if let Err(full) = link.outbox.send(frame.encode()) {
            self.cut(to, &full.to_string());
        }
    }

    /// Sends a model, unless one is under way.
    pub(crate) fn send_model(&self, to: PartyId, model: &Model) {
        if let Some(link) = self.open.get(&to) {
            link.outbox.send_model(model);
        }
    }

    /// Ends a party's link at once; it is reported as any that ended.
    pub(crate) fn cut(&mut self, party: PartyId, reason: &str) {
        if let Some(link) = self.open.get_mut(&party) {
            link.handle.abort(reason);
            link.cut.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// Why this side has cut the party's present link.
    pub(crate) fn reason_for_cutting(&self, party: PartyId) -> Option<&str> {
        self.open.get(&party)?.cut.as_deref()
    }

    /// Whether the party's present link has this number; [`NEVER`] as long as it has none.
    pub(crate) fn is_present(&self, party: PartyId, number: u64) -> bool {
        self.open.get(&party).map_or(NEVER, |link| link.number) == number
    }

    /// Whether a party has had a link since this program began.
    pub(crate) fn has_linked(&self, party: PartyId) -> bool {
        self.open.contains_key(&party)
    }

    /// Reports later whether the party came back.
    pub(crate) fn start_grace(&self, party: PartyId, number: u64, grace: Duration) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let _ = reports.send(LinkReport::GraceOver(party, number)).await;
        });
    }

    /// Sends what is queued and closes every link; the parties that acknowledged all of it, and those that did not.
    pub(crate) async fn close(&mut self) -> (BTreeSet<PartyId>, BTreeSet<PartyId>) {
        self.open.values().for_each(|link| link.outbox.close());
        let mut heard = BTreeSet::new();
        while let Some(written) = self.writers.join_next().await {
            let is_last = |own: &Written| self.is_present(own.party, own.number);
            heard.extend(written.ok().filter(|own| own.acknowledged && is_last(own)).map(|own| own.party));
        }
        let all = std::mem::take(&mut self.open).into_keys();
        let unheard = all.filter(|party| !heard.contains(party)).collect();
        (heard, unheard)
    }
}

/// Whether all of it was acknowledged, up to the close.
async fn write_frames(mut sender: FrameSender, mut waiting: Waiting, handle: LinkHandle) -> bool {
    loop {
        let is_written = match waiting.next().await {
            Some(ToWrite::Frame(frame)) => sender.send(&frame).await.is_ok(),
            Some(ToWrite::Model(parts)) => {
                let is_written = write_model(&mut sender, parts, &handle).await;
                waiting.model_is_sent();
                is_written
            }
            Some(ToWrite::Close) => break,
            None => false,
        };
        if !is_written {
            return false;
        }
    }
    let closed = tokio::time::timeout(CLOSE_WITHIN, sender.close(FINISHED)).await;
    matches!(closed, Ok(Ok(())))
}

/// Whether the whole model was written. The link ends if a round closes meanwhile: its party then asks for the model of that.
async fn write_model(sender: &mut FrameSender, mut parts: ModelParts, handle: &LinkHandle) -> bool {
    loop {
        match parts.next_frame() {
            Ok(Some(frame)) if sender.send(&frame.encode()).await.is_ok() => {}
            Ok(Some(_)) => return false,
            Ok(None) => return true,
            Err(outdated) => {
                handle.abort(&outdated.to_string());
                return false;
            }
        }
    }
}

async fn read_frames(
    party: PartyId,
    number: u64,
    mut receiver: FrameReceiver,
    reports: mpsc::Sender<LinkReport>,
) {
    let reason = loop {
        let report = match receiver.recv().await {
            Ok(Some(bytes)) => match Frame::decode(&bytes) {
                Ok(frame) => LinkReport::Frame(party, frame),
                Err(error) => break error.to_string(),
            },
            Ok(None) => break receiver.closing_reason().unwrap_or("closed").to_owned(),
            Err(error) => break error.to_string(),
        };
        if reports.send(report).await.is_err() {
            return;
        }
    };
    let _ = reports.send(LinkReport::Ended(party, number, reason)).await;
}

#[cfg(test)]
mod tests;
