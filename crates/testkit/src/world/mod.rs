//! A consortium step by step: every delivery, loss, restart and deadline is the caller's choice.
//!
//! `cloister_cluster` runs whole rounds; a world leaves each next step to a test. What honest parties write to
//! disk and send is observed in order, so that invariants can be checked after every step.

mod coordinator;
mod faults;
mod interference;
mod training;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cloister_params::consortium::Role;
use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::coordinator::{Coordinator, CoordinatorOutput, Event, Input, ModelUnderWay, Time};
use cloister_protocol::custodian::{Custodian, CustodianConfig, CustodianOutput};
use cloister_protocol::fault::Fault;
use cloister_protocol::member::{Member, MemberConfig, MemberOutput};
use cloister_protocol::model::Model;
use cloister_protocol::openings::OpeningHistory;
use cloister_wire::frame::Frame;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::byzantine::ByzantineCustodian;
pub use crate::node::{CustodianNode, Node, Observation, PartyDisk, WorldStep};
use cloister_cluster::consortium::TestConsortium;
use cloister_cluster::{plan, policy};
pub use coordinator::CoordinatorDisk;
pub use faults::{ChangedByFault, StateMachine};
use interference::Interference;
use training::Training;

/// A coordinator, its parties and the links between them.
#[derive(Debug)]
pub struct World {
    /// The consortium.
    pub consortium: TestConsortium,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// The parties.
    pub nodes: BTreeMap<PartyId, Node>,
    /// What was observed since a test last took this list.
    pub observations: Vec<Observation>,
    /// Faults that state machines reported, each with the party that reported it.
    pub faults: Vec<(PartyId, Fault)>,
    /// State machines that changed by an input that they rejected, if faults are watched ([`World::watch_faults`]).
    pub changed_by_faults: Vec<ChangedByFault>,
    /// The coordinator's events.
    pub events: Vec<Event>,
    /// Contributions of these members to every round, instead of random integers.
    pub fixed_contributions: BTreeMap<PartyId, Contribution>,
    /// Whether a second training from one model gives other integers, as with a hospital's own randomness.
    pub trains_afresh: bool,
    watches_faults: bool,
    training: Training,
    interference: Interference,
    template: RoundSettings,
    genesis: Model,
    seed: u64,
    links: BTreeMap<(PartyId, PartyId), VecDeque<Vec<u8>>>,
    /// Parties that the coordinator still waits for after its restart.
    unlinked: BTreeSet<PartyId>,
    disk: CoordinatorDisk,
    models: BTreeMap<PartyId, ModelUnderWay>,
    random: ChaCha20Rng,
    now: Time,
}

impl World {
    /// A world in which everyone is connected and no round has begun.
    pub fn new(consortium: TestConsortium, template: RoundSettings, seed: u64) -> Self {
        let genesis = plan::model(&template);
        let key = consortium.keys[&PartyId::COORDINATOR].clone();
        let coordinator = Coordinator::new(key, consortium.epoch.clone(), genesis.clone());
        let disk = CoordinatorDisk::new(&coordinator, Time(0));
        let mut world = Self {
            consortium,
            coordinator,
            nodes: BTreeMap::new(),
            observations: Vec::new(),
            faults: Vec::new(),
            changed_by_faults: Vec::new(),
            events: Vec::new(),
            fixed_contributions: BTreeMap::new(),
            trains_afresh: false,
            watches_faults: false,
            training: Training::default(),
            interference: Interference::default(),
            template,
            genesis,
            seed,
            links: BTreeMap::new(),
            unlinked: BTreeSet::new(),
            disk,
            models: BTreeMap::new(),
            random: ChaCha20Rng::seed_from_u64(seed),
            now: Time(0),
        };
        for id in world.parties() {
            let node = world.fresh_node(id, PartyDisk::default());
            world.nodes.insert(id, node);
            world.connect(id);
        }
        world
    }

    /// All parties.
    pub fn parties(&self) -> Vec<PartyId> {
        self.consortium.epoch.consortium().parties().map(|party| party.id).collect()
    }

    /// The settings of the next round and all later ones.
    pub fn template_mut(&mut self) -> &mut RoundSettings {
        &mut self.template
    }

    /// Replaces a custodian by one that signs and reveals everything.
    pub fn corrupt_custodian(&mut self, id: PartyId) {
        let byzantine =
            ByzantineCustodian::new(id, self.consortium.keys[&id].clone(), self.consortium.epoch.clone());
        if let Some(node) = self.nodes.get_mut(&id) {
            node.custodian = Some(CustodianNode::Byzantine(Box::new(byzantine)));
        }
    }

    fn fresh_node(&self, id: PartyId, journal: PartyDisk) -> Node {
        let roster = self.consortium.epoch.consortium();
        Node {
            member: roster.has_role(id, Role::Member).then(|| self.fresh_member(id, &journal)),
            custodian: roster
                .has_role(id, Role::Custodian)
                .then(|| CustodianNode::Honest(Box::new(self.fresh_custodian(id, &journal)))),
            journal,
            member_is_silent: false,
            training: None,
        }
    }

