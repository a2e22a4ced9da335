//! The parts of a [`crate::world::World`]: processes with their disks, steps, and observations.

use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_protocol::arriving::{ArrivingChange, ArrivingModel};
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::custodian::{Custodian, CustodianOutput, SignedRecord};
use cloister_protocol::fault::Fault;
use cloister_protocol::member::Member;
use cloister_wire::frame::Frame;
use cloister_wire::opening::OpeningRecord;
use rand_core::CryptoRng;

use crate::byzantine::ByzantineCustodian;

/// Something that can happen next without further action of the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorldStep {
    /// The next frame of a link arrives.
    Deliver {
        /// The sender.
        from: PartyId,
        /// The receiver.
        to: PartyId,
    },
    /// A member's local training ends.
    Train(PartyId),
}

/// Something that a party did, observed in order. Invariants are checked on these.
#[derive(Clone, PartialEq, Debug)]
pub enum Observation {
    /// A custodian wrote to disk that it signs a body.
    Signed(PartyId, SignedRecord),
    /// A party wrote to disk what it helps to open.
    Opening(PartyId, OpeningRecord),
    /// A member wrote to disk that it announces in a round.
    Announced(PartyId, Round),
    /// A frame left a member.
    FromMember(PartyId, Frame),
    /// A frame left a custodian.
    FromCustodian(PartyId, Frame),
    /// A frame left the coordinator, or somebody in its place, for a party.
    FromCoordinator(PartyId, Frame),
    /// A member applied a round's sums and holds this model.
    Closed(PartyId, Round, Digest),
    /// The coordinator ended a round.
    Ended(Box<RoundReport>),
}

/// What a party finds on its disk after a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartyDisk {
    /// What its custodian signed.
    pub signed: Vec<SignedRecord>,
    /// The last round that its member announced in.
    pub announced: Option<Round>,
    /// What it helped to open.
    pub openings: Vec<OpeningRecord>,
    /// What arrived of a model.
    pub arrived: Option<ArrivingModel>,
}

impl PartyDisk {
    /// Repeats a change of what arrived of a model.
    pub(crate) fn arrive(&mut self, change: ArrivingChange) {
        match (change, self.arrived.as_mut()) {
            (ArrivingChange::Began(table), _) => {
                self.arrived = Some(ArrivingModel::new(table).expect("the member checked it"));
            }
            (ArrivingChange::Part(part), Some(arrived)) => {
                arrived.take(&part).expect("the member took it");
            }
            (ArrivingChange::WrongBlock(block), Some(arrived)) => arrived.forget(block),
            (ArrivingChange::Part(_) | ArrivingChange::WrongBlock(_), None) => {
                unreachable!("a table comes first")
            }
        }
    }
}

/// A custodian that follows the rules, or one that breaks them all.
#[derive(Debug)]
pub enum CustodianNode {
    /// The real state machine.
    Honest(Box<Custodian>),
    /// One that signs and reveals everything.
    Byzantine(Box<ByzantineCustodian>),
}

/// One party's process.
#[derive(Debug)]
pub struct Node {
    /// The member, if the party is one.
    pub member: Option<Member>,
    /// The custodian, if the party is one.
    pub custodian: Option<CustodianNode>,
    /// What is on its disk.
    pub journal: PartyDisk,
    pub(crate) member_is_silent: bool,
    /// The plan that the member is training for, with its digest.
    pub(crate) training: Option<(Digest, Box<RoundPlan>)>,
}

impl Node {
    /// Whether its custodian breaks the rules.
    pub(crate) fn is_byzantine(&self) -> bool {
        matches!(self.custodian, Some(CustodianNode::Byzantine(_)))
    }

    /// Gives a frame to the roles that it is for and that it reaches; what the member and the custodian make of it.
    pub(crate) fn handle_frame(
        &mut self,
        frame: &Frame,
        reaches_member: bool,
        random: &mut impl CryptoRng,
    ) -> [Result<(), Fault>; 2] {
        // Only the member is silenced or left out; its party's custodian still gets its frames.
        let hears = !self.member_is_silent && reaches_member && frame.is_for_members();
        let member = self.member.as_mut().filter(|_| hears);
        let of_member = member.map_or(Ok(()), |member| member.handle_frame(frame.clone(), random));
        let custodian = self.custodian.as_mut().filter(|_| frame.is_for_custodians());
        let of_custodian =
            custodian.map_or(Ok(()), |custodian| custodian.handle_frame(frame.clone(), random));
        [of_member, of_custodian]
    }
}

impl CustodianNode {
    /// Whether the custodian holds a receiving key. A byzantine one never erases its keys.
    pub fn holds_receiving_key(&self) -> bool {
        match self {
            Self::Honest(custodian) => custodian.holds_receiving_key(),
            Self::Byzantine(_) => true,
        }
    }

    fn handle_frame(&mut self, frame: Frame, random: &mut impl CryptoRng) -> Result<(), Fault> {
        match self {
            Self::Honest(custodian) => custodian.handle_frame(frame, random),
            Self::Byzantine(byzantine) => {
                byzantine.handle_frame(frame, random);
                Ok(())
            }
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<CustodianOutput> {
        match self {
            Self::Honest(custodian) => custodian.poll_output(),
            Self::Byzantine(byzantine) => byzantine.poll_frame().map(CustodianOutput::Send),
        }
    }
}
