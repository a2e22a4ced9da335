//! Everything that reaches a coordinator, as values: whoever keeps the inputs of a round on disk can have the same
//! coordinator again (`ROUND-27`).

use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::plan::RoundSettings;
use cloister_wire::codec::{self, DecodeError};
use cloister_wire::frame::{Frame, FrameError};
use cloister_wire::message::{BadDealing, Ending, Message};
use cloister_wire::opening::OpeningRecord;
use thiserror::Error;

use super::{Coordinator, CoordinatorOutput, Phase, Time};
use crate::fault::{Fault, Misbehaviour};
use crate::model::Model;
use crate::openings::Openings;
use crate::round::KnownEnding;

/// Something that happens to a coordinator.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// [`Coordinator::start_round`].
    StartRound(Box<RoundSettings>),
    /// [`Coordinator::handle_connected`].
    Connected(PartyId),
    /// [`Coordinator::handle_disconnected`].
    Disconnected(PartyId),
    /// [`Coordinator::handle_frame`].
    Frame(PartyId, Frame),
    /// [`Coordinator::handle_time`].
    Time,
    /// The program was started again: every link is gone, and the clock has another origin.
    Restarted,
    /// In the place of a member's masked block that was erased: its leaf under the root that the member signed.
    Erased(PartyId, BlockId, Digest),
}

/// Bytes that are no input.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum InputError {
    /// Too short, or of a kind that this version does not have.
    #[error("{0} bytes are no input of a coordinator")]
    Unknown(usize),
    /// A frame that does not decode.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Settings that do not decode.
    #[error(transparent)]
    Settings(#[from] DecodeError),
}

/// Kind, time, party.
const HEAD: usize = 1 + 8 + 4;

impl Input {
    /// Whether a coordinator that took it is another than before. A request for the model leaves it as it is: whoever has
    /// sent one many times has not filled the disk (`ROUND-32`).
    pub fn is_kept(&self) -> bool {
        !matches!(self, Self::Frame(_, Frame::Message(Message::ModelRequest { .. })))
    }

    /// Kind (1 byte), time (8), party (4, 0 where there is none), little-endian, then settings, a frame, or a block (4)
    /// with its leaf.
    pub fn encode(&self, now: Time) -> Vec<u8> {
        let (kind, party, rest) = match self {
            Self::StartRound(settings) => (0, PartyId::COORDINATOR, codec::encode(settings)),
            Self::Connected(party) => (1, *party, Vec::new()),
            Self::Disconnected(party) => (2, *party, Vec::new()),
            Self::Frame(party, frame) => (3, *party, frame.encode()),
            Self::Time => (4, PartyId::COORDINATOR, Vec::new()),
            Self::Restarted => (5, PartyId::COORDINATOR, Vec::new()),
            Self::Erased(party, block, leaf) => (6, *party, [&block.0.to_le_bytes(), &leaf.0[..]].concat()),
        };
        [&[kind][..], &now.0.to_le_bytes(), &party.0.to_le_bytes(), &rest].concat()
    }

    /// Reads what [`Input::encode`] writes.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Time), InputError> {
        let unknown = InputError::Unknown(bytes.len());
        let ([kind, fields @ ..], rest) = bytes.split_first_chunk::<HEAD>().ok_or(unknown.clone())?;
        let [t0, t1, t2, t3, t4, t5, t6, t7, p0, p1, p2, p3] = *fields;
        let now = Time(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
        let party = PartyId(u32::from_le_bytes([p0, p1, p2, p3]));
        let input = match (kind, party, rest) {
            (0, PartyId::COORDINATOR, rest) => Self::StartRound(Box::new(codec::decode(rest)?)),
            (1, _, []) => Self::Connected(party),
            (2, _, []) => Self::Disconnected(party),
            (3, _, rest) => Self::Frame(party, Frame::decode(rest)?),
            (4, PartyId::COORDINATOR, []) => Self::Time,
            (5, PartyId::COORDINATOR, []) => Self::Restarted,
            (6, _, [b0, b1, b2, b3, leaf @ ..]) => {
                let leaf = Digest(leaf.try_into().map_err(|_| unknown)?);
                Self::Erased(party, BlockId(u32::from_le_bytes([*b0, *b1, *b2, *b3])), leaf)
            }
            _ => return Err(unknown),
        };
        Ok((input, now))
    }
}

/// What a coordinator begins a round with.
#[derive(Clone, PartialEq, Debug)]
pub struct Start {
    /// The model after the last round.
    pub model: Model,
    /// How the last round ended; none before the first.
    pub last_ending: Option<Ending>,
    /// The last round's sums as they travel, for members that were away when it ended.
    pub last_sums: Vec<Frame>,
    /// What was opened from the model (`ROUND-30`).
    pub openings: Vec<OpeningRecord>,
    /// Evidence of bad dealings that still bars somebody (`ROUND-33`).
    pub bad_dealings: Vec<BadDealing>,
}

