//! Everything that changes a coordinator, as values that can be stored: from them it is restored
//! (`ROUND-27`).

use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::plan::RoundSettings;
use cloister_wire::codec::{self, DecodeError};
use cloister_wire::frame::{Frame, FrameError};
use cloister_wire::message::Message;
use thiserror::Error;

use super::Time;

/// Something that happens to a coordinator.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// [`Coordinator::start_round`](super::Coordinator::start_round).
    StartRound(Box<RoundSettings>),
    /// [`Coordinator::handle_connected`](super::Coordinator::handle_connected).
    Connected(PartyId),
    /// [`Coordinator::handle_disconnected`](super::Coordinator::handle_disconnected).
    Disconnected(PartyId),
    /// [`Coordinator::handle_frame`](super::Coordinator::handle_frame).
    Frame(PartyId, Frame),
    /// [`Coordinator::handle_time`](super::Coordinator::handle_time).
    Time,
    /// The program was started again: every link is gone, and the clock has another origin.
    Restarted,
    /// Replaces the chunks of a member's masked block that was erased: its leaf under the root that the
    /// member signed.
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
    /// Whether the input is stored. A request for the model changes nothing in the coordinator, so that a
    /// party that sends many of them does not fill the disk (`ROUND-32`).
    pub fn is_kept(&self) -> bool {
        !matches!(self, Self::Frame(_, Frame::Message(Message::ModelRequest { .. })))
    }

    /// Kind (1 byte), time (8), party (4, 0 where there is none), little-endian, then settings, a frame, or a
    /// block (4) with its leaf.
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

    /// Whether the bytes are those of [`Input::StartRound`], whose settings may be another version's.
    pub fn starts_round(bytes: &[u8]) -> bool {
        bytes.first() == Some(&0)
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
        // Strict where a kind has no party or no rest: bytes that differ are never the same input.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUND-27
    #[test]
    fn inputs_survive_and_other_bytes_are_refused() {
        let message = Frame::Message(Message::ModelRequest { model: Digest([7; 32]), missing: vec![] });
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
