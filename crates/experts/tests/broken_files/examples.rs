//! Rows for language models, questions, and texts with classes: a row that a model cannot learn from or be measured
//! on is rejected when it is read.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::Long;
use cloister_experts::families::AnyConfig;
use cloister_experts::families::finetune::Reader;

use super::{rejected, write};

/// The number of the token “vesicular” of the tests' tokenizer: it is beyond the vocabulary of the model.
const BEYOND: i64 = 100_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mixtral")
}

/// Reads rows for the tiny Mixtral of the fixtures.
pub(super) fn reader(name: &str, max_tokens: usize) -> Reader {
    let folder = write("tokenizers", b"").with_file_name(format!("tokenizer-{name}"));
    fs::create_dir_all(&folder).expect("the folder of the tests can be written to");
    let words = ["Findings:", "cough.", "Bronchitis.", "radius", "femur", "bone?", "a"];
    let mut vocabulary: serde_json::Map<String, serde_json::Value> =
        words.iter().zip(1..).map(|(word, number)| ((*word).to_owned(), number.into())).collect();
    vocabulary.insert("?".to_owned(), 0.into());
    vocabulary.insert("vesicular".to_owned(), BEYOND.into());
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "post_processor": null, "decoder": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocabulary},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("the folder can be written to");
    let config = AnyConfig::read(&fixture()).expect("the fixture is whole");
    Reader::open(&folder, Some(0), max_tokens, Long::Cut).expect("a sound tokenizer").for_model(&config)
}

/// How many examples the rows make.
fn read(name: &str, lines: &str) -> Result<usize, String> {
    let path = write(&format!("{name}.jsonl"), lines);
    reader(name, 16).read(&path).map(|examples| examples.len()).map_err(|error| error.to_string())
}

const SOUND: &str = r#"{"prompt": "Findings: cough.\nSummary:", "completion": " Bronchitis."}"#;

