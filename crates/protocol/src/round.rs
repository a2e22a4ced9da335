//! What every party establishes before it takes part: the plan of a round, checked.

use std::sync::{Arc, OnceLock};

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
use cloister_wire::statement::{ReceivingKey, Signed};

use crate::fault::{Fault, Misbehaviour, Refusal};
use crate::model::Model;
use crate::statement::{check_coordinators, check_partys};

/// A round whose plan this party accepted.
#[derive(Clone)]
pub struct RoundContext {
    epoch: Arc<Epoch>,
    plan: CheckedPlan,
    plan_bytes: Vec<u8>,
    plan_digest: Digest,
    /// Computed on first use and shared by clones: one hash to the group for each block, and members that
    /// refuse never need them.
    seed_bases: Arc<OnceLock<SeedBases>>,
}

/// Without the seed bases: whether they were needed is not part of the state (`ROUND-27`).
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
        let plan = check_coordinators(signed, epoch).map_err(Misbehaviour::by_coordinator)?;
        let checked = check_rules(plan.body(), receiving_keys, epoch)
            .map_err(|why| Fault::PlanRefused { round: plan.body().round, why })?;
        Ok(Self {
            epoch: epoch.clone(),
            plan: checked,
            plan_bytes: plan.bytes().to_vec(),
            plan_digest: plan.digest(),
            seed_bases: Arc::default(),
        })
    }

    /// The consortium file of the round, checked.
    pub fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }

    /// The members, custodians and floors of the epoch.
    pub fn roster(&self) -> &Consortium {
        self.epoch.consortium()
    }

    /// The plan. It obeys every rule but those of a party's own policy and of the chain of rounds.
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

    /// The number of the round, which the plan gives.
    pub fn round(&self) -> Round {
        self.plan.round
    }

    /// The fewest organisations that a cohort may be opened over: `cohort_floor` of the plan, at least `F` of
    /// the roster.
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

/// The rules that a plan must obey for everybody.
fn check_rules(
    plan: &RoundPlan,
    receiving_keys: &[Signed<ReceivingKey>],
    epoch: &Epoch,
) -> Result<CheckedPlan, Refusal> {
    let checked = CheckedPlan::check(plan.clone(), epoch.consortium(), epoch.digest())?;
    // A free projection would show another direction of the same update in each round.
    check_projection(&checked)?;
    check_model(&checked)?;
    check_receiving_keys(&checked, receiving_keys, epoch)?;
    Ok(checked)
}

/// `PLAN-15`: sketches are projected as the task says, the same way in every round.
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
        // Not by position: the list may hold keys of custodians that the plan leaves out.
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
