//! What was opened from which model, over rounds and epochs.
//!
//! From one model a block is opened again only over the same members (`ROUND-30`): training on one model repeats itself,
//! so that the difference of two sums would be somebody's update. Two seals share an honest custodian, and each custodian
//! keeps here what it signed. Members keep what they uploaded, so that none begins an epoch on such a model (`CONS-06`).

use std::collections::BTreeMap;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::hash::{Domain, digest};
use cloister_params::block::BlockShape;
use cloister_params::fixed::Scale;
use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::rule;
use cloister_wire::codec;
use cloister_wire::opening::{OpenedBlock, OpeningRecord};
use cloister_wire::statement::{Seal2, WeightedMember};
use thiserror::Error;

use crate::fault::Misbehaviour;
use crate::round::{KnownEnding, RoundContext};
use crate::sealed::{SealedManifest, SummedCohort};

/// What one party keeps of one round.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct KeptRound {
    /// The model from which this party uploaded, or for which it signed or revealed.
    model: Option<Digest>,
    blocks: Vec<OpenedBlock>,
    ended: Option<KeptEnding>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct KeptEnding {
    digest: Digest,
    aborted: bool,
}

/// Everything that one party keeps.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Openings {
    rounds: BTreeMap<(Digest, Round), KeptRound>,
    /// The latest epoch that it began.
    epoch: Option<(u32, Digest)>,
}

/// Why a party does not begin an epoch (`CONS-06`).
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StartRefusal {
    /// A newer epoch was begun before.
    #[error(
        "the consortium file has the number {got}, and this party has begun an epoch with the number {latest}; use the newest file"
    )]
    OlderEpoch {
        /// The file's number.
        got: u32,
        /// The latest number that was begun.
        latest: u32,
    },
    /// Another file with the same number.
    #[error(
        "this party has begun another epoch with the same number {number}; the consortium has to give each file a number of its own"
    )]
    SameNumber {
        /// The number.
        number: u32,
    },
    /// The party was given another model than the file names.
    #[error(
        "the consortium file starts from the model {expected}, this party was given {got}; get the model that the file names"
    )]
    OtherModel {
        /// The model that was given.
        got: Digest,
        /// The file's.
        expected: Digest,
    },
    /// Sums from the model may be known.
    #[error(
        "this party's update was uploaded or unsealed from the starting model {model} in {round} of an earlier epoch, which was not aborted; \
         sums over other members could be subtracted, so the consortium has to start from another model"
    )]
    OpenedModel {
        /// The starting model.
        model: Digest,
        /// In which round.
        round: Round,
    },
    /// The file names another ending than this party knows.
    #[error(
        "the consortium file starts on the ending {got} of {round}, this party checked the certificate of {expected}; \
         ask the holder of the governance key for a file that starts on it"
    )]
    OtherEnding {
        /// The round.
        round: Round,
        /// What the file names.
        got: Digest,
        /// What this party checked.
        expected: Digest,
    },
    /// The file leaves out rounds that this party knows the endings of.
    #[error(
        "the consortium file starts after {got}, this party knows how {latest} ended; \
         ask the holder of the governance key for a file that starts on the last ending"
    )]
    EarlierEnding {
        /// The round that the file starts after; 0 for none.
        got: Round,
        /// The last round whose ending this party knows.
        latest: Round,
    },
}

impl Openings {
    /// What records make, in their order.
    pub fn new(records: impl IntoIterator<Item = OpeningRecord>) -> Self {
        let mut openings = Self::default();
        records.into_iter().for_each(|record| openings.take(record));
        openings
    }

    /// Takes a record.
    pub fn take(&mut self, record: OpeningRecord) {
        match record {
            OpeningRecord::Began { epoch, number } => self.epoch = Some((number, epoch)),
            OpeningRecord::Uploading { epoch, round, model } => {
                self.rounds.entry((epoch, round)).or_default().model = Some(model);
            }
            OpeningRecord::Sealed { epoch, round, model, blocks } => {
                let kept = self.rounds.entry((epoch, round)).or_default();
                (kept.model, kept.blocks) = (Some(model), blocks);
            }
            OpeningRecord::Ended { epoch, round, ending, aborted, .. } => {
                let kept = self.rounds.entry((epoch, round)).or_default();
                kept.ended = Some(KeptEnding { digest: ending, aborted });
                if aborted {
                    (kept.model, kept.blocks) = (None, Vec::new());
                }
            }
        }
    }

