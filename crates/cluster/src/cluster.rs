//! A coordinator and its parties on a seeded network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::RoundSettings;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::coordinator::{Coordinator, CoordinatorOutput, Event, ModelParts, RoundReport, Time};
use cloister_protocol::custodian::{Custodian, CustodianOutput};
use cloister_protocol::fault::Fault;
use cloister_protocol::member::{Member, MemberConfig, MemberOutput};
use cloister_protocol::model::Model;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::consortium::TestConsortium;
use crate::plan;

/// When a member stops for the rest of the round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropOut {
    /// It gets the plan and sends nothing.
    BeforeAnnouncing,
    /// It announces and uploads nothing.
    AfterAnnouncing,
    /// It is lost after this many chunks.
    InUpload(usize),
    /// It uploads everything and reveals nothing.
    BeforeRevealing,
}

/// One party: a member and a custodian behind one connection, which may fail independently.
#[derive(Debug)]
pub struct PartyNode {
    /// The member.
    pub member: Member,
    /// The custodian.
    pub custodian: Custodian,
    drop_out: Option<DropOut>,
    member_is_up: bool,
    custodian_is_up: bool,
    chunks_sent: usize,
}

/// A coordinator and its parties, with the links between them.
#[derive(Debug)]
pub struct Cluster {
    /// The consortium.
    pub consortium: TestConsortium,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// The parties.
    pub parties: BTreeMap<PartyId, PartyNode>,
    /// What each member contributes to the next round.
    pub contributions: BTreeMap<PartyId, Contribution>,
    /// Every byte that the coordinator received, if [`Self::keeps_received`] is set.
    pub received: Vec<u8>,
    /// Whether received bytes are recorded. Rounds of a real model would fill the memory with them.
    pub keeps_received: bool,
    /// The last closing that each member applied, and each block whose sum contains its update, with the number of members.
    pub closed: BTreeMap<PartyId, (Digest, Vec<(BlockId, u32)>)>,
    /// Faults that state machines reported, each with the party that reported it.
    pub faults: Vec<(PartyId, Fault)>,
    /// The coordinator's events.
    pub events: Vec<Event>,
    /// Changes frames of the coordinator on their way to a party, as a lying coordinator would.
    pub lie: Option<fn(PartyId, Frame) -> Frame>,
    /// Changes frames of parties on their way to the coordinator, as a lying party would.
    pub spoil: Option<fn(&TestConsortium, PartyId, Frame) -> Frame>,
    template: RoundSettings,
    links: BTreeMap<(PartyId, PartyId), VecDeque<Vec<u8>>>,
    random: ChaCha20Rng,
    now: Time,
    report: Option<RoundReport>,
}

impl Cluster {
    /// A cluster whose members contribute random integers.
    pub fn new(consortium: TestConsortium, template: RoundSettings, seed: u64) -> Self {
        let model = plan::model(&template);
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let parties: Vec<PartyId> = consortium.epoch.consortium().parties().map(|party| party.id).collect();
        let contributions =
            parties.into_iter().map(|party| (party, plan::contribution(&template, &mut random))).collect();
        Self { contributions, ..Self::with_model(consortium, template, model, random) }
    }

    /// A cluster that starts from this model. The caller sets the contributions before each round.
    pub fn with_model(
        consortium: TestConsortium,
        template: RoundSettings,
        model: Model,
        random: ChaCha20Rng,
    ) -> Self {
        let coordinator_key = consortium.keys[&PartyId::COORDINATOR].clone();
        let coordinator = Coordinator::new(coordinator_key, consortium.epoch.clone(), model.clone());
        let mut parties = BTreeMap::new();
        for party in consortium.epoch.consortium().parties() {
            let id = party.id;
            let member = Member::new(consortium.member_config(id, &template, &model));
            let custodian = Custodian::new(consortium.custodian_config(id, &model));
            parties.insert(
                id,
                PartyNode {
                    member,
                    custodian,
                    drop_out: None,
                    member_is_up: true,
                    custodian_is_up: true,
                    chunks_sent: 0,
                },
            );
        }
        Self {
            consortium,
            coordinator,
            parties,
            contributions: BTreeMap::new(),
            received: Vec::new(),
            closed: BTreeMap::new(),
            keeps_received: true,
            faults: Vec::new(),
            events: Vec::new(),
            lie: None,
            spoil: None,
            template,
            links: BTreeMap::new(),
            random,
            now: Time(0),
            report: None,
        }
    }

