//! A malicious coordinator next to the real one: it sees every frame, has the coordinator's key, and proposes
//! whatever could make custodians disagree.

mod knowledge;

use std::collections::BTreeMap;
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::Role;
use cloister_params::id::PartyId;
use cloister_params::plan::RoundPlan;
use cloister_protocol::round::RoundContext;
use cloister_protocol::statement::{check_partys, sign};
use cloister_wire::frame::Frame;
use cloister_wire::message::{BadDealing, Message};
use cloister_wire::statement::{Announcement, Signed};

use crate::world::Observation;
use cloister_cluster::consortium::TestConsortium;
use knowledge::Knowledge;

/// How many frames are remembered for replays; older ones are overwritten.
const REMEMBERED: usize = 600;

/// A custodian, and the letter that was encrypted for it.
type Letter = (PartyId, Vec<u8>);

/// Frames, each with its receiver.
pub type Frames = Vec<(PartyId, Frame)>;

/// The attacker. Every attack returns its message, or none while what it needs is not known yet; `choice`
/// selects a variant.
#[derive(Debug)]
pub struct Attacker {
    epoch: Arc<Epoch>,
    key: Arc<SigningKey>,
    parties: Vec<PartyId>,
    frames: Frames,
    seen: usize,
    round: Option<Knowledge>,
    /// The last announcement of each member, with one letter of it.
    dealt: BTreeMap<PartyId, (Signed<Announcement>, Option<Letter>)>,
    /// The member that it accused of dealing badly last, which it then tries to bar.
    accused: Option<PartyId>,
}

impl Attacker {
    /// An attacker that has seen nothing yet.
    pub fn new(consortium: &TestConsortium) -> Self {
        let epoch = consortium.epoch.clone();
        Self {
            parties: epoch.consortium().parties().map(|party| party.id).collect(),
            epoch,
            key: consortium.keys[&PartyId::COORDINATOR].clone(),
            frames: Vec::new(),
            seen: 0,
            round: None,
            dealt: BTreeMap::new(),
            accused: None,
        }
    }

    /// Learns from what passes.
    pub fn observe(&mut self, observation: &Observation) {
        match observation {
            Observation::FromCoordinator(to, frame) => {
                self.remember(*to, frame);
                if let Frame::Message(message) = frame {
                    self.learn_from_coordinator(message);
                }
            }
            Observation::FromMember(member, Frame::Message(message)) => {
                self.learn_from_member(*member, message)
            }
            Observation::FromCustodian(custodian, Frame::Message(Message::Vote { body, signature })) => {
                if let Some(round) = &mut self.round {
                    let votes = round.votes.entry(*body).or_default();
                    votes.insert(*custodian, *signature);
                }
            }
            _ => {}
        }
    }

    fn remember(&mut self, to: PartyId, frame: &Frame) {
        if self.frames.len() < REMEMBERED {
            self.frames.push((to, frame.clone()));
        } else {
            // A ring: old frames make way, so that long simulations keep their memory.
            self.frames[self.seen % REMEMBERED] = (to, frame.clone());
        }
        self.seen += 1;
    }

    fn learn_from_coordinator(&mut self, message: &Message) {
        match message {
            Message::Plan { plan, receiving_keys, .. } => {
                if let Ok(context) = RoundContext::check(&self.epoch, plan, receiving_keys)
                    && self.round.as_ref().map(|round| round.context.round()) < Some(context.round())
                {
                    self.round = Some(Knowledge::new(context, message.clone()));
                }
            }
            Message::Sealed1 { manifest, certificate, .. } => {
                if let Some(round) = &mut self.round {
                    round.take_seal(manifest, certificate);
                }
            }
            Message::Revealed { .. }
            | Message::LateSketches(_)
            | Message::BlameAnswer(_)
            | Message::PairOpened { .. } => {
                if let Some(round) = &mut self.round
                    && !round.shown.contains(message)
                {
                    round.shown.push(message.clone());
                }
            }
            _ => {}
        }
    }

    fn learn_from_member(&mut self, member: PartyId, message: &Message) {
        match message {
            Message::Announcement(signed) => {
                self.dealt.insert(member, (signed.clone(), None));
            }
            Message::Letter { custodian, sealed, .. } => {
                if let Some((_, letter)) = self.dealt.get_mut(&member) {
                    // One letter is enough for false evidence.
                    letter.get_or_insert((*custodian, sealed.clone()));
                }
            }
            _ => {}
        }
        let Some(round) = &mut self.round else { return };
        match message {
            Message::Announcement(signed) => {
                if let Ok(verified) = check_partys(signed, &self.epoch, Role::Member)
                    && verified.body().plan == round.context.plan_digest()
                {
                    round.announcements.insert(member, verified);
                }
            }
            Message::Uploaded(signed) => {
                round.uploads.insert(member, signed.clone());
            }
            _ => {}
        }
    }

