//! Gzip of several members, as `gzip`, `bgzip` and logs that are appended to write it.

use std::io::{self, BufRead, Read};
use std::mem;

use flate2::bufread::GzDecoder;

use super::fault::RowFault;

/// The members of a file, one after the other. Zeros after the last, with which tapes and block devices fill up, are nothing.
pub(super) struct Members<R> {
    state: State<R>,
}

enum State<R> {
    Member(GzDecoder<R>),
    Between(R),
    Ended,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { state: State::Member(GzDecoder::new(reader)) }
    }

    /// What comes after a member.
    fn after(mut reader: R) -> io::Result<State<R>> {
        match reader.fill_buf()?.first() {
            None => Ok(State::Ended),
            Some(0x1f) => Ok(State::Member(GzDecoder::new(reader))),
            Some(0) => zeros(reader).map(|()| State::Ended),
            Some(_) => Err(AFTER.into()),
        }
    }
}

const AFTER: RowFault = RowFault::Damaged("what follows the last gzip member is no gzip");

/// Reads zeros until the end.
fn zeros(mut reader: impl BufRead) -> io::Result<()> {
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
            match mem::replace(&mut self.state, State::Ended) {
                State::Member(mut member) => match member.read(buffer)? {
                    0 if !buffer.is_empty() => self.state = State::Between(member.into_inner()),
                    length => {
                        self.state = State::Member(member);
                        return Ok(length);
                    }
                },
                State::Between(reader) => self.state = Self::after(reader)?,
                State::Ended => return Ok(0),
            }
        }
    }
}
