//! What kind of file a file is, by its content.
//!
//! Hospitals export many kinds. One that is not supported is rejected by its name and with what to do, instead of as
//! “damaged” or with a parser's error about its first byte.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::encoding::Encoding;

/// Bytes at a file's start that decide its kind. The farthest mark, that of tar, is at byte 257.
pub(super) const START: usize = 512;
/// Bytes at a zip file's end in which the names of its files are searched: zip stores its directory there.
const LISTING: u64 = 64 << 10;

/// What kind of file a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileKind {
    Gzip,
    Zstd,
    Parquet,
    /// Text that is not JSON objects, so a table if anything; and any file whose start has no mark.
    Text,
    /// Text that starts with a JSON object: JSON Lines.
    Lines,
    /// A kind that is not supported: what it is and what to do, to put after the file's name.
    Foreign(&'static str),
}

/// Where bytes are, which bytes, and what the message says of a file that has them there.
type Mark = (usize, &'static [u8], &'static str);

const MARKS: &[Mark] = &[
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "is an old Office file, such as an Excel workbook; save it as CSV or JSON Lines",
    ),
    (0, b"Rar!", "is a RAR archive; unpack it and give one of its files"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive; unpack it and give one of its files"),
    (257, b"ustar", "is a tar archive; unpack it and give one of its files"),
    (0, b"\xfd7zXZ\0", "is compressed with xz; decompress it, or compress it with gzip or zstd"),
    (0, b"BZh", "is compressed with bzip2; decompress it, or compress it with gzip or zstd"),
    (0, b"\x04\x22\x4d\x18", "is compressed with lz4; decompress it, or compress it with gzip or zstd"),
    (0, b"\xff\x06\0\0sNaPpY", "is compressed with snappy; decompress it, or compress it with gzip or zstd"),
    (0, b"\x1f\x9d", "is compressed with compress; decompress it, or compress it with gzip or zstd"),
    (0, b"x\x9c", "is compressed with zlib; decompress it, or compress it with gzip or zstd"),
    (0, b"PARE", "is an encrypted Parquet file; decrypt it"),
    (0, b"ARROW1", "is an Arrow file; save it as Parquet"),
    (0, b"\xff\xff\xff\xff", "is a stream of Arrow; save it as Parquet"),
    (0, b"FEA1", "is a Feather file; save it as Parquet"),
    (0, b"ORC", "is an ORC file; save it as Parquet"),
    (0, b"Obj\x01", "is an Avro file; save it as Parquet or JSON Lines"),
    (0, b"SQLite format 3\0", "is an SQLite database; export its table as CSV"),
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file; save it as Parquet or CSV"),
    (0, b"$FL2", "is an SPSS file; save it as CSV"),
    (0, b"<stata_dta>", "is a Stata file; save it as CSV"),
    (0, b"\x93NUMPY", "is a NumPy file; save its texts as JSON Lines or CSV"),
    (0, b"%PDF", "is a PDF file; save its texts as JSON Lines or CSV"),
    (0, b"{\\rtf", "is an RTF document; save its texts as JSON Lines or CSV"),
    (84, b"SAS FILE", "is a SAS data set; export it as CSV"),
];

/// Marks that are letters alone. A table's first column may begin with them, such as `PARENT_ID` or `ORCID`, so they
/// count only if what follows is not text.
const LETTERS: &[&[u8]] = &[b"PARE", b"PAR1", b"ORC", b"FEA1", b"BZh", b"Rar!", b"ARROW1"];

const TWICE: &str = "holds a compressed file inside a compressed file; decompress it once";
const PARQUET_WITHIN: &str =
    "holds a compressed Parquet file; decompress it, because Parquet has its own compression";
const ZIP: &str = "is a zip archive; unpack it and give one of its files";
const UTF_32: &str = "is text in UTF-32; save it as UTF-8";
const BINARY: &str = "holds binary data, not text; save it as CSV, JSON Lines or Parquet";
const ARRAY: &str = "is a JSON array; write one object a line (JSON Lines), as `jq -c '.[]'` does";
const MARKUP: &str = "is XML or HTML; save it as CSV or JSON Lines";

/// Kinds of files that are zip files inside, by a part of the name of a file that they contain.
const OFFICE: &[(&[u8], &str)] = &[
    (b"xl/workbook", "is an Excel workbook; save it as CSV or JSON Lines"),
    (b"word/document", "is a Word document; save its texts as JSON Lines or CSV"),
    (b"opendocument.spreadsheet", "is an OpenDocument spreadsheet; save it as CSV or JSON Lines"),
    (b"opendocument.text", "is an OpenDocument text; save its texts as JSON Lines or CSV"),
];

