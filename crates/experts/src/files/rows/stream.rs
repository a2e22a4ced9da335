//! The text of a file: decompressed, and in UTF-8 without a byte-order mark.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::encoding::{Encoding, Utf8};
use super::fault::{Broken, RowFault};
use super::gzip::Members;
use super::kind::{self, Kind, START};
use super::{LONGEST_ROW, ReadSoFar};

/// Logarithm of the longest window of zstd, which is held in memory: 1 GiB.
const LONGEST_WINDOW_LOG: u32 = 30;

/// The text of a file.
pub(super) struct Stream {
    start: Vec<u8>,
    text: Box<dyn Read>,
    progress: Progress,
}

impl Stream {
    /// Opens a file of this kind.
    pub(super) fn open(file: File, kind: Kind, encoding: Encoding) -> Result<Self, Broken> {
        let (progress, file) = Progress::watch(file)?;
        let file = BufReader::new(file);
        let bytes: Box<dyn Read> = match kind {
            Kind::Gzip => Box::new(Decompressed { inner: Members::new(file), faults: &GZIP }),
            Kind::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file)?;
                decoder.window_log_max(LONGEST_WINDOW_LOG)?;
                Box::new(Decompressed { inner: decoder, faults: &ZSTD })
            }
            _ => Box::new(file),
        };
        let (start, bytes) = peek(bytes, START)?;
        let encoding = match kind::of_unpacked(&start, matches!(kind, Kind::Gzip | Kind::Zstd), encoding) {
            Ok(encoding) => encoding,
            Err(foreign) => return Err(Broken::Kind(foreign)),
        };
        // A fault in what is peeked at belongs to a row, and is told when that row is read.
        let mut text = Utf8::new(bytes, encoding);
        let mut start = Vec::new();
        let fault = text.by_ref().take(PEEKED).read_to_end(&mut start).err();
        let text: Box<dyn Read> = match fault {
            Some(error) => Box::new(Failed(Some(error))),
            None => Box::new(text),
        };
        Ok(Self { start, text, progress })
    }

    /// The first bytes of the text, fewer where it is shorter.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    /// All of the text, and how much of the file is read.
    pub(super) fn into_parts(self) -> (Box<dyn Read>, Progress) {
        (Box::new(Cursor::new(self.start).chain(self.text)), self.progress)
    }
}

/// Bytes of text that are looked at to tell JSON Lines from tables, and tables' separators.
const PEEKED: u64 = 64 << 10;
const _: () = assert!(PEEKED < LONGEST_ROW);

/// The first bytes of a reader, fewer where it is shorter, and a reader of all.
fn peek(mut reader: Box<dyn Read>, most: usize) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut start = Vec::new();
    reader.by_ref().take(most as u64).read_to_end(&mut start)?;
    Ok((start.clone(), Box::new(Cursor::new(start).chain(reader))))
}

/// A reader that has failed: it tells why, once.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// What is said of compressed data that does not decompress: where it ends early, and where it is otherwise wrong.
struct Faults {
    cut: &'static str,
    wrong: &'static str,
}

const GZIP: Faults = Faults { cut: "its gzip data ends early", wrong: "its gzip data is wrong" };
const ZSTD: Faults = Faults { cut: "its zstd data ends early", wrong: "its zstd data is wrong" };
/// What zstd says where a window is longer than it may be.
const TOO_MUCH_MEMORY: &str = "too much memory";
/// What zstd says where it lacks a dictionary.
const DICTIONARY: &str = "Dictionary mismatch";

/// Decompressed data, the library's words in this program's place.
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
    fn translate(&self, error: io::Error) -> io::Error {
        let is_fault = error.get_ref().is_some_and(|inner| inner.is::<RowFault>());
        match error.kind() {
            _ if is_fault || error.raw_os_error().is_some() => error,
            io::ErrorKind::UnexpectedEof => RowFault::Damaged(self.cut).into(),
            _ if error.to_string().contains(DICTIONARY) => RowFault::Kind(
                "was compressed with a dictionary of zstd; compress it again without one".to_owned(),
            )
            .into(),
            _ if error.to_string().contains(TOO_MUCH_MEMORY) => RowFault::Kind(format!(
                "was compressed with a window of more than {} GiB; compress it again with zstd --long={LONGEST_WINDOW_LOG} \
                 or less",
                1 << (LONGEST_WINDOW_LOG - 30)
            ))
            .into(),
            _ => RowFault::Damaged(self.wrong).into(),
        }
    }
}

/// How much is read of a file, before any decompression.
pub(super) struct Progress {
    read: Arc<AtomicU64>,
    total: u64,
}

impl Progress {
    fn watch(file: File) -> io::Result<(Self, Counted)> {
        let (read, total) = (Arc::new(AtomicU64::new(0)), file.metadata()?.len());
        Ok((Self { read: read.clone(), total }, Counted { file, read }))
    }

    pub(super) fn so_far(&self) -> ReadSoFar {
        ReadSoFar { done: self.read.load(Ordering::Relaxed), total: self.total }
    }
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
