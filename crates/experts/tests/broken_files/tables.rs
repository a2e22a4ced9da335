//! CSV and TSV.

use super::{read, read_in, refused};

fn expected(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(text, label)| ((*text).to_owned(), (*label).to_owned())).collect()
}

#[test]
fn tables_are_read_with_every_separator_and_line_end() {
    let rows =
        expected(&[("chest pain, ECG normal; stable", "heart"), ("fall\non the \"left\" arm", "bone")]);
    let table = |separator: char| {
        let quoted = "\"chest pain, ECG normal; stable\"";
        format!(
            "id{separator}text{separator}label\n1{separator}{quoted}{separator}heart\n2{separator}\"fall\non the \"\"left\"\" arm\"{separator}bone\n"
        )
    };
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
fn encodings_of_tables_are_read_where_they_are_said() {
    let table = b"text;label\nM\xfcller, 38\xb0;H\xe4matologie\n";
    let rows = expected(&[("Müller, 38°", "Hämatologie")]);
    assert_eq!(read_in("windows-1252", "latin.csv", table), Ok(rows.clone()));
    assert_eq!(read_in("iso-8859-15", "latin-9.csv", table), Ok(rows.clone()));
    refused("unsaid.csv", table, &["row 1 (line 2): its text is not UTF-8", "--encoding"]);
    let wide: Vec<u8> =
        "\u{feff}text\tlabel\nMüller, 38°\tHämatologie\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read("unicode-text.txt", wide), rows);
}

#[test]
fn a_bad_row_of_a_table_is_named() {
    let head = "text,label\na,b\n";
    for (name, rest, words) in [
        ("more.csv", "pain, left,bone\n", "row 2 (line 3): it has 3 cells, and the header row 2"),
        ("fewer.csv", "pain\n", "row 2 (line 3): it has 1 cells, and the header row 2"),
        ("no-text.csv", ",bone\n", "row 2 (line 3): there is no “text”"),
        ("no-label.csv", "pain,\n", "row 2 (line 3): there is neither “label_name” nor “label”"),
        ("blank-text.csv", "\"  \",bone\n", "row 2 (line 3): “text” is empty"),
        (
            "unclosed.csv",
            "\"pain,bone\nc,d\n",
            "row 2 (line 3): a cell begins with a quotation mark, and none ends it",
        ),
        ("after.csv", "\"pain\" left,bone\n", "row 2 (line 3): a quotation mark ends a cell, and neither"),
        ("swallowed.csv", "\"pain,bone\ne,f\n\"g,h\n", "row 2 (line 3): a quotation mark ends a cell"),
    ] {
        refused(name, format!("{head}{rest}"), &[words]);
    }
    refused("after-lines.csv", "text,label\n\"a\nb\nc\",d\n\ne,\n", &["row 2 (line 5): there is neither"]);
    let endless = format!("text,label\n\"{}", "a ".repeat(9 << 20));
    refused("endless.csv", endless, &["row 1 (line 2): the row is longer than 16 MiB"]);
}

#[test]
fn header_rows_are_needed() {
    let none =
        "it was read as a table of text (CSV), and none of the 2 cells of its header row names a column";
    refused("headless.csv", "chest pain,heart\nfall,bone\n", &[none, "text, title"]);
    refused("twice.csv", "text,label,text\na,b,c\n", &["its header row names the column “text” twice"]);
    refused("only-header.csv", "text,label\n", &["holds no notes"]);
    refused("prose.txt", "A note, as it was typed.\n", &["none of the 2 cells"]);
    assert_eq!(read("other-twice.csv", "text,label,x,x\na,b,c,d\n"), expected(&[("a", "b")]));
}
