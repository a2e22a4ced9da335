//! One round, replayed from its log with the checks of members and custodians.

use std::fmt::Display;
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest};
use cloister_params::plan::RoundPlan;
use cloister_protocol::dealing::check_announcement;
use cloister_protocol::ending::{ChainPosition, KnownEnding};
use cloister_protocol::late::LateEvidence;
use cloister_protocol::manifest::{Announcements, CheckedManifest};
use cloister_protocol::opening::Seeds;
use cloister_protocol::recompute::check_closing;
use cloister_protocol::reveals::check_reveals;
use cloister_protocol::round::RoundContext;
use cloister_protocol::sealed::{SealedCohorts, SealedManifest};
use cloister_protocol::statement::check_partys;
use cloister_transcript::{EntryKind, LogEntry, RoundLog};
use cloister_wire::codec;
use cloister_wire::message::{Ending, PairOpening, Reveal};
use cloister_wire::statement::{Announcement, Body, Certificate, Closing, Signature, Signed, Vote};

use crate::claim::{AuditClaim, ClaimFault};
use crate::sums::SummedRound;

/// A round's entries, by kind.
pub(crate) struct Replay<'a> {
    entries: &'a [LogEntry],
    epoch: &'a Arc<Epoch>,
}

/// What a round of the log released.
#[cfg_attr(not(feature = "ledgers"), expect(dead_code, reason = "ledgers alone are compared with it"))]
pub(crate) struct ReleasingRound {
    pub(crate) plan: RoundPlan,
    /// Whether a member announced.
    pub(crate) announced: bool,
    /// The digest of its closing, and the opened blocks with the number of members in each; none of an aborted round.
    pub(crate) closed: Option<(Digest, Vec<(BlockId, u32)>)>,
}

/// What a replayed round leaves.
pub(crate) struct Replayed {
    pub(crate) ending: KnownEnding,
    /// Its plan.
    pub(crate) plan: RoundPlan,
    /// Whether a member announced.
    pub(crate) announced: bool,
    /// What its sums are compared with; none of an aborted round.
    pub(crate) closed: Option<SummedRound>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(entries: &'a [LogEntry], epoch: &'a Arc<Epoch>) -> Self {
        Self { entries, epoch }
    }

    /// Replays the round. `ending` is the file of its ending's certificate.
    pub(crate) fn run(&self, ending: &[u8]) -> Result<Replayed, ClaimFault> {
        let context = self.context()?;
        self.check_steps()?;
        let mut closed = None;
        if let Some(manifest) = self.one(EntryKind::Manifest) {
            let sealed = self.sealed_manifest(&context, &manifest.body)?;
            if let (Some(sealed), Some(seal2)) = (sealed, self.one(EntryKind::Seal2)) {
                let cohorts = SealedCohorts::establish(&context, sealed, &certificate(seal2));
                let cohorts = cohorts.map_err(|error| (AuditClaim::Seals, error.to_string()))?;
                closed = self.closed(&context, cohorts)?;
            }
        }
        let known = self.check_ending(ending)?;
        if known.plan != context.plan_digest() {
            return Err(endings("its ending names another plan"));
        }
        let announcements = [EntryKind::Announcement, EntryKind::UnsealedAnnouncement];
        let announced = announcements.iter().any(|kind| self.one(*kind).is_some());
        Ok(Replayed { ending: known, plan: self.plan().map_err(cohorts)?, announced, closed })
    }

    /// The round behind its second seal: what was revealed, what members said of their uploads, and which sums the closing
    /// lists.
    fn closed(
        &self,
        context: &RoundContext,
        cohorts: SealedCohorts,
    ) -> Result<Option<SummedRound>, ClaimFault> {
        let seeds = self.check_reveals(context, &cohorts)?;
        let evidence = self.evidence(context, &cohorts)?;
        let Some(closing) = self.one(EntryKind::Closing) else { return Ok(None) };
        let closing: Closing =
            codec::decode(&closing.body).map_err(|error| endings(format!("its closing: {error}")))?;
        check_closing(context, &cohorts, &closing).map_err(endings)?;
        Ok(Some(SummedRound { context: context.clone(), cohorts, seeds, evidence, closing }))
    }

