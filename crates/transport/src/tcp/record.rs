//! Records, which carry a link over TLS and TCP (`WIRE-07`): `kind:u8 ‖ length:u16`, big-endian, and as many bytes.
//!
//! QUIC has these signs itself. Over TCP they are records of their own and not marks between frames, because they must
//! get through in the middle of a frame of 8 MiB and beside frames that nobody reads.

use bytes::{Buf, BufMut, BytesMut};

use crate::frame::MAX_REASON;
use crate::link_error::printable;

/// The most bytes of the stream of frames in one record.
pub(super) const MOST_DATA: usize = 16 << 10;

/// Bytes of a kind and a length.
const HEADER: usize = 3;

/// Bytes of the code in a `close` record.
const CODE: usize = 4;

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// The first record of each side: its idle timeout in milliseconds.
    Open(u32),
    /// Bytes of the stream of frames; at least one, at most [`MOST_DATA`].
    Data(BytesMut),
    /// The receiver may send this many bytes of the stream in addition.
    Credit(u32),
    /// A sign of life.
    Heartbeat,
    /// The stream of frames ends here.
    End,
    /// The answer to [`Record::End`]: everything has arrived.
    Received,
    /// The sender reads no more of the stream.
    Stop,
    /// The last record of a side: why it ends the link.
    Close {
        /// One of the codes in `link_error`.
        code: u32,
        /// At most [`MAX_REASON`] bytes.
        reason: Vec<u8>,
    },
}

/// The peer sent something that is no record, in words.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct RecordFault(pub(super) String);

impl Record {
    fn kind(&self) -> u8 {
        match self {
            Self::Open(_) => 0,
            Self::Data(_) => 1,
            Self::Credit(_) => 2,
            Self::Heartbeat => 3,
            Self::End => 4,
            Self::Received => 5,
            Self::Stop => 6,
            Self::Close { .. } => 7,
        }
    }

    /// Appends the record's bytes.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.kind());
        match self {
            Self::Open(number) | Self::Credit(number) => {
                out.put_u16(4);
                out.put_u32(*number);
            }
            Self::Data(bytes) => {
                out.put_u16(bytes.len() as u16);
                out.put_slice(bytes);
            }
            Self::Heartbeat | Self::End | Self::Received | Self::Stop => out.put_u16(0),
            Self::Close { code, reason } => {
                out.put_u16((CODE + reason.len()) as u16);
                out.put_u32(*code);
                out.put_slice(reason);
            }
        }
    }

    /// Removes the next record from what has arrived; `None` if it is not complete.
    pub(super) fn decode(arrived: &mut BytesMut) -> Result<Option<Self>, RecordFault> {
        let Some(&[kind, high, low]) = arrived.first_chunk::<HEADER>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // Before the bytes are awaited, so that no more than one permitted record is ever stored.
        if !is_permitted(kind, length) {
            return Err(RecordFault(format!("a record of kind {kind} and {length} bytes")));
        }
        if arrived.len() < HEADER + length {
            return Ok(None);
        }
        arrived.advance(HEADER);
        let mut bytes = arrived.split_to(length);
        Ok(Some(match kind {
            0 => Self::Open(bytes.get_u32()),
            1 => Self::Data(bytes),
            2 => Self::Credit(bytes.get_u32()),
            3 => Self::Heartbeat,
            4 => Self::End,
            5 => Self::Received,
            6 => Self::Stop,
            _ => Self::Close { code: bytes.get_u32(), reason: bytes.to_vec() },
        }))
    }
}

/// `WIRE-07`
fn is_permitted(kind: u8, length: usize) -> bool {
    match kind {
        0 | 2 => length == 4,
        1 => (1..=MOST_DATA).contains(&length),
        3..=6 => length == 0,
        7 => (CODE..=CODE + MAX_REASON).contains(&length),
        _ => false,
    }
}

impl std::fmt::Display for RecordFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "it sent {}, which the protocol does not have there; it runs another version, or is malicious",
            printable(self.0.as_bytes())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(Record, &'static [u8])> {
        vec![
            (Record::Open(30_000), &[0, 0, 4, 0, 0, 0x75, 0x30]),
            (Record::Data(BytesMut::from(&b"ab"[..])), &[1, 0, 2, b'a', b'b']),
            (Record::Credit(1 << 20), &[2, 0, 4, 0, 0x10, 0, 0]),
            (Record::Heartbeat, &[3, 0, 0]),
            (Record::End, &[4, 0, 0]),
            (Record::Received, &[5, 0, 0]),
            (Record::Stop, &[6, 0, 0]),
            (Record::Close { code: 2, reason: b"why".to_vec() }, &[7, 0, 7, 0, 0, 0, 2, b'w', b'h', b'y']),
        ]
    }

    /// WIRE-07
    #[test]
    fn records_are_what_the_page_says_and_are_read_byte_by_byte() {
        for (record, bytes) in all() {
            let mut encoded = BytesMut::new();
            record.encode(&mut encoded);
            assert_eq!(encoded, bytes);
            let mut arrived = BytesMut::new();
            for &byte in &bytes[..bytes.len() - 1] {
                arrived.put_u8(byte);
                assert_eq!(Record::decode(&mut arrived), Ok(None));
            }
            arrived.put_u8(bytes[bytes.len() - 1]);
            arrived.put_u8(9);
            assert_eq!(Record::decode(&mut arrived), Ok(Some(record)));
            assert_eq!(arrived, [9].as_slice(), "what follows stays");
        }
    }

    /// WIRE-07
    #[test]
    fn other_kinds_and_lengths_are_refused_before_their_bytes_are_awaited() {
        let longest_close = (CODE + MAX_REASON) as u16;
        for (kind, length, is_record) in [
            (1, MOST_DATA as u16, true),
            (1, MOST_DATA as u16 + 1, false),
            (1, 0, false),
            (0, 3, false),
            (2, 5, false),
            (3, 1, false),
            (6, 1, false),
            (7, longest_close, true),
            (7, longest_close + 1, false),
            (7, 3, false),
            (8, 0, false),
            (255, 0, false),
        ] {
            let mut arrived = BytesMut::from(&[kind][..]);
            arrived.put_u16(length);
            assert_eq!(Record::decode(&mut arrived).is_ok(), is_record, "kind {kind}, {length} bytes");
        }
    }
}
