//! How the program ends: after the last round, or when it is told to stop.

use std::time::{Duration, Instant};

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::Input;
use cloister_transport::Listener;
use cloister_wire::frame::LAST_ROUND_ENDED;
use tokio::sync::mpsc;

use super::Server;
use crate::config::ServerEvent;
use crate::error::ServerError;
use crate::links::{CLOSE_WITHIN, LinkReport, NO_LINK};

/// How long a party that connects after the last round may take to ask for the model.
pub(super) const ASK_WITHIN: Duration = Duration::from_secs(2);

/// The reason with which links are closed when another edition begins. Clients connect again, and get it.
const NEW_EDITION: &str = "another edition of the consortium file is in force";

/// The reason with which links are closed when the program is told to stop. Clients connect again.
const STOPPING: &str = "the coordinator stops, and will be back";

impl Server<'_> {
    /// After the last round: serves parties that missed its ending, and closes all links.
    pub(super) async fn finish(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::Receiver<LinkReport>,
    ) -> Result<(), ServerError> {
        self.serve_the_last_model(listener, reports).await?;
        if !self.close_links().await? {
            // A party that returns but still does not acknowledge gets no second grace period, so that nobody
            // can keep the program from ending.
            self.serve_the_last_model(listener, reports).await?;
            self.close_links().await?;
        }
        Ok(())
    }

    /// Closes all links because the operator stops the program. Everything that matters is in the journal: the
    /// next start continues the round.
    pub(super) async fn stop(&mut self) {
        (self.events)(ServerEvent::Stopping);
        // Whether a party acknowledged does not matter: it connects again, and is told everything.
        let _ = self.links.close(STOPPING, CLOSE_WITHIN).await;
    }

    /// Closes all links before another edition begins: some parties may have left, or have new certificates.
    pub(super) async fn close_for_edition(&mut self) {
        let _ = self.links.close(NEW_EDITION, CLOSE_WITHIN).await;
    }

    /// Stays after the last round for parties that missed how it ended (`ROUND-23`): until each party that
    /// lost its link is back or its time to reconnect is over, and parties that are back have had the time to
    /// ask for the model. A party that connects again and again does not prolong this for ever (`ROUND-32`).
    async fn serve_the_last_model(
        &mut self,
        listener: &mut Listener,
        reports: &mut mpsc::Receiver<LinkReport>,
    ) -> Result<(), ServerError> {
        let limit = Instant::now() + self.config.closing_time(&self.settings);
        while Instant::now() < limit && (self.is_awaiting_someone() || Instant::now() < self.served_until) {
            self.step(listener, reports, Some(Instant::now() + ASK_WITHIN)).await?;
        }
        Ok(())
    }

    /// Closes all links. The result is whether every party acknowledged how the last round ended. A party
    /// that was killed just before has not, and only its silence shows that: it gets the time to reconnect,
    /// like any other that lost its link.
    async fn close_links(&mut self) -> Result<bool, ServerError> {
        let (acknowledged, unacknowledged) =
            self.links.close(LAST_ROUND_ENDED, self.config.closing_time(&self.settings)).await;
        for party in acknowledged {
            self.handle_input(Input::Disconnected(party))?;
        }
        let missed: Vec<PartyId> =
            self.coordinator.connected().intersection(&unacknowledged).copied().collect();
        for party in &missed {
            let reason = "it did not acknowledge the end of the last round".to_owned();
            (self.events)(ServerEvent::Disconnected(*party, reason));
            self.lost.insert(*party);
            self.links.start_grace(*party, NO_LINK, self.config.reconnect_within);
        }
        self.carry_out()?;
        Ok(missed.is_empty())
    }

    /// Whether a party that lost its link, or was connected before a restart, may still reconnect.
    fn is_awaiting_someone(&self) -> bool {
        self.coordinator
            .connected()
            .iter()
            .any(|party| self.lost.contains(party) || !self.links.has_linked(*party))
    }
}
