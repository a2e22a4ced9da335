//! The coordinator's last step: what an ending leaves, and the report of its round.

use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{Abort, Certificate};

use super::{Announced, Coordinator, CoordinatorOutput, CoordinatorPhase, RoundReport};
use crate::ending::KnownEnding;
use crate::model::Model;
use crate::opening::OpenedSum;

impl Coordinator {
    pub(super) fn finish_abort(&mut self, certificate: Certificate<Abort>) {
        let Some(CoordinatorPhase::Aborting(announced, _)) = self.take_phase() else {
            return;
        };
        let model = self.model.clone();
        self.last_sums.clear();
        self.end(*announced, Ending::Aborted(certificate), Vec::new(), model);
    }

    pub(super) fn end(
        &mut self,
        mut announced: Announced,
        ending: Ending,
        sums: Vec<OpenedSum>,
        model: Model,
    ) {
        let known = KnownEnding::check(&ending, &self.epoch).expect("votes were checked one by one");
        self.chain.advance(&known);
        self.openings.ended(&self.epoch, &ending, &known);
        self.openings.keep_openings_alone();
        self.bars.expire(known.round);
        self.model = model.clone();
        self.last_ending = Some(ending.clone());
        self.round = None;
        self.deadline = None;
        self.send_to(self.everyone(), &Frame::Message(Message::Ended(ending.clone())));
        let log = announced.end_log(&ending);
        self.outputs.push_back(CoordinatorOutput::Ended(Box::new(RoundReport {
            round: known.round,
            settings: announced.context.plan().settings.clone(),
            started_from: announced.context.plan().model,
            ending,
            log,
            announced: announced.announcements.keys().copied().collect(),
            uploaded: announced.uploaded,
            cohorts: announced.cohorts,
            sums,
            masked_bytes: announced.masked_bytes,
            model,
        })));
    }
}
