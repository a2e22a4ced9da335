//! What a custodian signs before the closing, and what it reveals for it.

use std::collections::BTreeMap;

use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_params::rule;
use cloister_wire::codec;
use cloister_wire::message::Message;
use cloister_wire::statement::{Abort, Body, Certificate, Seal1, Seal2, Signed, Upload};

use super::phase::CustodianPhase;
use super::{Custodian, SignedStep};
use crate::fault::{Fault, Misbehaviour, expect};
use crate::manifest::CheckedManifest;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SealedManifest, check_seal1, log_to_uploads};
use crate::statement::{Verified, check_partys};

impl Custodian {
    /// Signs the first seal if the manifest follows from announcements whose letters this custodian opened
    /// (step 3).
    pub(super) fn handle_propose_seal1(
        &mut self,
        manifest: Vec<u8>,
        seal: &[u8],
    ) -> Result<(), Misbehaviour> {
        let planned = self.phase.planned("a first seal")?;
        let round = planned.context.round();
        let manifest = CheckedManifest::check(&planned.context, manifest, &planned.announcements)?;
        // A member whose shares too few custodians hold could not be unmasked if it leaves, and the round
        // could not end.
        let missing = manifest.announcements().keys().find(|dealer| !planned.shares.contains_key(dealer));
        if let Some(dealer) = missing {
            if self.receiving.as_ref().is_none_or(|(made_for, _)| *made_for != round) {
                // Nobody's fault: this custodian restarted and could open no letter.
                return Err(Misbehaviour::TooEarly("a first seal over letters whose key a restart erased"));
            }
            let why = "it did not arrive or could not be opened";
            return Err(Misbehaviour::Letter { dealer: *dealer, custodian: self.id, why });
        }
        let body: Seal1 = codec::decode(seal)?;
        check_seal1(&planned.context, &manifest, &body)?;
        self.vote::<Seal1>(body.round, SignedStep::Seal1, seal)
    }

    /// Takes the certificate of the first seal; one that comes once more changes nothing.
    pub(super) fn handle_sealed1(
        &mut self,
        manifest: Vec<u8>,
        certificate: &Certificate<Seal1>,
    ) -> Result<(), Misbehaviour> {
        let CustodianPhase::Announcing(planned) = &self.phase else {
            return self.phase.planned("a first seal").map(|_| ());
        };
        let manifest = CheckedManifest::check(&planned.context, manifest, &planned.announcements)?;
        let sealed = SealedManifest::establish(&planned.context, manifest, certificate)?;
        self.phase.seal(sealed);
        Ok(())
    }

    /// Signs the second seal if every listed upload is signed by its member, the void blocks follow, and no
    /// block is opened again over others (step 5).
    pub(super) fn handle_propose_seal2(
        &mut self,
        seal: &[u8],
        uploads: &[Signed<Upload>],
    ) -> Result<(), Fault> {
        let body = self.check_proposed_seal2(seal, uploads).map_err(Misbehaviour::by_coordinator)?;
        // Checked after the body, so that a bad proposal is reported as the coordinator's fault.
        if self.openings.is_unsettled(Role::Custodian) && rule::in_force("ROUND-04") {
            return Err(Fault::Restored);
        }
        self.sign_seal2(&body, seal).map_err(Misbehaviour::by_coordinator)
    }

    fn check_proposed_seal2(&self, seal: &[u8], uploads: &[Signed<Upload>]) -> Result<Seal2, Misbehaviour> {
        let (planned, sealed) = self.phase.sealed("a second seal")?;
        let body: Seal2 = codec::decode(seal)?;
        sealed.check_seal2(&planned.context, &body)?;
        check_uploads(&planned.context, sealed, &body, uploads)?;
        let log = log_to_uploads(&planned.context, sealed, &body.uploaded);
        expect(Seal2::TAG, "tree", body.tree, log.root())?;
        // Before the openings are recorded: what may not be signed leaves no record.
        self.check_vote::<Seal2>(body.round, SignedStep::Outcome, seal)?;
        Ok(body)
    }

    fn sign_seal2(&mut self, body: &Seal2, seal: &[u8]) -> Result<(), Misbehaviour> {
        let (planned, sealed) = self.phase.sealed("a second seal")?;
        // On disk before the signature, so that after a restart it does not sign other members for the same
        // block.
        let record = self.openings.sealed(&planned.context, sealed, body)?;
        self.keep_opening(record);
        self.vote::<Seal2>(body.round, SignedStep::Outcome, seal)
    }

