//! Replays: members and custodians get the coordinator's frames of the vectors, and must send what the vectors have,
//! byte for byte, drawing the same random bytes.

use std::collections::{BTreeMap, BTreeSet};

use cloister_protocol::fault::Fault;
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use serde::Deserialize;

use crate::coordinating;
use crate::parties::{Actor, Rounds};
use crate::seals;
use crate::steps::{Tape, fault_step};
use crate::vectors::{self, Hex};

pub(crate) const COORDINATOR: &str = "coordinator";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusals {
    refused: Vec<Refused>,
    answered: Vec<Answered>,
}

/// A frame that a receiver takes in place of that of a script's entry, and what it then sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    entry: usize,
    to: String,
    about: String,
    frame: Hex,
    answer: Hex,
}

/// A frame that a receiver must refuse at a step, just before it gets the frame of a script's entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    entry: usize,
    to: String,
    step: String,
    about: String,
    frame: Hex,
    /// Frames that it accepts before, and after, which put things right again.
    #[serde(default)]
    before: Vec<Hex>,
    #[serde(default)]
    after: Vec<Hex>,
    /// Whether this is for a receiver of its own, which gets nothing after it.
    #[serde(default)]
    fork: bool,
    /// Whether it also sends the coordinator a `Refusal`.
    #[serde(default)]
    aloud: bool,
    /// What it sends, from these random bytes.
    draw: Option<Hex>,
    answer: Option<Hex>,
}

impl Answered {
    fn check(&self, rounds: &Rounds) {
        let mut actor = actor_before(rounds, &self.to, self.entry);
        give(rounds, &self.to, &mut actor, &self.frame.0).expect(&self.about);
        let said: Vec<Vec<u8>> = actor.sent.iter().map(Frame::encode).collect();
        assert_eq!(said.concat(), self.answer.0, "{} gets {:?}", self.to, self.about);
    }
}

struct Replay<'a> {
    rounds: &'a Rounds,
    actors: BTreeMap<String, Actor>,
}

/// The bytes that a frame makes its receiver draw when no letter is bad: those of a receiving key, or of the proof of
/// an opened pair (`LATE-08`).
fn tape(rounds: &Rounds, name: &str, frame: &Frame) -> Tape {
    let number: u32 = name.split_once(' ').unwrap().1.parse().unwrap();
    let draw = match frame {
        Frame::Message(Message::KeyRequest { round }) => {
            Some(&rounds.receiving_draws[&number][usize::try_from(round.0).unwrap() - 1])
        }
        Frame::Message(Message::BlameAnswer(_)) => rounds.pair_draws.get(&number),
        _ => None,
    };
    draw.map_or_else(Tape::default, |draw| Tape::from_bytes(draw.0.clone()))
}

/// Gives an actor a frame, with the randomness that it needs.
fn give(rounds: &Rounds, name: &str, actor: &mut Actor, bytes: &[u8]) -> Result<(), Fault> {
    let frame = Frame::decode(bytes).unwrap();
    let mut tape = tape(rounds, name, &frame);
    actor.handle(rounds, frame, &mut tape)
}

/// An actor that got everything before an entry of the script.
pub(crate) fn actor_before(rounds: &Rounds, name: &str, entry: usize) -> Actor {
    let mut actor = Actor::new(rounds, name);
    for step in &rounds.script[..entry] {
        if step.from == COORDINATOR && step.to.iter().any(|to| to == name) {
            give(rounds, name, &mut actor, &rounds.frames[step.frame].0).unwrap();
        }
    }
    actor.sent.clear();
    actor
}

impl Refused {
    /// Gives the actor the frames of this case, and checks that the one is refused at its step.
    fn check(&self, rounds: &Rounds, actor: &mut Actor) {
        let about = format!("{} gets {:?}", self.to, self.about);
        self.accept(rounds, actor, &self.before);
        let waiting = actor.sent.len();
        let frame = Frame::decode(&self.frame.0).unwrap();
        let fault = actor.handle(rounds, frame, &mut self.tape()).expect_err(&about);
        assert_eq!(fault_step(&fault), self.step, "{about}: {fault}");
        self.check_answer(&actor.sent.split_off(waiting).into_iter().collect::<Vec<_>>(), &about);
        self.accept(rounds, actor, &self.after);
    }

    /// A letter that was not announced is left out: what is said about it is not what the vectors are for.
    fn is_unannounced_letter(&self) -> bool {
        self.step == "letter" && self.draw.is_none()
    }

