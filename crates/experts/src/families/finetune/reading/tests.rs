//! Rows become examples.

use std::fs;

use super::*;

const TOKENIZER: &str = r#"{
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "a": 1, "b": 2, "c": 3,
            "<|im_start|>user": 4, "<|im_start|>assistant": 5, "c<|im_end|>": 6, "b<|im_end|>": 7}}
    }"#;

fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-reading-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder can be made");
    fs::write(folder.join("tokenizer.json"), TOKENIZER).expect("the folder can be written");
    folder
}

fn read(name: &str, lines: &str, max_tokens: usize, long: Long) -> Result<Vec<Example>, String> {
    let folder = scratch(name);
    let path = folder.join("examples.jsonl");
    fs::write(&path, lines).expect("the folder can be written");
    let reader = Reader::open(&folder, Some(9), max_tokens, long).map_err(|error| error.to_string());
    let examples = reader.and_then(|reader| reader.read(&path).map_err(|error| error.to_string()));
    fs::remove_dir_all(folder).expect("it was made above");
    examples
}

fn example(tokens: &[i64], given: usize, record: usize) -> Example {
    Example { record: Some(record), ..Example::new(tokens.to_vec(), given) }
}

#[test]
fn prompts_questions_and_texts_become_examples() {
    let lines = r#"{"prompt": "a b", "completion": "c"}
{"question": "a b", "choices": ["a", "c"], "answer": 1}
{"text": "a b c"}"#;
    let examples = read("kinds", lines, 16, Long::Cut).expect("sound rows");
    assert_eq!(examples[0], example(&[1, 2, 3, 9], 2, 0));
    assert_eq!(examples[1], example(&[1, 2, 3, 9], 2, 1));
    assert_eq!(examples[2], example(&[1, 2, 3, 9], 0, 2));
}

#[test]
fn of_a_conversation_every_answer_is_learnt_and_no_question() {
    let lines = r#"{"messages": [{"role": "user", "content": "b c"}, {"role": "assistant", "content": "c"},
            {"role": "user", "content": "b"}, {"role": "assistant", "content": "a b"}]}"#
        .replace('\n', "");
    let examples = read("talk", &lines, 16, Long::Cut).expect("sound rows");
    let questions = std::iter::once(5..8).collect();
    let expected = Example { skipped: questions, ..example(&[4, 2, 6, 5, 6, 4, 7, 5, 1, 7], 4, 0) };
    assert_eq!(examples, [expected]);
}

