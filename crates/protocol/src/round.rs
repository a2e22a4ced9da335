//! What every party establishes before it takes part: the plan of a round, checked.

use std::sync::{Arc, OnceLock};

use cloister_alignment::cohort::MemberSketches;
use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::Element;
use cloister_crypto::hash::projection_seed;
use cloister_crypto::mask::MaskContext;
use cloister_crypto::seed::SeedBases;
use cloister_crypto::sharing::DealingContext;
use cloister_params::consortium::{Consortium, Role};
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::{CheckedPlan, PlannedBlock, RoundPlan};
use cloister_params::rule;
use cloister_wire::message::Ending;
use cloister_wire::statement::{Abort, Closing, ReceivingKey, Signed};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::fault::{Fault, Misbehaviour, Refusal};
use crate::model::Model;
use crate::recompute::check_recomputed;
use crate::statement::{Verified, check_certificate, check_coordinators, check_partys};

/// A member's contribution to one round, as integers and noised sketches: nothing else of local training enters
/// the protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct Contribution {
    /// For each block, the clipped and quantised update with whatever noise the plan asks for.
    pub integers: Vec<Vec<i32>>,
    /// For each expert block, the noised sketches.
    pub sketches: MemberSketches,
}

/// Standard deviations that a member's own noise may add to the clip; more does not happen by chance.
const NOISE_REACH: u32 = 12;

impl Contribution {
    /// Whether it has the plan's blocks, within the clip and its noise (`MASK-07`), and a sketch for each expert.
    pub(crate) fn fits(&self, context: &RoundContext) -> bool {
        let blocks = &context.plan().settings.blocks;
        let lengths = blocks.iter().map(|block| block.shape.length as usize);
        let scored = blocks.iter().filter(|block| block.shape.kind.is_scored()).map(|block| &block.shape.id);
        let within = blocks.iter().zip(&self.integers).all(|(block, integers)| {
            let most = block.scale.clip_steps.saturating_add(NOISE_REACH.saturating_mul(block.noise_steps));
            integers.iter().all(|integer| integer.unsigned_abs() <= most)
        });
        within && self.integers.iter().map(Vec::len).eq(lengths) && self.sketches.keys().eq(scored)
    }
}

/// It holds the unmasked update, so nothing of it is left in memory.
impl Zeroize for Contribution {
    fn zeroize(&mut self) {
        self.integers.zeroize();
        for sketch in self.sketches.values_mut() {
            sketch.region.zeroize();
            sketch.update.zeroize();
            sketch.tokens.zeroize();
        }
    }
}

impl Drop for Contribution {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Contribution {}

/// For the same reason it is never printed.
impl std::fmt::Debug for Contribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contribution({} blocks)", self.integers.len())
    }
}

/// A round whose plan this party accepted.
#[derive(Clone)]
pub struct RoundContext {
    epoch: Arc<Epoch>,
    plan: CheckedPlan,
    plan_bytes: Vec<u8>,
    plan_digest: Digest,
    /// Made when they are needed for the first time.
    seed_bases: Arc<OnceLock<SeedBases>>,
}

