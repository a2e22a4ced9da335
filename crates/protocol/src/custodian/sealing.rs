//! What a custodian signs before the closing, and what it reveals for it.

use std::collections::BTreeMap;

use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_params::rule;
use cloister_wire::codec;
use cloister_wire::message::Message;
use cloister_wire::statement::{Abort, Body, Certificate, Seal1, Seal2, Signed, Upload};

use super::{Custodian, CustodianOutput, SignedStep, no_round, not_awaited};
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
        let state = self.round.as_mut().ok_or(no_round("a first seal"))?;
        let manifest = CheckedManifest::check(&state.context, manifest, &state.announcements)?;
        let missing = manifest.announcements().keys().find(|dealer| !state.shares.contains_key(dealer));
        if let Some(dealer) = missing {
            let round = state.context.round();
            if self.receiving.as_ref().is_none_or(|(made_for, _)| *made_for != round) {
                return Err(no_round("a first seal over letters whose key a restart erased"));
            }
            let why = "it did not arrive or could not be opened";
            return Err(Misbehaviour::Letter { dealer: *dealer, custodian: self.id, why });
        }
        let body: Seal1 = codec::decode(seal)?;
        check_seal1(&state.context, &manifest, &body)?;
        self.vote::<Seal1>(body.round, SignedStep::Seal1, seal)
    }

    pub(super) fn handle_sealed1(
        &mut self,
        manifest: Vec<u8>,
        certificate: &Certificate<Seal1>,
    ) -> Result<(), Misbehaviour> {
        let state = self.round.as_mut().ok_or(no_round("a first seal"))?;
        if state.sealed.is_some() {
            return Ok(());
        }
        let manifest = CheckedManifest::check(&state.context, manifest, &state.announcements)?;
        state.sealed = Some(SealedManifest::establish(&state.context, manifest, certificate)?);
        Ok(())
    }

    /// Signs the second seal if every listed upload is signed by its member, the void blocks follow, and no block is opened again
    /// over others (step 5).
    pub(super) fn handle_propose_seal2(
        &mut self,
        seal: &[u8],
        uploads: &[Signed<Upload>],
    ) -> Result<(), Fault> {
        let by = |what: Misbehaviour| what.by(PartyId::COORDINATOR);
        let body = self.check_proposed_seal2(seal, uploads).map_err(by)?;
        let state = self.round.as_ref().ok_or(not_awaited("a second seal"))?;
        let sealed = state.sealed.as_ref().ok_or(not_awaited("a second seal"))?;
        if self.openings.is_unsettled(Role::Custodian) && rule::in_force("ROUND-04") {
            return Err(Fault::Restored);
        }
        let record = self.openings.sealed(&state.context, sealed, &body).map_err(by)?;
        self.outputs.extend(record.map(CustodianOutput::KeepOpening));
        self.vote::<Seal2>(body.round, SignedStep::Outcome, seal).map_err(by)
    }

    fn check_proposed_seal2(&self, seal: &[u8], uploads: &[Signed<Upload>]) -> Result<Seal2, Misbehaviour> {
        let state = self.round.as_ref().ok_or(no_round("a second seal"))?;
        let sealed = state.sealed.as_ref().ok_or(no_round("a second seal"))?;
        let body: Seal2 = codec::decode(seal)?;
        sealed.check_seal2(&state.context, &body)?;
        check_uploads(&state.context, sealed, &body, uploads)?;
        let log = log_to_uploads(&state.context, sealed, &body.uploaded);
        expect(Seal2::TAG, "tree", body.tree, log.root())?;
        self.check_vote::<Seal2>(body.round, SignedStep::Outcome, seal)?;
        Ok(body)
    }

    pub(super) fn handle_propose_abort(&mut self, abort: &[u8]) -> Result<(), Misbehaviour> {
        let body: Abort = codec::decode(abort)?;
        let declined = self.declined.as_ref().filter(|context| context.round() == body.round);
        let context = declined.or(self.round.as_ref().map(|state| &state.context));
        let context = context.ok_or(no_round("an abort"))?;
        expect(Abort::TAG, "epoch", body.epoch, self.epoch.digest())?;
        expect(Abort::TAG, "round", body.round, context.round())?;
        expect(Abort::TAG, "plan", body.plan, context.plan_digest())?;
        expect(Abort::TAG, "model", body.model, context.plan().model)?;
        self.vote::<Abort>(body.round, SignedStep::Outcome, abort)
    }

    /// Takes the certificate of the second seal and reveals shares of the mask keys of those who left (step 6).
    pub(super) fn handle_sealed2(&mut self, certificate: &Certificate<Seal2>) -> Result<(), Fault> {
        let by = |what: Misbehaviour| what.by(PartyId::COORDINATOR);
        let state = self.round.as_mut().ok_or(not_awaited("a second seal"))?;
        if state.cohorts.is_none() {
            let sealed = state.sealed.clone().ok_or(not_awaited("a second seal"))?;
            let cohorts = SealedCohorts::establish(&state.context, sealed, certificate).map_err(by)?;
            let sealed = (cohorts.sealed_manifest(), cohorts.seal2().body());
            let record = self.openings.sealed(&state.context, sealed.0, sealed.1).map_err(by)?;
            self.outputs.extend(record.map(CustodianOutput::KeepOpening));
            state.cohorts = Some(cohorts);
        }
        let departed = state.cohorts.as_ref().map(SealedCohorts::departed).unwrap_or_default();
        for dealer in departed {
            self.reveal(dealer);
        }
        Ok(())
    }

    pub(super) fn handle_seed_shares_request(&mut self, round: Round, dealer: PartyId) -> Result<(), Fault> {
        let cohorts = self.round.as_ref().filter(|state| state.context.round() == round);
        let cohorts = cohorts.and_then(|state| state.cohorts.as_ref());
        if !cohorts.ok_or(not_awaited("a request for shares"))?.has_uploaded(dealer) {
            return Err(not_awaited("a request for seeds of a member that did not upload"));
        }
        self.reveal(dealer);
        Ok(())
    }

    /// Reveals this custodian's shares of what the seals permit of one member, and of nothing else (`ROUND-01`).
    fn reveal(&mut self, dealer: PartyId) {
        let Some(state) = &self.round else { return };
        let (Some(cohorts), Some(held)) = (&state.cohorts, state.shares.get(&dealer)) else {
            return;
        };
        let (round, permitted) = (state.context.round(), cohorts.revealable(dealer));
        let mut messages = Vec::new();
        if permitted.mask_key {
            messages.push(Message::MaskKeyShare { round, dealer, share: held.reveal_mask_key() });
        }
        if !permitted.seeds.is_empty() {
            let parts = held.reveal_seed_parts(&state.context, &permitted.seeds);
            messages.push(Message::SeedParts { round, dealer, parts });
        }
        messages.into_iter().for_each(|message| self.send(message));
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
        expect(Upload::TAG, "first seal", upload.body().seal1, sealed.digest())?;
        checked.insert(upload.signer(), upload);
    }
    let listed = body.uploaded.iter().map(|listed| (listed.member, listed.root));
    if !listed.eq(checked.iter().map(|(member, upload)| (*member, upload.body().root))) {
        return Err(Misbehaviour::Seal2("the second seal lists other roots than the members signed"));
    }
    Ok(())
}