    /// All parties, or those whose bit in `choice` is set.
    pub fn some(&self, choice: u32) -> Vec<PartyId> {
        // A third of the choices reach everyone, so that attacks that need a quorum are not rare.
        if choice.is_multiple_of(3) {
            return self.parties.clone();
        }
        let mut parties = self.parties.clone();
        parties.retain(|party| choice.rotate_right(party.0) & 1 == 1);
        parties
    }

    /// A message for [`Self::some`].
    pub fn to_some(&self, message: &Message, choice: u32) -> Frames {
        let frame = Frame::Message(message.clone());
        self.some(choice).into_iter().map(|party| (party, frame.clone())).collect()
    }

    /// A second manifest that leaves one announced member out, with the first seal that fits it.
    pub fn second_manifest(&mut self, choice: u32) -> Option<Message> {
        self.round.as_mut()?.second_manifest(choice)
    }

    /// A manifest with one cohort cut down to one member, with the first seal that fits it.
    pub fn thin_cohort(&self, choice: u32) -> Option<Message> {
        self.round.as_ref()?.thin_cohort(choice)
    }

    /// An abort of the present round.
    pub fn abort(&mut self, choice: u32) -> Option<Message> {
        Some(self.round.as_mut()?.abort(choice))
    }

    /// A certificate of one of its own second seals in which one signer stands for all that are missing.
    pub fn short_certificate(&self, choice: u32) -> Option<Message> {
        self.round.as_ref()?.short_certificate(choice)
    }

    /// An old frame once more, to its receiver.
    pub fn replayed(&self, choice: u32) -> Frames {
        let at = choice as usize % self.frames.len().max(1);
        self.frames.get(at).cloned().into_iter().collect()
    }

    /// Evidence against a good letter, with a proof that proves nothing. The member counts as accused from
    /// then on.
    pub fn false_evidence(&mut self, choice: u32) -> Option<Message> {
        let place = choice as usize % self.dealt.len().max(1);
        let (dealer, (announcement, letter)) = self.dealt.iter().nth(place)?;
        let (custodian, letter) = letter.clone()?;
        self.accused = Some(*dealer);
        let (announcement, agreed, proof) = (announcement.clone(), [0; 32], [0; 64]);
        Some(Message::BadDealing(BadDealing { announcement, custodian, letter, agreed, proof }))
    }

    /// The present plan with another learning rate, or with one member barred: the accused, if there is one. It is signed by
    /// the coordinator.
    pub fn second_plan(&self, choice: u32) -> Option<Message> {
        let round = self.round.as_ref()?;
        let Message::Plan { receiving_keys, previous, .. } = &round.plan else {
            return None;
        };
        let mut plan: RoundPlan = (**round.context.plan()).clone();
        if choice % 5 > 1 {
            let victim = self.accused.unwrap_or(self.parties[choice as usize % self.parties.len()]);
            plan.barred = vec![victim];
        } else {
            plan.settings.training.learning_rate_micro += 1 + choice % 2;
        }
        Some(Message::Plan {
            plan: sign(&self.key, PartyId::COORDINATOR, &plan),
            receiving_keys: receiving_keys.clone(),
            previous: previous.clone(),
        })
    }

    /// A second seal over the uploads so far, without `left_out` of them.
    pub fn second_seal2(&mut self, choice: u32, left_out: usize) -> Option<Message> {
        let epoch = self.epoch.clone();
        self.round.as_mut()?.second_seal2(choice, left_out, &epoch)
    }

    /// A closing that hides all sums of an honest one, for everyone.
    pub fn hide_sums(&mut self, closing: &[u8]) -> Frames {
        let messages = self.round.as_mut().map(|round| round.hide_sums(closing));
        messages.iter().flatten().flat_map(|message| self.to_some(message, 0)).collect()
    }

    /// A request for one member's seeds.
    pub fn seed_shares(&self, choice: u32) -> Option<Message> {
        let round = self.round.as_ref()?;
        let dealer = self.parties[choice as usize % self.parties.len()];
        Some(Message::SeedSharesRequest { round: round.context.round(), dealer })
    }

    /// Sends everyone the attacker's proposals that a quorum has signed.
    pub fn use_certificates(&mut self) -> Frames {
        let Some(round) = &mut self.round else {
            return Vec::new();
        };
        let messages = round.certified(&self.epoch);
        messages.iter().flat_map(|message| self.to_some(message, 0)).collect()
    }
}
