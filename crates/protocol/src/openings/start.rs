//! Whether a party begins an epoch, by what it knows of earlier ones (`CONS-06`).

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::{EarlierClosing, EpochStart};
use cloister_params::id::{Digest, Round};
use cloister_params::rule;
use cloister_wire::opening::OpeningRecord;
use thiserror::Error;

use super::OpeningHistory;

/// Why a party does not begin an epoch (`CONS-06`).
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StartRefusal {
    /// This party has already begun a newer epoch.
    #[error(
        "the consortium file has the number {got}, and this party has begun an epoch with the number \
         {latest}; use the newest file"
    )]
    OlderEpoch {
        /// The number in the file.
        got: u32,
        /// The highest number of an epoch that this party has begun.
        latest: u32,
    },
    /// Another file with the same number.
    #[error(
        "this party has begun another epoch with the same number {number}; the consortium has to give each \
         file a number of its own"
    )]
    SameNumber {
        /// The number that both files have.
        number: u32,
    },
    /// The file names another model than the ending left, and does not say that the consortium chose it.
    #[error(
        "the consortium file starts from the model {got}, and {round} left {expected}; if the consortium chose another \
         model, its file says `replaced = true`"
    )]
    ReplacedModel {
        /// The last round of the previous epoch.
        round: Round,
        /// The model that the file names.
        got: Digest,
        /// The model that the round left.
        expected: Digest,
    },
    /// The file names another ending than this party knows.
    #[error(
        "the consortium file starts on the ending {got} of {round}, this party checked the certificate of {expected}; \
         ask the holder of the governance key for a file that starts on it"
    )]
    OtherEnding {
        /// The last round of the previous epoch, as the file names it.
        round: Round,
        /// The ending that the file names.
        got: Digest,
        /// The ending whose certificate this party checked.
        expected: Digest,
    },
    /// The file goes back to a closing that this party knows otherwise.
    #[error(
        "the consortium file goes back to {round} of an earlier edition with the closing {got} and its model, this party knows \
         the ending {expected} with the model {left}; ask the holder of the governance key for a file that names it rightly"
    )]
    OtherClosing {
        /// The round that the file goes back to.
        round: Round,
        /// The closing that the file names.
        got: Digest,
        /// The ending whose certificate this party checked.
        expected: Digest,
        /// The model that it left.
        left: Digest,
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

impl OpeningHistory {
    /// Begins an epoch, or refuses to (`CONS-06`). Gives the record of a new epoch. A member that does not have
    /// the model that the file names asks for it later (`ROUND-23`).
    ///
    /// # Errors
    /// See [`StartRefusal`].
    pub fn begin(&mut self, epoch: &Epoch) -> Result<Option<OpeningRecord>, StartRefusal> {
        let (number, present) = (epoch.consortium().epoch_number(), epoch.digest());
        match self.epoch {
            // After a restart: the start was checked when the epoch began, and rounds have ended since.
            Some((_, known)) if known == present => return Ok(None),
            Some((latest, _)) if latest == number => return Err(StartRefusal::SameNumber { number }),
            Some((latest, _)) if latest > number => {
                return Err(StartRefusal::OlderEpoch { got: number, latest });
            }
            _ => {}
        }
        if rule::in_force("CONS-06") {
            self.check_start(epoch)?;
        }
        let record = OpeningRecord::Began { epoch: present, number };
        self.take(record.clone());
        Ok(Some(record))
    }

    /// Compares the closing that the file goes back to with what this party knows of it (`CONS-16`).
    fn check_way_back(&self, start: &EpochStart) -> Result<(), StartRefusal> {
        let Some(EarlierClosing { epoch, round, digest }) = start.back_to else { return Ok(()) };
        let kept = self.rounds.get(&(Digest(epoch.0), round)).and_then(|kept| kept.ended);
        match kept {
            Some(kept) if kept.aborted || kept.digest.0 != digest.0 || kept.model.0 != start.model.0 => {
                let (got, expected, left) = (Digest(digest.0), kept.digest, kept.model);
                Err(StartRefusal::OtherClosing { round, got, expected, left })
            }
            _ => Ok(()),
        }
    }

    /// Compares the model and the ending that the file starts on with what this party knows.
    fn check_start(&self, epoch: &Epoch) -> Result<(), StartRefusal> {
        let Some(start) = epoch.consortium().start() else { return Ok(()) };
        self.check_way_back(start)?;
        let before = Digest(start.epoch.0);
        let known = self.rounds.iter().filter(|((epoch, _), _)| *epoch == before);
        let ended = known.filter_map(|((_, round), kept)| Some((*round, kept.ended?)));
        let named = start.ending.map_or(Round(0), |ending| ending.round);
        for (round, kept) in ended {
            // A file that leaves out a known ending would let its rounds be run again from the older model.
            if round > named {
                return Err(StartRefusal::EarlierEnding { got: named, latest: round });
            }
            let got =
                start.ending.filter(|ending| ending.round == round).map(|ending| Digest(ending.digest.0));
            if let Some(got) = got.filter(|got| *got != kept.digest) {
                return Err(StartRefusal::OtherEnding { round, got, expected: kept.digest });
            }
            // Whoever writes the file's start could otherwise choose parameters that are new to every record.
            let (got, left) = (Digest(start.model.0), kept.model);
            if round == named && got != left && !start.replaced {
                return Err(StartRefusal::ReplacedModel { round, got, expected: left });
            }
        }
        Ok(())
    }
}
