//! Giving up a round before its second seal is proposed: what it came to is logged (`LOG-04`), and an abort proposed.

use cloister_params::id::PartyId;
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::{Abort, AbortReason, UploadedMember};

use super::ballot::Ballot;
use super::sealing::{Sealing1, Uploading};
use super::{Announced, Coordinator, CoordinatorPhase, Time};
use crate::sealed::{log_to_manifest, log_to_uploads};

/// The phase in which a round is given up.
enum GivenUp {
    Announcing,
    Sealing(Box<Sealing1>),
    Uploading(Box<Uploading>),
}

impl Announced {
    /// Puts what the present phase has into the log, because the round is given up in it (`LOG-04`).
    fn log_what_came(&mut self, phase: &GivenUp) {
        self.log = match phase {
            GivenUp::Announcing => {
                let mut log = RoundLog::default();
                log.push(EntryKind::Plan, PartyId::COORDINATOR, self.context.plan_bytes().to_vec());
                log
            }
            GivenUp::Sealing(sealing) => log_to_manifest(&self.context, &sealing.manifest),
            GivenUp::Uploading(uploading) => {
                let uploaded = self.keep_uploads(uploading);
                log_to_uploads(&self.context, &uploading.sealed, &uploaded)
            }
        };
    }

    /// Keeps the signatures of the uploads that arrived. The result lists them, ascending by member.
    pub(super) fn keep_uploads(&mut self, uploading: &Uploading) -> Vec<UploadedMember> {
        let mut uploaded = Vec::with_capacity(uploading.arrived.len());
        for (member, (signed, upload)) in &uploading.arrived {
            self.additions.keep_signature(EntryKind::Upload, *member, signed);
            uploaded.push(UploadedMember { member: *member, root: upload.body().root });
        }
        uploaded
    }
}

impl Coordinator {
    /// Proposes to end the round without sums. From the second seal's proposal on it does nothing.
    pub(super) fn propose_abort(&mut self, reason: AbortReason, now: Time) {
        let Some(phase) = self.take_phase() else { return };
        let (mut announced, given_up) = match phase {
            CoordinatorPhase::Announcing(announced) => (announced, GivenUp::Announcing),
            CoordinatorPhase::Sealing1(announced, sealing) => (announced, GivenUp::Sealing(sealing)),
            CoordinatorPhase::Uploading(announced, uploading) => (announced, GivenUp::Uploading(uploading)),
            // From the second seal's proposal on, a quorum may have signed it, and the round can end only
            // with its sums.
            other => return self.put_phase(other),
        };
        announced.log_what_came(&given_up);
        let abort = Abort {
            epoch: self.epoch.digest(),
            round: announced.context.round(),
            plan: announced.context.plan_digest(),
            model: announced.context.plan().model,
            reason,
        };
        let ballot = Ballot::open(&abort);
        let proposal = Frame::Message(Message::ProposeAbort { abort: ballot.body().to_vec() });
        let custodians: Vec<PartyId> = announced.context.custodians().collect();
        self.wait(now, announced.context.plan().settings.deadlines.seal);
        self.put_phase(CoordinatorPhase::Aborting(announced, ballot));
        self.send_to(custodians, &proposal);
    }
}