    fn tape(&self) -> Tape {
        match &self.draw {
            Some(draw) => Tape::from_bytes(draw.0.clone()),
            None if self.is_unannounced_letter() => Tape::from_bytes([7; 64]),
            None => Tape::default(),
        }
    }

    fn check_answer(&self, said: &[Frame], about: &str) {
        match (&self.answer, self.aloud) {
            (Some(answer), _) => {
                let said: Vec<Vec<u8>> = said.iter().map(Frame::encode).collect();
                assert_eq!(said.concat(), answer.0);
            }
            (None, true) => assert!(matches!(said, [.., Frame::Message(Message::Refusal { .. })]), "{about}"),
            // A plan that breaks a rule may be refused with a message as well (`PLAN-10`).
            (None, false) => {
                let refusal = |frame: &Frame| matches!(frame, Frame::Message(Message::Refusal { .. }));
                assert!(said.iter().all(refusal) || self.is_unannounced_letter(), "{about}: {said:?}");
            }
        }
    }

    /// Gives frames that are taken; what they are answered with is not of interest.
    fn accept(&self, rounds: &Rounds, actor: &mut Actor, frames: &[Hex]) {
        for frame in frames {
            let waiting = actor.sent.len();
            give(rounds, &self.to, actor, &frame.0).unwrap();
            actor.sent.truncate(waiting);
        }
    }
}

impl<'a> Replay<'a> {
    fn new(rounds: &'a Rounds) -> Self {
        let names: BTreeSet<&String> =
            rounds.script.iter().flat_map(|step| step.to.iter().chain([&step.from])).collect();
        let names = names.into_iter().filter(|name| *name != COORDINATOR);
        let actors = names.map(|name| (name.clone(), Actor::new(rounds, name))).collect();
        Self { rounds, actors }
    }

    /// Goes through the script; `interfere` may give a receiver other frames before each of its own.
    fn run(&mut self, mut interfere: impl FnMut(&mut Self, usize, &str)) {
        for (at, step) in self.rounds.script.iter().enumerate() {
            let bytes = &self.rounds.frames[step.frame].0;
            if step.from != COORDINATOR {
                let sent = self.actor(&step.from).sent.pop_front().expect("something to send").encode();
                assert_eq!(sent != *bytes, step.lie, "entry {at} of {}", step.from);
                continue;
            }
            for name in &step.to {
                interfere(self, at, name);
                let result = give(self.rounds, name, self.actor(name), bytes);
                result.unwrap_or_else(|fault| panic!("entry {at} to {name}: {fault}"));
            }
        }
    }

    /// Whether somebody was there when a round ended, or came back after it.
    fn heard_of_an_ending(&self, name: &str) -> bool {
        let steps = self.rounds.script.iter().filter(|step| step.to.iter().any(|to| to == name));
        let frames = steps.map(|step| Frame::decode(&self.rounds.frames[step.frame].0).unwrap());
        frames.into_iter().any(|frame| matches!(frame, Frame::Message(Message::Ended(_))))
    }

    fn actor(&mut self, name: &str) -> &mut Actor {
        self.actors.get_mut(name).expect("actors are those of the script")
    }

    /// Everything was sent, and whoever was there at the end holds the model.
    fn check_end(&self) {
        let closed = self.rounds.closed_model();
        assert_eq!(closed.digest(), self.rounds.expected.closed_model_digest);
        for (name, actor) in &self.actors {
            assert!(actor.sent.is_empty(), "{name} has more to send");
            let expected = if self.heard_of_an_ending(name) { closed.clone() } else { self.rounds.model() };
            assert!(actor.model().is_none_or(|model| *model == expected), "{name}");
        }
    }
}

/// ROUND-22, ROUND-23, PLAN-14, ROUND-33, ROUND-39
pub(crate) fn rounds(rounds: Rounds) {
    coordinating::check(&rounds);
    check_replay(&rounds);
    seals::check(&rounds);
}

/// ROUND-30, ROUND-31
pub(crate) fn repeated_rounds(rounds: Rounds) {
    check_replay(&rounds);
}

fn check_replay(rounds: &Rounds) {
    let mut replay = Replay::new(rounds);
    replay.run(|_, _, _| {});
    replay.check_end();
    check_log(rounds);
}

pub(crate) fn refusals(file: Refusals) {
    check_refusals(&file, vectors::read("rounds"));
}

/// ROUND-30
pub(crate) fn repeated_refusals(file: Refusals) {
    check_refusals(&file, vectors::read("repeated_rounds"));
}

pub(crate) fn late_refusals(file: Refusals) {
    check_refusals(&file, vectors::read("late_round"));
}