    /// The record of an ending, if it is not here yet.
    pub(crate) fn ended(&mut self, epoch: &Epoch, known: &KnownEnding) -> Option<OpeningRecord> {
        let place = (epoch.digest(), known.round);
        if self.rounds.get(&place).is_some_and(|kept| kept.ended.is_some()) {
            return None;
        }
        let (epoch, round) = place;
        let (ending, model, aborted) = (known.digest, known.model, known.is_abort());
        let record = OpeningRecord::Ended { epoch, round, ending, model, aborted };
        self.take(record.clone());
        Some(record)
    }

    /// The record that this member is about to upload, if it is not here yet.
    pub(crate) fn uploading(&mut self, round: &RoundContext) -> Option<OpeningRecord> {
        let (epoch, model, number) = (round.epoch().digest(), round.plan().model, round.round());
        if self.rounds.get(&(epoch, number)).is_some_and(|kept| kept.model.is_some()) {
            return None;
        }
        let record = OpeningRecord::Uploading { epoch, round: number, model };
        self.take(record.clone());
        Some(record)
    }

    /// The record of a second seal, if no other is here: whoever keeps it may sign the seal and reveal for it.
    ///
    /// # Errors
    /// A valid block that was opened from the same model over others (`ROUND-30`).
    pub(crate) fn sealed(
        &mut self,
        round: &RoundContext,
        sealed: &SealedManifest,
        seal: &Seal2,
    ) -> Result<Option<OpeningRecord>, Misbehaviour> {
        let blocks = opened_blocks(round, sealed, &sealed.valid_cohorts(seal));
        if let Some(block) = self.repeated(round, &blocks).first() {
            return Err(Misbehaviour::Repeated { block: *block });
        }
        let (epoch, model, number) = (round.epoch().digest(), round.plan().model, round.round());
        if self.rounds.get(&(epoch, number)).is_some_and(|kept| kept.blocks == blocks && kept.model.is_some())
        {
            return Ok(None);
        }
        let record = OpeningRecord::Sealed { epoch, round: number, model, blocks };
        self.take(record.clone());
        Ok(Some(record))
    }

    /// The blocks that were opened from the round's model before, in another round, under another name: unless all members of
    /// both openings have budgets.
    pub(crate) fn repeated(&self, round: &RoundContext, blocks: &[OpenedBlock]) -> Vec<BlockId> {
        if !rule::in_force("ROUND-30") {
            return Vec::new();
        }
        let earlier: Vec<&KeptRound> = self.others_from(round).collect();
        blocks.iter().filter(|block| conflicts(&earlier, block)).map(|block| block.block).collect()
    }

    /// Whether a second seal of another round has opened anything from the round's model.
    pub(crate) fn has_opened_before(&self, round: &RoundContext) -> bool {
        self.others_from(round).any(|kept| !kept.blocks.is_empty())
    }

    fn others_from(&self, round: &RoundContext) -> impl Iterator<Item = &KeptRound> {
        let (model, present) = (round.plan().model, (round.epoch().digest(), round.round()));
        self.rounds
            .iter()
            .filter(move |(place, kept)| **place != present && kept.model == Some(model))
            .map(|(_, kept)| kept)
    }

    /// Forgets what was opened from other models than this one, for a coordinator, to whom custodians say no. How rounds ended
    /// it keeps elsewhere: what stays is what [`Openings::records`] brings back (`ROUND-27`).
    pub(crate) fn retain_model(&mut self, model: Digest) {
        self.rounds.retain(|_, kept| kept.model == Some(model));
        self.rounds.values_mut().for_each(|kept| kept.ended = None);
    }

    /// The records that make these openings.
    pub fn records(&self) -> Vec<OpeningRecord> {
        let mut records = Vec::new();
        for ((epoch, round), kept) in &self.rounds {
            if let Some(model) = kept.model {
                let (epoch, round, blocks) = (*epoch, *round, kept.blocks.clone());
                records.push(OpeningRecord::Sealed { epoch, round, model, blocks });
            }
        }
        records
    }

