//! What a file is, by its content: a whole file of another kind is refused by what it is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::encoding::Encoding;

/// Bytes from which a file's kind is told: a tar file says what it is after 257.
pub(super) const START: usize = 512;
/// Bytes at a zip file's end in which the names of its files are looked for.
const LISTING: u64 = 64 << 10;

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Gzip,
    Zstd,
    Parquet,
    /// Text that may be rows.
    Text,
    /// Text of JSON objects.
    Lines,
    /// Something else: what it is and what to do.
    Foreign(&'static str),
}

/// Where bytes are, what they are, and what is said of a file that has them.
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

const TWICE: &str = "holds a compressed file within a compressed file; decompress it once";
const PARQUET_WITHIN: &str =
    "holds a compressed Parquet file; decompress it, as Parquet has a compression of its own";
const ZIP: &str = "is a zip archive; unpack it and give one of its files";
const UTF_32: &str = "is text in UTF-32; save it as UTF-8";
const BINARY: &str = "holds no text, but binary data; save it as CSV, JSON Lines or Parquet";
const ARRAY: &str = "is a JSON array; write one object a line (JSON Lines), as `jq -c '.[]'` does";
const MARKUP: &str = "is XML or HTML; save it as CSV or JSON Lines";

/// What zip files are, by a name that is listed in them.
const OFFICE: &[(&[u8], &str)] = &[
    (b"xl/workbook", "is an Excel workbook; save it as CSV or JSON Lines"),
    (b"word/document", "is a Word document; save its texts as JSON Lines or CSV"),
    (b"opendocument.spreadsheet", "is an OpenDocument spreadsheet; save it as CSV or JSON Lines"),
    (b"opendocument.text", "is an OpenDocument text; save its texts as JSON Lines or CSV"),
];

/// What a file is.
pub(super) fn of_file(file: &mut File) -> io::Result<Kind> {
    let mut start = Vec::new();
    file.by_ref().take(START as u64).read_to_end(&mut start)?;
    let kind = if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        let listing = file.metadata()?.len().saturating_sub(LISTING);
        file.seek(SeekFrom::Start(listing))?;
        let mut end = Vec::new();
        file.by_ref().take(LISTING).read_to_end(&mut end)?;
        Kind::Foreign(of_zip(&start, &end))
    } else {
        of_start(&start)
    };
    file.rewind()?;
    Ok(kind)
}

fn of_zip(start: &[u8], end: &[u8]) -> &'static str {
    let has = |part: &[u8], name: &[u8]| part.windows(name.len()).any(|window| window == name);
    let found = OFFICE.iter().find(|(name, _)| has(start, name) || has(end, name));
    found.map_or(ZIP, |(_, what)| what)
}

fn of_start(start: &[u8]) -> Kind {
    let at = |(place, mark, _): &&Mark| start.get(*place..).is_some_and(|rest| rest.starts_with(mark));
    match start {
        [0x1f, 0x8b, ..] => Kind::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Kind::Zstd,
        [b'P', b'A', b'R', b'1', ..] => Kind::Parquet,
        _ => MARKS.iter().find(at).map_or(Kind::Text, |(_, _, what)| Kind::Foreign(what)),
    }
}

/// The encoding of text that starts with these bytes: what its byte-order mark or its zeros say, or what was given.
pub(super) fn of_unpacked(start: &[u8], was_packed: bool, given: Encoding) -> Result<Encoding, String> {
    let foreign = match of_start(start) {
        Kind::Foreign(what) => Some(what),
        Kind::Parquet if was_packed => Some(PARQUET_WITHIN),
        Kind::Gzip | Kind::Zstd if was_packed => Some(TWICE),
        _ if start.starts_with(b"PK\x03\x04") => Some(ZIP),
        _ if matches!(start, [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [1..=255, 0, 0, 0, ..]) => {
            Some(UTF_32)
        }
        _ => None,
    };
    if let Some(what) = foreign {
        return Err(what.to_owned());
    }
    let by_zeros = match start {
        [1..=255, 0, 1..=255, 0, ..] => Some(Encoding::UTF_16LE),
        [0, 1..=255, 0, 1..=255, ..] => Some(Encoding::UTF_16BE),
        _ => None,
    };
    let encoding = Encoding::of_mark(start).or(by_zeros).unwrap_or(given);
    let is_wide = [Encoding::UTF_16LE, Encoding::UTF_16BE].contains(&encoding);
    match !is_wide && start.contains(&0) {
        true => Err(BINARY.to_owned()),
        false => Ok(encoding),
    }
}

/// What a text in UTF-8 is.
pub(super) fn of_text(start: &[u8]) -> Kind {
    let text = start.trim_ascii_start();
    match text {
        [b'{', ..] => Kind::Lines,
        // Nothing at all is a file of rows that has none.
        [] => Kind::Lines,
        [b'[', ..] => Kind::Foreign(ARRAY),
        [b'<', ..] => Kind::Foreign(MARKUP),
        _ => Kind::Text,
    }
}
