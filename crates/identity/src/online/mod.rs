//! Enrolment over the network, beside that by mail: the coordinator's operator invites a party, whose program hands its
//! enrolment file to the coordinator.
//!
//! - [`Invitation`]: the line of text that the operator sends to the party.
//! - [`EnrolmentRequest`], [`EnrolmentAnswer`]: what the party's program and the coordinator exchange.
//! - [`EnrolmentDesk`]: what the coordinator keeps of invitations and enrolment files.
//!
//! The coordinator decides nothing: an enrolment file that it keeps gives its party no right. Trust comes from people
//! who compare fingerprints (`CONS-09`).

mod book;
mod desk;
mod exchange;
mod invitation;

pub use book::{InvitationState, MAX_INVITATIONS};
pub use desk::{DeskError, DeskOutcome, ENROLMENTS, EnrolmentDesk, INVITATIONS, KeptEnrolment};
pub use exchange::{
    EnrolmentAnswer, EnrolmentRefusal, EnrolmentRequest, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Receipt,
    RequestError, SignedEdition,
};
pub use invitation::{Invitation, InvitationError, InvitationToken};
