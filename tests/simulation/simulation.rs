//! Carrying out operations on a world, with all invariants checked after each.

use std::collections::BTreeSet;

use cloister_cluster::consortium::{TestConsortium, large_consortium};
use cloister_cluster::plan::{template, with_evaluation, with_withheld_sketches};
use cloister_params::block::BlockKind;
use cloister_params::floors::Floors;
use cloister_params::id::PartyId;
use cloister_params::plan::{LateSketchMode, RoundSettings, SharedCohort, SketchForm};
use cloister_protocol::statement::sign;
use cloister_testkit::attacker::{Attacker, Frames};
use cloister_testkit::world::{Observation, PartyDisk, World, WorldStep};
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};

use crate::invariants::{Invariants, Violation, hold};
use crate::knowledge::Knowledge;
use crate::operation::{Attack, Configuration, Operation};
use crate::sums::{check_late_sketches, check_sums};

/// A world, its observers, and how its rounds ended.
pub(crate) struct Simulation {
    pub(crate) world: World,
    attacker: Attacker,
    invariants: Invariants,
    /// None for rosters that are not followed.
    knowledge: Option<Knowledge>,
    configuration: Configuration,
    /// Whether the next closing is replaced by one that hides its sums.
    hides_sums: bool,
    /// Rounds with sums.
    pub(crate) closed: usize,
    /// Rounds without.
    pub(crate) aborted: usize,
}

fn consortium(configuration: &Configuration) -> TestConsortium {
    let weight = |number: u32| 1 + (configuration.seed.rotate_left(number) % 15) as u8;
    let weights: Vec<u8> = (0..configuration.members).map(weight).collect();
    large_consortium(&weights)
}

/// Late sketches, with a shared block, or with all blocks, long enough to have one. Regions and an evaluation have none.
fn make_sketched(template: &mut RoundSettings, every_block: bool) {
    template.late_sketches = LateSketchMode::Required;
    let is_sketched = |kind| every_block || kind == BlockKind::Shared;
    let sketched = template.blocks.iter_mut().filter(|block| is_sketched(block.shape.kind));
    sketched.for_each(|block| block.shape.length = 4_800);
}

/// The parties whose secrets the coordinator has.
fn corrupt(configuration: &Configuration) -> BTreeSet<PartyId> {
    let from_last_on = configuration.lying_members.max(configuration.corrupt_members);
    let last = configuration.members - from_last_on + 1..=configuration.members;
    (1..=configuration.byzantine_custodians).chain(last).map(PartyId).collect()
}

