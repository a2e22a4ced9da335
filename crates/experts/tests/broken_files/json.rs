//! JSON Lines: byte-order marks, blank lines, encodings, and what Python's `json` writes that is not JSON.

use cloister_experts::files::notes::NoteReader;

use super::{four, read, read_in, rejected, write};

const MARK: &str = "\u{feff}";

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_row() {
    let (lines, notes) = four();
    assert_eq!(read("mark.jsonl", format!("{MARK}{lines}")), notes);
    assert_eq!(read("mark-crlf.jsonl", format!("{MARK}{}", lines.replace('\n', "\r\n"))), notes);
    let twice = format!("{MARK}{lines}{MARK}{lines}");
    assert_eq!(read("put-together.jsonl", twice), [notes.clone(), notes].concat());
}

#[test]
fn utf_16_is_read_with_and_without_a_mark() {
    let (lines, notes) = four();
    let wide = |text: &str, to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    };
    let marked = format!("{MARK}{lines}");
    for (name, bytes) in [
        ("utf-16le-mark.jsonl", wide(&marked, u16::to_le_bytes)),
        ("utf-16be-mark.jsonl", wide(&marked, u16::to_be_bytes)),
        ("utf-16le.jsonl", wide(&lines, u16::to_le_bytes)),
        ("utf-16be.jsonl", wide(&lines, u16::to_be_bytes)),
    ] {
        assert_eq!(read(name, bytes), notes, "{name}");
    }
    let utf_32: Vec<u8> = lines.chars().flat_map(|letter| (letter as u32).to_le_bytes()).collect();
    rejected("utf-32.jsonl", utf_32, &["is text in UTF-32; save it as UTF-8"]);
}

#[test]
fn other_encodings_are_read_if_they_are_given() {
    let line = b"{\"text\": \"M\xfcller, 38\xb0\", \"label\": \"a\"}\n";
    let expected = vec![("Müller, 38°".to_owned(), "a".to_owned())];
    assert_eq!(read_in("windows-1252", "latin.jsonl", line), Ok(expected.clone()));
    let sound = b"{\"text\": \"a\", \"label\": \"a\"}\n";
    let both = [&sound[..], line].concat();
    rejected(
        "unsaid.jsonl",
        both,
        &["line 2: its text is not UTF-8; give the file's encoding with --encoding"],
    );
    // A byte-order mark overrides the flag.
    let marked = format!("{MARK}{{\"text\": \"Müller, 38°\", \"label\": \"a\"}}");
    assert_eq!(read_in("windows-1252", "marked.jsonl", marked), Ok(expected));
}

#[test]
fn blank_lines_are_skipped_and_counted() {
    let (lines, notes) = four();
    let crlf = lines.replace('\n', "\r\n");
    for (name, text) in [
        ("trailing.jsonl", format!("{lines}\n")),
        ("between.jsonl", lines.replacen('\n', "\n\n  \t\n", 1)),
        ("before.jsonl", format!("\n\n{lines}")),
        ("crlf.jsonl", crlf.clone()),
        ("crlf-blank.jsonl", format!("{crlf}\r\n\r\n")),
        ("no-last-end.jsonl", lines.trim_end().to_owned()),
    ] {
        assert_eq!(read(name, text), notes, "{name}");
    }
    for (name, text) in [("empty.jsonl", ""), ("only-end.jsonl", "\n"), ("only-mark.jsonl", MARK)] {
        rejected(name, text, &["holds no notes; at least one is needed"]);
    }
    rejected(
        "counted.jsonl",
        format!("{lines}\n\n{{"),
        &["line 7: the JSON object does not end on its line"],
    );
}