#[test]
fn rows_of_a_language_model_are_read() {
    let long = format!(r#"{{"prompt": "{}", "completion": "cough."}}"#, "word ".repeat(5000));
    for (name, row) in [
        ("blank-completion", r#"{"prompt": "a", "completion": " "}"#),
        ("empty-prompt", r#"{"prompt": "", "completion": "All of it."}"#),
        ("extra-answer", r#"{"prompt": "a", "completion": " b", "answer": "B", "choices": 7}"#),
        ("text-only", r#"{"text": "A whole note."}"#),
        ("long-prompt", &long),
        (
            "parts",
            r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "Summarise."}]}, {"role": "assistant", "content": [{"type": "text", "text": "Bronchitis."}]}]}"#,
        ),
        (
            "tools-column",
            r#"{"messages": [{"role": "user", "content": "a", "name": null}, {"role": "assistant", "content": "b", "weight": 1}], "tools": [{"type": "function"}]}"#,
        ),
        ("other-title", r#"{"text": "A note.", "title": 7, "messages": null}"#),
    ] {
        assert_eq!(read(&format!("language-{name}"), &format!("{SOUND}\n{row}\n")), Ok(2), "{name}");
    }
}

#[test]
fn rows_that_a_language_model_cannot_learn_from_are_rejected_when_they_are_read() {
    let neither =
        "there is neither “prompt” with “completion”, nor “messages”, nor “question” with “choices”";
    for (name, row, words) in [
        (
            "empty-completion",
            r#"{"prompt": "a", "completion": ""}"#,
            "“completion” is empty, so there is nothing to learn",
        ),
        ("empty-text", r#"{"text": ""}"#, "“text” is empty, so there is nothing to learn"),
        ("null-completion", r#"{"prompt": "a", "completion": null}"#, neither),
        (
            "null-content",
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": []}]}"#,
            "entry 2 of “messages” must have a “content” that is text or a list of texts, not null",
        ),
        (
            "no-role",
            r#"{"messages": [{"content": "a"}]}"#,
            "entry 1 of “messages” must have a text “role”, not null",
        ),
        ("no-object", r#"{"messages": ["a"]}"#, "entry 1 of “messages” must be an object, not text"),
        (
            "image",
            r#"{"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}"#,
            "entry 1 of “messages” has a part of “content” that is not of the type “text”",
        ),
        ("no-list", r#"{"messages": "a"}"#, "“messages” must be a list, not text; a row has “prompt”"),
        (
            "no-assistant",
            r#"{"messages": [{"role": "user", "content": "a"}]}"#,
            "none of “messages” is the assistant's",
        ),
        ("sharegpt", r#"{"conversations": [{"from": "human", "value": "hi"}]}"#, neither),
        ("alpaca", r#"{"instruction": "Summarise", "input": "cough", "output": "Bronchitis"}"#, neither),
        ("gsm8k", r#"{"question": "How many doses?", "answer": "21"}"#, neither),
        (
            "conversational",
            r#"{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}"#,
            "“prompt” must be text, not a list; a row has “prompt” with “completion”",
        ),
        (
            "beyond",
            r#"{"prompt": "a", "completion": "vesicular"}"#,
            "the token number 100000, and the model's vocabulary has",
        ),
        ("beyond-prompt", r#"{"prompt": "vesicular", "completion": "a"}"#, "the token number 100000"),
    ] {
        let error = read(&format!("rejected-{name}"), &format!("{SOUND}\n\n{row}\n")).expect_err(name);
        assert!(error.contains("line 3: ") && error.contains(words), "{name}: {error}");
    }
}

#[test]
fn questions_that_cannot_be_measured_on_are_rejected_when_they_are_read() {
    let sound = r#"{"question": "Which bone?", "choices": ["radius", "femur"], "answer": 1}"#;
    for (name, row, words) in [
        (
            "answer-float",
            r#"{"question": "bone?", "choices": ["radius", "femur"], "answer": 1.0}"#,
            "“answer” must be a whole number",
        ),
        (
            "answer-letter",
            r#"{"question": "bone?", "choices": ["radius", "femur"], "answer": "B"}"#,
            "“answer” must be a whole number, not text",
        ),
        (
            "answer-string",
            r#"{"question": "bone?", "choices": ["radius", "femur"], "answer": "1"}"#,
            "“answer” must be a whole number, not text",
        ),
        (
            "answer-minus",
            r#"{"question": "bone?", "choices": ["radius", "femur"], "answer": -1}"#,
            "“answer” must be a whole number of at least 0",
        ),
        (
            "answer-out",
            r#"{"question": "bone?", "choices": ["radius", "femur"], "answer": 2}"#,
            "“answer” must be from 0 to 1",
        ),
        (
            "bool",
            r#"{"question": "bone?", "choices": ["radius", "femur"], "answer": true}"#,
            "“answer” must be a whole number, not true or false",
        ),
        (
            "arc",
            r#"{"question": "bone?", "choices": {"text": ["radius"], "label": ["A"]}, "answer": 0}"#,
            "“choices” must be a list, not an object",
        ),
        (
            "number",
            r#"{"question": "bone?", "choices": ["radius", 7], "answer": 0}"#,
            "entry 2 of “choices” must be text, not a number",
        ),
        (
            "hellaswag",
            r#"{"ctx": "He falls", "endings": ["a", "b"], "label": "1"}"#,
            "there is no “question” with “choices” and “answer”",
        ),
        (
            "no-choice",
            r#"{"question": "bone?", "choices": [], "answer": 0}"#,
            "“choices” has 0 entries; a question needs at least two",
        ),
        (
            "one-choice",
            r#"{"question": "bone?", "choices": ["radius"], "answer": 0}"#,
            "“choices” has 1 entries",
        ),
        (
            "empty-choice",
            r#"{"question": "bone?", "choices": ["radius", " "], "answer": 0}"#,
            "entry 2 of “choices” is empty",
        ),
        (
            "beyond",
            r#"{"question": "bone?", "choices": ["radius", "vesicular"], "answer": 1}"#,
            "the token number 100000",
        ),
    ] {
        let path = write(&format!("questions-{name}.jsonl"), format!("{sound}\n{row}\n"));
        let reader = reader(&format!("questions-{name}"), 16);
        let error = reader.questions(&path).expect_err(name).to_string();
        assert!(error.contains("line 2: ") && error.contains(words), "{name}: {error}");
        // Members learn from the same rows that they are measured on.
        let error = reader.read(&path).expect_err(name).to_string();
        assert!(error.contains("line 2: "), "{name}: {error}");
    }
    let path = write("questions-sound.jsonl", format!("{sound}\n"));
    assert_eq!(reader("questions-sound", 16).questions(&path).expect("a sound row").len(), 1);
}

/// How many examples the rows make for a task with the classes `bone` and `heart`.
fn read_with_classes(name: &str, lines: &str) -> Result<usize, String> {
    let path = write(&format!("classes-{name}.jsonl"), lines);
    let classes = vec!["bone".to_owned(), "heart".to_owned()];
    let reader = reader(&format!("classes-{name}"), 16).with_classes(classes).expect("texts are cut");
    reader.read(&path).map(|examples| examples.len()).map_err(|error| error.to_string())
}

#[test]
fn texts_with_classes_are_read_or_rejected_when_they_are_read() {
    let sound = r#"{"text": "Echo normal.", "label": "heart"}"#;
    for (name, row) in [
        ("title-number", r#"{"text": "Knee pain.", "label": "bone", "title": 7}"#),
        ("description-object", r#"{"text": "Knee pain.", "label": "bone", "description": {"icd": "M25"}}"#),
        ("question-list", r#"{"text": "Knee pain.", "label": "bone", "question": []}"#),
        ("subject-null", r#"{"text": "Knee pain.", "label": "bone", "subject": null}"#),
        ("duplicate", sound),
        ("blanks", r#"{"text": "Knee pain.", "label": " bone "}"#),
        ("subject", r#"{"question": "Knee pain?", "subject": "bone"}"#),
    ] {
        assert_eq!(read_with_classes(name, &format!("{sound}\n{row}\n")), Ok(2), "{name}");
    }
    for (name, row, words) in [
        ("empty-text", r#"{"text": "", "label": "bone"}"#, "“text” is empty"),
        ("white-text", r#"{"text": " \n\t ", "label": "bone"}"#, "“text” is empty"),
        (
            "unknown",
            r#"{"text": "Rash.", "label": "skin"}"#,
            "its label is not one of the task's classes: bone, heart",
        ),
        (
            "case",
            r#"{"text": "Echo.", "label": "Heart"}"#,
            "it differs from “heart” only in case, blanks, Unicode form",
        ),
        ("text-number", r#"{"text": 7, "label": "bone"}"#, "“text” must be text, not a number"),
        (
            "no-description",
            r#"{"title": "a", "label": "bone"}"#,
            "there is no “text”, no “question”, and no “title” with “description”",
        ),
        ("beyond", r#"{"text": "vesicular", "label": "bone"}"#, "the token number 100000"),
    ] {
        let error = read_with_classes(name, &format!("{sound}\n{row}\n")).expect_err(name);
        assert!(error.contains("line 2: ") && error.contains(words), "{name}: {error}");
    }
}

#[test]
fn notes_follow_the_same_rules() {
    let sound = r#"{"text": "Echo normal.", "label": "heart"}"#;
    let after_sound = |row: &str| format!("{sound}\n{row}\n");
    assert_eq!(
        super::read("notes-title.jsonl", after_sound(r#"{"text": "a", "label": "b", "title": 7}"#)).len(),
        2
    );
    rejected("notes-empty.jsonl", after_sound(r#"{"text": "", "label": "b"}"#), &["line 2: “text” is empty"]);
    rejected(
        "notes-white.jsonl",
        after_sound(r#"{"text": " \n", "label": "b"}"#),
        &["line 2: “text” is empty"],
    );
    rejected(
        "notes-title-only.jsonl",
        after_sound(r#"{"title": 7, "label": "b"}"#),
        &["line 2: “title” must be text, not a number"],
    );
}

/// How many examples the rows of a table make.
fn read_table(name: &str, table: &str) -> Result<usize, String> {
    let path = write(&format!("{name}.csv"), table);
    reader(name, 16).read(&path).map(|examples| examples.len()).map_err(|error| error.to_string())
}

/// Tables cannot hold lists. Their cells are all text, which counts as a number where a number is needed.
#[test]
fn tables_hold_prompts_and_texts_and_no_lists() {
    assert_eq!(read_table("prompts", "prompt;completion\nFindings: cough.;Bronchitis.\na;a\n"), Ok(2));
    let error = read_table("prompts-empty", "prompt;completion\na;\n").expect_err("nothing to learn");
    assert!(error.contains("row 1 (line 2): there is neither “prompt” with “completion”"), "{error}");
    let error = read_table("lists", "question,choices,answer\nbone?,\"[\"\"radius\"\"]\",0\n")
        .expect_err("a list in a cell");
    assert!(
        error.contains("“choices” must be a list, which a table of text cannot hold; use JSON Lines"),
        "{error}"
    );
}
