//! The text of a file, as its rows are read from: decompressed, and in UTF-8 without a byte-order mark.
//!
//! Readers are stacked: the file, which counts its bytes, then decompression, then [`Utf8`]. The first bytes are
//! looked at on the way, after decompression to tell other kinds of files, after decoding to tell JSON Lines from
//! tables.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::encoding::{Encoding, Utf8};
use super::fault::{ContentFault, ReadError};
use super::gzip::Members;
use super::kind::{self, FileKind, START};
use super::{LONGEST_ROW, ReadSoFar};

/// Binary logarithm of the longest window of zstd, which is in memory as a whole: 1 GiB. zstd's own limit for
/// decompression is 27 (128 MiB), which files of `zstd --long=30` exceed.
const LONGEST_WINDOW_LOG: u32 = 30;

/// The text of a file, of which the start was looked at.
pub(super) struct Stream {
    /// The first bytes, at most [`PEEKED`].
    start: Vec<u8>,
    /// What follows them.
    text: Box<dyn Read>,
    progress: ReadProgress,
}

impl Stream {
    /// Opens a file of this kind. `encoding` is what the hospital gave.
    pub(super) fn open(file: File, kind: FileKind, encoding: Encoding) -> Result<Self, ReadError> {
        let (progress, file) = ReadProgress::count(file)?;
        let file = BufReader::new(file);
        let bytes: Box<dyn Read> = match kind {
            FileKind::Gzip => Box::new(Decompressed { inner: Members::new(file), faults: &GZIP }),
            FileKind::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file)?;
                decoder.window_log_max(LONGEST_WINDOW_LOG)?;
                Box::new(Decompressed { inner: decoder, faults: &ZSTD })
            }
            _ => Box::new(file),
        };
        // After decompression, because the kind of a compressed file says nothing of what is in it.
        let (start, bytes) = peek(bytes, START)?;
        let encoding = match kind::unpacked_encoding(
            &start,
            matches!(kind, FileKind::Gzip | FileKind::Zstd),
            encoding,
        ) {
            Ok(encoding) => encoding,
            Err(foreign) => return Err(ReadError::Kind(foreign)),
        };
        // A fault here belongs to a row, so it is reported with the row's place, when reading comes to it.
        let mut text = Utf8::new(bytes, encoding);
        let mut start = Vec::new();
        // What was read before the fault stays in `start`: these rows are sound and come first.
        let fault = text.by_ref().take(PEEKED).read_to_end(&mut start).err();
        let text: Box<dyn Read> = match fault {
            Some(error) => Box::new(FailingReader(Some(error)).chain(text)),
            None => Box::new(text),
        };
        Ok(Self { start, text, progress })
    }

    /// The first bytes of the text, at most 64 KiB.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    /// The whole text, and how much of the file was read.
    pub(super) fn into_parts(self) -> (Box<dyn Read>, ReadProgress) {
        (Box::new(Cursor::new(self.start).chain(self.text)), self.progress)
    }
}

/// Bytes of text that are looked at to tell JSON Lines from tables, and one separator of tables from another.
const PEEKED: u64 = 64 << 10;
// Looking at the start must not hold more than reading a row may.
const _: () = assert!(PEEKED < LONGEST_ROW);

/// The first bytes of a reader, at most `most`, and a reader of all its bytes.
fn peek(mut reader: Box<dyn Read>, most: usize) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut start = Vec::new();
    reader.by_ref().take(most as u64).read_to_end(&mut start)?;
    Ok((start.clone(), Box::new(Cursor::new(start).chain(reader))))
}

/// A reader that fails with this error at once, and then ends.
struct FailingReader(Option<io::Error>);

impl Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// What messages say of data that does not decompress.
struct Faults {
    /// It ends too early.
    cut: &'static str,
    /// It breaks the format's rules otherwise, or its checksum does not match.
    corrupt: &'static str,
}

const GZIP: Faults = Faults { cut: "its gzip data ends early", corrupt: "its gzip data is corrupt" };
const ZSTD: Faults = Faults { cut: "its zstd data ends early", corrupt: "its zstd data is corrupt" };
/// Part of zstd's message for a window that is longer than allowed. Errors of zstd are told apart
/// by their text only.
const TOO_MUCH_MEMORY: &str = "too much memory";
/// Part of zstd's message for a missing dictionary.
const DICTIONARY: &str = "Dictionary mismatch";

/// Decompressed data. Errors of the library become [`ContentFault`]s; errors of the operating system pass unchanged.
struct Decompressed<R> {
    inner: R,
    faults: &'static Faults,
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| self.faults.translate(error))
    }
}

impl Faults {
    /// The error to report for an error of the decompressor.
    fn translate(&self, error: io::Error) -> io::Error {
        // The inner reader of gzip members reports faults of its own.
        let is_fault = error.get_ref().is_some_and(|inner| inner.is::<ContentFault>());
        match error.kind() {
            _ if is_fault || error.raw_os_error().is_some() => error,
            io::ErrorKind::UnexpectedEof => ContentFault::Damaged(self.cut).into(),
            _ if error.to_string().contains(DICTIONARY) => ContentFault::Kind(
                "was compressed with a zstd dictionary; compress it again without one".to_owned(),
            )
            .into(),
            _ if error.to_string().contains(TOO_MUCH_MEMORY) => ContentFault::Kind(format!(
                "was compressed with a zstd window of more than {} GiB; compress it again with \
                 zstd --long={LONGEST_WINDOW_LOG} or less",
                1 << (LONGEST_WINDOW_LOG - 30)
            ))
            .into(),
            _ => ContentFault::Damaged(self.corrupt).into(),
        }
    }
}

/// How much of a file was read, in bytes as it is stored: the text's length is not known before it is decompressed.
pub(super) struct ReadProgress {
    read: Arc<AtomicU64>,
    total: u64,
}

impl ReadProgress {
    /// A reader of the file, and how much it has read.
    fn count(file: File) -> io::Result<(Self, CountingFile)> {
        let (read, total) = (Arc::new(AtomicU64::new(0)), file.metadata()?.len());
        Ok((Self { read: read.clone(), total }, CountingFile { file, read }))
    }

    pub(super) fn so_far(&self) -> ReadSoFar {
        ReadSoFar { done: self.read.load(Ordering::Relaxed), total: self.total }
    }
}

/// A file that counts the bytes that are read from it.
struct CountingFile {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for CountingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        // `Relaxed`, because the number is for a display and nothing else depends on it.
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
