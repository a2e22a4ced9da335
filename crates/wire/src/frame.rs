//! Frames: a version byte, a class byte, and either one message or one chunk of a bulk vector.
//!
//! Bulk vectors never pass through serde: a chunk is a 20-byte header and raw bytes.

use cloister_params::id::{BlockId, PartyId, Round};
use thiserror::Error;

use crate::codec::{self, DecodeError};
use crate::message::Message;

/// The version that every frame begins with.
pub const VERSION: u8 = 1;
/// Bytes of a bulk vector in one chunk; the last one may be shorter. A chunk may end within a packed word of
/// 24 bits: vectors are unpacked only when they are complete.
pub const CHUNK_BYTES: usize = 4 << 20;

/// The reason with which the coordinator closes links after its last round. A link that is closed for another
/// reason, or breaks, is made again.
pub const LAST_ROUND_ENDED: &str = "the last round has ended";

const MESSAGE: u8 = 0;
const CHUNK: u8 = 1;
const CHUNK_HEADER: usize = 2 + 20;

/// A piece of a vector: of a member's masked block, or of an opened sum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The round that the vector belongs to.
    pub round: Round,
    /// The member whose masked block it is; 0, the coordinator, for an opened sum.
    pub owner: PartyId,
    /// The block of the plan that the vector is of.
    pub block: BlockId,
    /// The chunk's number in its block, from 0.
    pub index: u32,
    /// Exactly [`CHUNK_BYTES`] bytes, or the rest of the vector in its last chunk; never empty.
    pub bytes: Vec<u8>,
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// A chunk.
    Chunk(Chunk),
}

/// Bytes that are no frame.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// Another version, or nothing.
    #[error("the frame has version {got:?}; this program speaks {VERSION}; update the older side")]
    Version {
        /// The first byte, if there is one.
        got: Option<u8>,
    },
    /// A class that version 1 does not have.
    #[error("the frame has the unknown class {got:?}")]
    Class {
        /// The second byte, if there is one.
        got: Option<u8>,
    },
    /// A chunk without a header or content, or with too much of it.
    #[error("a chunk frame has {got} bytes; {min} to {max} are possible", min = CHUNK_HEADER + 1, max = CHUNK_HEADER + CHUNK_BYTES)]
    ChunkLength {
        /// The frame's length.
        got: usize,
    },
    /// A message that cannot be decoded.
    #[error(transparent)]
    Message(#[from] DecodeError),
}

impl Frame {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => [&[VERSION, MESSAGE][..], &codec::encode(message)].concat(),
            Self::Chunk(chunk) => [
                &[VERSION, CHUNK][..],
                &chunk.round.0.to_le_bytes(),
                &chunk.owner.0.to_le_bytes(),
                &chunk.block.0.to_le_bytes(),
                &chunk.index.to_le_bytes(),
                &chunk.bytes,
            ]
            .concat(),
        }
    }

    /// Whether members act on this frame; a program that is member and custodian gives it to whom it is for.
    pub fn is_for_members(&self) -> bool {
        match self {
            // Opened sums go to members, and masked blocks to the custodians that recompute a sum.
            Self::Chunk(chunk) => chunk.owner == PartyId::COORDINATOR,
            Self::Message(message) => matches!(
                message,
                Message::Plan { .. }
                    | Message::Announcement(_)
                    | Message::Sealed1 { .. }
                    | Message::Sealed2 { .. }
                    | Message::Ended(_)
                    | Message::ModelPart(_)
                    | Message::ModelTable(_)
                    | Message::LateRequest { .. }
                    | Message::LateSketches(_)
                    | Message::BlameRequest { .. }
                    | Message::BlameAnswer(_)
                    | Message::Revealed { .. }
                    | Message::BadDealing(_)
            ),
        }
    }

    /// Whether custodians act on this frame. Both roles act on most of them.
    pub fn is_for_custodians(&self) -> bool {
        match self {
            Self::Chunk(chunk) => chunk.owner != PartyId::COORDINATOR,
            Self::Message(message) => !matches!(
                message,
                Message::ModelPart(_)
                    | Message::ModelTable(_)
                    | Message::LateRequest { .. }
                    | Message::BlameRequest { .. }
                    | Message::Edition { .. }
            ),
        }
    }

    /// Decodes a frame.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        match bytes {
            // The version comes first, so that two programs of different versions report that and nothing
            // else.
            [VERSION, MESSAGE, rest @ ..] => Ok(Self::Message(codec::decode(rest)?)),
            [VERSION, CHUNK, rest @ ..] => {
                decode_chunk(rest).ok_or(FrameError::ChunkLength { got: bytes.len() })
            }
            [VERSION, rest @ ..] => Err(FrameError::Class { got: rest.first().copied() }),
            _ => Err(FrameError::Version { got: bytes.first().copied() }),
        }
    }
}

