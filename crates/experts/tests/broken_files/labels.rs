//! Labels: what names a class, and which names may be meant to be one.

use cloister_experts::files::notes::{classes, near_twins, read_notes};

use super::{read, rejected, write};

/// A row for each label, which is a JSON value.
fn lines(labels: &[&str]) -> String {
    labels.iter().map(|label| format!("{{\"text\": \"a note\", \"label\": {label}}}\n")).collect()
}

/// The labels of the notes that these labels make.
fn labels_read(name: &str, labels: &[&str]) -> Vec<String> {
    read(name, lines(labels)).into_iter().map(|(_, label)| label).collect()
}

#[test]
fn numbers_and_texts_name_classes_and_nothing_else_does() {
    assert_eq!(labels_read("whole.jsonl", &["0", "1", "10", "-2"]), ["0", "1", "10", "-2"]);
    assert_eq!(labels_read("floats.jsonl", &["0.0", "1.0", "1e2"]), ["0", "1", "100"]);
    assert_eq!(labels_read("mixed.jsonl", &["1", "\"1\"", "2", "\"2\""]), ["1", "1", "2", "2"]);
    for (name, label, words) in [
        ("bool", "true", "“label” must be text or a whole number, not true or false"),
        ("null", "null", "there is neither “label_name” nor “label”"),
        ("nested", "[\"bone\"]", "“label” must be text or a whole number, not a list"),
        ("object", "{\"a\": 1}", "not an object"),
        ("half", "1.5", "not another number"),
        ("large", "123456789012345678901234567890", "not another number"),
        ("empty", "\"\"", "“label” is empty; it must name a class"),
        ("blank", "\" \\t\"", "“label” is empty"),
    ] {
        rejected(&format!("label-{name}.jsonl"), lines(&["\"heart\"", label]), &["line 2: ", words]);
    }
    rejected(
        "label-none.jsonl",
        "{\"text\": \"a\", \"label\": \"b\"}\n{\"text\": \"a\"}",
        &["line 2: there is neither"],
    );
}

/// What is said of classes that may be spellings of one.
fn warnings(name: &str, labels: &[&str]) -> Vec<String> {
    let notes = read_notes(write(name, lines(labels))).expect("sound notes");
    near_twins(&classes(&notes)).iter().map(ToString::to_string).collect()
}

#[test]
fn blanks_and_forms_make_no_class_and_near_twins_are_reported() {
    assert_eq!(labels_read("spaces.jsonl", &["\"heart\"", "\"heart \"", "\" heart\""]), ["heart"; 3]);
    assert_eq!(labels_read("forms.jsonl", &["\"bu\u{308}ro\"", "\"büro\""]), ["büro"; 2]);
    let case = warnings("case.jsonl", &["\"Heart\"", "\"heart\"", "\"HEART\"", "\"bone\""]);
    assert!(case.len() == 1 && case[0].contains("“HEART”, “Heart”, “heart” differ only in case"), "{case:?}");
    let floats = warnings("float-texts.jsonl", &["\"0.0\"", "\"1.0\"", "\"0\"", "\"1\""]);
    assert!(floats.len() == 2 && floats[0].contains("“0”, “0.0”"), "{floats:?}");
    assert!(warnings("apart.jsonl", &["\"heart\"", "\"bone\"", "1", "2"]).is_empty());
}
