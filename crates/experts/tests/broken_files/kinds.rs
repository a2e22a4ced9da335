//! Sound files of kinds that are not supported: the message says what they are.

use cloister_experts::files::notes::read_notes;

use super::{read, rejected, write};

/// A zip file's bytes that lists a file of this name.
fn zip_of(name: &str) -> Vec<u8> {
    [
        b"PK\x03\x04\x14\0\0\0".as_slice(),
        &[0; 22],
        b"docProps/app.xml",
        &[9; 3000],
        b"PK\x01\x02",
        name.as_bytes(),
    ]
    .concat()
}

#[test]
fn files_of_other_programs_are_called_what_they_are() {
    let mut tar = b"notes.jsonl".to_vec();
    tar.resize(1024, 0);
    tar[257..262].copy_from_slice(b"ustar");
    let mut sas = vec![0; 200];
    sas[84..92].copy_from_slice(b"SAS FILE");
    for (name, bytes, words) in [
        ("notes.xlsx", zip_of("xl/workbook.xml"), "is an Excel workbook; save it as CSV or JSON Lines"),
        ("notes.docx", zip_of("word/document.xml"), "is a Word document"),
        ("notes.zip", zip_of("notes.jsonl"), "is a zip archive; unpack it and give one of its files"),
        ("notes.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....".to_vec(), "is an old Office file"),
        ("notes.tar", tar, "is a tar archive"),
        ("notes.7z", b"7z\xbc\xaf\x27\x1c....".to_vec(), "is a 7-Zip archive"),
        ("notes.xz", b"\xfd7zXZ\0....".to_vec(), "is compressed with xz; decompress it"),
        ("notes.bz2", b"BZh91AY&SY\x9d\x05\x12\0".to_vec(), "is compressed with bzip2"),
        ("notes.zz", b"x\x9c....".to_vec(), "is compressed with zlib"),
        ("notes.lz4", b"\x04\x22\x4d\x18....".to_vec(), "is compressed with lz4"),
        ("notes.arrow", b"ARROW1\0\0....".to_vec(), "is an Arrow file; save it as Parquet"),
        ("notes.arrows", b"\xff\xff\xff\xff....".to_vec(), "is a stream of Arrow"),
        ("notes.orc", b"ORC\x08\x03....".to_vec(), "is an ORC file"),
        ("notes.avro", b"Obj\x01....".to_vec(), "is an Avro file"),
        ("notes.sqlite", b"SQLite format 3\0".to_vec(), "is an SQLite database; export its table as CSV"),
        ("notes.sas7bdat", sas, "is a SAS data set"),
        ("notes.sav", b"$FL2....".to_vec(), "is an SPSS file"),
        ("notes.pdf", b"%PDF-1.7....".to_vec(), "is a PDF file"),
        ("notes.rtf", b"{\\rtf1 a note}".to_vec(), "is an RTF document"),
        ("notes.html", b"<html><table>".to_vec(), "is XML or HTML"),
        (
            "notes.json",
            b"[{\"text\": \"a\", \"label\": \"b\"}]".to_vec(),
            "is a JSON array; write one object a line",
        ),
        ("indented.json", b"\n [\n {".to_vec(), "is a JSON array"),
        ("notes.bin", b"a\0\x01\x02\x03b".to_vec(), "holds binary data, not text"),
        ("zeros.bin", vec![0; 100], "holds binary data, not text"),
        ("encrypted.parquet", b"PARE\x15\x04....PARE".to_vec(), "is an encrypted Parquet file; decrypt it"),
    ] {
        rejected(name, &bytes, &[words]);
        let error = read_notes(write(name, &bytes)).expect_err("it was rejected").to_string();
        assert!(!error.contains("whole") && !error.contains("damaged"), "{error}");
    }
}

#[test]
fn an_object_over_several_lines_is_told() {
    let indented = "{\n  \"text\": \"a\",\n  \"label\": \"b\"\n}\n";
    rejected("over-lines.json", indented, &["line 1: the JSON object does not end on its line", "`jq -c .`"]);
}

#[test]
fn a_folder_is_told() {
    let part = write("part-00000.parquet", b"");
    let folder = part.parent().expect("it is in a folder");
    let error = read_notes(folder).expect_err("a folder of parts").to_string();
    assert!(error.contains("is a folder; give one file, which may be one of the folder's parts"), "{error}");
    let error = read_notes(folder.join("none.jsonl")).expect_err("there is none").to_string();
    assert!(error.contains("check the path and its permissions"), "{error}");
}

/// The first column's name may begin like a binary format.
#[test]
fn a_table_whose_first_letters_are_a_mark_is_a_table() {
    for column in ["PARENT_ID", "ORCID", "PAR1", "BZhang", "Rar!", "FEA1", "ARROW1"] {
        let notes = read("letters.csv", format!("{column},text,label\n7,a note,heart\n"));
        assert_eq!(notes, [("a note".to_owned(), "heart".to_owned())], "{column}");
    }
}
