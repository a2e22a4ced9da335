//! The coordinator of the first round of a file: it gets what the parties of the vectors send, and must send them
//! exactly the frames of the vectors. It has no randomness.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::{Coordinator, CoordinatorOutput, Time};
use cloister_protocol::fault::Fault;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;

use crate::parties::Rounds;
use crate::replay::COORDINATOR;

/// No deadline passes: a party that leaves is not waited for.
const NOW: Time = Time(0);

/// A frame on its way to a party.
type Delivery = (PartyId, Vec<u8>);

/// The number in a party's name; a member and a custodian of one number are one party.
fn party(name: &str) -> PartyId {
    PartyId(name.split_once(' ').unwrap().1.parse().unwrap())
}

/// How many entries the first round has: those up to its ending.
fn first_round(rounds: &Rounds) -> usize {
    let ends = |bytes: &[u8]| matches!(Frame::decode(bytes), Ok(Frame::Message(Message::Ended(_))));
    1 + rounds.script.iter().position(|step| ends(&rounds.frames[step.frame].0)).expect("a round that ends")
}

/// The last entry of each party in the first round, after which it is gone.
fn last_entries(rounds: &Rounds) -> BTreeMap<PartyId, usize> {
    let named = rounds.script[..first_round(rounds)].iter().enumerate().flat_map(|(at, step)| {
        let names = step.to.iter().chain([&step.from]).filter(|name| *name != COORDINATOR);
        names.map(move |name| (party(name), at))
    });
    named.collect()
}

/// Whether a frame has what a custodian makes of its share of a key.
fn is_from_share(bytes: &[u8]) -> bool {
    let shares =
        |message: &Message| matches!(message, Message::MaskKeyShare { .. } | Message::SeedParts { .. });
    matches!(Frame::decode(bytes), Ok(Frame::Message(message)) if shares(&message))
}

/// The coordinator of the first round, and what it sent.
pub(crate) struct Session<'a> {
    rounds: &'a Rounds,
    last: BTreeMap<PartyId, usize>,
    coordinator: Coordinator,
    /// What it sent so far to parties that were still there.
    sent: BTreeSet<Delivery>,
}

impl<'a> Session<'a> {
    pub(crate) fn start(rounds: &'a Rounds) -> Self {
        let coordinator = Coordinator::new(rounds.key(0), rounds.epoch(), rounds.model());
        let mut session = Self { rounds, last: last_entries(rounds), coordinator, sent: BTreeSet::new() };
        session.last.keys().for_each(|party| session.coordinator.handle_connected(*party, NOW));
        let settings = rounds.first_plan().parse().unwrap().settings;
        session.coordinator.start_round(settings, NOW).unwrap();
        session.collect();
        session
    }

    fn collect(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            if let CoordinatorOutput::Send { to, frame } = output {
                self.sent.insert((to, frame.encode()));
            }
        }
    }

    /// Gives it a frame from the sender of an entry.
    pub(crate) fn give(&mut self, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        let sender = party(&self.rounds.script[at].from);
        self.coordinator.handle_frame(sender, Frame::decode(bytes).unwrap(), NOW)
    }

    /// Goes through the first round; `interfere` may give it other frames before each of a party's. It must have sent each of
    /// its own before the script has it. Says what the script has of it.
    pub(crate) fn run(&mut self, mut interfere: impl FnMut(&mut Self, usize)) -> BTreeSet<Delivery> {
        let mut expected = BTreeSet::new();
        for (at, step) in self.rounds.script[..first_round(self.rounds)].iter().enumerate() {
            let bytes = &self.rounds.frames[step.frame].0;
            if step.from == COORDINATOR {
                let deliveries: Vec<Delivery> = step.to.iter().map(|to| (party(to), bytes.clone())).collect();
                let is_sent = deliveries.iter().all(|delivery| self.sent.contains(delivery));
                assert!(is_sent, "entry {at} is not sent");
                expected.extend(deliveries);
                continue;
            }
            interfere(self, at);
            let result = self.give(at, bytes);
            // The first shares that reach the threshold open a secret; one that comes after them is not awaited.
            let is_spare = matches!(result, Err(Fault::Unexpected { .. })) && is_from_share(bytes);
            assert!(result.is_ok() || is_spare, "entry {at}: {result:?}");
            let gone: Vec<PartyId> =
                self.last.iter().filter(|(_, last)| **last == at).map(|(party, _)| *party).collect();
            gone.into_iter().for_each(|party| self.coordinator.handle_disconnected(party, NOW));
            self.collect();
        }
        expected
    }
}

/// LATE-02, LATE-06, LATE-08, LATE-09, ROUND-22
pub(crate) fn check(rounds: &Rounds) {
    let mut session = Session::start(rounds);
    let expected = session.run(|_, _| {});
    let more: Vec<PartyId> = session.sent.difference(&expected).map(|(to, _)| *to).collect();
    assert_eq!(more, [], "the coordinator sends frames that the vectors do not have");
    assert_eq!(*session.coordinator.model(), rounds.closed_model());
}