    /// Late sketches, answers and openings of pairs, each checked.
    fn evidence(&self, context: &RoundContext, cohorts: &SealedCohorts) -> Result<LateEvidence, ClaimFault> {
        let mut evidence = LateEvidence::default();
        for entry in self.entries {
            let taken = match entry.kind {
                EntryKind::LateSketches => evidence.take_sketches(context, cohorts, &signed_once(entry)?),
                EntryKind::BlameAnswer => evidence.take_answer(context, cohorts, &signed_once(entry)?),
                EntryKind::PairOpening => {
                    let opening: PairOpening = codec::decode(&entry.body).map_err(late_sketches)?;
                    evidence.take_opening(context, cohorts, (context.round(), &opening))
                }
                _ => Ok(()),
            };
            taken.map_err(late_sketches)?;
        }
        Ok(evidence)
    }

    /// The ending in its file, if its certificate holds.
    pub(crate) fn certified_ending(&self, ending: &[u8]) -> Option<KnownEnding> {
        let ending: Ending = codec::decode(ending).ok()?;
        KnownEnding::check(&ending, self.epoch).ok()
    }

    /// No step is there without the one before it.
    fn check_steps(&self) -> Result<(), ClaimFault> {
        use EntryKind::{Announcement, Closing, Manifest, Reveal, Seal1, Seal2, Upload};
        for (kind, before, claim) in [
            (Announcement, Manifest, AuditClaim::Cohorts),
            (Seal1, Manifest, AuditClaim::Cohorts),
            (Upload, Seal1, AuditClaim::Seals),
            (Seal2, Seal1, AuditClaim::Seals),
            (Reveal, Seal2, AuditClaim::Seals),
            (Closing, Seal2, AuditClaim::Seals),
        ] {
            if self.one(kind).is_some() && self.one(before).is_none() {
                return Err((claim, format!("its log has a {} and no {}", kind.name(), before.name())));
            }
        }
        Ok(())
    }

    /// The plan's place in the chain.
    pub(crate) fn check_chain(&self, chain: &ChainPosition) -> Result<(), ClaimFault> {
        let chained = self.plan().and_then(|plan| chain.check(&plan).map_err(|error| error.to_string()));
        chained.map_err(|why| (AuditClaim::Chain, why))
    }

    /// The model from which the round started.
    pub(crate) fn started_from(&self) -> Option<Digest> {
        self.plan().ok().map(|plan| plan.model)
    }

    fn plan(&self) -> Result<RoundPlan, String> {
        let entry = self.one(EntryKind::Plan).ok_or("its log has no plan")?;
        codec::decode(&entry.body).map_err(|error| format!("its plan: {error}"))
    }

    fn context(&self) -> Result<RoundContext, ClaimFault> {
        let plan = self.one(EntryKind::Plan).ok_or_else(|| cohorts("its log has no plan"))?;
        let plan = signed(plan).ok_or_else(|| cohorts("its plan is not signed"))?;
        let keys: Vec<_> = self.all(EntryKind::ReceivingKey).filter_map(signed).collect();
        RoundContext::check(self.epoch, &plan, &keys).map_err(cohorts)
    }

    /// The manifest, recomputed from the announcements, with the certificate of the first seal if there is one.
    fn sealed_manifest(
        &self,
        context: &RoundContext,
        bytes: &[u8],
    ) -> Result<Option<SealedManifest>, ClaimFault> {
        let mut announcements = Announcements::new();
        for entry in self.all(EntryKind::Announcement) {
            let announcement: Signed<Announcement> = signed(entry)
                .ok_or_else(|| cohorts(format!("the announcement of {} is not signed", entry.party)))?;
            let verified = check_partys(&announcement, self.epoch, Role::Member);
            let verified = verified.map_err(cohorts)?;
            check_announcement(context, entry.party, verified.body()).map_err(cohorts)?;
            announcements.insert(entry.party, verified);
        }
        let manifest = CheckedManifest::check(context, bytes.to_vec(), &announcements);
        let manifest = manifest.map_err(cohorts)?;
        let Some(seal1) = self.one(EntryKind::Seal1) else { return Ok(None) };
        let sealed = SealedManifest::establish(context, manifest, &certificate(seal1));
        sealed.map(Some).map_err(|error| (AuditClaim::Seals, error.to_string()))
    }