/// LATE-06, LATE-07, LATE-08, LATE-09
pub(crate) fn blame_refusals(file: Refusals) {
    check_refusals(&file, vectors::read("blame_round"));
}

fn check_refusals(file: &Refusals, rounds: Rounds) {
    let mut replay = Replay::new(&rounds);
    let mut refused = 0;
    replay.run(|replay, at, name| {
        for case in file.refused.iter().filter(|case| case.entry == at && case.to == name) {
            match case.fork {
                true => case.check(&rounds, &mut actor_before(&rounds, name, at)),
                false => case.check(&rounds, replay.actor(name)),
            }
            refused += 1;
        }
    });
    replay.check_end();
    file.answered.iter().for_each(|case| case.check(&rounds));
    refused += check_coordinator(file, &rounds);
    assert_eq!(refused, file.refused.len(), "every frame was given to its receiver");
}

/// Gives the coordinator what it must refuse, just before its sender sends the right frame; says how many frames these are.
fn check_coordinator(file: &Refusals, rounds: &Rounds) -> usize {
    let cases: Vec<&Refused> = file.refused.iter().filter(|case| case.to == COORDINATOR).collect();
    if cases.is_empty() {
        return 0;
    }
    let mut session = coordinating::Session::start(rounds);
    session.run(|session, at| {
        for case in cases.iter().filter(|case| case.entry == at) {
            let fault = session.give(at, &case.frame.0).expect_err(&case.about);
            assert_eq!(fault_step(&fault), case.step, "the coordinator gets {:?}: {fault}", case.about);
        }
    });
    cases.len()
}

fn kind(name: &str) -> EntryKind {
    use EntryKind::{
        Abort, Announcement, BlameAnswer, Closing, LateSketches, Manifest, PairOpening, Plan, Reveal, Seal1,
        Seal2, Upload,
    };
    let kinds = [
        Plan,
        Announcement,
        Manifest,
        Seal1,
        Upload,
        Seal2,
        Reveal,
        LateSketches,
        BlameAnswer,
        PairOpening,
        Closing,
        Abort,
    ];
    kinds.into_iter().find(|kind| kind.name() == name).expect("a kind of the log")
}

/// The bodies of the first round's log, by kind, in the order of the messages.
fn bodies(rounds: &Rounds) -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let mut bodies: BTreeMap<&'static str, Vec<Vec<u8>>> = BTreeMap::new();
    let mut add = |kind, body: Vec<u8>| {
        let of_kind = bodies.entry(kind).or_default();
        if !of_kind.contains(&body) {
            of_kind.push(body);
        }
    };
    for message in rounds.messages() {
        match message {
            Message::Plan { plan, previous: None, .. } => add("plan", plan.body),
            Message::Announcement(signed) => add("announcement", signed.body),
            Message::ProposeSeal1 { manifest, seal } => {
                add("manifest", manifest);
                add("seal-1", seal);
            }
            Message::Uploaded(signed) => add("upload", signed.body),
            Message::Sealed2 { certificate } => add("seal-2", certificate.body),
            Message::LateSketches(signed) => add("late-sketches", signed.body),
            Message::BlameAnswer(signed) => add("blame", signed.body),
            Message::PairOpened { opening, .. } => add("pair-opening", codec::encode(&opening)),
            Message::Ended(Ending::Closed { certificate, .. }) => add("closing", certificate.body),
            _ => {}
        }
    }
    bodies
}

/// The reveals of the first round's log, each of which is relayed.
fn relayed_reveals(rounds: &Rounds) -> Vec<Vec<u8>> {
    let relayed: Vec<Vec<u8>> = rounds
        .messages()
        .filter_map(|message| match message {
            Message::Revealed { reveal, .. } => Some(codec::encode(&reveal)),
            _ => None,
        })
        .collect();
    let expected: Vec<Vec<u8>> = rounds.expected.reveals.iter().map(|reveal| reveal.0.clone()).collect();
    assert!(expected.iter().all(|reveal| relayed.contains(reveal)));
    expected
}

fn check_log(rounds: &Rounds) {
    let mut bodies = bodies(rounds);
    bodies.insert("reveal", relayed_reveals(rounds));
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let mut log = RoundLog::default();
    for entry in &rounds.expected.log {
        let at = taken.entry(&entry.kind).or_default();
        log.push(kind(&entry.kind), entry.party, bodies[entry.kind.as_str()][*at].clone());
        *at += 1;
        assert_eq!(log.entries().last().unwrap().leaf(), entry.leaf, "{} {at}", entry.kind);
    }
    assert_eq!(log.root(), rounds.expected.root);
}