    /// A member as it starts with this journal, from the initial model.
    pub fn fresh_member(&self, id: PartyId, journal: &PartyDisk) -> Member {
        Member::new(MemberConfig {
            id,
            key: self.consortium.keys[&id].clone(),
            epoch: self.consortium.epoch.clone(),
            policy: policy(&self.consortium),
            task: plan::task(&self.template),
            model: self.genesis.clone(),
            last_announced: journal.announced,
            openings: OpeningHistory::new(journal.openings.iter().cloned()),
            arrived: journal.arrived.iter().cloned().collect(),
        })
    }

    /// A custodian as it starts with this journal.
    pub fn fresh_custodian(&self, id: PartyId, journal: &PartyDisk) -> Custodian {
        Custodian::new(CustodianConfig {
            id,
            key: self.consortium.keys[&id].clone(),
            epoch: self.consortium.epoch.clone(),
            policy: policy(&self.consortium),
            model: self.genesis.digest(),
            signed: journal.signed.clone(),
            openings: OpeningHistory::new(journal.openings.iter().cloned()),
        })
    }

    /// Ends a party's process and starts it again from its journal, without a link. A byzantine custodian
    /// keeps its state.
    pub fn restart(&mut self, party: PartyId) {
        self.disconnect(party);
        let Some(journal) = self.nodes.get(&party).map(|node| node.journal.clone()) else {
            return;
        };
        let fresh = self.fresh_node(party, journal);
        if let Some(old) = self.nodes.insert(party, fresh)
            && let Some(CustodianNode::Byzantine(byzantine)) = old.custodian
            && let Some(node) = self.nodes.get_mut(&party)
        {
            node.custodian = Some(CustodianNode::Byzantine(byzantine));
        }
    }

    /// Lets a member say and do nothing until its party is restarted.
    pub fn silence_member(&mut self, party: PartyId) {
        if let Some(node) = self.nodes.get_mut(&party) {
            node.member_is_silent = true;
        }
    }

    /// The possible next steps, in a fixed order.
    pub fn steps(&self) -> Vec<WorldStep> {
        let links = self.links.iter().filter(|(_, queue)| !queue.is_empty());
        let deliveries = links.map(|((from, to), _)| WorldStep::Deliver { from: *from, to: *to });
        let training =
            self.nodes.iter().filter(|(id, node)| node.training.is_some() && self.is_connected(**id));
        deliveries.chain(training.map(|(id, _)| WorldStep::Train(*id))).collect()
    }

    /// The frame that a link delivers next.
    pub fn next_frame(&self, from: PartyId, to: PartyId) -> Option<Frame> {
        let bytes = self.links.get(&(from, to))?.front()?;
        Some(Frame::decode(bytes).expect("the program's own frames decode"))
    }

    /// Takes the next frame off a link without delivering it.
    pub fn lose_next(&mut self, from: PartyId, to: PartyId) -> Option<Frame> {
        let frame = self.next_frame(from, to)?;
        self.links.get_mut(&(from, to))?.pop_front();
        Some(frame)
    }

    /// Takes a step.
    pub fn take(&mut self, step: WorldStep) {
        match step {
            WorldStep::Train(party) => self.finish_training(party),
            WorldStep::Deliver { from, to } => {
                if let Some(frame) = self.lose_next(from, to) {
                    self.hand(from, to, frame);
                }
            }
        }
    }

    /// Delivers the next frame of a link and leaves a copy of it on the link.
    pub fn duplicate(&mut self, from: PartyId, to: PartyId) {
        self.next_frame(from, to).into_iter().for_each(|frame| self.hand(from, to, frame));
    }

    /// Takes the first possible step until none is left, or until `stop` holds before a delivery. Returns the
    /// frame at which it stopped.
    pub fn run_until(
        &mut self,
        stop: impl Fn(PartyId, PartyId, &Frame) -> bool,
    ) -> Option<(PartyId, PartyId, Frame)> {
        while let Some(step) = self.steps().first().copied() {
            if let WorldStep::Deliver { from, to } = step
                && let Some(frame) = self.next_frame(from, to)
                && stop(from, to, &frame)
            {
                return Some((from, to, frame));
            }
            self.take(step);
        }
        None
    }

    /// Takes every possible step, without letting a deadline pass.
    pub fn settle(&mut self) {
        self.run_until(|_, _, _| false);
    }

    fn hand(&mut self, from: PartyId, to: PartyId, frame: Frame) {
        if to == PartyId::COORDINATOR {
            let result = self.say(from, frame);
            self.note(to, result);
        } else {
            self.give_to_party(to, &frame);
        }
    }

    /// Gives a party a frame as if the coordinator had sent it.
    pub fn inject(&mut self, to: PartyId, frame: Frame) {
        self.observations.push(Observation::FromCoordinator(to, frame.clone()));
        self.give_to_party(to, &frame);
    }

    /// Gives the coordinator a frame as if a party had sent it.
    ///
    /// # Errors
    /// What the coordinator refuses.
    pub fn say(&mut self, from: PartyId, frame: Frame) -> Result<(), Fault> {
        self.tell_coordinator(Input::Frame(from, frame))
    }

