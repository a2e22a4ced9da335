//! A file that cannot be read past its end again and again.
//!
//! The library skips as many entries of a page's header as the header claims, up to 2³¹, and takes the end of the
//! file for empty entries. So a damaged file of 681 bytes took 16 seconds to fail.

use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Read, Result};

use bytes::Bytes;
use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{ChunkReader, Length};

/// How many reads at a file's end return 0 bytes before the next one fails. Readers of sound files stop after
/// a few.
const MOST_READS_AT_END: usize = 64;

/// A file whose readers fail after too many reads at its end.
pub(super) struct BoundedFile(pub(super) File);

impl Length for BoundedFile {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for BoundedFile {
    type T = BoundedReader<BufReader<File>>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BoundedReader { inner: self.0.get_read(start)?, reads_at_end: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.0.get_bytes(start, length)
    }
}

/// A reader that fails after too many reads at its end.
pub(super) struct BoundedReader<R> {
    inner: R,
    reads_at_end: usize,
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.inner.read(buffer)?;
        // Reading into an empty buffer returns 0 anywhere, so it does not count.
        if read == 0 && !buffer.is_empty() {
            self.reads_at_end += 1;
        }
        match self.reads_at_end > MOST_READS_AT_END {
            true => Err(Error::from(ErrorKind::UnexpectedEof)),
            false => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_at_the_end_fail_after_some() {
        let mut file = BoundedReader { inner: &b"ab"[..], reads_at_end: 0 };
        let mut text = String::new();
        assert_eq!(file.read_to_string(&mut text).expect("a text"), 2);
        let mut ends = (0..1000).map(|_| file.read(&mut [0; 8]).map_err(|error| error.kind()));
        assert_eq!(ends.next(), Some(Ok(0)));
        assert_eq!(ends.last(), Some(Err(ErrorKind::UnexpectedEof)));
    }
}
