//! Where peers come in, and enrolments over the network. A party that enrols has no link, and nothing that it sends
//! reaches the coordinator of rounds (`WIRE-10`).

use std::time::SystemTime;

use cloister_identity::online::EnrolmentRefusal;
use cloister_transport::{EnrolmentVisit, Link, Listener, Roster};
use tokio::sync::mpsc;

use super::Server;
use crate::config::{ServerConfig, ServerEvent};
use crate::error::ServerError;

/// The listener, and where the requests of parties come that are in no roster.
pub(super) struct Entrance {
    pub(super) listener: Listener,
    pub(super) visits: mpsc::Receiver<EnrolmentVisit>,
    /// The links of parties that ask for models.
    pub(super) models: mpsc::Receiver<Link>,
}

impl Entrance {
    /// Listens at the address of the configuration.
    pub(super) fn open(
        config: &ServerConfig,
        roster: Roster,
        events: &mut (dyn FnMut(ServerEvent) + Send),
    ) -> Result<Self, ServerError> {
        let mut listener = Listener::bind(config.listen, &config.identity, roster, &config.transport)?;
        let (visits, models) = (listener.serve_enrolments(), listener.serve_models());
        let address =
            listener.local_address().map_err(|source| ServerError::Io { what: "the socket", source })?;
        events(ServerEvent::Listening(address));
        Ok(Self { listener, visits, models })
    }
}

impl Server<'_> {
    /// Answers an enrolment request. Whatever comes of it, the rounds go on.
    pub(super) fn answer_visit(&mut self, visit: EnrolmentVisit) {
        let (address, epoch) = (visit.address, &self.config.epoch);
        let outcome = self.config.desk.answer(&visit.request, visit.certificate, epoch, SystemTime::now());
        let outcome = match outcome {
            Ok(outcome) => outcome,
            // Dropping the visit sends the peer away.
            Err(error) => {
                let reason = error.to_string();
                (self.events)(ServerEvent::EnrolmentRefused { address, is_strangers: true, reason });
                return;
            }
        };
        if let Some(kept) = outcome.kept {
            (self.events)(ServerEvent::EnrolmentKept(kept));
        }
        if let Some(fault) = outcome.fault {
            (self.events)(ServerEvent::Warning(format!("an enrolment was not kept: {fault}")));
        }
        if let Some(why) = outcome.answer.refusal() {
            let (is_strangers, reason) = (*why == EnrolmentRefusal::Unknown, why.to_string());
            (self.events)(ServerEvent::EnrolmentRefused { address, is_strangers, reason });
        }
        visit.answer(outcome.answer.encode());
    }
}
