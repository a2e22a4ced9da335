//! CSV and TSV.

use cloister_experts::files::notes::{NoteReader, NotesError};

use super::{read, read_in, rejected, write};

fn expected(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(text, label)| ((*text).to_owned(), (*label).to_owned())).collect()
}

/// Two notes in a table with this separator. The first text has separators in it, the second a line end and quotation
/// marks.
fn table(separator: char) -> String {
    let first = "\"chest pain, ECG normal; stable\"";
    let second = "\"fall\non the \"\"left\"\" arm\"";
    [["id", "text", "label"], ["1", first, "heart"], ["2", second, "bone"]]
        .map(|cells| format!("{}\n", cells.join(&separator.to_string())))
        .concat()
}

#[test]
fn tables_are_read_with_every_separator_and_line_end() {
    let rows =
        expected(&[("chest pain, ECG normal; stable", "heart"), ("fall\non the \"left\" arm", "bone")]);
    for (name, separator) in [("a.csv", ','), ("b.csv", ';'), ("c.tsv", '\t'), ("d.csv", '|')] {
        assert_eq!(read(name, table(separator)), rows, "{name}");
    }
    let marked = format!("\u{feff}{}", table(';'));
    assert_eq!(read("excel.csv", &marked), rows);
    assert_eq!(read("excel-sep.csv", format!("\u{feff}sep=;\r\n{}", table(';'))), rows);
    let crlf = "text;label\r\n\r\nchest pain;heart\r\n;\r\nfall;bone\r\n\r\n";
    assert_eq!(read("crlf.csv", crlf), expected(&[("chest pain", "heart"), ("fall", "bone")]));
    assert_eq!(read("cr.csv", "text;label\rchest pain;heart\r"), expected(&[("chest pain", "heart")]));
    assert_eq!(read("no-end.tsv", "label\ttext\nheart\t5\" scar"), expected(&[("5\" scar", "heart")]));
    assert_eq!(read("codes.csv", "text,label\na,007\nb,1.0\n"), expected(&[("a", "007"), ("b", "1.0")]));
}

#[test]
fn encodings_of_tables_are_read_if_they_are_given() {
    let table = b"text;label\nM\xfcller, 38\xb0;H\xe4matologie\n";
    let rows = expected(&[("Müller, 38°", "Hämatologie")]);
    assert_eq!(read_in("windows-1252", "latin.csv", table), Ok(rows.clone()));
    assert_eq!(read_in("iso-8859-15", "latin-9.csv", table), Ok(rows.clone()));
    rejected("unsaid.csv", table, &["row 1 (line 2): its text is not UTF-8", "--encoding"]);
    let wide: Vec<u8> =
        "\u{feff}text\tlabel\nMüller, 38°\tHämatologie\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read("unicode-text.txt", wide), rows);
}

#[test]
fn a_bad_row_of_a_table_is_named() {
    let head = "text,label\na,b\n";
    for (name, rest, words) in [
        ("more.csv", "pain, left,bone\n", "row 2 (line 3): it has 3 cells, and the header row has 2"),
        ("fewer.csv", "pain\n", "row 2 (line 3): it has 1 cells, and the header row has 2"),
        ("no-text.csv", ",bone\n", "row 2 (line 3): there is no “text”"),
        ("no-label.csv", "pain,\n", "row 2 (line 3): there is neither “label_name” nor “label”"),
        ("blank-text.csv", "\"  \",bone\n", "row 2 (line 3): “text” is empty"),
        (
            "unclosed.csv",
            "\"pain,bone\nc,d\n",
            "row 2 (line 3): a cell of this row starts with a quotation mark, and no mark ends it, so everything from line 3 to \
             the end of the file is in that cell",
        ),
        ("after.csv", "\"pain\" left,bone\n", "row 2 (line 3): a quotation mark ends a cell, but neither"),
        ("swallowed.csv", "\"pain,bone\ne,f\n\"g,h\n", "row 2 (line 3): a quotation mark ends a cell"),
    ] {
        rejected(name, format!("{head}{rest}"), &[words]);
    }
    rejected("after-lines.csv", "text,label\n\"a\nb\nc\",d\n\ne,\n", &["row 2 (line 6): there is neither"]);
    let long = "a ".repeat(9 << 20);
    for (name, row) in [("long-quoted.csv", format!("\"{long}\",b\n")), ("long.csv", format!("{long},b\n"))] {
        rejected(name, format!("text,label\n{row}"), &["row 1 (line 2): the row is longer than 16 MiB"]);
    }
    let endless = format!("text,label\n\"{long}\nc,d\n");
    rejected(
        "endless.csv",
        endless,
        &["row 1 (line 2): a cell of this row", "from line 2 to the end of the file"],
    );
}