/// Without the seed bases: whether they were needed is no part of the state (`ROUND-27`).
impl std::fmt::Debug for RoundContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoundContext").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl RoundContext {
    /// Checks a plan as it came, with the signed receiving keys that it names. The party's own policy and the
    /// chain of rounds are checked apart.
    ///
    /// # Errors
    /// A signature that does not fit, or a plan that breaks a rule.
    pub fn check(
        epoch: &Arc<Epoch>,
        signed: &Signed<RoundPlan>,
        receiving_keys: &[Signed<ReceivingKey>],
    ) -> Result<Self, Fault> {
        let plan = check_coordinators(signed, epoch).map_err(|what| what.by(PartyId::COORDINATOR))?;
        let (plan_digest, plan_bytes, round) = (plan.digest(), plan.bytes().to_vec(), plan.body().round);
        let refuse = |why: Refusal| Fault::PlanRefused { round, why };
        let checked = CheckedPlan::check(plan.body().clone(), epoch.consortium(), epoch.digest())
            .map_err(|error| refuse(error.into()))?;
        check_projection(&checked).map_err(refuse)?;
        check_model(&checked).map_err(refuse)?;
        check_receiving_keys(&checked, receiving_keys, epoch).map_err(refuse)?;
        let (epoch, seed_bases) = (epoch.clone(), Arc::default());
        Ok(Self { epoch, plan: checked, plan_bytes, plan_digest, seed_bases })
    }

    /// The epoch.
    pub fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }

    /// The roster.
    pub fn roster(&self) -> &Consortium {
        self.epoch.consortium()
    }

    /// The plan.
    pub fn plan(&self) -> &CheckedPlan {
        &self.plan
    }

    /// The plan's body as it came.
    pub fn plan_bytes(&self) -> &[u8] {
        &self.plan_bytes
    }

    /// The digest of the plan's body.
    pub fn plan_digest(&self) -> Digest {
        self.plan_digest
    }

    /// The round.
    pub fn round(&self) -> Round {
        self.plan.round
    }

    /// The fewest organisations of an opened cohort.
    pub fn floor(&self) -> usize {
        usize::from(self.plan.settings.cohort_floor)
    }

    /// Whether these members reach the floor.
    pub fn reaches_floor(&self, members: impl IntoIterator<Item = PartyId>) -> bool {
        self.roster().organisations(members) >= self.floor()
    }

    /// The custodians that hold shares in this round.
    pub fn custodians(&self) -> impl Iterator<Item = PartyId> + '_ {
        self.plan.custodians.iter().map(|entry| entry.custodian)
    }

    /// What a member's commitments are bound to.
    pub fn dealing(&self, dealer: PartyId) -> DealingContext {
        DealingContext { epoch: self.epoch.digest(), round: self.round(), dealer }
    }

    /// The bases of the blocks' seeds (`MASK-14`).
    pub fn seed_bases(&self) -> &SeedBases {
        let blocks = self.plan.settings.blocks.len();
        self.seed_bases
            .get_or_init(|| SeedBases::new(self.epoch.digest(), self.round(), self.plan_digest, blocks))
    }

    /// What the masks of a block are bound to.
    pub fn masking(&self, block: &PlannedBlock, manifest: Digest) -> MaskContext {
        MaskContext {
            epoch: self.epoch.digest(),
            plan: self.plan_digest,
            manifest,
            round: self.round(),
            block: block.shape.id,
            ring_bits: self.plan.settings.ring.bits(),
            length: block.shape.length,
        }
    }

    /// A block of the table.
    pub fn block(&self, id: BlockId) -> Option<&PlannedBlock> {
        self.plan.block(id)
    }
}

/// `PLAN-15`: sketches are projected as the task says, in every round alike.
fn check_projection(plan: &CheckedPlan) -> Result<(), Refusal> {
    let (got, expected) = (plan.settings.sketch.seed, projection_seed(plan.settings.task));
    if got != expected && rule::in_force("PLAN-15") {
        return Err(Refusal::Projection { got, expected });
    }
    Ok(())
}

/// `PLAN-18`: the parameters that the plan names make up its model.
fn check_model(plan: &CheckedPlan) -> Result<(), Refusal> {
    let (got, expected) = (Model::digest_of(&plan.parameters), plan.model);
    if got != expected && rule::in_force("PLAN-18") {
        return Err(Refusal::Parameters { got, expected });
    }
    Ok(())
}

/// `PLAN-09`: each receiving key is signed by its custodian, and is a group element.
fn check_receiving_keys(
    plan: &CheckedPlan,
    signed: &[Signed<ReceivingKey>],
    epoch: &Epoch,
) -> Result<(), Refusal> {
    for entry in &plan.custodians {
        let custodian = entry.custodian;
        let expected = ReceivingKey { epoch: plan.epoch, round: plan.round, key: entry.key };
        let vouched = signed
            .iter()
            .filter(|key| key.signer == custodian)
            .filter_map(|key| check_partys(key, epoch, Role::Custodian).ok())
            .any(|key| *key.body() == expected);
        if !vouched {
            return Err(Refusal::ReceivingKey { custodian });
        }
        if !is_receiving_key(&expected) {
            return Err(Refusal::NoReceivingKey { custodian });
        }
    }
    Ok(())
}

