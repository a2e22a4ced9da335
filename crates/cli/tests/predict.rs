//! `cloister predict`: new notes, sorted by a trained model.

#![cfg(feature = "training")]

mod tiny_base;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloister_experts::task::Task;
use serde_json::{Value, json};
use tiny_base::{folder_with_base, write_letter_tokenizer};

const CLOISTER: &str = env!("CARGO_BIN_EXE_cloister");
/// A word of every text. It must not be in anything that is printed.
const MARKER: &str = "qzx";
/// The classes, in the order of the head.
const CLASSES: [&str; 2] = ["=1+1, \"left\"", "lung"];

/// A folder with a tiny published model as `base`, whose tokenizer has a token for each letter, a task for it, and a model
/// that was trained for the task.
fn scratch(name: &str) -> PathBuf {
    let folder = folder_with_base(&format!("predict-{name}"));
    let base = folder.join("base");
    write_letter_tokenizer(&base);
    let rows = CLASSES.map(|class| json!({"text": "a", "label": class}).to_string());
    fs::write(folder.join("classes.jsonl"), rows.join("\n")).expect("it can be written");
    let mut command = Command::new(CLOISTER);
    command.current_dir(&folder).args([
        "experts",
        "task",
        "base",
        "task",
        "--members",
        "5",
        "--max-tokens",
        "8",
    ]);
    command.args(["--objective", "classification", "--classes-of", "classes.jsonl"]);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.join("task/task.json")).expect("it was written");
    let task = Task::parse(&text).expect("a task");
    let initial = task.initial(&base).expect("the fixture is whole");
    // Not the initial model, to which all classes are alike.
    let moved = initial.map(|_, values| {
        let value = |(place, value): (usize, &f32)| value + ((place * 37 % 101) as f32 - 50.0) * 1e-2;
        values.iter().enumerate().map(value).collect()
    });
    task.write(&base, &moved, &folder).expect("it can be written");
    folder
}

fn predict(folder: &Path, notes: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(CLOISTER);
    command.current_dir(folder).args(["predict", notes, "--task", "task/task.json", "--model", "adapter"]);
    let output = command.args(["--base-model", "base"]).args(flags).output().expect("the program starts");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains(MARKER), "no text is printed");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The objects of JSON Lines.
fn objects(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// As Python's `csv` reads it, which shares no code with ours.
fn read_by_python(path: &Path) -> Vec<Vec<String>> {
    let script = "import csv, json, sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline='')))))";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().expect("Python is there");
    serde_json::from_slice(&output.stdout).expect("a list of rows")
}

#[test]
fn each_row_has_a_class_and_a_probability_of_each() {
    let folder = scratch("rows");
    let texts = ["aaa", "bcd", "a long text that is cut", "zz"];
    let rows: String =
        texts.iter().zip(0..).map(|(rest, id)| format!("n{id},\"{MARKER} {rest}\"\n")).collect();
    fs::write(folder.join("notes.csv"), format!("id,text\n{rows}")).expect("it can be written");
    let lines = objects(&predict(&folder, "notes.csv", &["--json", "--id-column", "id"]));
    assert_eq!(lines.len(), 4);
    for (number, line) in (1..).zip(&lines) {
        assert_eq!((&line["row"], line["id"].as_str()), (&json!(number), Some(&*format!("n{}", number - 1))));
        let probability = |class: &str| line["probabilities"][class].as_f64().expect("a number");
        assert!((probability(CLASSES[0]) + probability(CLASSES[1]) - 1.0).abs() < 1e-6, "{line}");
        let likelier = usize::from(probability(CLASSES[1]) > probability(CLASSES[0]));
        assert_eq!(line["predicted"], CLASSES[likelier], "{line}");
    }
    let output = predict(&folder, "notes.csv", &["--id-column", "id", "--out", "out.csv"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    let table = read_by_python(&folder.join("out.csv"));
    let head = ["row", "id", "predicted", "probability of =1+1, \"left\"", "probability of lung"];
    assert_eq!(table[0], head);
    for (cells, line) in table[1..].iter().zip(&lines) {
        let class = line["predicted"].as_str().expect("a class");
        // Otherwise a spreadsheet would compute the name.
        let cell = if class.starts_with('=') { format!("'{class}") } else { class.to_owned() };
        assert_eq!(
            (&cells[0], &cells[1], &cells[2]),
            (&line["row"].to_string(), &text_of(&line["id"]), &cell)
        );
    }
    let mode = fs::metadata(folder.join("out.csv")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
    let again = predict(&folder, "notes.csv", &["--out", "out.csv"]);
    assert_eq!(again.status.code(), Some(78));
    assert!(text(&again.stderr).contains("no file is overwritten"));
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// One bad row costs no other row its prediction, and the status says that something is missing.
#[test]
fn rows_that_cannot_be_read_are_named_and_all_others_are_predicted() {
    let folder = scratch("bad");
    let good = |rest: &str| json!({"text": format!("{MARKER} {rest}")}).to_string();
    let rows = [good("a"), r#"{"text": ""}"#.to_owned(), good("b"), r#"{"text": 5}"#.to_owned(), good("c")];
    fs::write(folder.join("notes.jsonl"), rows.join("\n")).expect("it can be written");
    let output = predict(&folder, "notes.jsonl", &["--json"]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(said.contains("notes.jsonl, line 2: “text” is empty"), "{said}");
    assert!(said.contains("notes.jsonl, line 4: “text” must be text, not a number"), "{said}");
    assert!(said.contains("2 rows of notes.jsonl have no prediction"), "{said}");
    let numbers: Vec<u64> = text(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).expect("JSON")["row"].as_u64())
        .collect();
    assert_eq!(numbers, [1, 3, 5]);
    let output = predict(&folder, "notes.jsonl", &["--out", "out.csv"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(read_by_python(&folder.join("out.csv")).len(), 4, "the head and three rows");
    let output = predict(&folder, "notes.jsonl", &["--id-column", "number", "--json"]);
    assert!(text(&output.stderr).contains("“number” is missing or empty, and names the row"));
}

/// A file that is damaged, or empty, leaves no file of predictions that looks whole.
#[test]
fn a_file_that_cannot_be_read_to_its_end_leaves_no_predictions() {
    let folder = scratch("damaged");
    fs::write(folder.join("empty.jsonl"), "").expect("it can be written");
    fs::write(folder.join("cut.jsonl.gz"), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]).expect("writable");
    fs::write(folder.join("quote.csv"), "text,label\na,b\n\"c,d\ne,f\n").expect("writable");
    for name in ["empty.jsonl", "cut.jsonl.gz", "absent.jsonl", "quote.csv"] {
        let output = predict(&folder, name, &["--out", "out.csv"]);
        assert_eq!(output.status.code(), Some(78), "{name}");
        assert!(text(&output.stderr).contains(name), "{}", text(&output.stderr));
        assert!(!folder.join("out.csv").exists(), "{name}");
    }
}