#[test]
fn header_rows_are_needed() {
    let none = "it was read as a table (CSV or TSV), and none of the 2 cells of its first row is the name of a column";
    rejected("headless.csv", "chest pain,heart\nfall,bone\n", &[none, "text, title"]);
    rejected("twice.csv", "text,label,text\na,b,c\n", &["its header row names the column “text” twice"]);
    rejected("only-header.csv", "text,label\n", &["holds no notes"]);
    rejected("prose.txt", "A note, as it was typed.\n", &["none of the 2 cells"]);
    assert_eq!(read("other-twice.csv", "text,label,x,x\na,b,c,d\n"), expected(&[("a", "b")]));
}

/// A survey counts every bad row once, at its own place, wherever in the file it is, and goes on with the next row.
#[test]
fn reading_goes_on_after_rows_that_cannot_be_read() {
    let (good, latin_1) = (&b"a note,heart\n"[..], &b"M\xfcller, M\xfcller\n"[..]);
    let in_quotes = &b"\"M\xfcller,\n\xfc \"\"x\"\"\n\",heart\n"[..];
    let long = format!("\"{}\n\",heart\n", "a".repeat(17 << 20));
    let wrong_mark = &b"\"he said \"no\", then \"yes\"\",heart\n"[..];
    let parts = [
        latin_1,
        good,
        in_quotes,
        good,
        long.as_bytes(),
        good,
        wrong_mark,
        good,
        b"x\n",
        good,
        latin_1,
        b"\xfc",
    ];
    // Each with its place after the good rows before: row and line.
    let expected = [
        (1, 1, "is not UTF-8"),
        (3, 3, "is not UTF-8"),
        (5, 7, "longer than 16 MiB"),
        (7, 10, "a quotation mark ends a cell"),
        (9, 12, "it has 1 cells"),
        (11, 14, "is not UTF-8"),
        (12, 15, "is not UTF-8"),
    ];
    for before in [0, 3, 9000] {
        let bytes = [b"text,label\n", good.repeat(before).as_slice(), &parts.concat()].concat();
        let rows: Vec<_> = NoteReader::open(write("bad-rows.csv", bytes)).expect("a table").collect();
        assert_eq!(rows.len(), before + 12, "{before} good rows first");
        let faults: Vec<String> =
            rows.iter().filter_map(|row| Some(row.as_ref().err()?.to_string())).collect();
        for ((row, line, words), fault) in expected.iter().zip(&faults) {
            let place = format!("row {} (line {}):", before + row, before + line + 1);
            assert!(fault.contains(&place) && fault.contains(words), "{place} {words}: {fault}");
        }
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
    }
}

/// Nobody knows where the cell was meant to end, so the rest is not read, and that is not a row like others.
#[test]
fn what_an_unclosed_quotation_mark_swallows_is_said_to_be_unread() {
    let table = "text,label\na,heart\n,heart\n\"b,heart\nc,heart\nd,heart\n";
    for ending in ["", "\"\"", "\"\"\n"] {
        let path = write("swallowing.csv", format!("{table}{ending}"));
        let rows: Vec<_> = NoteReader::open(path).expect("a table").collect();
        assert_eq!(rows.len(), 3);
        assert!(rows[0].is_ok() && matches!(rows[1], Err(NotesError::Row { .. })));
        let Err(error @ NotesError::Unread { .. }) = &rows[2] else { panic!("it is not a row like others") };
        let words = "row 3 (line 4): a cell of this row starts with a quotation mark, and no mark ends it, so everything \
                     from line 4 to the end of the file";
        assert!(error.to_string().contains(words), "{error}");
    }
    let sound = NoteReader::open(write("closed.csv", format!("{table}\",heart\n"))).expect("a table");
    assert!(sound.last().expect("there are rows").is_ok(), "the control");
    rejected(
        "unclosed-header.csv",
        "\"text,label\na,heart\n",
        &["line 1: a cell of this row", "from line 1"],
    );
}
