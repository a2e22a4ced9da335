//! The parties' links. For each link one task reads and one writes, and all reports go through one channel.
//! Memory grows neither with what a party sends nor with what it does not read (`ROUND-32`).

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

/// How long a party may take to acknowledge the last frames before its link is dropped.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How many reports, each of at most one frame, may wait for the coordinator. When they are that many, the
/// readers wait, and by back-pressure the parties that send.
/// With 8 MiB for each frame that is 128 MiB of memory, however many parties there are.
const MOST_REPORTS: usize = 16;

/// The link number of a party that has had no link since this program started. Links are numbered from 1.
pub(crate) const NO_LINK: u64 = 0;

/// What links report.
#[derive(Debug)]
pub(crate) enum LinkReport {
    /// A party sent a frame.
    Frame(PartyId, Frame),
    /// The party's link with this number ended, or broke framing or encoding, with the reason.
    Ended(PartyId, u64, String),
    /// The time to reconnect is over for the party, whose last link had this number.
    GraceOver(PartyId, u64),
}

/// That a link's writer has ended, and whether the peer acknowledged all frames and the close.
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
    /// Why this side has ended the link, if it has.
    cut: Option<String>,
}

/// All links, by party. A new link of a party replaces its old one.
#[derive(Debug)]
pub(crate) struct Links {
    open: BTreeMap<PartyId, OpenLink>,
    /// How many links there have been, which is the number of the latest.
    count: u64,
    most_waiting: u64,
    reports: mpsc::Sender<LinkReport>,
    writers: tokio::task::JoinSet<Written>,
}

impl Links {
    /// No links yet. For each link at most `most_waiting` bytes may wait to be written.
    pub(crate) fn new(most_waiting: u64) -> (Self, mpsc::Receiver<LinkReport>) {
        let (reports, incoming) = mpsc::channel(MOST_REPORTS);
        let writers = tokio::task::JoinSet::new();
        (Self { open: BTreeMap::new(), count: 0, most_waiting, reports, writers }, incoming)
    }

    /// Starts the tasks of a new link.
    pub(crate) fn add(&mut self, link: Link) -> PartyId {
        // Writers of links that have ended are removed, or the set would grow with every link.
        while self.writers.try_join_next().is_some() {}
        let (party, handle) = (link.peer(), link.handle());
        // Numbers tell reports of a replaced link from those of its successor, which both name the party.
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
            // Otherwise a party that connects again and again could have one frame of each link waiting.
            old.reader.abort();
        }
        party
    }

    /// Queues a frame for a party. The link of a party that does not read is ended when too much waits.
    pub(crate) fn send(&mut self, to: PartyId, frame: &Frame) {
        let Some(link) = self.open.get(&to).filter(|link| link.cut.is_none()) else { return };
        if let Err(full) = link.outbox.send(frame.encode()) {
            self.cut(to, &full.to_string());
        }
    }

    /// Queues a model for a party, unless one is being sent.
    pub(crate) fn send_model(&self, to: PartyId, model: &Model) {
        if let Some(link) = self.open.get(&to) {
            link.outbox.send_model(model);
        }
    }

    /// Ends a party's link at once. It is reported like any other end.
    pub(crate) fn cut(&mut self, party: PartyId, reason: &str) {
        if let Some(link) = self.open.get_mut(&party) {
            link.handle.abort(reason);
            // The first reason is the cause; the link's own error would only say that this side closed it.
            link.cut.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// Why this side has ended the party's present link; `None` if it has not.
    pub(crate) fn reason_for_cutting(&self, party: PartyId) -> Option<&str> {
        self.open.get(&party)?.cut.as_deref()
    }

    /// Whether the party's latest link has this number, which is [`NO_LINK`] if it has had none.
    pub(crate) fn is_latest(&self, party: PartyId, number: u64) -> bool {
        self.open.get(&party).map_or(NO_LINK, |link| link.number) == number
    }

    /// Whether a party has had a link since this program started.
    pub(crate) fn has_linked(&self, party: PartyId) -> bool {
        self.open.contains_key(&party)
    }

    /// Reports after this time that the party's time to reconnect is over. The report has the link's number,
    /// so that it is ignored if the party has a newer link by then.
    pub(crate) fn start_grace(&self, party: PartyId, number: u64, grace: Duration) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let _ = reports.send(LinkReport::GraceOver(party, number)).await;
        });
    }

    /// Sends what is queued and closes every link for this reason. The result is the parties that acknowledged everything,
    /// and those that did not.
    pub(crate) async fn close(&mut self, reason: &'static str) -> (BTreeSet<PartyId>, BTreeSet<PartyId>) {
        // All at once: a party that does not acknowledge takes its time beside the others, not before them.
        self.open.values().for_each(|link| link.outbox.close(reason));
        let mut acknowledged = BTreeSet::new();
        while let Some(written) = self.writers.join_next().await {
            let Ok(written) = written else { continue };
            // What an older link acknowledged does not count: the ending may have been sent on the newer one.
            if written.acknowledged && self.is_latest(written.party, written.number) {
                acknowledged.insert(written.party);
            }
        }
        let all = std::mem::take(&mut self.open).into_keys();
        let unacknowledged = all.filter(|party| !acknowledged.contains(party)).collect();
        (acknowledged, unacknowledged)
    }
}

/// Writes what waits for a link. The result is whether the peer acknowledged everything, the close included.
async fn write_frames(mut sender: FrameSender, mut waiting: Waiting, handle: LinkHandle) -> bool {
    let reason = loop {
        let is_written = match waiting.next().await {
            Some(ToWrite::Frame(frame)) => sender.send(&frame).await.is_ok(),
            Some(ToWrite::Model(parts)) => {
                let is_written = write_model(&mut sender, parts, &handle).await;
                waiting.model_is_sent();
                is_written
            }
            Some(ToWrite::Close(reason)) => break reason,
            None => false,
        };
        if !is_written {
            return false;
        }
    };
    let closed = tokio::time::timeout(CLOSE_WITHIN, sender.close(reason)).await;
    matches!(closed, Ok(Ok(())))
}

/// Writes a model. The result is whether all of it was written. The link is ended if a round closes in
/// between: the party then asks for the newer model.
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