#[test]
fn a_template_that_rewrites_earlier_turns_makes_several_texts_of_one_record() {
    let folder = scratch("rewritten");
    let path = folder.join("examples.jsonl");
    let lines = r#"{"messages": [{"role": "user", "content": "b c"}, {"role": "assistant", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "b"}, {"role": "assistant", "content": "a"}]}"#
        .replace('\n', "");
    fs::write(&path, format!("{{\"text\": \"a\"}}\n{lines}")).expect("the folder can be written");
    // The template leaves out the first word of the assistant's earlier messages.
    let template = "{% for m in messages %}{{ m.content if m.role == 'user' or loop.last else m.content[2:] }} {% endfor %}";
    fs::write(folder.join("chat_template.jinja"), template).expect("the folder can be written");
    let reader = Reader::open(&folder, Some(9), 16, Long::Cut).expect("a sound tokenizer");
    let examples = reader.read(&path).expect("sound rows");
    assert_eq!(examples[1..], [example(&[2, 3, 1, 2], 2, 1), example(&[2, 3, 2, 2, 1], 4, 1)]);
    let short =
        Reader::open(&folder, Some(9), 3, Long::Split { overlap: 1, most: 1 }).expect("a sound tokenizer");
    let cut: Vec<bool> = short.read(&path).expect("sound rows").iter().map(|example| example.cut).collect();
    assert_eq!(cut, [false, true, false], "each text has its own windows");
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn long_prompts_lose_their_start_and_long_completions_their_end() {
    let lines = r#"{"prompt": "a b c a b", "completion": "c"}
{"prompt": "a b", "completion": "a b c a b c"}"#;
    let examples = read("long", lines, 4, Long::Cut).expect("sound rows");
    let cut = |example| Example { cut: true, ..example };
    assert_eq!(examples[0], cut(example(&[1, 2, 3, 9], 2, 0)));
    assert_eq!(examples[1], cut(example(&[2, 1, 2, 3], 1, 1)));
}

#[test]
fn windows_of_one_row_share_a_record_and_learn_every_token_once() {
    let text = "a b c a b c a b";
    let lines = format!("{{\"text\": \"{text}\"}}\n{{\"prompt\": \"{text}\", \"completion\": \"c\"}}");
    let examples = read("windows", &lines, 4, Long::Split { overlap: 2, most: 16 }).expect("sound rows");
    let texts: Vec<&Example> = examples.iter().filter(|example| example.record == Some(0)).collect();
    assert_eq!(texts[0], &example(&[1, 2, 3, 1], 0, 0));
    assert_eq!(texts[1], &example(&[3, 1, 2, 3], 2, 0));
    // All but the first of 9 tokens.
    assert_eq!(texts.iter().map(|window| window.learnt()).sum::<usize>(), 8);
    let answered: Vec<&Example> = examples.iter().filter(|example| example.record == Some(1)).collect();
    assert_eq!(answered, [&example(&[1, 2, 3, 9], 2, 1)]);
    let error =
        read("apart", &lines, 4, Long::Split { overlap: 0, most: 16 }).expect_err("windows share nothing");
    assert!(error.contains("must share from 1 to 3"), "{error}");
}

#[test]
fn bad_rows_are_named_with_file_and_line() {
    let refused = |name, lines: &str| read(name, lines, 8, Long::Cut).expect_err("a row is broken");
    let error = refused("bad", "{\"text\": \"a\"}\n{\"prompt\": \"a\"}");
    assert!(error.contains("examples.jsonl, line 2: there is neither “prompt” with “completion”"), "{error}");
    let error = refused("last", r#"{"messages": [{"role": "user", "content": "a"}]}"#);
    assert!(error.contains("line 1: none of “messages” is the assistant's"), "{error}");
    let error = refused("choice", r#"{"question": "a", "choices": ["b"], "answer": 1}"#);
    assert!(error.contains("line 1: “choices” has 1 entries"), "{error}");
    assert!(refused("none", "").contains("at least one is needed"));
}

#[test]
fn questions_are_read_with_the_number_of_the_right_choice() {
    let folder = scratch("asked");
    let path = folder.join("questions.jsonl");
    let rows = r#"{"question": "a b", "choices": ["a", "c b"], "answer": 1}"#;
    fs::write(&path, rows).expect("the folder can be written");
    let reader = Reader::open(&folder, Some(9), 16, Long::Cut).expect("a sound tokenizer");
    let read = reader.questions(&path).expect("a sound row");
    let question = Question { prompt: vec![1, 2], options: vec![vec![1], vec![3, 2]] };
    assert_eq!(read, [(question, 1)]);
    for wrong in [r#"{"text": "a"}"#, r#"{"question": "a", "choices": ["b"], "answer": 1}"#, ""] {
        fs::write(&path, wrong).expect("the folder can be written");
        let error = reader.questions(&path).expect_err(wrong).to_string();
        assert!(error.contains("questions.jsonl"), "{error}");
    }
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn long_options_leave_a_quarter_to_the_prompt() {
    let folder = scratch("question");
    let reader = Reader::open(&folder, None, 8, Long::Cut).expect("a sound tokenizer");
    let options = ["a b c".to_owned(), "a b c a b c a b c".to_owned()];
    let question = reader.question("c b a", &options).expect("plain text");
    assert_eq!((question.prompt, question.options[0].len(), question.options[1].len()), (vec![2, 1], 3, 6));
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn rows_with_labels_become_texts_with_classes() {
    let folder = scratch("labelled");
    let path = folder.join("examples.jsonl");
    let open = |long| Reader::open(&folder, Some(9), 3, long).expect("a sound tokenizer");
    let classes = || vec!["up".to_owned(), "down".to_owned()];
    let reader = open(Long::Cut).with_classes(classes()).expect("long texts are cut");
    let rows = r#"{"text": "a b", "label": "down"}
{"title": "c c", "description": "b b", "label_name": "up", "label": 7}"#;
    fs::write(&path, rows).expect("the folder can be written");
    let examples = reader.read(&path).expect("sound rows");
    let classified = |tokens: &[i64], class, record, cut| Example {
        record: Some(record),
        cut,
        ..Example::for_class(tokens.to_vec(), class)
    };
    assert_eq!(examples, [classified(&[1, 2], 1, 0, false), classified(&[3, 3, 2], 0, 1, true)]);
    for (row, expected) in [
        (r#"{"text": "a", "label": "left"}"#, "line 1: its label is not one of the task's classes: up, down"),
        (r#"{"text": "", "label": "up"}"#, "line 1: “text” is empty"),
        (r#"{"text": "a"}"#, "each row must have “text” and “label”"),
    ] {
        fs::write(&path, row).expect("the folder can be written");
        let error = reader.read(&path).expect_err(row).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let split = open(Long::Split { overlap: 1, most: 16 }).with_classes(classes());
    assert!(split.err().expect("windows of one text").to_string().contains("are not split"));
    open(Long::Split { overlap: 1, most: 16 })
        .with_classes(vec![])
        .expect("a language model's texts may be split");
    fs::remove_dir_all(folder).expect("it was made above");
}
