//! Editions of the consortium file: the one in force, and the next one.

use std::sync::Arc;
use std::time::SystemTime;

use cloister_crypto::consortium::Epoch;
use cloister_identity::keep_edition;
use cloister_params::limits::Date;

use super::Client;
use crate::edition::{EditionRefusal, check_edition};
use crate::events::{ClientError, ClientEvent};

impl Client<'_> {
    /// Whether the edition in force has ended, which is reported once (`CONS-12`).
    pub(super) fn has_ended_edition(&mut self) -> bool {
        let today = Date::from_time(SystemTime::now());
        let Some(until) = self.config.epoch.consortium().until().filter(|until| *until < today) else {
            return false;
        };
        if !std::mem::replace(&mut self.has_reported_end, true) {
            let text = format!(
                "the consortium file was in force until {until}; this party does nothing before it gets a later edition"
            );
            (self.events)(ClientEvent::Warning(text));
        }
        true
    }

    /// Takes an edition of the consortium file (`CONS-11`).
    pub(super) fn handle_edition(
        &mut self,
        file: &[u8],
        signature: &[u8; 64],
    ) -> Result<Option<Arc<Epoch>>, ClientError> {
        match check_edition(self.config, self.records.openings.openings(), file, signature) {
            Ok(Some(epoch)) => {
                keep_edition(&self.config.folder, &epoch).map_err(ClientError::Edition)?;
                Ok(Some(epoch))
            }
            Ok(None) => Ok(None),
            // The edition in force has ended for a party that the next one does not list.
            Err(refused @ EditionRefusal::NotListed { .. }) => {
                Err(ClientError::NotListed(refused.to_string()))
            }
            Err(refused) => {
                (self.events)(ClientEvent::Fault(refused.to_string()));
                Ok(None)
            }
        }
    }
}