fn decode_chunk(rest: &[u8]) -> Option<Frame> {
    let (round, rest) = rest.split_first_chunk()?;
    let (owner, rest) = rest.split_first_chunk()?;
    let (block, rest) = rest.split_first_chunk()?;
    let (index, bytes) = rest.split_first_chunk()?;
    // No empty chunk: it would add nothing, and a peer could send any number of them.
    (1..=CHUNK_BYTES).contains(&bytes.len()).then(|| {
        Frame::Chunk(Chunk {
            round: Round(u64::from_le_bytes(*round)),
            owner: PartyId(u32::from_le_bytes(*owner)),
            block: BlockId(u32::from_le_bytes(*block)),
            index: u32::from_le_bytes(*index),
            bytes: bytes.to_vec(),
        })
    })
}

/// How many chunks a vector of this many bytes has.
pub fn chunk_count(bytes: usize) -> u32 {
    // The plan limits a block to 2³² coordinates of 4 bytes, so 2¹² chunks.
    u32::try_from(bytes.div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX)
}

/// Cuts a vector's bytes into chunks.
pub fn chunks(
    round: Round,
    owner: PartyId,
    block: BlockId,
    bytes: &[u8],
) -> impl Iterator<Item = Chunk> + '_ {
    (0u32..).zip(bytes.chunks(CHUNK_BYTES)).map(move |(index, piece)| Chunk {
        round,
        owner,
        block,
        index,
        bytes: piece.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive() {
        let chunk =
            Chunk { round: Round(7), owner: PartyId(4), block: BlockId(2), index: 1, bytes: vec![1, 2, 3] };
        let frame = Frame::Chunk(chunk);
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        let message = Frame::Message(Message::KeyRequest { round: Round(3) });
        assert_eq!(Frame::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Frame::decode(&[]), Err(FrameError::Version { got: None }));
        assert_eq!(Frame::decode(&[2, 0]), Err(FrameError::Version { got: Some(2) }));
        assert_eq!(Frame::decode(&[1]), Err(FrameError::Class { got: None }));
        assert_eq!(Frame::decode(&[1, 9]), Err(FrameError::Class { got: Some(9) }));
        assert_eq!(Frame::decode(&[1, 1, 0]), Err(FrameError::ChunkLength { got: 3 }));
        assert!(matches!(Frame::decode(&[1, 0, 255, 255]), Err(FrameError::Message(_))));
        let long = [&[1, 1][..], &[0; 20], &vec![0; CHUNK_BYTES + 1]].concat();
        assert_eq!(Frame::decode(&long), Err(FrameError::ChunkLength { got: long.len() }));
    }

    #[test]
    fn chunks_make_up_the_vector() {
        let bytes: Vec<u8> = (0..CHUNK_BYTES + 5).map(|index| index as u8).collect();
        let pieces: Vec<Chunk> = chunks(Round(1), PartyId(1), BlockId(0), &bytes).collect();
        assert_eq!(pieces.iter().map(|piece| piece.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(pieces.iter().flat_map(|piece| piece.bytes.clone()).collect::<Vec<_>>(), bytes);
    }
}
