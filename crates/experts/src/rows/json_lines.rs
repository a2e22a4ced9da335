//! JSON Lines: an object a line, lines ending at `\n` only; plain, gzip or zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{Broken, ReadSoFar, Source};

/// The longest line, in bytes: what is longer is no note, and would be held in memory.
const LONGEST_LINE: u64 = 16 << 20;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

pub(super) struct JsonLines {
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    read: Arc<AtomicU64>,
    total: u64,
}

/// Opens a file that starts with these bytes.
pub(super) fn open(file: File, start: &[u8]) -> io::Result<JsonLines> {
    let total = file.metadata()?.len();
    let read = Arc::new(AtomicU64::new(0));
    let file = BufReader::new(Counted { file, read: read.clone() });
    let reader: Box<dyn BufRead> = if start.starts_with(GZIP) {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
    } else if start.starts_with(ZSTD) {
        Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?))
    } else {
        Box::new(file)
    };
    Ok(JsonLines { reader, line: Vec::new(), read, total })
}

impl Source for JsonLines {
    fn next(&mut self) -> Option<Result<Value, Broken>> {
        self.line.clear();
        match self.reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut self.line) {
            Ok(0) => None,
            Ok(length) if length as u64 > LONGEST_LINE => {
                Some(Err(Broken::Row(format!("the line is longer than {} MiB", LONGEST_LINE >> 20))))
            }
            Ok(_) => Some(serde_json::from_slice(&self.line).map_err(|error| Broken::Row(error.to_string()))),
            Err(error) => Some(Err(Broken::File(error))),
        }
    }

    fn so_far(&self) -> ReadSoFar {
        ReadSoFar { done: self.read.load(Ordering::Relaxed), total: self.total }
    }
}

/// A file that counts what is read of it, before any decompression.
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
