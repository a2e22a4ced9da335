//! Texts, their classes and domains, and the split between training and measuring.

use std::path::{Path, PathBuf};

use cloister_experts::Note;
use cloister_experts::files::notes::{classes, read_notes};
use cloister_experts::partition::{Split, hold_out};

use crate::config::Config;
use crate::error::LabError;
use crate::seeds::{Purpose, seed_for};
use crate::shuffle::limited;

/// The files of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Files {
    pub(crate) train: Vec<PathBuf>,
    pub(crate) test: Option<PathBuf>,
}

impl Files {
    /// Files of a configuration under `folder`; `test` replaces its test file and is relative to the working folder.
    pub(crate) fn from_config(config: &Config, folder: &Path, test: Option<&Path>) -> Self {
        let train = config.data.train.iter().map(|file| folder.join(file)).collect();
        let configured = config.data.test.as_ref().map(|file| folder.join(file));
        Self { train, test: test.map(Path::to_owned).or(configured) }
    }

    pub(crate) fn all(&self) -> Vec<PathBuf> {
        self.train.iter().chain(&self.test).cloned().collect()
    }
}

/// The texts of a run: those to train on, then those of the test file.
pub(crate) struct Dataset {
    /// Names of the classes.
    pub(crate) classes: Vec<String>,
    pub(crate) notes: Vec<Note>,
    /// Class of each text.
    pub(crate) labels: Vec<usize>,
    /// Domain (file) of each text to train on.
    pub(crate) domains: Vec<usize>,
    held_out: f64,
}

impl Dataset {
    /// Reads the files of a configuration.
    pub(crate) fn read(config: &Config, files: &Files) -> Result<Self, LabError> {
        let data = &config.data;
        let mut notes = Vec::new();
        let mut domains = Vec::new();
        for (domain, file) in files.train.iter().enumerate() {
            let read = limited(read_notes(file)?, data.limit);
            domains.resize(domains.len() + read.len(), domain);
            notes.extend(read.into_iter().map(|note| named(note, domain, files.train.len())));
        }
        // Before the test file is read: its labels must not add classes that nobody trains.
        let classes = classes(&notes);
        if let Some(file) = &files.test {
            notes.extend(limited(read_notes(file)?, data.limit_of_test()));
        }
        let labels = labels(&notes, &classes, domains.len())?;
        Ok(Self { classes, notes, labels, domains, held_out: data.held_out })
    }

    /// Texts to train on and texts to measure on: the test file's, or a share of each label by the seed.
    pub(crate) fn split(&self, seed: u64) -> Result<Split, LabError> {
        let trained = self.domains.len();
        if self.notes.len() > trained {
            return Ok(Split {
                train: (0..trained).collect(),
                held_out: (trained..self.notes.len()).collect(),
            });
        }
        Ok(hold_out(&self.labels, self.held_out, seed_for(seed, Purpose::HeldOut))?)
    }
}

/// Classes of different domains are different, even if they share a name.
fn named(note: Note, domain: usize, domains: usize) -> Note {
    let label = if domains > 1 { format!("{domain}: {}", note.label) } else { note.label };
    Note { label, ..note }
}

/// The class of each text; the first `trained` of them are trained on, the others the test file's.
fn labels(notes: &[Note], classes: &[String], trained: usize) -> Result<Vec<usize>, LabError> {
    let mut labels = Vec::with_capacity(notes.len());
    for (place, note) in notes.iter().enumerate() {
        let class = classes.iter().position(|class| *class == note.label);
        labels.push(class.ok_or_else(|| {
            // Classes are those of the texts that are trained on, so that only the test file's can be unknown.
            let number = (place + 1).saturating_sub(trained);
            let reason =
                format!("the label of its text {number} is no class of the texts that are trained on");
            LabError::config("the test file", reason)
        })?);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_file_is_cut_at_its_own_limit() {
        let folder = std::env::temp_dir().join(format!("cloister-lab-data-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let lines: String =
            (0..9).map(|text| format!("{{\"text\":\"note {text}\",\"label\":\"a\"}}\n")).collect();
        for file in ["a.jsonl", "t.jsonl"] {
            std::fs::write(folder.join(file), &lines).expect("a file");
        }
        let counts = |settings: &[&str]| {
            let text = "dataset = \"x\"\n[data]\ntrain = [\"a.jsonl\"]\ntest = \"t.jsonl\"\nlimit = 3\n";
            let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
            let config = Config::parse(text, "the test", &settings).expect("a configuration");
            let dataset = Dataset::read(&config, &Files::from_config(&config, &folder, None)).expect("texts");
            let split = dataset.split(0).expect("a division");
            (split.train.len(), split.held_out.len())
        };
        assert_eq!(counts(&[]), (3, 3));
        assert_eq!(counts(&["data.test_limit=5"]), (3, 5));
        assert_eq!(counts(&["data.test_limit=0"]), (3, 9));
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }
}