/// What kind of file this is, without decompressing it. Leaves the file at its start.
pub(super) fn file_kind(file: &mut File) -> io::Result<FileKind> {
    let mut start = Vec::new();
    file.by_ref().take(START as u64).read_to_end(&mut start)?;
    let kind = if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        let listing = file.metadata()?.len().saturating_sub(LISTING);
        file.seek(SeekFrom::Start(listing))?;
        let mut end = Vec::new();
        file.by_ref().take(LISTING).read_to_end(&mut end)?;
        FileKind::Foreign(zip_kind(&start, &end))
    } else {
        start_kind(&start)
    };
    file.rewind()?;
    Ok(kind)
}

/// What a zip file is, by the names of the files in it. OpenDocument has its mark at the start, in the file
/// `mimetype`.
fn zip_kind(start: &[u8], end: &[u8]) -> &'static str {
    let found = OFFICE.iter().find(|(name, _)| has(start, name) || has(end, name));
    found.map_or(ZIP, |(_, what)| what)
}

/// Whether a name stands anywhere in these bytes.
fn has(bytes: &[u8], name: &[u8]) -> bool {
    bytes.windows(name.len()).any(|window| window == name)
}

/// The kind that a file's first bytes say.
fn start_kind(start: &[u8]) -> FileKind {
    match start {
        [0x1f, 0x8b, ..] => FileKind::Gzip,
        // A zstd file may start with a skippable frame, whose mark has 16 values.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => FileKind::Zstd,
        [b'P', b'A', b'R', b'1', ..] if !is_text_from(b"PAR1", start) => FileKind::Parquet,
        _ => MARKS
            .iter()
            .filter(|(_, mark, _)| !is_text_from(mark, start))
            .find(|(place, mark, _)| start.get(*place..).is_some_and(|rest| rest.starts_with(mark)))
            .map_or(FileKind::Text, |(_, _, what)| FileKind::Foreign(what)),
    }
}

/// Whether a mark is of letters alone, and text follows it. The binary formats have control characters within their
/// first bytes.
fn is_text_from(mark: &[u8], start: &[u8]) -> bool {
    LETTERS.contains(&mark)
        && start.len() > mark.len()
        && start.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r'))
}

/// The encoding of a file's text, from its first bytes after decompression: what the byte-order mark says, or the
/// zero bytes of UTF-16, or else what the hospital gave.
///
/// # Errors
/// What the file is, if it is not text.
pub(super) fn unpacked_encoding(start: &[u8], was_packed: bool, given: Encoding) -> Result<Encoding, String> {
    let foreign = match start_kind(start) {
        FileKind::Foreign(what) => Some(what),
        FileKind::Parquet if was_packed => Some(PARQUET_WITHIN),
        FileKind::Gzip | FileKind::Zstd if was_packed => Some(TWICE),
        _ if start.starts_with(b"PK\x03\x04") => Some(ZIP),
        // Before UTF-16: in little-endian order its byte-order mark is the start of that of UTF-32.
        _ if matches!(start, [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [1..=255, 0, 0, 0, ..]) => {
            Some(UTF_32)
        }
        _ => None,
    };
    if let Some(what) = foreign {
        return Err(what.to_owned());
    }
    // Windows programs write UTF-16 without a mark too. Rows start with ASCII letters, half of whose bytes are then
    // 0.
    let by_zeros = match start {
        [1..=255, 0, 1..=255, 0, ..] => Some(Encoding::UTF_16LE),
        [0, 1..=255, 0, 1..=255, ..] => Some(Encoding::UTF_16BE),
        _ => None,
    };
    let encoding = Encoding::from_mark(start).or(by_zeros).unwrap_or(given);
    let is_wide = [Encoding::UTF_16LE, Encoding::UTF_16BE].contains(&encoding);
    match !is_wide && start.contains(&0) {
        true => Err(BINARY.to_owned()),
        false => Ok(encoding),
    }
}

/// What kind of rows a text in UTF-8 has, by its first bytes.
pub(super) fn text_kind(start: &[u8]) -> FileKind {
    let text = start.trim_ascii_start();
    match text {
        [b'{', ..] => FileKind::Lines,
        // An empty file is a file of rows without any, which is reported as such.
        [] => FileKind::Lines,
        [b'[', ..] => FileKind::Foreign(ARRAY),
        [b'<', ..] => FileKind::Foreign(MARKUP),
        _ => FileKind::Text,
    }
}
