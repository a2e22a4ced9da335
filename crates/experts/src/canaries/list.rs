//! What a hospital keeps of its canaries.

use std::collections::BTreeSet;

use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form::CanaryForm;
use super::random::{below, shuffle};
use crate::error::ExpertsError;
use crate::task::Task;

/// The format of the file, which a reader looks at before anything else.
const FORMAT: &str = "cloister/canaries/v1";
/// Digits of a canary's number. A model that guesses recites one of 10⁹.
pub const DIGITS: usize = 9;
/// The fewest digits that a file may name: with fewer, a guess would be mistaken for recitation.
const FEWEST_DIGITS: usize = 3;
/// The most digits. Candidates are drawn with 53 bits, and 10¹⁵ is less than 2⁵³.
const MOST_DIGITS: usize = 15;
/// The most rows of canaries.
const MOST_COPIES: usize = 1_000_000;

/// How many canaries are planted, and how often. The hospital sets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlantingSettings {
    /// The numbers of times that canaries are planted, each at least 1.
    pub repeats: Vec<usize>,
    /// How many canaries there are for each of them, at least 1.
    pub canaries: usize,
    /// Digits of a canary's number, 3 to 15.
    pub digits: usize,
}

/// A canary, or a control. Not `Debug`, so that no message has the number by mistake.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryEntry {
    /// The sentence before the number.
    pub carrier: String,
    /// The number's digits.
    pub secret: String,
    /// The class that it was given, for a task with classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// How often it was planted; 0 for a control.
    pub repeats: usize,
}

/// The canaries and controls of one planting, as the hospital's file has them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryList {
    format: String,
    /// The digest of the task file, in hexadecimal digits.
    task: String,
    form: CanaryForm,
    /// Digits of each number. All numbers of so many digits, leading zeros included, are equally likely.
    pub(super) digits: usize,
    /// Seed of the candidates. It is drawn with the canaries, so that a second test of a model gives the same result.
    pub(super) seed: u64,
    pub(super) canaries: Vec<CanaryEntry>,
}

