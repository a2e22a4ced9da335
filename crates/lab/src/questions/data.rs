//! Multiple-choice questions of public benchmarks, in the spellings of PIQA, HellaSwag and MMLU.

use std::path::Path;

use cloister_experts::classifier::embedding::EMBEDDING_WIDTH;
use cloister_experts::families::AnyConfig;
use cloister_experts::families::finetune::{Question, Reader};
use cloister_experts::files::rows::{Row, Rows};
use cloister_experts::partition::{Split, hold_out};
use cloister_experts::{Encoder, Long, ModelConfig, Note};

use crate::config::Config;
use crate::data::Files;
use crate::environment::RunEnvironment;
use crate::error::LabError;
use crate::questions::clusters::clusters;
use crate::questions::formats::{self, WrittenQuestion};
use crate::seeds::{Purpose, seed_for};
use crate::shuffle::limited;

/// A question as a file has it.
#[derive(Clone)]
struct Asked {
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
    /// Topic of each question that is trained on: its subject, or its cluster.
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
        environment: &RunEnvironment,
    ) -> Result<Self, LabError> {
        let data = &config.data;
        let reader =
            Reader::open(model, None, data.max_tokens, Long::Cut)?.for_model(&AnyConfig::read(model)?);
        let mut asked = Vec::new();
        let mut domains = Vec::new();
        for (domain, file) in files.train.iter().enumerate() {
            let read = limited(read(file, &reader)?, data.limit);
            domains.resize(domains.len() + read.len(), domain);
            asked.extend(read);
        }
        // Before the test file is read: clusters must not depend on the questions that are measured.
        let topics = topics(&asked, config, environment)?;
        if let Some(file) = &files.test {
            asked.extend(limited(read(file, &reader)?, data.limit_of_test()));
        }
        let (all, right) = asked.into_iter().map(|(asked, question)| (question, asked.right)).unzip();
        Ok(Self { all, right, topics, domains, held_out: data.held_out })
    }

    /// Questions to train on and questions to measure on: the test file's, or a share of each topic by the seed.
    pub(crate) fn split(&self, seed: u64) -> Result<Split, LabError> {
        let trained = self.domains.len();
        if self.all.len() > trained {
            return Ok(Split {
                train: (0..trained).collect(),
                held_out: (trained..self.all.len()).collect(),
            });
        }
        Ok(hold_out(&self.topics, self.held_out, seed_for(seed, Purpose::HeldOut))?)
    }
}

fn read(path: &Path, reader: &Reader) -> Result<Vec<(Asked, Question)>, LabError> {
    let mut rows = Rows::open(path, &formats::columns())?;
    let mut questions = Vec::new();
    while let Some(read) = rows.next(|row| with_tokens(row, reader)) {
        questions.push(read?);
    }
    Ok(questions)
}

fn with_tokens(row: &Row, reader: &Reader) -> Result<(Asked, Question), String> {
    let asked = asked(row)?;
    let question = reader.question(&asked.prompt, &asked.options)?;
    Ok((asked, question))
}

fn asked(row: &Row) -> Result<Asked, String> {
    let Some(format) = formats::FORMATS.iter().find(|format| format.is_of(row)) else {
        let known: Vec<String> = formats::FORMATS.iter().map(|format| format.fields.join(", ")).collect();
        return Err(format!("a question has the fields {}", known.join("; or ")));
    };
    let WrittenQuestion { prompt, options, right } = (format.read)(row)?;
    let right = right.filter(|&right| right < options.len());
    let Some(right) = right.filter(|_| options.iter().all(|option| !option.trim().is_empty())) else {
        return Err("there is no option of the right one's number, or an option is empty".to_owned());
    };
    // A space before each option, as in the middle of a text: its tokens depend on that.
    let options = options.iter().map(|option| format!(" {}", option.trim())).collect();
    Ok(Asked { prompt, options, right, subject: row.text("subject")?.map(str::to_owned) })
}

/// Each question's subject, or, where none is named, its cluster.
fn topics(
    asked: &[(Asked, Question)],
    config: &Config,
    environment: &RunEnvironment,
) -> Result<Vec<usize>, LabError> {
    // All or none: clusters and subjects are different kinds of labels and are not mixed.
    let subjects: Option<Vec<&String>> = asked.iter().map(|(asked, _)| asked.subject.as_ref()).collect();
    if let Some(subjects) = subjects {
        let mut names = subjects.clone();
        names.sort();
        names.dedup();
        return Ok(subjects.iter().map(|subject| names.binary_search(subject).unwrap_or(0)).collect());
    }
    let prompts = asked.iter().map(|(asked, _)| asked.prompt.clone());
    let notes: Vec<Note> = prompts.map(|text| Note { text, label: String::new() }).collect();
    let model = ModelConfig { max_tokens: 64, ..ModelConfig::new(vec!["a".to_owned(), "b".to_owned()]) };
    let encoder = Encoder::open(&environment.minilm, model, 1, environment.device)?;
    let rows = encoder.embeddings(&notes, 1, &mut |_, _| ())?;
    // A constant seed: topics are the data's labels, and must not differ between a run's seeds.
    Ok(clusters(&rows, EMBEDDING_WIDTH, config.partition.clusters, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The question of a file's one line.
    fn asked_of(line: &str) -> Result<Asked, String> {
        let name = format!("cloister-lab-asked-{}-{}.jsonl", std::process::id(), line.len());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("{line}\n")).expect("a file");
        let rows = Rows::open(&path, &formats::columns());
        let read = rows.and_then(|mut rows| rows.next(asked).expect("a row"));
        std::fs::remove_file(path).expect("it was written");
        read.map_err(|error| error.to_string())
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