    fn give_to_party(&mut self, to: PartyId, frame: &Frame) {
        let before =
            [StateMachine::Member(to), StateMachine::Custodian(to)].map(|machine| self.before_input(machine));
        let Some(node) = self.nodes.get_mut(&to) else {
            return;
        };
        let reaches_member = self.interference.reaches_member(to, frame);
        let [of_member, of_custodian] = node.handle_frame(frame, reaches_member, &mut self.random);
        self.collect_from_member(to);
        self.collect_from_custodian(to);
        let [member, custodian] = before;
        self.note_fault(StateMachine::Member(to), member, of_member);
        self.note_fault(StateMachine::Custodian(to), custodian, of_custodian);
    }

    /// Records what a party rejected, and whether that changed it.
    fn note_fault(&mut self, machine: StateMachine, before: Option<String>, result: Result<(), Fault>) {
        let (StateMachine::Member(party) | StateMachine::Custodian(party)) = machine else { return };
        if let Err(fault) = &result {
            self.after_fault(machine, before, fault);
        }
        self.note(party, result);
    }

    fn note(&mut self, who: PartyId, result: Result<(), Fault>) {
        self.faults.extend(result.err().map(|fault| (who, fault)));
    }

    fn collect_from_coordinator(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                CoordinatorOutput::Send { to, frame } => {
                    self.observations.push(Observation::FromCoordinator(to, frame.clone()));
                    self.send(PartyId::COORDINATOR, to, &frame);
                }
                CoordinatorOutput::SendModel { to, model, missing } => self.send_model(to, &model, missing),
                CoordinatorOutput::Event(event) => self.events.push(event),
                CoordinatorOutput::Erase(erasure) => self.disk.erase(&erasure),
                CoordinatorOutput::Ended(report) => {
                    self.disk = CoordinatorDisk::new(&self.coordinator, self.now);
                    self.interference.end_round();
                    self.observations.push(Observation::Ended(report));
                }
            }
        }
    }

    fn collect_from_member(&mut self, id: PartyId) {
        while let Some(node) = self.nodes.get_mut(&id)
            && let Some(output) = node.member.as_mut().and_then(Member::poll_output)
        {
            match output {
                MemberOutput::Keep(round) => {
                    node.journal.announced = Some(round);
                    self.observations.push(Observation::Announced(id, round));
                }
                MemberOutput::Send(frame) => {
                    let frame = self.as_sent(id, frame);
                    self.note_upload(id, &frame);
                    self.send(id, PartyId::COORDINATOR, &frame);
                    self.observations.push(Observation::FromMember(id, frame));
                }
                MemberOutput::KeepOpening(record) => {
                    node.journal.openings.push(record.clone());
                    self.observations.push(Observation::Opening(id, record));
                }
                MemberOutput::Arriving(change) => node.journal.arrive(change),
                MemberOutput::CaughtUp { .. } => {}
                MemberOutput::Train { digest, plan } => node.training = Some((digest, plan)),
                MemberOutput::SendAgain { digest, .. } => {
                    let member = node.member.as_mut();
                    let result =
                        member.map_or(Ok(()), |member| member.contribute_again(digest, &mut self.random));
                    self.note(id, result);
                }
                MemberOutput::Closed { round, model, .. } => {
                    self.observations.push(Observation::Closed(id, round, model.digest()))
                }
                MemberOutput::Aborted(_) | MemberOutput::Refused { .. } => {
                    // After the refusal of a second plan, a member still trains for the first.
                    let member = node.member.as_ref();
                    let is_awaited = |plan| member.is_some_and(|member| member.awaits_contribution(plan));
                    node.training.take_if(|(plan, _)| !is_awaited(*plan));
                }
            }
        }
    }

    fn collect_from_custodian(&mut self, id: PartyId) {
        while let Some(node) = self.nodes.get_mut(&id) {
            let output = node.custodian.as_mut().and_then(CustodianNode::poll_output);
            match output {
                Some(CustodianOutput::Keep(record)) => {
                    node.journal.signed.push(record);
                    self.observations.push(Observation::Signed(id, record));
                }
                Some(CustodianOutput::KeepOpening(record)) => {
                    node.journal.openings.push(record.clone());
                    self.observations.push(Observation::Opening(id, record));
                }
                Some(CustodianOutput::Declined { .. }) => {}
                Some(CustodianOutput::Send(frame)) => {
                    self.send(id, PartyId::COORDINATOR, &frame);
                    self.observations.push(Observation::FromCustodian(id, frame));
                }
                None => return,
            }
        }
    }

    /// Puts a frame on an open link. On a closed one it is lost.
    fn send(&mut self, from: PartyId, to: PartyId, frame: &Frame) {
        let party = if from == PartyId::COORDINATOR { to } else { from };
        if self.is_connected(party) && !self.interference.is_kept_back(from, frame) {
            self.links.entry((from, to)).or_default().push_back(frame.encode());
        }
    }

    /// The custodians that break the rules.
    pub fn byzantine(&self) -> BTreeSet<PartyId> {
        self.nodes.iter().filter(|(_, node)| node.is_byzantine()).map(|(id, _)| *id).collect()
    }
}