    /// Begins an epoch with a model, or refuses to (`CONS-06`). Gives the record of a new epoch.
    ///
    /// # Errors
    /// See [`StartRefusal`].
    pub fn begin(&mut self, epoch: &Epoch, model: Digest) -> Result<Option<OpeningRecord>, StartRefusal> {
        let (number, present) = (epoch.consortium().epoch_number(), epoch.digest());
        match self.epoch {
            Some((_, known)) if known == present => return Ok(None),
            Some((latest, _)) if latest == number => return Err(StartRefusal::SameNumber { number }),
            Some((latest, _)) if latest > number => {
                return Err(StartRefusal::OlderEpoch { got: number, latest });
            }
            _ => {}
        }
        self.check_start(epoch, model)?;
        let opened = self.rounds.iter().find(|(_, kept)| kept.model == Some(model));
        if let Some(((_, round), _)) = opened.filter(|_| rule::in_force("CONS-06")) {
            return Err(StartRefusal::OpenedModel { model, round: *round });
        }
        let record = OpeningRecord::Began { epoch: present, number };
        self.take(record.clone());
        Ok(Some(record))
    }

    /// Compares the model and the ending that the file starts on with what this party knows.
    fn check_start(&self, epoch: &Epoch, model: Digest) -> Result<(), StartRefusal> {
        let Some(start) = epoch.consortium().start() else { return Ok(()) };
        let expected = Digest(start.model.0);
        if model != expected {
            return Err(StartRefusal::OtherModel { got: model, expected });
        }
        let before = Digest(start.epoch.0);
        let known = self.rounds.iter().filter(|((epoch, _), _)| *epoch == before);
        let ended = known.filter_map(|((_, round), kept)| Some((*round, kept.ended?)));
        let named = start.ending.map_or(Round(0), |ending| ending.round);
        for (round, kept) in ended {
            if round > named {
                return Err(StartRefusal::EarlierEnding { got: named, latest: round });
            }
            let got =
                start.ending.filter(|ending| ending.round == round).map(|ending| Digest(ending.digest.0));
            if let Some(got) = got.filter(|got| *got != kept.digest) {
                return Err(StartRefusal::OtherEnding { round, got, expected: kept.digest });
            }
        }
        Ok(())
    }
}

/// Whether one of these rounds opened the block under another name, and not all members of both openings have budgets.
fn conflicts(earlier: &[&KeptRound], block: &OpenedBlock) -> bool {
    let before = earlier.iter().filter_map(|kept| opened_in(kept, block.block));
    let mut others = before.filter(|opened| opened.name != block.name);
    others.any(|opened| !(opened.all_have_budgets && block.all_have_budgets))
}

fn opened_in(kept: &KeptRound, block: BlockId) -> Option<&OpenedBlock> {
    let place = kept.blocks.binary_search_by_key(&block, |opened| opened.block).ok()?;
    kept.blocks.get(place)
}

/// How the valid blocks of a second seal are kept.
pub(crate) fn opened_blocks(
    round: &RoundContext,
    sealed: &SealedManifest,
    cohorts: &[SummedCohort],
) -> Vec<OpenedBlock> {
    let announcements = sealed.manifest().announcements();
    let has_budget = |member| announcements.get(&member).is_some_and(|known| known.body().has_budget);
    let opened = |cohort: &SummedCohort| {
        let block = cohort.block();
        let planned = round.block(block).expect("the manifest was checked to name blocks of the plan");
        let name = opening_name(&planned.shape, &planned.scale, cohort.weighted());
        OpenedBlock { block, name, all_have_budgets: cohort.members().all(has_budget) }
    };
    cohorts.iter().map(opened).collect()
}

/// Names what a block is opened over: its shape and scale, and who is summed with which weight.
pub fn opening_name(shape: &BlockShape, scale: &Scale, cohort: &[WeightedMember]) -> Digest {
    digest(Domain::Opening, &[&codec::encode(&(shape, scale, cohort))])
}
