//! The models of the last closings: kept after each round, and sent to members that ask for one (`FILE-02`, `WIRE-11`).

use cloister_params::consortium::Role;
use cloister_params::id::Digest;
use cloister_transport::Link;

use super::Server;
use crate::config::ServerEvent;
use crate::models::keep_model;

impl Server<'_> {
    /// Keeps the model in force. Rounds go on without: they follow from the journal alone.
    pub(super) fn keep_present_model(&mut self) {
        let named = self.config.epoch.consortium().start().map(|start| Digest(start.model.0));
        let start = named.unwrap_or_else(|| self.config.model.digest());
        let best = self.best_models();
        let (folder, most) = (&self.config.folder, self.config.keep_models);
        // While it is not known which one is the best, none is removed.
        let is_protected =
            |digest| digest == start || best.as_ref().map_or(true, |best| best.contains(&digest));
        let kept = keep_model(folder, self.coordinator.model(), most, is_protected);
        if let Err(error) = &best {
            let reason =
                format!("all models stay in the folder models, because evaluations cannot be read: {error}");
            (self.events)(ServerEvent::Warning(reason));
        }
        if let Err(error) = kept {
            let reason =
                format!("the model cannot be kept in the folder models, so that nobody can pull it: {error}");
            (self.events)(ServerEvent::Warning(reason));
        }
    }

    /// Serves a party that asks for kept models.
    pub(super) fn serve_pull(&mut self, link: Link) {
        // Members alone, because they have every model anyway. A custodian needs none to check and sign, and what is
        // learnt from notes goes to nobody who does not need it.
        let is_member = self.config.epoch.consortium().has_role(link.peer(), Role::Member);
        self.pulls.serve(link, is_member);
    }
}