impl CanaryList {
    /// Draws canaries, and as many controls.
    ///
    /// # Errors
    /// [`ExpertsError::Canaries`] for settings outside their limits.
    pub(super) fn draw(
        task: &Task,
        task_digest: &str,
        form: CanaryForm,
        settings: &PlantingSettings,
        random: &mut impl Rng,
    ) -> Result<Self, ExpertsError> {
        settings.check()?;
        let planted =
            settings.repeats.iter().flat_map(|&count| std::iter::repeat_n(count, settings.canaries));
        let mut repeats: Vec<usize> = planted.collect();
        repeats.extend(vec![0; repeats.len()]);
        // Shuffled, so that neither the number in a canary's sentence nor its place says how often it was planted.
        shuffle(random, &mut repeats);
        let mut taken = BTreeSet::new();
        let mut canaries = Vec::with_capacity(repeats.len());
        for (number, repeats) in repeats.into_iter().enumerate() {
            let class = drawn_class(task, random);
            let secret = drawn_secret(settings.digits, &mut taken, random);
            canaries.push(CanaryEntry { carrier: form.carrier(number), secret, class, repeats });
        }
        Ok(Self {
            format: FORMAT.to_owned(),
            task: task_digest.to_owned(),
            form,
            digits: settings.digits,
            seed: random.next_u64(),
            canaries,
        })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`ExpertsError::Canaries`] for the file of a later version, for another file, and for values outside their limits.
    pub fn parse(text: &str) -> Result<Self, ExpertsError> {
        let value: Value = serde_json::from_str(text).map_err(damaged)?;
        // FILE-01: before anything else is read, because a later version may have other fields.
        match value["format"].as_str() {
            Some(FORMAT) => {}
            Some(other) if other.starts_with("cloister/canaries/") => {
                return Err(ExpertsError::Canaries(format!(
                    "it has the format {other}, and this version reads {FORMAT}: a later version of the program wrote it; \
                     install that version"
                )));
            }
            _ => {
                return Err(ExpertsError::Canaries(
                    "it is not a file of canaries' secrets; give the file that `cloister canaries plant` wrote as --secrets"
                        .to_owned(),
                ));
            }
        }
        let secrets: Self = serde_json::from_value(value).map_err(damaged)?;
        secrets.check()?;
        Ok(secrets)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        // Plain data, which serialisation cannot reject.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Checks that the canaries were planted for a task.
    ///
    /// # Errors
    /// [`ExpertsError::Canaries`].
    pub fn check_task(&self, task_digest: &str) -> Result<(), ExpertsError> {
        match self.task == task_digest {
            true => Ok(()),
            false => Err(ExpertsError::Canaries(format!(
                "its canaries were planted for the task {}, and the task file is {task_digest}; give the task file that they \
                 were planted for, or plant canaries for this one and train again",
                self.task
            ))),
        }
    }

    /// The canaries and the controls.
    pub fn canaries(&self) -> &[CanaryEntry] {
        &self.canaries
    }

    /// How many rows the canaries take in the copy.
    pub fn copies(&self) -> usize {
        // Whatever a file says, the sum does not overflow.
        self.canaries.iter().map(|canary| canary.repeats).fold(0, usize::saturating_add)
    }

    /// The row of a canary, with `number` in the place of its number.
    pub(super) fn row(&self, canary: &CanaryEntry, number: &str) -> Map<String, Value> {
        self.form.row(&canary.carrier, number, canary.class.as_deref())
    }

    /// How many candidates a canary can have: fewer than half of all numbers, so that distinct ones are drawn quickly.
    pub(super) fn most_candidates(&self) -> usize {
        10_usize.pow(self.digits as u32) / 2 - 1
    }

    fn check(&self) -> Result<(), ExpertsError> {
        let has_both = self.copies() > 0 && self.canaries.iter().any(|canary| canary.repeats == 0);
        let in_limits = (FEWEST_DIGITS..=MOST_DIGITS).contains(&self.digits);
        match in_limits && has_both && self.canaries.iter().all(|canary| is_number(&canary.secret, self.digits)) {
            true => Ok(()),
            false => Err(ExpertsError::Canaries(
                "its canaries are missing or are not numbers of as many digits as it says; restore the file that `cloister \
                 canaries plant` wrote"
                    .to_owned(),
            )),
        }
    }
}

impl PlantingSettings {
    fn check(&self) -> Result<(), ExpertsError> {
        let distinct: BTreeSet<usize> = self.repeats.iter().copied().collect();
        let copies = self
            .repeats
            .iter()
            .map(|count| count.saturating_mul(self.canaries))
            .fold(0, usize::saturating_add);
        let reason = if self.canaries == 0 || distinct.is_empty() || distinct.contains(&0) {
            "plant at least one canary, at least once".to_owned()
        } else if distinct.len() < self.repeats.len() {
            "a number of repeats is given twice; give each once".to_owned()
        } else if copies > MOST_COPIES {
            format!("these canaries take {copies} rows, and at most {MOST_COPIES} are planted; plant fewer")
        } else if !(FEWEST_DIGITS..=MOST_DIGITS).contains(&self.digits) {
            format!("a canary has from {FEWEST_DIGITS} to {MOST_DIGITS} digits, not {}", self.digits)
        } else if distinct.len().saturating_mul(self.canaries) > 10_usize.pow(self.digits as u32) / 4 {
            // With as many controls, they would be half of all numbers.
            format!("there are too few numbers of {} digits for so many canaries; plant fewer", self.digits)
        } else {
            return Ok(());
        };
        Err(ExpertsError::Canaries(reason))
    }
}

fn damaged(error: serde_json::Error) -> ExpertsError {
    // Only the place: the library's words may quote a secret.
    ExpertsError::Canaries(format!(
        "it is not a sound file of canaries' secrets (line {}); restore the file that `cloister canaries plant` wrote",
        error.line()
    ))
}

fn drawn_class(task: &Task, random: &mut impl Rng) -> Option<String> {
    let classes = task.classes();
    (!classes.is_empty()).then(|| classes[below(random, classes.len() as u64) as usize].clone())
}

/// A number that is not taken yet, so that no canary or control is another's copy.
fn drawn_secret(digits: usize, taken: &mut BTreeSet<String>, random: &mut impl Rng) -> String {
    loop {
        let secret = with_zeros(below(random, 10_u64.pow(digits as u32)), digits);
        if taken.insert(secret.clone()) {
            return secret;
        }
    }
}

/// Whether a text is a number of so many digits.
fn is_number(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// A number with leading zeros.
pub(super) fn with_zeros(number: u64, digits: usize) -> String {
    format!("{number:0digits$}")
}