#[test]
fn what_is_no_json_is_told_with_its_line_and_reason() {
    let (lines, _) = four();
    for (name, line, words) in [
        ("nan-text", r#"{"text": NaN, "label": "heart"}"#, "NaN at byte 10 is not valid JSON; write null"),
        ("nan-other", r#"{"text": "a", "label": "heart", "age": NaN}"#, "NaN at byte 40"),
        ("infinity", r#"{"text": "a", "label": "heart", "age": -Infinity}"#, "Infinity at byte"),
        ("surrogate", r#"{"text": "smile \ud83d cut", "label": "heart"}"#, "invalid JSON at byte"),
        (
            "single-quotes",
            "{'text': 'a', 'label': 'heart'}",
            "invalid JSON at byte 2: names and texts must be in double quotation marks",
        ),
        ("trailing-comma", r#"{"text": "a", "label": "heart",}"#, "invalid JSON at byte 32: trailing comma"),
        ("two", r#"{"text": "a", "label": "b"} {"text": "a", "label": "b"}"#, "trailing characters"),
        ("list", r#"["a", "b"]"#, "each line must be a JSON object, not a list"),
        ("text", r#""a note""#, "each line must be a JSON object, not text"),
        ("null", "null", "each line must be a JSON object, not null"),
        ("cut", r#"{"text": "a"#, "the JSON object does not end on its line"),
    ] {
        let file = format!("no-json-{name}.jsonl");
        rejected(&file, format!("{lines}{line}\n{lines}"), &["line 5: ", words]);
    }
}

#[test]
fn what_python_reads_is_read() {
    let deep =
        format!(r#"{{"text": "a", "label": "heart", "tree": {}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let pair = |text: &str, label: &str| vec![(text.to_owned(), label.to_owned())];
    assert_eq!(read("deep.jsonl", deep), pair("a", "heart"));
    let twice = r#"{"text": "first", "text": "second", "label": "heart", "label": "bone"}"#;
    assert_eq!(read("twice.jsonl", twice), pair("second", "bone"));
    assert_eq!(read("nul.jsonl", r#"{"text": "null\u0000byte", "label": "a"}"#), pair("null\0byte", "a"));
    assert_eq!(
        read("emoji.jsonl", r#"{"text": "pain 😖 8/10 👩‍⚕️", "label": "a"}"#),
        pair("pain 😖 8/10 👩‍⚕️", "a")
    );
}

/// A survey counts every bad line once, at its own number, wherever in the file it is, and comes to the file's end.
#[test]
fn reading_goes_on_after_lines_that_are_no_rows() {
    let good = "{\"text\": \"a note\", \"label\": \"heart\"}\n";
    let long = format!("{{\"text\": \"{}\", \"label\": \"heart\"}}\n", "a".repeat(17 << 20));
    let latin_1 = b"{\"text\": \"M\xfcller, M\xfcller\", \"label\": \"heart\"}\n";
    for before in [0, 3, 5000] {
        let start = good.repeat(before);
        let bytes =
            [start.as_bytes(), latin_1, good.as_bytes(), long.as_bytes(), good.as_bytes(), latin_1].concat();
        let rows: Vec<_> =
            NoteReader::open(write("bad-lines.jsonl", bytes)).expect("a file of rows").collect();
        assert_eq!(rows.len(), before + 5, "{before} good rows first");
        let faults: Vec<String> =
            rows.iter().filter_map(|row| Some(row.as_ref().err()?.to_string())).collect();
        let expected = [(1, "is not UTF-8"), (3, "longer than 16 MiB"), (5, "is not UTF-8")];
        for ((line, words), fault) in expected.iter().zip(&faults) {
            let place = format!("line {}:", before + line);
            assert!(fault.contains(&place) && fault.contains(words), "{place} {words}: {fault}");
        }
        assert_eq!(faults.len(), expected.len());
    }
}

/// The last character of a file may be cut off, in any encoding. Reading ends there, after one fault.
#[test]
fn a_file_that_ends_within_a_character_has_one_fault() {
    let good = "{\"text\": \"a note\", \"label\": \"heart\"}\n";
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (name, bytes) in [
        ("cut-utf-8.jsonl", [good.as_bytes(), b"{\"text\": \"\xc3"].concat()),
        ("cut-utf-16.jsonl", [wide(good), wide("{\"te"), b"x".to_vec()].concat()),
        ("cut-pair.jsonl", [wide(good), wide("{\"te"), b"\x3d\xd8".to_vec()].concat()),
    ] {
        let rows: Vec<_> = NoteReader::open(write(name, bytes)).expect("a file of rows").collect();
        assert_eq!((rows.len(), rows[0].is_ok(), rows[1].is_err()), (2, true, true), "{name}");
    }
}
