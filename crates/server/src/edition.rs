//! How a coordinator's folder goes on in the epoch of the next edition (`CONS-11`).

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::{EpochStart, LastEnding, PublicBytes};
use cloister_params::id::{Digest, Round};
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::{CoordinatorCheckpoint, Input};
use cloister_protocol::model::Model;
use cloister_protocol::statement::body_digest;
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use thiserror::Error;

use crate::config::ServerConfig;
use crate::journal::JournalContent;
use crate::models::read_kept;

/// Why a coordinator does not begin the epoch of an edition.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EditionError {
    /// A round has not ended.
    #[error("a round is in progress; pause the rounds, and begin the edition after the round has ended")]
    InRound,
    /// The edition continues from something else.
    #[error(
        "the edition continues from another {what} than this coordinator's: it names {named}, and the coordinator has {present}; \
         have it signed again with the epoch-start.toml that the coordinator's folder has now"
    )]
    Start {
        /// Epoch, model or ending.
        what: &'static str,
        /// What the edition names.
        named: String,
        /// What the coordinator has.
        present: String,
    },
    /// The coordinator was given another model than the edition starts from.
    #[error(
        "the consortium file starts from the model {named}, and --model is {got}; give the file model.parameters of the \
         coordinator's last folder, or the model that the consortium chose"
    )]
    Model {
        /// The digest that the file names.
        named: Digest,
        /// The digest of the model that was given.
        got: Digest,
    },
    /// The edition starts from a model that the coordinator does not have.
    #[error(
        "the edition starts from the model {named}, which the consortium chose and which is not in this coordinator's folder \
         models; stop the coordinator, and start it with the edition and the model's file in --model"
    )]
    ModelGone {
        /// The digest that the edition names.
        named: Digest,
    },
    /// The edition is not later than the present one.
    #[error("the edition has the number {got}, and edition {present} is in force; give a later one")]
    NotLater {
        /// The edition's number.
        got: u32,
        /// The present number.
        present: u32,
    },
    /// The edition lists other keys for the coordinator.
    #[error(
        "the edition lists other keys for the coordinator than it has; stop it, and start it with the new folder of keys and \
         the edition"
    )]
    CoordinatorKeys,
    /// The round settings do not fit the edition's roster.
    #[error("the round settings do not fit the edition: {0}")]
    Settings(String),
}

/// What the next epoch would continue from, after the last round whose ending this is.
pub(crate) fn epoch_start(epoch: Digest, checkpoint: &CoordinatorCheckpoint) -> EpochStart {
    EpochStart {
        epoch: PublicBytes(epoch.0),
        model: PublicBytes(checkpoint.model.digest().0),
        replaced: false,
        back_to: None,
        ending: checkpoint.last_ending.as_ref().and_then(last_ending),
    }
}

/// The round and digest of an ending that this coordinator stored; it was checked when it was made.
fn last_ending(ending: &Ending) -> Option<LastEnding> {
    let (round, body): (Round, &[u8]) = match ending {
        Ending::Closed { certificate, .. } => (certificate.parse().ok()?.round, &certificate.body),
        Ending::Aborted(certificate) => (certificate.parse().ok()?.round, &certificate.body),
    };
    Some(LastEnding { round, digest: PublicBytes(body_digest(body).0) })
}

/// Checks that an epoch continues from this point (`CONS-06`).
///
/// # Errors
/// [`EditionError::Start`] with what differs.
pub(crate) fn check_continuation(epoch: &Epoch, present: &EpochStart) -> Result<(), EditionError> {
    let Some(named) = epoch.consortium().start() else {
        let (named, present) = ("none".to_owned(), present.epoch.to_string());
        return Err(EditionError::Start { what: "epoch", named, present });
    };
    let is_replaced = named.replaced;
    let ending = |start: &EpochStart| match start.ending {
        Some(ending) => format!("{} ({})", ending.round, ending.digest),
        None => "none".to_owned(),
    };
    for (what, named, present) in [
        ("epoch", named.epoch.to_string(), present.epoch.to_string()),
        ("ending", ending(named), ending(present)),
        ("model", named.model.to_string(), present.model.to_string()),
    ] {
        // The consortium may choose another model, and the edition says so.
        if named != present && !(what == "model" && is_replaced) {
            return Err(EditionError::Start { what, named, present });
        }
    }
    Ok(())
}

/// The model from which an edition starts: the present one, one that the folder keeps, or the one that was given at the
/// program's start.
///
/// # Errors
/// [`EditionError::ModelGone`].
pub(crate) fn start_model(
    epoch: &Epoch,
    present: &Model,
    config: &ServerConfig,
) -> Result<Model, EditionError> {
    let named = epoch.consortium().start().map_or(present.digest(), |start| Digest(start.model.0));
    if let Some(model) = [present, &config.model].into_iter().find(|model| model.digest() == named) {
        return Ok(model.clone());
    }
    // A folder that cannot be read does not have it either.
    let kept = read_kept(&config.folder, named).ok().flatten();
    kept.ok_or(EditionError::ModelGone { named })
}

