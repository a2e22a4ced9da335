//! The coordinator's part of a [`World`]: its inputs, its disk, its restarts.

use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::{Coordinator, CoordinatorCheckpoint, Erasure, Input, ModelParts, Time};
use cloister_protocol::fault::Fault;
use cloister_protocol::model::Model;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message, MissingParts};

use super::{Observation, StateMachine, World};

/// The coordinator's disk: the state at the start of its round, and the inputs since.
#[derive(Clone, Debug)]
pub struct CoordinatorDisk {
    start: CoordinatorCheckpoint,
    inputs: Vec<(Input, Time)>,
}

impl CoordinatorDisk {
    /// The disk after a round has ended. Its inputs are gone, except for who is connected.
    pub(super) fn new(coordinator: &Coordinator, now: Time) -> Self {
        let present = coordinator.connected().iter().copied().map(Input::Connected);
        Self { start: coordinator.checkpoint(), inputs: present.map(|input| (input, now)).collect() }
    }
}

impl CoordinatorDisk {
    pub(super) fn erase(&mut self, erasure: &Erasure) {
        let inputs = std::mem::take(&mut self.inputs).into_iter();
        let kept =
            inputs.flat_map(|(input, now)| erasure.keep(input).into_iter().map(move |kept| (kept, now)));
        self.inputs = kept.collect();
    }
}

impl World {
    /// Starts the next round; false while one is in progress.
    pub fn start_round(&mut self) -> bool {
        if self.coordinator.is_busy() {
            return false;
        }
        self.tell_coordinator(Input::StartRound(Box::new(self.template.clone()))).is_ok()
    }

    /// Starts a rehearsal; false while a round is in progress.
    pub fn start_rehearsal(&mut self) -> bool {
        let settings = RoundSettings { rehearsal: true, ..self.template.clone() };
        !self.coordinator.is_busy() && self.tell_coordinator(Input::StartRound(Box::new(settings))).is_ok()
    }

    /// Gives the coordinator an input, and writes it to disk if it is accepted.
    pub(super) fn tell_coordinator(&mut self, input: Input) -> Result<(), Fault> {
        let before = self.before_input(StateMachine::Coordinator);
        let result = self.coordinator.handle(input.clone(), self.now);
        // A rejected input changes nothing, so the journal need not have it.
        if result.is_ok() && input.is_kept() {
            self.disk.inputs.push((input, self.now));
        }
        self.collect_from_coordinator();
        if let Err(fault) = &result {
            self.after_fault(StateMachine::Coordinator, before, fault);
        }
        result
    }

    /// Puts a model on a party's link, unless one is on its way already.
    pub(super) fn send_model(&mut self, to: PartyId, model: &Model, missing: Vec<MissingParts>) {
        let link = self.links.get(&(PartyId::COORDINATOR, to));
        let is_part =
            |bytes: &Vec<u8>| matches!(Frame::decode(bytes), Ok(Frame::Message(Message::ModelPart(_))));
        let is_sent = !link.is_some_and(|waiting| waiting.iter().any(is_part));
        let under_way = self.models.entry(to).or_default();
        // A link without a part of the model on it has delivered or lost the last one.
        if is_sent {
            under_way.end();
        }
        if under_way.begin() {
            for part in ModelParts::new(model, missing) {
                self.observations.push(Observation::FromCoordinator(to, part.clone()));
                self.send(PartyId::COORDINATOR, to, &part);
            }
        }
    }

    /// The inputs of the round in progress that are on the coordinator's disk.
    pub fn kept_inputs(&self) -> impl Iterator<Item = &Input> {
        self.disk.inputs.iter().map(|(input, _)| input)
    }

    /// Ends the coordinator's process and starts it again from its disk. Every link is lost.
    ///
    /// # Panics
    /// If the restored coordinator differs from the one before (`ROUND-27`).
    pub fn restart_coordinator(&mut self) {
        let back = self.coordinator_from_disk();
        assert_eq!(format!("{back:?}"), format!("{:?}", self.coordinator), "it came back as another");
        self.begin_again_with(back);
    }

    /// The same for a coordinator that lost its journal: it knows how the last round ended, and nothing after
    /// that.
    pub fn restart_coordinator_without_journal(&mut self) {
        self.disk.inputs.clear();
        let back = self.coordinator_from_disk();
        self.begin_again_with(back);
    }

    /// A copy of the coordinator's disk.
    pub fn back_up_coordinator(&self) -> CoordinatorDisk {
        self.disk.clone()
    }

    /// Starts the coordinator from a copy of its disk; every link is lost.
    pub fn restore_coordinator(&mut self, backup: CoordinatorDisk) {
        self.disk = backup;
        let back = self.coordinator_from_disk();
        self.begin_again_with(back);
    }

    /// Ends the round in progress with an ending that a quorum signed but this coordinator did not propose.
    /// It continues like one whose chain has that ending. Links stay.
    pub fn end_round_with(&mut self, ending: Ending) {
        let start = CoordinatorCheckpoint {
            last_ending: Some(ending),
            last_sums: Vec::new(),
            ..self.coordinator.checkpoint()
        };
        self.disk = CoordinatorDisk { start, ..CoordinatorDisk::new(&self.coordinator, self.now) };
        self.coordinator = self.coordinator_from_disk();
        self.interference.end_round();
    }

    fn coordinator_from_disk(&self) -> Coordinator {
        let key = self.consortium.keys[&PartyId::COORDINATOR].clone();
        let inputs = self.disk.inputs.iter().map(|(input, now)| {
            // Through the encoding of the journal, so that what it does not carry is missed here.
            Input::decode(&input.encode(*now)).expect("an input that was written can be read")
        });
        let back = Coordinator::restore(key, self.consortium.epoch.clone(), self.disk.start.clone(), inputs);
        let mut back = back.expect("what was taken once is taken again");
        // Outputs of inputs that were handled before were sent before.
        while back.poll_output().is_some() {}
        back
    }

    fn begin_again_with(&mut self, coordinator: Coordinator) {
        self.coordinator = coordinator;
        self.links.clear();
        // The restored state still has everybody connected, and every party has yet to return.
        self.unlinked = self.coordinator.connected().clone();
        // A new process has another clock, which need not be later: deadlines must not depend on the old one.
        self.now = Time(self.now.0 % 1_000);
        let result = self.tell_coordinator(Input::Restarted);
        self.note(PartyId::COORDINATOR, result);
    }

    /// Lets the coordinator's deadline pass; false when it waits for none.
    pub fn expire(&mut self) -> bool {
        let Some(deadline) = self.coordinator.deadline() else {
            return false;
        };
        self.now = self.now.max(deadline);
        let result = self.tell_coordinator(Input::Time);
        self.note(PartyId::COORDINATOR, result);
        true
    }

    /// Opens a party's link.
    pub fn connect(&mut self, party: PartyId) {
        self.unlinked.remove(&party);
        let result = self.tell_coordinator(Input::Connected(party));
        self.note(PartyId::COORDINATOR, result);
    }

    /// Whether a party's link is open.
    pub fn is_connected(&self, party: PartyId) -> bool {
        self.coordinator.connected().contains(&party) && !self.unlinked.contains(&party)
    }

    /// Cuts a party's link; what is under way on it is lost.
    pub fn disconnect(&mut self, party: PartyId) {
        self.links.remove(&(party, PartyId::COORDINATOR));
        self.links.remove(&(PartyId::COORDINATOR, party));
        self.unlinked.remove(&party);
        let result = self.tell_coordinator(Input::Disconnected(party));
        self.note(PartyId::COORDINATOR, result);
    }
}
