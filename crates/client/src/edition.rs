//! The edition of the consortium file that the coordinator sends (`CONS-11`).

use std::sync::Arc;

use cloister_crypto::consortium::{Epoch, RefusedConsortium};
use cloister_params::consortium::PublicBytes;
use cloister_protocol::openings::{OpeningHistory, StartRefusal};
use thiserror::Error;

use crate::config::ClientConfig;

/// Why a party does not begin the epoch of an edition that the coordinator sent.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum EditionRefusal {
    /// The governance key has not signed it, or it breaks a rule.
    #[error("the coordinator sent a consortium file that is not accepted: {0}")]
    File(#[from] RefusedConsortium),
    /// It is not text.
    #[error("the coordinator sent a consortium file that is not text")]
    NotText,
    /// It does not list this party, or lists it with other keys.
    #[error(
        "edition {edition} of the consortium file does not list this party with the keys that it has; if it was given new keys, \
         start the program with their folder and the new file"
    )]
    NotListed {
        /// The edition's number.
        edition: u32,
    },
    /// It is another consortium's.
    #[error("the coordinator sent the file of another consortium, {0:?}")]
    OtherConsortium(String),
    /// It contradicts what this party knows.
    #[error(transparent)]
    Start(#[from] StartRefusal),
}

/// Checks an edition that the coordinator sent. The result is its epoch; `None` if it is not later than the one in force.
pub(crate) fn check_edition(
    config: &ClientConfig,
    openings: &OpeningHistory,
    file: &[u8],
    signature: &[u8; 64],
) -> Result<Option<Arc<Epoch>>, EditionRefusal> {
    if file == config.epoch.text().as_bytes() {
        return Ok(None);
    }
    let text = std::str::from_utf8(file).map_err(|_| EditionRefusal::NotText)?;
    // The signature first, by the key that this party's own policy pins (CONS-01).
    let epoch = Epoch::accept(text, signature, config.policy.governance_key)?;
    let edition = epoch.consortium().epoch_number();
    if edition < config.epoch.consortium().epoch_number() {
        return Ok(None);
    }
    // One governance key may serve several consortia, whose editions count apart.
    if epoch.consortium().name() != config.epoch.consortium().name() {
        return Err(EditionRefusal::OtherConsortium(epoch.consortium().name().to_owned()));
    }
    let listed = epoch.consortium().party(config.party);
    let has_our_keys = listed.is_some_and(|party| {
        party.signing_key == config.signing_key.public()
            && party.certificate == PublicBytes(config.identity.fingerprint().0)
    });
    if !has_our_keys {
        return Err(EditionRefusal::NotListed { edition });
    }
    // On a copy: nothing is begun before the file is on disk.
    openings.clone().begin(&epoch)?;
    Ok(Some(Arc::new(epoch)))
}
