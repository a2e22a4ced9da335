//! The parties' links: a task reads each, a task writes each, and all of it meets in one channel.

use std::collections::BTreeMap;
use std::time::Duration;

use cloister_params::id::PartyId;
use cloister_transport::{FrameReceiver, FrameSender, Link, LinkHandle};
use cloister_wire::frame::Frame;
use tokio::sync::mpsc;

/// How long the last frames of a link may take to arrive before it is dropped.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

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

#[derive(Debug)]
struct OpenLink {
    number: u64,
    handle: LinkHandle,
    frames: mpsc::UnboundedSender<Frame>,
}

/// All links, by party; a new link of a party replaces its old one.
#[derive(Debug)]
pub(crate) struct Links {
    open: BTreeMap<PartyId, OpenLink>,
    count: u64,
    reports: mpsc::UnboundedSender<LinkReport>,
    writers: tokio::task::JoinSet<()>,
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
        let (frames, queue) = mpsc::unbounded_channel();
        self.writers.spawn(write_frames(sender, queue));
        tokio::spawn(read_frames(party, number, receiver, self.reports.clone()));
        if let Some(old) = self.open.insert(party, OpenLink { number, handle, frames }) {
            old.handle.abort("a newer link of this party replaces this one");
        }
        party
    }

    pub(crate) fn send(&self, to: PartyId, frame: Frame) {
        if let Some(link) = self.open.get(&to) {
            // A link that just ended is reported by its reader; its frames are sent again when it is back.
            let _ = link.frames.send(frame);
        }
    }

    /// Whether the party's present link has this number.
    pub(crate) fn is_present(&self, party: PartyId, number: u64) -> bool {
        self.open.get(&party).is_some_and(|link| link.number == number)
    }

    /// Reports later whether the party came back.
    pub(crate) fn start_grace(&self, party: PartyId, number: u64, grace: Duration) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let _ = reports.send(LinkReport::GraceOver(party, number));
        });
    }

    /// Sends what is queued, closes every link, and waits for it.
    pub(crate) async fn close(mut self) {
        self.open.clear();
        while self.writers.join_next().await.is_some() {}
    }
}

async fn write_frames(mut sender: FrameSender, mut queue: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = queue.recv().await {
        if sender.send(&frame.encode()).await.is_err() {
            return;
        }
    }
    let _ = tokio::time::timeout(CLOSE_WITHIN, sender.close(crate::run::FINISHED)).await;
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