    fn check_reveals(&self, context: &RoundContext, cohorts: &SealedCohorts) -> Result<Seeds, ClaimFault> {
        let mut reveals: Vec<Reveal> = Vec::new();
        for entry in self.all(EntryKind::Reveal) {
            let reveal = codec::decode(&entry.body);
            reveals.push(reveal.map_err(|error| (AuditClaim::Reveals, error.to_string()))?);
        }
        // A closing needs them all; a round that was not closed has none.
        check_reveals(context, cohorts, &reveals).map_err(|error| (AuditClaim::Reveals, error.to_string()))
    }

    /// The ending of the log and of its file are the same, and a closing names the root of the log before it.
    fn check_ending(&self, ending: &[u8]) -> Result<KnownEnding, ClaimFault> {
        let ending: Ending =
            codec::decode(ending).map_err(|error| endings(format!("its ending: {error}")))?;
        let (kind, body) = match &ending {
            Ending::Closed { certificate, .. } => (EntryKind::Closing, &certificate.body),
            Ending::Aborted(certificate) => (EntryKind::Abort, &certificate.body),
        };
        let last = self.entries.last().ok_or_else(|| endings("its log is empty"))?;
        if last.kind != kind || last.body != *body {
            return Err(endings("its log does not end with the ending whose certificate is kept"));
        }
        if let Ending::Closed { certificate, .. } = &ending {
            let closing: Closing =
                certificate.parse().map_err(|error| endings(format!("its closing: {error}")))?;
            let root = self.root_before_ending();
            if closing.tree != root {
                return Err(endings(format!(
                    "its closing names the root {}, and the log has {root}",
                    closing.tree
                )));
            }
        }
        // What does not hold of a closing's own certificate is found with the entry's signatures.
        KnownEnding::check(&ending, self.epoch)
            .map_err(|error| (AuditClaim::Recomputations, error.to_string()))
    }

    fn root_before_ending(&self) -> Digest {
        let mut log = RoundLog::default();
        for entry in &self.entries[..self.entries.len() - 1] {
            log.push(entry.kind, entry.party, entry.body.clone());
        }
        log.root()
    }

    fn one(&self, kind: EntryKind) -> Option<&'a LogEntry> {
        self.entries.iter().find(|entry| entry.kind == kind)
    }

    fn all(&self, kind: EntryKind) -> impl Iterator<Item = &'a LogEntry> {
        self.entries.iter().filter(move |entry| entry.kind == kind)
    }
}

fn cohorts(why: impl Display) -> ClaimFault {
    (AuditClaim::Cohorts, why.to_string())
}

fn late_sketches(why: impl Display) -> ClaimFault {
    (AuditClaim::LateSketches, why.to_string())
}

/// What a member signed of its upload.
fn signed_once<T: Body>(entry: &LogEntry) -> Result<Signed<T>, ClaimFault> {
    signed(entry).ok_or_else(|| {
        late_sketches(format!("the {} of {} is not signed by one party", entry.kind.name(), entry.party))
    })
}

fn endings(why: impl Display) -> ClaimFault {
    (AuditClaim::Endings, why.to_string())
}

/// The statement of an entry with its one signature.
fn signed<T: Body>(entry: &LogEntry) -> Option<Signed<T>> {
    let [signature] = &entry.signatures[..] else { return None };
    Some(Signed::new(signature.party, entry.body.clone(), Signature(signature.signature)))
}

/// What a quorum signed.
fn certificate<T: Body>(entry: &LogEntry) -> Certificate<T> {
    let mut votes = Vec::with_capacity(entry.signatures.len());
    for signature in &entry.signatures {
        votes.push(Vote { custodian: signature.party, signature: Signature(signature.signature) });
    }
    Certificate::new(entry.body.clone(), votes)
}