/// Whether what a custodian signed as its receiving key is one (`PLAN-09`).
pub(crate) fn is_receiving_key(signed: &ReceivingKey) -> bool {
    Element::decode(signed.key).is_ok() || !rule::in_force("PLAN-09")
}

/// Whether a round ended with sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndingKind {
    /// With sums.
    Closed,
    /// Without.
    Aborted,
}

/// How a round ended, as a party that checked the certificate knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownEnding {
    /// Whether it ended with sums.
    pub kind: EndingKind,
    /// The round that ended.
    pub round: Round,
    /// The digest of its plan.
    pub plan: Digest,
    /// The digest of its closing or abort body.
    pub digest: Digest,
    /// The model after it; an abort leaves it as it was.
    pub model: Digest,
}

impl KnownEnding {
    /// Checks the previous ending that comes with a plan, if one does.
    ///
    /// # Errors
    /// That the coordinator showed one that does not hold ([`KnownEnding::check`]).
    pub(crate) fn check_previous(previous: Option<&Ending>, epoch: &Epoch) -> Result<Option<Self>, Fault> {
        let known = previous.map(|ending| Self::check(ending, epoch)).transpose();
        known.map_err(|what| what.by(PartyId::COORDINATOR))
    }

    /// Checks the certificate of an ending.
    ///
    /// # Errors
    /// A certificate that does not hold, or one of another epoch.
    pub fn check(ending: &Ending, epoch: &Epoch) -> Result<Self, Misbehaviour> {
        let (of_epoch, known) = match ending {
            Ending::Closed { certificate, recomputed } => {
                let closing: Verified<Closing> = check_certificate(certificate, epoch)?;
                let body = closing.body();
                if rule::in_force("ROUND-22") {
                    check_recomputed(epoch, body, closing.digest(), recomputed)?;
                }
                let (digest, model) = (closing.digest(), body.model);
                let known =
                    Self { kind: EndingKind::Closed, round: body.round, plan: body.plan, digest, model };
                (body.epoch, known)
            }
            Ending::Aborted(certificate) => {
                let abort: Verified<Abort> = check_certificate(certificate, epoch)?;
                let (body, digest) = (abort.body(), abort.digest());
                let (plan, model) = (body.plan, body.model);
                let known = Self { kind: EndingKind::Aborted, round: body.round, plan, digest, model };
                (abort.body().epoch, known)
            }
        };
        crate::fault::expect("ending", "epoch", of_epoch, epoch.digest())?;
        Ok(known)
    }

    /// Whether nothing was opened in the round.
    pub fn is_abort(&self) -> bool {
        self.kind == EndingKind::Aborted
    }
}

/// Where a party stands in the chain of rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainPosition {
    /// The last round whose ending was checked; 0 before the first.
    pub round: Round,
    /// The digest that the next plan must name as previous.
    pub previous: Digest,
    /// The digest of the model that the next plan must start from.
    pub model: Digest,
}

impl ChainPosition {
    /// Before the first round: the epoch's digest stands for the previous ending.
    pub fn genesis(epoch: &Epoch, model: Digest) -> Self {
        Self { round: Round(0), previous: epoch.digest(), model }
    }

    /// The position after an ending; a party that missed rounds jumps to it.
    pub fn advance(&mut self, ending: &KnownEnding) {
        if ending.round > self.round {
            *self = Self { round: ending.round, previous: ending.digest, model: ending.model };
        }
    }

    /// Checks that a plan follows (`ROUND-03`, `ROUND-08`).
    ///
    /// # Errors
    /// A plan of another round, with another predecessor or model.
    pub fn check(&self, plan: &RoundPlan) -> Result<(), Refusal> {
        if plan.round <= self.round && rule::in_force("ROUND-03") {
            return Err(Refusal::SecondPlan);
        }
        if plan.round != self.round.next() && rule::in_force("ROUND-08") {
            return Err(Refusal::NoEnding);
        }
        let fields =
            [("previous ending", plan.previous, self.previous), ("starting model", plan.model, self.model)];
        match fields.into_iter().find(|(_, got, expected)| got != expected) {
            Some((field, got, expected)) if rule::in_force("ROUND-08") => {
                Err(Refusal::Chain { field, got, expected })
            }
            _ => Ok(()),
        }
    }
}
