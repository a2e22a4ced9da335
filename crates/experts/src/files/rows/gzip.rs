//! Gzip of several members, as `gzip`, `bgzip` and logs that are appended to write it.

use std::io::{self, BufRead, Read};
use std::mem;

use flate2::bufread::GzDecoder;

use super::fault::ContentFault;

/// The content of all members of a file, one after another. Zeros after the last member are skipped, because tapes
/// and block devices fill their blocks with them. flate2's `MultiGzDecoder` takes such zeros for a broken member.
pub(super) struct Members<R> {
    state: MemberState<R>,
}

enum MemberState<R> {
    /// Within a member.
    Member(GzDecoder<R>),
    /// After a member; another one, zeros or the end follow.
    Between(R),
    /// At the end, or after an error, which is reported once.
    Ended,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { state: MemberState::Member(GzDecoder::new(reader)) }
    }

    /// Looks at what follows a member: `0x1f`, the first byte of the next one, or 0.
    fn after(mut reader: R) -> io::Result<MemberState<R>> {
        match reader.fill_buf()?.first() {
            None => Ok(MemberState::Ended),
            // One byte decides: if it is not gzip after all, the decoder says so.
            Some(0x1f) => Ok(MemberState::Member(GzDecoder::new(reader))),
            Some(0) => skip_zeros(reader).map(|()| MemberState::Ended),
            Some(_) => Err(AFTER.into()),
        }
    }
}

const AFTER: ContentFault = ContentFault::Damaged("the bytes after the last gzip member are not gzip data");

/// Reads to the end, and fails at a byte that is not 0.
fn skip_zeros(mut reader: impl BufRead) -> io::Result<()> {
    loop {
        let length = match reader.fill_buf()? {
            [] => return Ok(()),
            bytes if bytes.iter().all(|byte| *byte == 0) => bytes.len(),
            _ => return Err(AFTER.into()),
        };
        reader.consume(length);
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match mem::replace(&mut self.state, MemberState::Ended) {
                MemberState::Member(mut member) => match member.read(buffer)? {
                    // Reading into an empty buffer returns 0 within a member too.
                    0 if !buffer.is_empty() => self.state = MemberState::Between(member.into_inner()),
                    length => {
                        self.state = MemberState::Member(member);
                        return Ok(length);
                    }
                },
                MemberState::Between(reader) => self.state = Self::after(reader)?,
                MemberState::Ended => return Ok(0),
            }
        }
    }
}
