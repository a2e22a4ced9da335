//! The parties' links. For each link one task reads and one writes, and all reports go through one channel.
//! Memory grows neither with what a party sends nor with what it does not read, and no party keeps a writer
//! waiting for ever (`ROUND-32`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::ModelParts;
use cloister_protocol::model::Model;
use cloister_transport::{FrameReceiver, FrameSender, Link, LinkHandle};
use cloister_wire::frame::Frame;
use cloister_wire::message::MissingParts;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::ServerConfig;
use crate::outbox::{Outbox, ToWrite, Waiting, most_waiting, outbox};

/// The reason with which the link of a party is ended that neither reads nor sends.
const STALLED: &str = "this party has read and sent nothing for longer than the idle timeout and the time to reconnect, though \
                       frames wait for it; check its process, and connect again";

/// The reason with which links are ended that take too long to close.
const TOO_SLOW: &str = "this party has not read everything within the time for closing; connect again to ask for what is missing";

/// How long a party may take to acknowledge the last frames before its link is dropped.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_secs(5);

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

/// What one link may take of the coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkLimits {
    /// The most bytes that may wait to be written.
    pub(crate) most_waiting: u64,
    /// A link counts as lost if something waits to be written and no byte moves for this long.
    pub(crate) stalled: Duration,
}

impl LinkLimits {
    /// The limits that a coordinator's configuration gives (`ROUND-32`).
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let members = config.epoch.consortium().members().count();
        Self { most_waiting: most_waiting(&config.settings, members), stalled: config.time_to_return() }
    }
}

/// Ends a link with a reason, from the coordinator's side or the writer's.
#[derive(Clone, Debug)]
struct Ending {
    handle: LinkHandle,
    /// Why this side has ended the link, if it has.
    reason: Arc<OnceLock<String>>,
}

impl Ending {
    /// Ends the link at once.
    fn end(&self, reason: &str) {
        // The first reason is the cause; the link's own error would only say that this side closed it.
        self.reason.get_or_init(|| reason.to_owned());
        self.handle.abort(reason);
    }
}

#[derive(Debug)]
struct OpenLink {
    number: u64,
    ending: Ending,
    outbox: Outbox,
    reader: AbortHandle,
}

/// All links, by party. A new link of a party replaces its old one.
#[derive(Debug)]
pub(crate) struct Links {
    open: BTreeMap<PartyId, OpenLink>,
    /// How many links there have been, which is the number of the latest.
    count: u64,
    limits: LinkLimits,
    reports: mpsc::Sender<LinkReport>,
    writers: tokio::task::JoinSet<Written>,
}

impl Links {
    /// No links yet.
    pub(crate) fn new(limits: LinkLimits) -> (Self, mpsc::Receiver<LinkReport>) {
        let (reports, incoming) = mpsc::channel(MOST_REPORTS);
        let writers = tokio::task::JoinSet::new();
        (Self { open: BTreeMap::new(), count: 0, limits, reports, writers }, incoming)
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
        let (outbox, waiting) = outbox(self.limits.most_waiting);
        let ending = Ending { handle, reason: Arc::default() };
        let writing = write_frames(sender, waiting, ending.clone(), self.limits.stalled);
        self.writers.spawn(async move { Written { party, number, acknowledged: writing.await } });
        let reading = tokio::spawn(read_frames(party, number, receiver, self.reports.clone()));
        let open = OpenLink { number, ending, outbox, reader: reading.abort_handle() };
        if let Some(old) = self.open.insert(party, open) {
            old.ending.end("a newer link of this party replaces this one");
            // Otherwise a party that connects again and again could have one frame of each link waiting.
            old.reader.abort();
        }
        party
    }

    /// Queues a frame for a party. The link of a party that does not read is ended when too much waits.
    pub(crate) fn send(&mut self, to: PartyId, frame: &Frame) {
        let Some(link) = self.open.get(&to).filter(|link| link.ending.reason.get().is_none()) else { return };
        if let Err(full) = link.outbox.send(frame.encode()) {
            link.ending.end(&full.to_string());
        }
    }

    /// Queues parts of a model for a party, unless some are being sent.
    pub(crate) fn send_model(&self, to: PartyId, model: &Model, missing: Vec<MissingParts>) {
        if let Some(link) = self.open.get(&to) {
            link.outbox.send_model(model, missing);
        }
    }

    /// Ends a party's link at once. It is reported like any other end.
    pub(crate) fn cut(&self, party: PartyId, reason: &str) {
        if let Some(link) = self.open.get(&party) {
            link.ending.end(reason);
        }
    }

    /// Why this side has ended the party's present link; `None` if it has not.
    pub(crate) fn reason_for_cutting(&self, party: PartyId) -> Option<&str> {
        self.open.get(&party)?.ending.reason.get().map(String::as_str)
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

    /// Sends what is queued and closes every link for this reason, for at most this time. The result is the
    /// parties that acknowledged everything, and those that did not.
    pub(crate) async fn close(
        &mut self,
        reason: &'static str,
        within: Duration,
    ) -> (BTreeSet<PartyId>, BTreeSet<PartyId>) {
        // All at once: a party that does not acknowledge takes its time beside the others, not before them.
        self.open.values().for_each(|link| link.outbox.close(reason));
        let mut acknowledged = BTreeSet::new();
        let limit = tokio::time::Instant::now() + within;
        loop {
            let Ok(next) = tokio::time::timeout_at(limit, self.writers.join_next()).await else {
                // A party that reads a little now and then never stalls, and would keep the program from
                // ending.
                self.open.values().for_each(|link| link.ending.end(TOO_SLOW));
                self.writers.shutdown().await;
                break;
            };
            let Some(written) = next else { break };
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
async fn write_frames(
    mut sender: FrameSender,
    mut waiting: Waiting,
    ending: Ending,
    stalled: Duration,
) -> bool {
    let reason = loop {
        let is_written = match waiting.next().await {
            Some(ToWrite::Frame(frame)) => {
                let writing = async { sender.send(&frame).await.is_ok() };
                while_moving(writing, &ending, stalled).await
            }
            Some(ToWrite::Model(parts)) => {
                let writing = write_model(&mut sender, parts, &waiting, &ending);
                while_moving(writing, &ending, stalled).await
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

/// Waits for a write for as long as bytes of the link move. The result is that of the write; the link is ended
/// if nothing moves for the limit.
async fn while_moving(writing: impl Future<Output = bool>, ending: &Ending, stalled: Duration) -> bool {
    let counters = ending.handle.counters();
    // In either direction: a party that uploads over a slow network reads nothing meanwhile.
    let moved = || (counters.sent(), counters.received());
    let mut writing = std::pin::pin!(writing);
    loop {
        let before = moved();
        if let Ok(is_written) = tokio::time::timeout(stalled, &mut writing).await {
            return is_written;
        }
        if moved() == before {
            ending.end(STALLED);
            return false;
        }
    }
}

/// Writes what was asked for of a model. The result is whether all of it was written. The link is ended if a
/// round closes in between: the party then asks for the newer model.
async fn write_model(
    sender: &mut FrameSender,
    mut parts: ModelParts,
    waiting: &Waiting,
    ending: &Ending,
) -> bool {
    loop {
        let next = parts.next_frame();
        if parts.is_over() {
            waiting.model_is_sent();
        }
        match next {
            Ok(Some(frame)) if sender.send(&frame.encode()).await.is_ok() => {}
            Ok(Some(_)) => return false,
            Ok(None) => return true,
            Err(outdated) => {
                ending.end(&outdated.to_string());
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
