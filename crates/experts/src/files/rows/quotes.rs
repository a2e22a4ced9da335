//! Quotation marks of a table, checked. The library that reads tables forgives them in wrong places, where one cell swallows
//! the rows after it; those are refused here.

use std::io::{self, Read};

use super::LONGEST_ROW;
use super::fault::RowFault;

const UNCLOSED: &str = "a cell begins with a quotation mark, and none ends it; within a cell in quotation marks each mark is \
                        doubled";
const AFTER: &str = "a quotation mark ends a cell, and neither a separator nor the end of the line follows; within a cell in \
                     quotation marks each mark is doubled";

/// A table's bytes, which fail where a quotation mark is wrong or a row too long.
pub(super) struct Quotes<R> {
    inner: R,
    separator: u8,
    state: State,
    /// Bytes of the row at hand.
    length: u64,
    failed: Option<RowFault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A cell begins.
    Start,
    Unquoted,
    Quoted,
    /// A quotation mark within a cell in quotation marks, which ends it or is the first of two.
    Mark,
}

impl<R> Quotes<R> {
    pub(super) fn new(inner: R, separator: u8) -> Self {
        Self { inner, separator, state: State::Start, length: 0, failed: None }
    }

    fn take(&mut self, byte: u8) -> Result<(), RowFault> {
        self.length += 1;
        if self.length > LONGEST_ROW {
            return Err(RowFault::Row(format!("the row is longer than {} MiB", LONGEST_ROW >> 20)));
        }
        let ends_row = matches!(byte, b'\n' | b'\r');
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::Mark,
            (State::Quoted, _) | (State::Start | State::Mark, b'"') => State::Quoted,
            (State::Mark, other) if other != self.separator && !ends_row => {
                return Err(RowFault::Row(AFTER.to_owned()));
            }
            (_, other) if other == self.separator || ends_row => State::Start,
            _ => State::Unquoted,
        };
        if ends_row && self.state == State::Start {
            self.length = 0;
        }
        Ok(())
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(fault) = self.failed.take() {
            return Err(fault.into());
        }
        let length = self.inner.read(buffer)?;
        if length == 0 && self.state == State::Quoted {
            return Err(RowFault::Row(UNCLOSED.to_owned()).into());
        }
        for (place, byte) in buffer[..length].iter().enumerate() {
            if let Err(fault) = self.take(*byte) {
                // The rows before come first.
                self.failed = Some(fault.clone());
                return if place == 0 { self.read(buffer) } else { Ok(place) };
            }
        }
        Ok(length)
    }
}
