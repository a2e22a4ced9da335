//! Checks the quotation marks of a table before the parser sees them.
//!
//! The parser accepts quotation marks in wrong places. One that is never closed makes a single cell of all rows after
//! it, without an error. Here such a table is rejected, with the row in which the mark is.

use std::io::{self, Read};

use super::LONGEST_ROW;
use super::fault::ContentFault;

const UNCLOSED: &str = "a cell starts with a quotation mark, and no mark ends it; inside a cell in quotation marks, double each \
                        mark";
const AFTER: &str = "a quotation mark ends a cell, but neither a separator nor the end of the line follows; inside a cell in \
                     quotation marks, double each mark";

/// A table's bytes. Reading fails where a quotation mark is wrong or a row is too long.
pub(super) struct Quotes<R> {
    inner: R,
    separator: u8,
    state: CellState,
    /// Bytes of the current row up to now.
    length: u64,
    /// A fault that the next read returns.
    pending: Option<ContentFault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CellState {
    /// At the start of a cell.
    Start,
    /// In a cell without quotation marks around it; marks inside are ordinary letters.
    Unquoted,
    /// In a cell in quotation marks.
    Quoted,
    /// After a quotation mark inside such a cell. It ends the cell, or is the first of a doubled mark.
    Mark,
}

impl<R> Quotes<R> {
    pub(super) fn new(inner: R, separator: u8) -> Self {
        Self { inner, separator, state: CellState::Start, length: 0, pending: None }
    }

    /// Follows one byte.
    fn take(&mut self, byte: u8) -> Result<(), ContentFault> {
        self.length += 1;
        if self.length > LONGEST_ROW {
            return Err(ContentFault::Row(format!("the row is longer than {} MiB", LONGEST_ROW >> 20)));
        }
        // Files of old Macs end lines with `\r` alone; the parser accepts that too.
        let ends_row = matches!(byte, b'\n' | b'\r');
        self.state = match (self.state, byte) {
            (CellState::Quoted, b'"') => CellState::Mark,
            (CellState::Quoted, _) | (CellState::Start | CellState::Mark, b'"') => CellState::Quoted,
            (CellState::Mark, other) if other != self.separator && !ends_row => {
                return Err(ContentFault::Row(AFTER.to_owned()));
            }
            (_, other) if other == self.separator || ends_row => CellState::Start,
            _ => CellState::Unquoted,
        };
        if ends_row && self.state == CellState::Start {
            self.length = 0;
        }
        Ok(())
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(fault) = self.pending.take() {
            return Err(fault.into());
        }
        let length = self.inner.read(buffer)?;
        if length == 0 && self.state == CellState::Quoted {
            return Err(ContentFault::Row(UNCLOSED.to_owned()).into());
        }
        for (place, byte) in buffer[..length].iter().enumerate() {
            if let Err(fault) = self.take(*byte) {
                // The rows before it are sound, so the parser gets them first, and the fault with the next read.
                self.pending = Some(fault);
                // The call that follows returns the fault at once, so it nests once only.
                return if place == 0 { self.read(buffer) } else { Ok(place) };
            }
        }
        Ok(length)
    }
}
