//! Gzip and zstd: what compressors, transfers and tapes make of files.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{four, read, rejected};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut sink = GzEncoder::new(Vec::new(), Compression::fast());
    sink.write_all(bytes).expect("it is written to memory");
    sink.finish().expect("it is written to memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("it is written to memory")
}

/// What zstd passes over, with some bytes within.
fn skippable(length: u32) -> Vec<u8> {
    [&[0x5a, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes(), &vec![7; length as usize]].concat()
}

#[test]
fn members_of_gzip_and_zeros_after_them_are_read() {
    let (lines, notes) = four();
    let (one, two) = (gzip(lines.as_bytes()), [notes.clone(), notes.clone()].concat());
    let named = flate2::GzBuilder::new().filename("notes.jsonl").comment("of May");
    let mut named = named.write(Vec::new(), Compression::fast());
    named.write_all(lines.as_bytes()).expect("it is written to memory");
    assert_eq!(read("named.gz", named.finish().expect("it is written to memory")), notes);
    assert_eq!(read("members.gz", [one.clone(), one.clone()].concat()), two);
    assert_eq!(read("empty-member.gz", [gzip(b""), one.clone(), gzip(b"")].concat()), notes);
    for zeros in [1, 512, 100_000] {
        assert_eq!(read("zeros.gz", [one.clone(), vec![0; zeros]].concat()), notes, "{zeros}");
    }
    let (start, end) = lines.split_at(40);
    assert_eq!(read("within-a-line.gz", [gzip(start.as_bytes()), gzip(end.as_bytes())].concat()), notes);
}

#[test]
fn damaged_gzip_is_told_as_such() {
    let (lines, _) = four();
    let whole = gzip(lines.as_bytes());
    let damaged = "the file is damaged or incomplete: copy or export it again";
    rejected("cut.gz", &whole[..whole.len() - 12], &["its gzip data ends early", damaged]);
    let mut wrong = whole.clone();
    let checksum = whole.len() - 8;
    wrong[checksum] ^= 1;
    rejected("crc.gz", wrong, &["its gzip data is corrupt", damaged]);
    let after = "the bytes after the last gzip member are not gzip data";
    rejected("garbage.gz", [&whole[..], b"garbage that a transfer added"].concat(), &[after, damaged]);
    rejected("zeros-and-more.gz", [&whole[..], &[0; 600], b"more"].concat(), &[after]);
    rejected("only-mark.gz", [0x1f, 0x8b], &["its gzip data"]);
}

#[test]
fn zstd_is_read_with_skippable_frames_and_long_windows_up_to_a_limit() {
    let (lines, notes) = four();
    let one = zstd(lines.as_bytes());
    assert_eq!(read("skippable.zst", [skippable(9), one.clone()].concat()), notes);
    assert_eq!(
        read("between.zst", [&one[..], &skippable(0), &one].concat()),
        [notes.clone(), notes.clone()].concat()
    );
    let windowed = |log: u32| {
        let mut sink = zstd::Encoder::new(Vec::new(), 1).expect("it starts");
        sink.window_log(log).expect("a window of zstd");
        sink.write_all(lines.as_bytes()).expect("it is written to memory");
        sink.finish().expect("it is written to memory")
    };
    assert_eq!(read("long.zst", windowed(30)), notes);
    rejected(
        "longest.zst",
        windowed(31),
        &["a zstd window of more than 1 GiB; compress it again with zstd --long=30 or less"],
    );
    let samples: Vec<String> = (0..2000).map(|number| format!("{number} {lines} {number}")).collect();
    let dictionary = zstd::dict::from_samples(&samples, 4096).expect("a dictionary");
    let mut sink = zstd::Encoder::with_dictionary(Vec::new(), 1, &dictionary).expect("it starts");
    sink.write_all(lines.as_bytes()).expect("it is written to memory");
    let by_dictionary = sink.finish().expect("it is written to memory");
    rejected(
        "dictionary.zst",
        by_dictionary,
        &["was compressed with a zstd dictionary; compress it again without one"],
    );
    rejected("cut.zst", &one[..one.len() - 6], &["its zstd data ends early"]);
    rejected("garbage.zst", [&one[..], b"garbage"].concat(), &["its zstd data is corrupt"]);
    rejected("only-skippable.zst", skippable(4), &["holds no notes"]);
}

#[test]
fn what_is_within_is_told_too() {
    let (lines, _) = four();
    rejected("twice.gz", gzip(&zstd(lines.as_bytes())), &["a compressed file inside a compressed file"]);
    rejected(
        "parquet.gz",
        gzip(b"PAR1\x15\x04 and more"),
        &["holds a compressed Parquet file; decompress it"],
    );
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    rejected("notes.tar.gz", gzip(&tar), &["is a tar archive; unpack it and give one of its files"]);
    rejected("array.json.gz", gzip(b"[{\"text\": \"a\"}]"), &["is a JSON array"]);
}