    /// Lets a member stop at a step.
    pub fn drop_member(&mut self, party: PartyId, when: DropOut) {
        if let Some(node) = self.parties.get_mut(&party) {
            node.drop_out = Some(when);
        }
    }

    /// Restarts a lost member's program. It has the model that the consortium started from.
    pub fn restart_member(&mut self, party: PartyId, last_announced: Option<Round>) {
        let fresh = self.consortium.member_config(party, &self.template, &plan::model(&self.template));
        let member = Member::new(MemberConfig { last_announced, ..fresh });
        if let Some(node) = self.parties.get_mut(&party) {
            node.member = member;
            node.member_is_up = true;
            node.drop_out = None;
            node.chunks_sent = 0;
        }
    }

    /// Stops a custodian before the round.
    pub fn stop_custodian(&mut self, party: PartyId) {
        if let Some(node) = self.parties.get_mut(&party) {
            node.custodian_is_up = false;
        }
    }

    /// Runs one round until it ends. None if no deadline leads any further, so it has no certificate.
    pub fn run_round(&mut self) -> Option<RoundReport> {
        self.report = None;
        let all: Vec<PartyId> = self.parties.keys().copied().collect();
        for party in all {
            self.coordinator.handle_connected(party, self.now);
        }
        self.coordinator.start_round(self.template.clone(), self.now).expect("no round is under way");
        self.collect_from_coordinator();
        let mut idle_deadlines = 0;
        // Deadlines without traffic in between: a round that is still open after as many waits for somebody
        // who never comes.
        while self.report.is_none() && idle_deadlines < 12 {
            if self.deliver_one() {
                continue;
            }
            idle_deadlines += 1;
            let Some(deadline) = self.coordinator.deadline() else {
                break;
            };
            self.now = self.now.max(deadline);
            self.coordinator.handle_time(self.now);
            self.collect_from_coordinator();
        }
        // What is still under way belongs to this round, and must not reach the next one.
        while self.deliver_one() {}
        self.report.take()
    }

    /// Delivers the next frame of a random link. Returns false if all links are empty.
    fn deliver_one(&mut self) -> bool {
        let busy: Vec<(PartyId, PartyId)> =
            self.links.iter().filter(|(_, queue)| !queue.is_empty()).map(|(link, _)| *link).collect();
        if busy.is_empty() {
            return false;
        }
        // A random link, but each link in order: as QUIC streams of different parties race, and each arrives
        // in order.
        let link = busy[self.random.next_u64() as usize % busy.len()];
        let Some(bytes) = self.links.get_mut(&link).and_then(VecDeque::pop_front) else {
            return false;
        };
        let frame = Frame::decode(&bytes).expect("the program's own frames decode");
        match link {
            (from, PartyId::COORDINATOR) => {
                let frame = self.spoil.map_or(frame.clone(), |spoil| spoil(&self.consortium, from, frame));
                self.give_coordinator(from, frame);
            }
            (_, to) => {
                let frame = self.lie.map_or(frame.clone(), |lie| lie(to, frame));
                self.give_party(to, &frame);
            }
        }
        true
    }

    fn give_coordinator(&mut self, from: PartyId, frame: Frame) {
        if self.keeps_received {
            self.received.extend(frame.encode());
        }
        if let Err(fault) = self.coordinator.handle_frame(from, frame, self.now) {
            self.faults.push((PartyId::COORDINATOR, fault));
        }
        self.collect_from_coordinator();
    }