/// Why a coordinator cannot be had again.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ResumeError {
    /// The ending, or evidence of a bad dealing, is not one of this epoch, or does not hold.
    #[error("the last ending or a kept bad dealing does not hold: {0}")]
    Evidence(#[from] Misbehaviour),
    /// The model is not the one that the ending names.
    #[error("the model is not the one after the last ending")]
    Model,
    /// An input was refused, which was taken before.
    #[error("an input was taken before and is refused now: {0}")]
    Input(#[from] Fault),
}

impl Coordinator {
    /// Takes an input.
    ///
    /// # Errors
    /// What the input's own function refuses; the coordinator is unchanged then, and the input need not be kept.
    pub fn handle(&mut self, input: Input, now: Time) -> Result<(), Fault> {
        match input {
            Input::StartRound(settings) => self.start_round(*settings, now).map(|_| ()),
            Input::Connected(party) => {
                self.handle_connected(party, now);
                Ok(())
            }
            Input::Disconnected(party) => {
                self.handle_disconnected(party, now);
                Ok(())
            }
            Input::Frame(from, frame) => self.handle_frame(from, frame, now),
            Input::Time => {
                self.handle_time(now);
                Ok(())
            }
            Input::Restarted => {
                self.begin_waiting_again(now);
                Ok(())
            }
            Input::Erased(member, block, leaf) => self.handle_erased(member, block, leaf),
        }
    }

    /// The coordinator after the inputs that it took since the last round ended, in their order. Whatever it signed,
    /// proposed or published for them it signs, proposes or publishes again, byte by byte: it has no randomness
    /// (`ROUND-27`). Only what concerns the disk is still to be carried out; frames are sent again to whoever
    /// connects.
    ///
    /// # Errors
    /// See [`ResumeError`]: the records are not those of one coordinator of this epoch.
    pub fn resume(
        key: Arc<SigningKey>,
        epoch: Arc<Epoch>,
        start: Start,
        inputs: impl IntoIterator<Item = (Input, Time)>,
    ) -> Result<Self, ResumeError> {
        let mut coordinator = Self::new(key, epoch, start.model);
        if let Some(ending) = start.last_ending {
            let known = KnownEnding::check(&ending, &coordinator.epoch)?;
            if known.model != coordinator.model.digest() {
                return Err(ResumeError::Model);
            }
            coordinator.chain.advance(&known);
            coordinator.last_ending = Some(ending);
            coordinator.last_sums = start.last_sums;
        }
        coordinator.openings = Openings::new(start.openings);
        for evidence in &start.bad_dealings {
            coordinator.bars.take(&coordinator.epoch, evidence)?;
        }
        for (input, now) in inputs {
            coordinator.handle(input, now)?;
            let is_for_the_disk =
                |output: &_| matches!(output, CoordinatorOutput::Ended(_) | CoordinatorOutput::Erase(_));
            coordinator.outputs.retain(is_for_the_disk);
        }
        Ok(coordinator)
    }

    /// What the next round begins with, once the last has ended.
    pub fn start(&self) -> Start {
        Start {
            model: self.model.clone(),
            last_ending: self.last_ending.clone(),
            last_sums: self.last_sums.clone(),
            openings: self.openings.records(),
            bad_dealings: self.bars.all().cloned().collect(),
        }
    }

    /// Gives the present step its whole time again.
    fn begin_waiting_again(&mut self, now: Time) {
        let Some(active) = &self.round else { return };
        let deadlines = &active.settings.deadlines;
        let limit = match &active.phase {
            Phase::Announcing(_) => deadlines.announce,
            Phase::Uploading(..) => deadlines.upload,
            Phase::Revealing(..) | Phase::Checking(..) => deadlines.reveal,
            Phase::Keys(_)
            | Phase::Sealing1(..)
            | Phase::Sealing2(..)
            | Phase::Aborting(..)
            | Phase::Closing(..) => deadlines.seal,
        };
        self.wait(now, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUND-27
    #[test]
    fn inputs_survive_and_other_bytes_are_refused() {
        let message = Frame::Message(Message::ModelRequest { model: Digest([7; 32]) });
        let inputs = [
            Input::Connected(PartyId(3)),
            Input::Disconnected(PartyId(u32::MAX)),
            Input::Frame(PartyId(2), message),
            Input::Time,
            Input::Restarted,
            Input::Erased(PartyId(4), BlockId(2), Digest([9; 32])),
        ];
        for input in inputs {
            let bytes = input.encode(Time(u64::MAX - 1));
            assert_eq!(Input::decode(&bytes), Ok((input, Time(u64::MAX - 1))));
            assert!(Input::decode(&bytes[..bytes.len() - 1]).is_err(), "cut");
            assert!(Input::decode(&[&bytes[..], &[0]].concat()).is_err(), "longer");
        }
        assert_eq!(Input::decode(&[9; 13]), Err(InputError::Unknown(13)));
    }
}