    /// Signs the abort of the round, also of one whose plan this custodian's policy did not admit.
    pub(super) fn handle_propose_abort(&mut self, abort: &[u8]) -> Result<(), Misbehaviour> {
        let body: Abort = codec::decode(abort)?;
        let context = match &self.phase {
            // A custodian that declined still signs the abort; otherwise a plan that many decline could never
            // end.
            CustodianPhase::Declined(context) if context.round() == body.round => context,
            phase => &phase.planned("an abort")?.context,
        };
        expect(Abort::TAG, "epoch", body.epoch, self.epoch.digest())?;
        expect(Abort::TAG, "round", body.round, context.round())?;
        expect(Abort::TAG, "plan", body.plan, context.plan_digest())?;
        expect(Abort::TAG, "model", body.model, context.plan().model)?;
        self.vote::<Abort>(body.round, SignedStep::Outcome, abort)
    }

    /// Takes the certificate of the second seal, and reveals shares of the mask keys of those that left (step
    /// 6). It reveals them once more for a certificate that comes once more: the shares may have been lost
    /// with a link.
    pub(super) fn handle_sealed2(&mut self, certificate: &Certificate<Seal2>) -> Result<(), Misbehaviour> {
        if let CustodianPhase::Uploading(planned, sealed) = &self.phase {
            let cohorts =
                SealedCohorts::establish(&planned.context, SealedManifest::clone(sealed), certificate)?;
            // Again here: others may have certified a seal that this custodian was not asked to sign.
            let record = self.openings.sealed(&planned.context, sealed, cohorts.seal2().body())?;
            self.keep_opening(record);
            self.phase.open(cohorts);
        }
        let (_, recomputation) = self.phase.opening("a second seal")?;
        for dealer in recomputation.cohorts().departed() {
            self.reveal(dealer)?;
        }
        Ok(())
    }

    /// Reveals parts of the seeds of a member that uploaded and did not reveal them itself.
    pub(super) fn handle_seed_shares_request(
        &mut self,
        round: Round,
        dealer: PartyId,
    ) -> Result<(), Misbehaviour> {
        let (planned, recomputation) = self.phase.opening("a request for shares")?;
        if planned.context.round() != round {
            return Err(Misbehaviour::TooEarly("a request for shares of another round"));
        }
        // Shares of mask keys go out unasked; a request is for seeds of a member that uploaded and then left.
        if !recomputation.cohorts().has_uploaded(dealer) {
            return Err(Misbehaviour::TooEarly("a request for seeds of a member that did not upload"));
        }
        self.reveal(dealer)
    }

    /// Reveals this custodian's shares of what the seals permit of one member, and of nothing else
    /// (`ROUND-01`). It has none of a member whose letter it could not open.
    fn reveal(&mut self, dealer: PartyId) -> Result<(), Misbehaviour> {
        let (planned, recomputation) = self.phase.opening("a request for shares")?;
        let Some(held) = planned.shares.get(&dealer) else { return Ok(()) };
        let round = planned.context.round();
        let permitted = recomputation.cohorts().revealable(dealer);
        let mask_key_share = permitted.mask_key.then(|| held.reveal_mask_key());
        let seed_parts =
            (!permitted.seeds.is_empty()).then(|| held.reveal_seed_parts(&planned.context, &permitted.seeds));
        if let Some(share) = mask_key_share {
            self.send(Message::MaskKeyShare { round, dealer, share });
        }
        if let Some(parts) = seed_parts {
            self.send(Message::SeedParts { round, dealer, parts });
        }
        Ok(())
    }
}

/// Checks that each member of `U2` signed the root that the seal lists.
fn check_uploads(
    round: &RoundContext,
    sealed: &SealedManifest,
    body: &Seal2,
    uploads: &[Signed<Upload>],
) -> Result<(), Misbehaviour> {
    let mut checked: BTreeMap<PartyId, Verified<Upload>> = BTreeMap::new();
    for signed in uploads {
        let upload = check_partys(signed, round.epoch(), Role::Member)?;
        expect(Upload::TAG, "round", upload.body().round, round.round())?;
        // A root that was signed for another cohort would put blocks with other masks into the sum.
        expect(Upload::TAG, "first seal", upload.body().seal1, sealed.digest())?;
        checked.insert(upload.signer(), upload);
    }
    let listed = body.uploaded.iter().map(|listed| (listed.member, listed.root));
    if !listed.eq(checked.iter().map(|(member, upload)| (*member, upload.body().root))) {
        return Err(Misbehaviour::Seal2("the second seal lists other roots than the members signed"));
    }
    Ok(())
}