    fn collect_from_coordinator(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                CoordinatorOutput::Send { to, frame } => self.send(PartyId::COORDINATOR, to, &frame),
                CoordinatorOutput::SendModel { to, model, missing } => {
                    ModelParts::new(&model, missing)
                        .for_each(|part| self.send(PartyId::COORDINATOR, to, &part));
                }
                CoordinatorOutput::Event(event) => self.events.push(event),
                // There is no disk to erase from.
                CoordinatorOutput::Erase(_) => {}
                CoordinatorOutput::Ended(report) => self.report = Some(*report),
            }
        }
    }

    /// Gives a frame to the roles that it is for, as the client program does.
    fn give_party(&mut self, to: PartyId, frame: &Frame) {
        let Some(node) = self.parties.get_mut(&to) else {
            return;
        };
        let mut faults = Vec::new();
        if node.member_is_up && frame.is_for_members() {
            faults.extend(node.member.handle_frame(frame.clone(), &mut self.random).err());
        }
        if node.custodian_is_up && frame.is_for_custodians() {
            faults.extend(node.custodian.handle_frame(frame.clone(), &mut self.random).err());
        }
        self.faults.extend(faults.into_iter().map(|fault| (to, fault)));
        self.collect_from_member(to);
        self.collect_from_custodian(to);
    }

    fn collect_from_member(&mut self, id: PartyId) {
        loop {
            let Some(node) = self.parties.get_mut(&id) else {
                return;
            };
            let Some(output) = node.member.poll_output() else {
                return;
            };
            match output {
                // Told to train is the first output after the plan: nothing was sent yet.
                MemberOutput::Train { .. } if node.drop_out == Some(DropOut::BeforeAnnouncing) => {
                    self.lose_member(id);
                }
                MemberOutput::Train { digest, plan } if plan.settings.rehearsal => {
                    let result = node.member.rehearse(digest, &mut self.random);
                    self.faults.extend(result.err().map(|fault| (id, fault)));
                }
                MemberOutput::Train { digest, .. } => {
                    let contribution = self.contributions[&id].clone();
                    let result = node.member.contribute(digest, contribution, &mut self.random);
                    self.faults.extend(result.err().map(|fault| (id, fault)));
                }
                MemberOutput::SendAgain { digest, .. } => {
                    let result = node.member.contribute_again(digest, &mut self.random);
                    self.faults.extend(result.err().map(|fault| (id, fault)));
                }
                MemberOutput::Send(frame) => self.send_from_member(id, &frame),
                MemberOutput::Closed { closing, summed, .. } => {
                    self.closed.insert(id, (closing, summed));
                }
                MemberOutput::Keep(_)
                | MemberOutput::KeepOpening(_)
                | MemberOutput::Arriving(_)
                | MemberOutput::CaughtUp { .. }
                | MemberOutput::Aborted(_)
                | MemberOutput::Refused { .. } => {}
            }
        }
    }

    fn send_from_member(&mut self, id: PartyId, frame: &Frame) {
        let Some(node) = self.parties.get_mut(&id) else {
            return;
        };
        let stops = match (node.drop_out, frame) {
            (Some(DropOut::AfterAnnouncing), Frame::Chunk(_)) => true,
            (Some(DropOut::InUpload(limit)), Frame::Chunk(_)) => {
                node.chunks_sent += 1;
                node.chunks_sent > limit
            }
            (Some(DropOut::InUpload(_)), Frame::Message(Message::Uploaded(_))) => true,
            (Some(DropOut::BeforeRevealing), Frame::Message(Message::Seeds { .. })) => true,
            _ => false,
        };
        if stops {
            self.lose_member(id);
        }
        if self.parties[&id].member_is_up {
            self.send(id, PartyId::COORDINATOR, frame);
        }
    }

    fn lose_member(&mut self, id: PartyId) {
        if let Some(node) = self.parties.get_mut(&id) {
            node.member_is_up = false;
        }
    }

    fn collect_from_custodian(&mut self, id: PartyId) {
        loop {
            let Some(node) = self.parties.get_mut(&id) else {
                return;
            };
            match node.custodian.poll_output() {
                Some(CustodianOutput::Send(frame)) => self.send(id, PartyId::COORDINATOR, &frame),
                Some(
                    CustodianOutput::Keep(_)
                    | CustodianOutput::KeepOpening(_)
                    | CustodianOutput::Declined { .. },
                ) => {}
                None => return,
            }
        }
    }

    fn send(&mut self, from: PartyId, to: PartyId, frame: &Frame) {
        self.links.entry((from, to)).or_default().push_back(frame.encode());
    }

    /// The members whose machines are up.
    pub fn members_up(&self) -> BTreeSet<PartyId> {
        self.parties.iter().filter(|(_, node)| node.member_is_up).map(|(id, _)| *id).collect()
    }
}
