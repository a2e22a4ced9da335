//! What hospitals and custodians kept of the same rounds, against the coordinator's log. It is in their hands, so that a
//! coordinator cannot leave off the end of its log unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{Digest, Round};
use cloister_protocol::ending::KnownEnding;
use cloister_protocol::model::Model;
use cloister_wire::codec;
use cloister_wire::message::Ending;
use cloister_wire::statement::{Abort, Closing};

use crate::folder::read;
use crate::ledgers::closings;

/// What the data folder of a hospital or a custodian has of an epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ComparedFolder {
    /// How messages call it.
    pub name: String,
    /// The file with the certificate of the last ending that the party knows; none if it is missing.
    pub ending: Option<Vec<u8>>,
    /// The file of the model that the party has; none if it is missing.
    pub model: Option<Vec<u8>>,
    /// The file of its privacy ledger; none if it is missing.
    pub ledger: Option<Vec<u8>>,
}

impl ComparedFolder {
    /// Reads a party's data folder.
    ///
    /// # Errors
    /// A file that cannot be read; files that are missing are none.
    pub fn read(data: &Path) -> io::Result<Self> {
        Ok(Self {
            name: data.display().to_string(),
            ending: read(&data.join("epoch-start.ending"))?,
            model: read(&data.join("model.parameters"))?,
            ledger: read(&data.join("privacy-ledger"))?,
        })
    }
}

/// The endings of a log, and the model that its first round started from.
pub(crate) struct LoggedEndings<'a> {
    pub(crate) endings: &'a BTreeMap<Round, KnownEnding>,
    pub(crate) start: Digest,
}

impl LoggedEndings<'_> {
    /// Whether a party's folder has something that the log has not, or nothing of this epoch. The result is false in the
    /// second case.
    pub(crate) fn check(&self, party: &ComparedFolder, epoch: &Epoch) -> Result<bool, String> {
        let name = &party.name;
        let mut is_compared = false;
        if let Some(bytes) = &party.ending {
            let ending: Ending =
                codec::decode(bytes).map_err(|error| format!("{name}: epoch-start.ending: {error}"))?;
            if epoch_of(&ending) == Some(epoch.digest()) {
                self.check_ending(name, &ending, epoch)?;
                is_compared = true;
            }
        }
        if let Some(ledger) = &party.ledger {
            for (round, closing) in closings(name, ledger, epoch)? {
                if self.endings.get(&round).map(|known| known.digest) != Some(closing) {
                    return Err(format!(
                        "{name}: its ledger has the closing {closing} of {round}, and the log has not"
                    ));
                }
                is_compared = true;
            }
        }
        // A model alone names no epoch.
        if let Some(bytes) = party.model.as_ref().filter(|_| is_compared) {
            let model =
                Model::from_bytes(bytes).ok_or(format!("{name}: model.parameters is no model"))?.digest();
            let known: BTreeSet<Digest> = self.endings.values().map(|known| known.model).collect();
            if model != self.start && !known.contains(&model) {
                return Err(format!("{name}: its model {model} is that of no ending of the log"));
            }
        }
        Ok(is_compared)
    }

    fn check_ending(&self, name: &str, ending: &Ending, epoch: &Epoch) -> Result<(), String> {
        let known = KnownEnding::check(ending, epoch)
            .map_err(|error| format!("{name}: its last ending does not hold: {error}"))?;
        match self.endings.get(&known.round) {
            Some(logged) if logged.digest == known.digest => Ok(()),
            Some(_) => Err(format!("{name}: it knows another ending of {} than the log has", known.round)),
            None => {
                Err(format!("{name}: it knows the ending of {}, and the log has no such round", known.round))
            }
        }
    }
}

/// The epoch that an ending names, not yet checked.
fn epoch_of(ending: &Ending) -> Option<Digest> {
    match ending {
        Ending::Closed { certificate, .. } => {
            codec::decode::<Closing>(&certificate.body).ok().map(|closing| closing.epoch)
        }
        Ending::Aborted(certificate) => {
            codec::decode::<Abort>(&certificate.body).ok().map(|abort| abort.epoch)
        }
    }
}
