//! What a corrupt coordinator, and the members on its side, do to the frames of a [`World`].

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::group::{ScalarSecret, prove_knowledge};
use cloister_crypto::sharing::{DealingContext, DealtKey};
use cloister_params::id::PartyId;
use cloister_protocol::statement::sign;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::{Announcement, Signed};

use super::World;

/// Which parties are interfered with, and how.
#[derive(Debug, Default)]
pub(super) struct Interference {
    /// Members whose next announcement has a mask key other than the one that their letters share.
    dealing_wrong_keys: BTreeSet<PartyId>,
    /// The last announcement of each member: the body as the member wrote it, and what was sent instead.
    announced: BTreeMap<PartyId, (Vec<u8>, Signed<Announcement>)>,
    /// Members that get no frame until the round ends.
    left_out: BTreeSet<PartyId>,
    /// Members whose late sketches are kept back until the round ends.
    without_sketches: BTreeSet<PartyId>,
    /// Members that do not get the next ending.
    without_ending: BTreeSet<PartyId>,
    /// Members that did not get the last ending. The next plan carries it.
    missing_ending: BTreeSet<PartyId>,
}

impl Interference {
    /// Whether a frame for a party reaches its member.
    pub(super) fn reaches_member(&mut self, party: PartyId, frame: &Frame) -> bool {
        if self.left_out.contains(&party) {
            return false;
        }
        match frame {
            Frame::Message(Message::Ended(_)) => {
                if self.without_ending.remove(&party) {
                    self.missing_ending.insert(party);
                }
                !self.missing_ending.contains(&party)
            }
            Frame::Message(Message::Plan { .. }) => {
                self.missing_ending.remove(&party);
                true
            }
            _ => true,
        }
    }

    /// Whether a frame of a party is kept back.
    pub(super) fn is_kept_back(&self, from: PartyId, frame: &Frame) -> bool {
        matches!(frame, Frame::Message(Message::LateSketches(_))) && self.without_sketches.contains(&from)
    }

    /// Ends every interference that lasts for one round.
    pub(super) fn end_round(&mut self) {
        self.left_out.clear();
        self.without_sketches.clear();
    }
}

impl World {
    /// Lets a member's next announcement have a mask key other than the one that its letters share. The
    /// member then gets no frame until the round ends, so that it does not upload.
    pub fn deal_wrong_key(&mut self, member: PartyId) {
        self.interference.dealing_wrong_keys.insert(member);
    }

    /// Keeps everything from a member until the round ends; its party's custodian gets its frames.
    pub fn leave_out(&mut self, member: PartyId) {
        self.interference.left_out.insert(member);
    }

    /// Keeps back a member's late sketches until the round ends.
    pub fn withhold_late_sketches(&mut self, member: PartyId) {
        self.interference.without_sketches.insert(member);
    }

    /// Keeps the next ending from a member, for the plan after it to bring.
    pub fn withhold_ending(&mut self, member: PartyId) {
        self.interference.without_ending.insert(member);
    }

    /// The frame that a member sends in place of this one.
    pub(super) fn as_sent(&mut self, member: PartyId, frame: Frame) -> Frame {
        match frame {
            Frame::Message(Message::Announcement(signed)) => {
                let sent = self.announcement_as_sent(member, signed);
                Frame::Message(Message::Announcement(sent))
            }
            frame => frame,
        }
    }

    /// The announcement in place of this one. If the member sends it again, the replacement is the same: two
    /// different ones would prove equivocation.
    fn announcement_as_sent(
        &mut self,
        member: PartyId,
        signed: Signed<Announcement>,
    ) -> Signed<Announcement> {
        let before = self.interference.announced.get(&member).filter(|(made, _)| *made == signed.body);
        if let Some((_, sent)) = before {
            return sent.clone();
        }
        let made = signed.body.clone();
        let sent = if self.interference.dealing_wrong_keys.remove(&member) {
            self.leave_out(member);
            self.with_wrong_key(member, &signed)
        } else {
            signed
        };
        self.interference.announced.insert(member, (made, sent.clone()));
        sent
    }

    fn with_wrong_key(&mut self, member: PartyId, signed: &Signed<Announcement>) -> Signed<Announcement> {
        let mut body = signed.parse().expect("members encode what they sign");
        let other = ScalarSecret::random(&mut self.random);
        let context = DealingContext { epoch: body.epoch, round: body.round, dealer: member };
        let context = context.knowledge_context(DealtKey::Mask);
        body.mask_key.commitments[0] = other.public().bytes();
        body.mask_key.proof = prove_knowledge(&other, &context, &mut self.random);
        sign(&self.consortium.keys[&member], member, &body)
    }
}