/// Checks that a coordinator that begins in a new folder was given the model that the file names (`CONS-06`).
///
/// # Errors
/// [`EditionError::Model`] with both digests.
pub(crate) fn check_start_model(epoch: &Epoch, given: &Model) -> Result<(), EditionError> {
    let Some(start) = epoch.consortium().start() else { return Ok(()) };
    let (named, got) = (Digest(start.model.0), given.digest());
    if named == got { Ok(()) } else { Err(EditionError::Model { named, got }) }
}

/// Checks an edition before the coordinator begins its epoch.
///
/// # Errors
/// See [`EditionError`].
pub(crate) fn check_edition(
    next: &Epoch,
    present: &Epoch,
    start: &EpochStart,
    settings: &RoundSettings,
) -> Result<(), EditionError> {
    let (got, number) = (next.consortium().epoch_number(), present.consortium().epoch_number());
    if got <= number {
        return Err(EditionError::NotLater { got, present: number });
    }
    check_continuation(next, start)?;
    let (listed, ours) = (next.consortium().coordinator(), present.consortium().coordinator());
    // The listener's certificate and the signing key were loaded when the program started.
    if (listed.signing_key, listed.certificate) != (ours.signing_key, ours.certificate) {
        return Err(EditionError::CoordinatorKeys);
    }
    settings.check(next.consortium()).map_err(|error| EditionError::Settings(error.to_string()))
}

/// What a journal of the epoch before gives the next one: its model, and the number of rounds with sums.
///
/// # Errors
/// The journal is in the middle of a round, or the edition continues from something else.
pub(crate) fn continue_from(
    content: &JournalContent,
    config: &ServerConfig,
) -> Result<(Model, u64), EditionError> {
    let epoch = &config.epoch;
    let is_in_round = content.inputs.iter().any(|(input, _)| matches!(input, Input::StartRound(_)));
    if is_in_round {
        return Err(EditionError::InRound);
    }
    let beginning = &content.beginning;
    check_continuation(epoch, &epoch_start(beginning.epoch, &beginning.start))?;
    Ok((start_model(epoch, &beginning.start.model, config)?, beginning.closed_rounds))
}

/// The frame that tells a party which edition is in force; none in the first epoch, for which no party can have
/// an earlier file.
pub(crate) fn edition_frame(epoch: &Epoch) -> Option<Frame> {
    epoch.consortium().start()?;
    let file = epoch.text().as_bytes().to_vec();
    Some(Frame::Message(Message::Edition { file, signature: *epoch.signature() }))
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::{consortium, next_epoch, sign};

    use super::*;

    /// CONS-06
    #[test]
    fn a_new_folder_begins_with_the_model_that_the_file_names_alone() {
        let (named, other) = (Model::new(vec![vec![1.0]]), Model::new(vec![vec![2.0]]));
        let first = consortium(&[1; 5]);
        assert_eq!(check_start_model(&first.epoch, &other), Ok(()), "the first edition names none");
        let next = next_epoch(&first, named.digest(), None).epoch;
        let wrong = EditionError::Model { named: named.digest(), got: other.digest() };
        assert_eq!(check_start_model(&next, &other), Err(wrong));
        assert_eq!(check_start_model(&next, &named), Ok(()));
    }

    /// CONS-11
    #[test]
    fn an_edition_continues_from_the_epoch_the_ending_and_the_model_that_are_here() {
        let first = consortium(&[1; 5]);
        let model = Model::new(vec![vec![1.0]]).digest();
        let ending = LastEnding { round: Round(3), digest: PublicBytes([3; 32]) };
        let replaced = next_epoch(&first, model, Some(ending)).epoch;
        let mut file = replaced.consortium().to_file();
        file.start.as_mut().expect("a later edition has a start").replaced = false;
        let next = sign(&file).epoch;
        let present = *next.consortium().start().expect("a later edition has a start");
        assert_eq!(check_continuation(&next, &present), Ok(()));
        let wrong = PublicBytes([9; 32]);
        let other_ending = Some(LastEnding { digest: wrong, ..ending });
        for (what, other) in [
            ("epoch", EpochStart { epoch: wrong, ..present }),
            ("ending", EpochStart { ending: other_ending, ..present }),
            ("ending", EpochStart { ending: None, ..present }),
            ("model", EpochStart { model: wrong, ..present }),
        ] {
            let refused = check_continuation(&next, &other);
            assert!(
                matches!(refused, Err(EditionError::Start { what: named, .. }) if named == what),
                "{refused:?}"
            );
        }
        // The consortium may choose the model, and nothing else.
        assert_eq!(check_continuation(&replaced, &EpochStart { model: wrong, ..present }), Ok(()));
        let no_start = check_continuation(&first.epoch, &present);
        assert!(matches!(no_start, Err(EditionError::Start { what: "epoch", .. })), "{no_start:?}");
    }
}
