//! Multiple-choice questions of public benchmarks, in the spellings of PIQA, HellaSwag and MMLU.

use std::path::Path;

use cloister_experts::Note;
use cloister_experts::embedding::EMBEDDING_WIDTH;
use cloister_experts::finetune::{Long, Question, Reader};
use cloister_experts::partition::{Split, hold_out};
use cloister_experts::rows::Rows;
use cloister_experts::{Encoder, ModelConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Config;
use crate::data::Files;
use crate::error::LabError;
use crate::partition::limited;
use crate::questions::clusters::clusters;
use crate::run::Folders;

/// A question as a file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// What a model is shown.
    prompt: String,
    options: Vec<String>,
    right: usize,
    subject: Option<String>,
}

/// The questions of a run: those to train on, then those of the test file.
pub(crate) struct Questions {
    /// As tokens.
    pub(crate) all: Vec<Question>,
    /// The right option of each.
    pub(crate) right: Vec<usize>,
    /// Topic of each that is trained on: its subject, or its cluster.
    pub(crate) topics: Vec<usize>,
    /// The file of each that is trained on.
    pub(crate) domains: Vec<usize>,
    held_out: f64,
}

impl Questions {
    /// Reads the files of a configuration.
    pub(crate) fn read(
        config: &Config,
        files: &Files,
        model: &Path,
        folders: &Folders,
    ) -> Result<Self, LabError> {
        let data = &config.data;
        let mut asked = Vec::new();
        let mut domains = Vec::new();
        for (domain, file) in files.train.iter().enumerate() {
            let own = limited(read(file)?, data.limit);
            domains.resize(domains.len() + own.len(), domain);
            asked.extend(own);
        }
        let topics = topics(&asked, config, folders)?;
        if let Some(file) = &files.test {
            asked.extend(limited(read(file)?, data.limit_of_test()));
        }
        let reader = Reader::open(model, None, data.max_tokens, Long::Cut)?;
        let question = |own: &Asked| reader.question(&own.prompt, &own.options);
        let all: Result<Vec<Question>, _> = asked.iter().map(question).collect();
        let right = asked.iter().map(|own| own.right).collect();
        Ok(Self { all: all?, right, topics, domains, held_out: data.held_out })
    }

    /// Questions to train on and questions to measure on: the test file's, or a share of each topic by the seed.
    pub(crate) fn split(&self, seed: u64) -> Result<Split, LabError> {
        let own = self.domains.len();
        if self.all.len() > own {
            return Ok(Split { train: (0..own).collect(), held_out: (own..self.all.len()).collect() });
        }
        Ok(hold_out(&self.topics, self.held_out, seed)?)
    }
}

const COLUMNS: &[&str] =
    &["goal", "sol1", "sol2", "query", "endings", "label", "question", "choices", "answer", "subject"];

#[derive(Deserialize)]
struct Row {
    goal: Option<String>,
    sol1: Option<String>,
    sol2: Option<String>,
    query: Option<String>,
    endings: Option<Vec<String>>,
    label: Option<usize>,
    question: Option<String>,
    choices: Option<Vec<String>>,
    answer: Option<usize>,
    subject: Option<String>,
}

fn read(path: &Path) -> Result<Vec<Asked>, LabError> {
    let mut rows = Rows::open(path, COLUMNS)?;
    std::iter::from_fn(|| rows.next(asked)).map(|asked| Ok(asked?)).collect()
}

fn asked(row: Value) -> Result<Asked, String> {
    let row: Row = serde_json::from_value(row).map_err(|error| error.to_string())?;
    let answered = |text: String| format!("Question: {text}\nAnswer:");
    let (prompt, options, right) = match row {
        Row { goal: Some(goal), sol1: Some(one), sol2: Some(two), label: Some(right), .. } => {
            (answered(goal), vec![one, two], right)
        }
        Row { query: Some(query), endings: Some(endings), label: Some(right), .. } => (query, endings, right),
        Row { question: Some(question), choices: Some(choices), answer: Some(right), .. } => {
            (answered(question), choices, right)
        }
        _ => {
            let known = ["goal, sol1, sol2, label", "query, endings, label", "question, choices, answer"];
            return Err(format!("a question has the fields {}", known.join("; or ")));
        }
    };
    if right >= options.len() || options.iter().any(|option| option.trim().is_empty()) {
        return Err(format!("there is no right option number {right}, or an option is empty"));
    }
    let options = options.iter().map(|option| format!(" {}", option.trim())).collect();
    Ok(Asked { prompt, options, right, subject: row.subject })
}

/// Each question's subject, or, where none is named, its cluster.
fn topics(asked: &[Asked], config: &Config, folders: &Folders) -> Result<Vec<usize>, LabError> {
    let subjects: Option<Vec<&String>> = asked.iter().map(|own| own.subject.as_ref()).collect();
    if let Some(subjects) = subjects {
        let mut names = subjects.clone();
        names.sort();
        names.dedup();
        return Ok(subjects.iter().map(|own| names.binary_search(own).unwrap_or(0)).collect());
    }
    let note = |own: &Asked| Note { text: own.prompt.clone(), label: String::new() };
    let notes: Vec<Note> = asked.iter().map(note).collect();
    let model = ModelConfig { max_tokens: 64, ..ModelConfig::new(vec!["a".to_owned(), "b".to_owned()]) };
    let encoder = Encoder::open(&folders.minilm, model, 1, folders.device)?;
    let rows = encoder.embeddings(&notes, 1, &mut |_, _| ())?;
    Ok(clusters(&rows, EMBEDDING_WIDTH, config.partition.clusters, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_of(line: &str) -> Result<Asked, String> {
        asked(serde_json::from_str(line).expect("JSON"))
    }

    #[test]
    fn three_spellings_are_read_and_others_are_not() {
        let piqa = asked_of(r#"{"goal": "Boil an egg", "sol1": "In water ", "sol2": "In sand", "label": 0}"#);
        let piqa = piqa.expect("a question");
        assert_eq!(piqa.prompt, "Question: Boil an egg\nAnswer:");
        assert_eq!((piqa.options[0].as_str(), piqa.right), (" In water", 0));
        let mmlu = asked_of(r#"{"subject": "law", "question": "Q", "choices": ["a", "b"], "answer": 1}"#);
        assert_eq!(mmlu.expect("a question").subject.as_deref(), Some("law"));
        let hellaswag = asked_of(r#"{"query": "He", "endings": ["runs", "sits"], "label": 1}"#);
        assert_eq!(hellaswag.expect("a question").prompt, "He");
        for wrong in [
            r#"{"question": "Q", "choices": ["a", "b"], "answer": 2}"#,
            r#"{"question": "Q", "choices": ["a", ""], "answer": 0}"#,
            r#"{"text": "a", "label": "b"}"#,
            "[]",
        ] {
            assert!(asked_of(wrong).is_err(), "{wrong}");
        }
    }
}
