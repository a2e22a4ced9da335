//! The parties' links: a task reads each, a task writes each, and all of it meets in one channel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloister_params::id::PartyId;
use cloister_transport::{FrameReceiver, FrameSender, Link, LinkHandle};
use cloister_wire::frame::Frame;
use tokio::sync::mpsc;

/// How long the last frames of a link may take to arrive before it is dropped.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

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

/// What a link's writer does next. One whose queue ends without a word leaves its link as it is: only a coordinator that
/// is done says so.
#[derive(Debug)]
enum ToWrite {
    Frame(Frame),
    Close,
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
    queue: mpsc::UnboundedSender<ToWrite>,
}

/// All links, by party; a new link of a party replaces its old one.
#[derive(Debug)]
pub(crate) struct Links {
    open: BTreeMap<PartyId, OpenLink>,
    count: u64,
    reports: mpsc::UnboundedSender<LinkReport>,
    writers: tokio::task::JoinSet<Written>,
}

impl Links {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<LinkReport>) {
        let (reports, incoming) = mpsc::unbounded_channel();
        let links = Self { open: BTreeMap::new(), count: 0, reports, writers: tokio::task::JoinSet::new() };
        (links, incoming)
    }

    /// Takes a link into use.
    pub(crate) fn add(&mut self, link: Link) -> PartyId {
        let (party, handle) = (link.peer(), link.handle());
        self.count += 1;
        let number = self.count;
        let (sender, receiver) = link.split();
        let (queue, frames) = mpsc::unbounded_channel();
        self.writers.spawn(async move {
            Written { party, number, acknowledged: write_frames(sender, frames).await }
        });
        tokio::spawn(read_frames(party, number, receiver, self.reports.clone()));
        if let Some(old) = self.open.insert(party, OpenLink { number, handle, queue }) {
            old.handle.abort("a newer link of this party replaces this one");
        }
        party
    }

    pub(crate) fn send(&self, to: PartyId, frame: Frame) {
        if let Some(link) = self.open.get(&to) {
            // A link that just ended is reported by its reader; its frames are sent again when it is back.
            let _ = link.queue.send(ToWrite::Frame(frame));
        }
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
            let _ = reports.send(LinkReport::GraceOver(party, number));
        });
    }

    /// Sends what is queued and closes every link; the parties that acknowledged all of it, and those that did not.
    pub(crate) async fn close(&mut self) -> (BTreeSet<PartyId>, BTreeSet<PartyId>) {
        for link in self.open.values() {
            let _ = link.queue.send(ToWrite::Close);
        }
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
async fn write_frames(mut sender: FrameSender, mut queue: mpsc::UnboundedReceiver<ToWrite>) -> bool {
    loop {
        match queue.recv().await {
            Some(ToWrite::Frame(frame)) if sender.send(&frame.encode()).await.is_ok() => {}
            Some(ToWrite::Close) => break,
            _ => return false,
        }
    }
    let closed = tokio::time::timeout(CLOSE_WITHIN, sender.close(crate::run::FINISHED)).await;
    matches!(closed, Ok(Ok(())))
}

async fn read_frames(
    party: PartyId,
    number: u64,
    mut receiver: FrameReceiver,
    reports: mpsc::UnboundedSender<LinkReport>,
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
        if reports.send(report).is_err() {
            return;
        }
    };
    let _ = reports.send(LinkReport::Ended(party, number, reason));
}
