//! The coordinator's part of a [`World`]: its inputs, its disk, its restarts.

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::{Coordinator, CoordinatorCheckpoint, Erasure, Input, ModelParts, Time};
use cloister_protocol::fault::Fault;
use cloister_protocol::model::Model;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};

use super::{Observation, StateMachine, World};

/// What the coordinator keeps on disk: what its round began with, and what reached it since.
#[derive(Clone, Debug)]
pub struct CoordinatorDisk {
    start: CoordinatorCheckpoint,
    inputs: Vec<(Input, Time)>,
}

impl CoordinatorDisk {
    /// After a round has ended: its inputs are gone.
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
    /// Begins the next round; false while one is under way.
    pub fn start_round(&mut self) -> bool {
        if self.coordinator.is_busy() {
            return false;
        }
        self.tell_coordinator(Input::StartRound(Box::new(self.template.clone()))).is_ok()
    }

    /// Gives the coordinator an input, and keeps it if it is taken.
    pub(super) fn tell_coordinator(&mut self, input: Input) -> Result<(), Fault> {
        let before = self.before_input(StateMachine::Coordinator);
        let result = self.coordinator.handle(input.clone(), self.now);
        if result.is_ok() && input.is_kept() {
            self.disk.inputs.push((input, self.now));
        }
        self.collect_from_coordinator();
        if let Err(fault) = &result {
            self.after_fault(StateMachine::Coordinator, before, fault);
        }
        result
    }

    /// Puts a model on a party's link, unless one is on it.
    pub(super) fn send_model(&mut self, to: PartyId, model: &Model) {
        let link = self.links.get(&(PartyId::COORDINATOR, to));
        let is_part =
            |bytes: &Vec<u8>| matches!(Frame::decode(bytes), Ok(Frame::Message(Message::ModelPart(_))));
        let is_sent = !link.is_some_and(|waiting| waiting.iter().any(is_part));
        let under_way = self.models.entry(to).or_default();
        if is_sent {
            under_way.end();
        }
        if under_way.begin() {
            for part in ModelParts::new(model) {
                self.observations.push(Observation::FromCoordinator(to, part.clone()));
                self.send(PartyId::COORDINATOR, to, &part);
            }
        }
    }

    /// The inputs of the round under way that the coordinator keeps on disk.
    pub fn kept_inputs(&self) -> impl Iterator<Item = &Input> {
        self.disk.inputs.iter().map(|(input, _)| input)
    }

    /// Ends the coordinator's process and starts it again from what it kept; every link is lost.
    ///
    /// # Panics
    /// When it does not come back as it was (`ROUND-27`).
    pub fn restart_coordinator(&mut self) {
        let back = self.coordinator_from_disk();
        assert_eq!(format!("{back:?}"), format!("{:?}", self.coordinator), "it came back as another");
        self.begin_again_with(back);
    }

    /// The same for a coordinator without a journal: it knows how the last round ended, and nothing since.
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

    /// Ends the round under way with an ending that the coordinator's program did not make, though a quorum has signed it: the
    /// coordinator goes on as one whose chain has it. Links stay.
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
            Input::decode(&input.encode(*now)).expect("an input that was written can be read")
        });
        let back = Coordinator::restore(key, self.consortium.epoch.clone(), self.disk.start.clone(), inputs);
        let mut back = back.expect("what was taken once is taken again");
        while back.poll_output().is_some() {}
        back
    }

    fn begin_again_with(&mut self, coordinator: Coordinator) {
        self.coordinator = coordinator;
        self.links.clear();
        self.unlinked = self.coordinator.connected().clone();
        // The process has a clock of its own.
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
