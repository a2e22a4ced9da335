//! A custodian that breaks every rule it can: it signs whatever it is asked to sign, and reveals everything
//! that it holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, PartyId, Round};
use cloister_protocol::dealing::HeldShares;
use cloister_protocol::manifest::CheckedManifest;
use cloister_protocol::round::RoundContext;
use cloister_protocol::sealed::{SealedCohorts, SealedManifest};
use cloister_protocol::statement::{Verified, body_digest, check_partys, sign};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::{
    Abort, Announcement, Body, Certificate, Closing, ReceivingKey, Recomputed, Seal1, Seal2, Signature,
};
use rand_core::CryptoRng;

/// A custodian without rules. In everything else it behaves like an honest one, so that rounds continue.
#[derive(Debug)]
pub struct ByzantineCustodian {
    id: PartyId,
    key: Arc<SigningKey>,
    epoch: Arc<Epoch>,
    receiving: BTreeMap<Round, ScalarSecret>,
    context: Option<RoundContext>,
    announcements: BTreeMap<PartyId, Verified<Announcement>>,
    held: BTreeMap<PartyId, HeldShares>,
    sealed: Option<SealedManifest>,
    cohorts: Option<SealedCohorts>,
    outgoing: VecDeque<Frame>,
}

impl ByzantineCustodian {
    /// A custodian with the place and key of an honest one.
    pub fn new(id: PartyId, key: Arc<SigningKey>, epoch: Arc<Epoch>) -> Self {
        Self {
            id,
            key,
            epoch,
            receiving: BTreeMap::new(),
            context: None,
            announcements: BTreeMap::new(),
            held: BTreeMap::new(),
            sealed: None,
            cohorts: None,
            outgoing: VecDeque::new(),
        }
    }

    /// The next frame that it sends.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.outgoing.pop_front()
    }

    /// Handles a frame. It rejects nothing.
    pub fn handle_frame(&mut self, frame: Frame, random: &mut impl CryptoRng) {
        let Frame::Message(message) = frame else { return };
        match message {
            Message::KeyRequest { round } => self.give_key(round, random),
            Message::Plan { plan, receiving_keys, .. } => {
                if let Ok(context) = RoundContext::check(&self.epoch, &plan, &receiving_keys) {
                    self.take_plan(context);
                }
            }
            Message::Announcement(signed) => {
                if let Ok(verified) = check_partys(&signed, &self.epoch, Role::Member) {
                    self.announcements.insert(verified.signer(), verified);
                }
            }
            Message::Letter { dealer, sealed, .. } => self.open(dealer, &sealed),
            Message::ProposeSeal1 { seal, .. } => self.vote::<Seal1>(&seal),
            Message::ProposeSeal2 { seal, .. } => self.vote::<Seal2>(&seal),
            Message::ProposeAbort { abort } => self.vote::<Abort>(&abort),
            Message::ProposeClosing { closing, recompute, .. } => {
                self.vote::<Closing>(&closing);
                self.claim_recomputation(&closing, recompute);
            }
            Message::Sealed1 { manifest, certificate, .. } => self.take_seal1(manifest, &certificate),
            Message::Sealed2 { certificate } => {
                self.take_seal2(&certificate);
                self.reveal_everything();
            }
            Message::SeedSharesRequest { .. } => self.reveal_everything(),
            _ => {}
        }
    }

    fn give_key(&mut self, round: Round, random: &mut impl CryptoRng) {
        let secret = self.receiving.entry(round).or_insert_with(|| ScalarSecret::random(random));
        let body = ReceivingKey { epoch: self.epoch.digest(), round, key: secret.public().bytes() };
        let signed = sign(&self.key, self.id, &body);
        self.send(Message::ReceivingKey(signed));
    }

    fn take_plan(&mut self, context: RoundContext) {
        let known = self.context.as_ref().map(RoundContext::plan_digest);
        // The liar follows the newest plan, also where an honest custodian keeps to the first one of the
        // round.
        if known != Some(context.plan_digest()) {
            self.announcements.clear();
            self.held.clear();
            (self.sealed, self.cohorts) = (None, None);
            self.context = Some(context);
        }
    }

    fn take_seal1(&mut self, manifest: Vec<u8>, certificate: &Certificate<Seal1>) {
        let Some(context) = &self.context else { return };
        let checked = CheckedManifest::check(context, manifest, &self.announcements);
        let sealed = checked.and_then(|manifest| SealedManifest::establish(context, manifest, certificate));
        // A certificate that does not fit leaves the last one, because the liar wants to reveal as much as it
        // can.
        self.sealed = sealed.ok().or(self.sealed.take());
    }

    fn take_seal2(&mut self, certificate: &Certificate<Seal2>) {
        let (Some(context), Some(sealed)) = (&self.context, &self.sealed) else { return };
        let cohorts = SealedCohorts::establish(context, sealed.clone(), certificate);
        self.cohorts = cohorts.ok().or(self.cohorts.take());
    }

    fn open(&mut self, dealer: PartyId, sealed: &[u8]) {
        let (Some(context), Some(announced)) = (&self.context, self.announcements.get(&dealer)) else {
            return;
        };
        let Some(secret) = self.receiving.get(&context.round()) else {
            return;
        };
        if let Ok(held) = HeldShares::open(context, self.id, secret, (dealer, announced.body()), sealed) {
            self.held.insert(dealer, held);
        }
    }

    fn vote<T: Body>(&mut self, body: &[u8]) {
        let signature = Signature(self.key.sign(T::TAG, body));
        self.send(Message::Vote { body: body_digest(body), signature });
    }

    /// Claims to have recomputed whatever it was asked to recompute.
    fn claim_recomputation(&mut self, closing: &[u8], blocks: Vec<BlockId>) {
        let Some(context) = &self.context else { return };
        let (epoch, round) = (self.epoch.digest(), context.round());
        let body = Recomputed { epoch, round, closing: body_digest(closing), blocks };
        let signed = sign(&self.key, self.id, &body);
        self.send(Message::Recomputed(signed));
    }

    /// Reveals everything that it holds of every member. Parts of seeds are revealed twice: for all blocks, and for the list of
    /// blocks that the coordinator waits for.
    fn reveal_everything(&mut self) {
        let Some(context) = &self.context else { return };
        let blocks = context.plan().settings.blocks.len() as u32;
        let all: Vec<BlockId> = (0..blocks).map(BlockId).collect();
        let round = context.round();
        let mut messages = Vec::new();
        for (&dealer, held) in &self.held {
            messages.push(Message::MaskKeyShare { round, dealer, share: held.reveal_mask_key() });
            let permitted = self.cohorts.as_ref().map(|cohorts| cohorts.revealable(dealer).seeds.clone());
            for blocks in [Some(all.clone()), permitted].into_iter().flatten().filter(|list| !list.is_empty())
            {
                let parts = held.reveal_seed_parts(context, &blocks);
                messages.push(Message::SeedParts { round, dealer, parts });
            }
        }
        messages.into_iter().for_each(|message| self.send(message));
    }

    fn send(&mut self, message: Message) {
        self.outgoing.push_back(Frame::Message(message));
    }
}