impl Simulation {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let consortium = consortium(configuration);
        let floors: Floors = consortium.epoch.consortium().floors();
        let mut template = template(configuration.experts, floors.cohort, 15);
        if configuration.seed % 4 == 3 && !configuration.withheld {
            template.scoring.sketches = SketchForm::Signs;
        }
        if configuration.seed % 2 == 1 {
            template.scoring.shared_cohort = SharedCohort::Majority;
        }
        if configuration.late_sketches {
            make_sketched(&mut template, configuration.every_block_is_sketched);
        }
        if configuration.withheld {
            template = with_withheld_sketches(template);
        }
        if configuration.evaluation {
            template = with_evaluation(template);
        }
        let mut world = World::new(consortium, template, configuration.seed);
        world.trains_afresh = configuration.trains_afresh;
        if configuration.faults_are_watched {
            world.watch_faults();
        }
        (1..=configuration.byzantine_custodians).for_each(|id| world.corrupt_custodian(PartyId(id)));
        let genesis = world.coordinator.model().digest();
        let mut invariants = Invariants::new(world.consortium.epoch.clone(), world.byzantine(), genesis);
        invariants.coordinator_is_honest = !configuration.coordinator_is_byzantine;
        invariants.bad_dealers = (1..=configuration.corrupt_members)
            .map(|back| PartyId(configuration.members + 1 - back))
            .collect();
        Self {
            attacker: Attacker::new(&world.consortium),
            invariants,
            knowledge: Knowledge::new(&world, corrupt(configuration)),
            configuration: configuration.clone(),
            world,
            hides_sums: false,
            closed: 0,
            aborted: 0,
        }
    }

    /// Carries out one operation.
    pub(crate) fn apply(&mut self, operation: Operation) -> Result<(), Violation> {
        match operation {
            Operation::Step(choice) => self.step(choice),
            Operation::Duplicate(choice) => self.duplicate(choice),
            Operation::Disconnect(choice) => self.world.disconnect(self.party(choice)),
            Operation::Connect(choice) => self.connect(choice),
            Operation::Restart(choice) => self.restart(choice),
            Operation::RestartCoordinator if self.configuration.coordinator_forgets => {
                self.world.restart_coordinator_without_journal();
            }
            Operation::RestartCoordinator => self.world.restart_coordinator(),
            Operation::Silence(choice) => self.world.silence_member(self.party(choice)),
            Operation::Expire => {
                self.world.expire();
            }
            Operation::StartRound => {
                self.world.start_round();
            }
            Operation::StartRehearsal => {
                self.world.start_rehearsal();
            }
            Operation::Settle => return self.settle(),
            Operation::Attack(attack, choice) => self.attack(attack, choice),
        }
        self.observe()
    }

    /// Lets everything happen that can without a deadline, with whatever an attacker does in between.
    fn settle(&mut self) -> Result<(), Violation> {
        while let Some(step) = self.world.steps().first().copied() {
            self.world.take(step);
            self.observe()?;
        }
        Ok(())
    }

    /// An attack that keeps frames back or changes those of corrupt members; all others are frames of the attacker's.
    fn attack(&mut self, attack: Attack, choice: u32) {
        match attack {
            Attack::Withhold => self.withhold(choice),
            Attack::WrongKey if self.configuration.corrupt_members > 0 => {
                let last = self.configuration.members - choice % self.configuration.corrupt_members;
                self.world.deal_wrong_key(PartyId(last));
            }
            Attack::WithholdSketches => self.world.withhold_late_sketches(self.party(choice)),
            Attack::EndingByPlan => {
                let parties = self.attacker.some(choice);
                parties.into_iter().for_each(|party| self.world.withhold_ending(party));
            }
            Attack::LeaveOut => self.world.leave_out(self.party(choice)),
            Attack::HideSums => self.hides_sums = true,
            Attack::BendFrame => self.bend_frame(choice),
            _ => {
                for (to, frame) in self.frames_of(attack, choice) {
                    self.world.inject(to, frame);
                }
            }
        }
    }

    fn frames_of(&mut self, attack: Attack, choice: u32) -> Frames {
        let attacker = &mut self.attacker;
        let message = match attack {
            Attack::Replay => return attacker.replayed(choice),
            Attack::SecondPlan => attacker.second_plan(choice),
            Attack::FalseEvidence => attacker.false_evidence(choice),
            Attack::SecondManifest => attacker.second_manifest(choice),
            Attack::ThinCohort => attacker.thin_cohort(choice),
            Attack::SecondSeal2 => attacker.second_seal2(choice, 1),
            Attack::TooFewUploaded => attacker.second_seal2(choice, usize::MAX),
            Attack::Abort => attacker.abort(choice),
            Attack::SeedShares => attacker.seed_shares(choice),
            Attack::ShortCertificate => attacker.short_certificate(choice),
            Attack::Withhold
            | Attack::WrongKey
            | Attack::WithholdSketches
            | Attack::EndingByPlan
            | Attack::LeaveOut
            | Attack::HideSums
            | Attack::BendFrame => None,
        };
        message.map_or_else(Vec::new, |message| self.attacker.to_some(&message, choice))
    }

    /// Shows everything new to the invariants and to the attacker, who uses whatever a quorum has signed for him.
    fn observe(&mut self) -> Result<(), Violation> {
        while !self.world.observations.is_empty() {
            for observation in std::mem::take(&mut self.world.observations) {
                self.invariants.check(&observation)?;
                if let Some(knowledge) = &mut self.knowledge {
                    knowledge.observe(&self.world, &observation)?;
                }
                self.attacker.observe(&observation);
                self.hide_sums(&observation);
                if let Observation::Ended(report) = &observation {
                    let other = u64::from(self.configuration.members_lie);
                    check_sums(&self.world, report, other)?;
                    check_late_sketches(report, |member| self.lies(member))?;
                    match report.ending {
                        Ending::Closed { .. } => self.closed += 1,
                        Ending::Aborted(_) => self.aborted += 1,
                    }
                }
            }
            if self.configuration.coordinator_is_byzantine {
                self.use_certificates();
            }
        }
        let changed = self.world.changed_by_faults.first();
        hold(changed.is_none(), "fault", || format!("a refused input changed a state machine: {changed:?}"))
    }

    /// When a closing is proposed for the first time, has custodians asked for another one before it comes.
    fn hide_sums(&mut self, observation: &Observation) {
        let Observation::FromCoordinator(_, Frame::Message(Message::ProposeClosing { closing, .. })) =
            observation
        else {
            return;
        };
        if std::mem::take(&mut self.hides_sums) {
            for (to, frame) in self.attacker.hide_sums(closing) {
                self.world.inject(to, frame);
            }
        }
    }

    /// Shows everyone what a quorum has signed for the attacker. With a closing of its own, it goes on to the next round.
    fn use_certificates(&mut self) {
        let mut closed = None;
        for (to, frame) in self.attacker.use_certificates() {
            if let Frame::Message(Message::Ended(ending @ Ending::Closed { .. })) = &frame {
                closed = Some(ending.clone());
            }
            self.world.inject(to, frame);
        }
        if let Some(ending) = closed {
            self.world.end_round_with(ending);
            self.closed += 1;
        }
    }

    fn party(&self, choice: u32) -> PartyId {
        PartyId(1 + choice % self.configuration.members)
    }

    fn step(&mut self, choice: u32) {
        let steps = self.world.steps();
        if steps.is_empty() {
            return;
        }
        match steps[choice as usize % steps.len()] {
            WorldStep::Deliver { from, to } if self.lies(from) => self.deliver_lie(from, to),
            step => self.world.take(step),
        }
    }

    fn lies(&self, party: PartyId) -> bool {
        party.0 > self.configuration.members - self.configuration.lying_members
    }

    /// Delivers a lying member's next frame; its late sketches are off by one in every row.
    fn deliver_lie(&mut self, from: PartyId, to: PartyId) {
        match self.world.next_frame(from, to) {
            Some(Frame::Message(Message::LateSketches(signed))) => {
                self.world.lose_next(from, to);
                let mut body: cloister_wire::statement::LateSketches =
                    signed.parse().expect("the member encodes its sketches");
                let rows = body.sketches.iter_mut().flat_map(|sketch| &mut sketch.rows);
                rows.for_each(|row| *row = row.wrapping_add(1));
                let signed = sign(&self.world.consortium.keys[&from], from, &body);
                let result = self.world.say(from, Frame::Message(Message::LateSketches(signed)));
                self.world.faults.extend(result.err().map(|fault| (to, fault)));
            }
            _ => self.world.take(WorldStep::Deliver { from, to }),
        }
    }

    fn links(&self) -> Vec<(PartyId, PartyId)> {
        let link = |step| match step {
            WorldStep::Deliver { from, to } => Some((from, to)),
            WorldStep::Train(_) => None,
        };
        self.world.steps().into_iter().filter_map(link).collect()
    }

    fn duplicate(&mut self, choice: u32) {
        let links = self.links();
        if !links.is_empty() {
            let (from, to) = links[choice as usize % links.len()];
            // A copy would arrive without the lie.
            if !self.lies(from) {
                self.world.duplicate(from, to);
            }
        }
    }

    fn withhold(&mut self, choice: u32) {
        let mut links = self.links();
        links.retain(|(from, _)| *from == PartyId::COORDINATOR);
        if !links.is_empty() {
            let (from, to) = links[choice as usize % links.len()];
            self.world.lose_next(from, to);
        }
    }

    /// Delivers a frame in which one bit is another than in the next frame of a link.
    fn bend_frame(&mut self, choice: u32) {
        let mut links = self.links();
        let bends_own = self.configuration.coordinator_is_byzantine;
        links.retain(|(from, _)| bends_own || *from != PartyId::COORDINATOR);
        if links.is_empty() {
            return;
        }
        let (from, to) = links[choice as usize % links.len()];
        let frame = self.world.next_frame(from, to);
        match frame.and_then(|frame| bent(&frame.encode(), choice)) {
            Some(frame) if to == PartyId::COORDINATOR => {
                let result = self.world.say(from, frame);
                self.world.faults.extend(result.err().map(|fault| (to, fault)));
            }
            Some(frame) => self.world.inject(to, frame),
            None => {}
        }
    }

    fn connect(&mut self, choice: u32) {
        let party = self.party(choice);
        if !self.world.is_connected(party) {
            self.world.connect(party);
        }
    }

    fn restart(&mut self, choice: u32) {
        let party = self.party(choice);
        if self.configuration.journals_are_lost
            && let Some(node) = self.world.nodes.get_mut(&party)
        {
            node.journal = PartyDisk::default();
        }
        self.world.restart(party);
    }

    /// The parties without a link, as operations number them.
    pub(crate) fn away(&self) -> Vec<u32> {
        let all = 0..self.configuration.members;
        all.filter(|choice| !self.world.is_connected(self.party(*choice))).collect()
    }

    /// Whether a round waits for something that can never happen: everyone is here and nothing is under way.
    pub(crate) fn is_stuck(&self) -> bool {
        self.world.coordinator.is_busy()
            && self.world.coordinator.deadline().is_none()
            && self.world.steps().is_empty()
            && self.away().is_empty()
    }
}

/// The first frame of some that differ in one bit from this one. Most bits are near the beginning, where numbers and
/// digests are.
fn bent(bytes: &[u8], choice: u32) -> Option<Frame> {
    (1..32).find_map(|attempt: u32| {
        let number = choice.wrapping_mul(2 * attempt + 1).rotate_left(attempt) as usize;
        let reach = if attempt.is_multiple_of(4) { bytes.len() } else { bytes.len().min(96) };
        let mut bytes = bytes.to_vec();
        bytes[number / 8 % reach] ^= 1 << (number % 8);
        Frame::decode(&bytes).ok()
    })
}

/// Carries out a list up to the first violation.
pub(crate) fn replay(
    configuration: &Configuration,
    operations: &[Operation],
) -> (Simulation, Result<(), Violation>) {
    let mut simulation = Simulation::new(configuration);
    let result = operations.iter().try_for_each(|operation| simulation.apply(*operation));
    (simulation, result)
}
