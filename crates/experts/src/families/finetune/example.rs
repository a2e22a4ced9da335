//! What a language model learns from.

use std::ops::Range;

use tch::{Device, Tensor};

use crate::device::uploaded;
use crate::families::config::limits::Limits;
use crate::families::models::batch::ExampleBatch;
use crate::families::{PublishedModel, Tokens};
use crate::texts::beyond;
use crate::training::private::by_record;

/// A text as tokens, some of which are to be learnt.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Example {
    /// Numbers of all tokens.
    pub tokens: Vec<i64>,
    /// How many of them, from the first on, are given: nothing is learnt from predicting them. For a Switch
    /// Transformer these are the source.
    pub given: usize,
    /// The class of the whole text, where that is learnt in place of tokens: its number among the adapter's classes. Then
    /// `given` and `skipped` play no part.
    pub class: Option<usize>,
    /// Tokens after those that are given too, in ascending ranges: what others than the assistant say in a conversation.
    pub skipped: Vec<Range<usize>>,
    /// The record that it is a part of: windows of one note, and all notes of a patient where a column names patients, count as one
    /// record for privacy. An example without one is a record of its own.
    pub record: Option<usize>,
    /// Whether its text was longer than a model reads, so that something of it is missing.
    pub cut: bool,
}

impl Example {
    /// A text of which everything after the first `given` tokens is learnt, a record of its own.
    pub fn new(tokens: Vec<i64>, given: usize) -> Self {
        Self { tokens, given, ..Self::default() }
    }

    /// A text of which the class is learnt, a record of its own.
    pub fn of_class(tokens: Vec<i64>, class: usize) -> Self {
        Self { tokens, class: Some(class), ..Self::default() }
    }

    /// How many tokens are learnt, or 1 for a class.
    pub(crate) fn learnt(&self) -> usize {
        self.targets().len()
    }

    /// What is learnt, each with the place of the token whose hidden state tells it: the one before a token, and the last
    /// one for a class.
    pub(crate) fn targets(&self) -> Vec<(usize, i64)> {
        let last = self.tokens.len().checked_sub(1);
        match self.class {
            Some(class) => last.map(|last| (last, class as i64)).into_iter().collect(),
            None => self.places().map(|place| (place - 1, self.tokens[place])).collect(),
        }
    }

    /// The places of the tokens that are learnt: the first token of a text has nothing to be predicted from.
    fn places(&self) -> impl Iterator<Item = usize> {
        let skipped = |place: &usize| self.skipped.iter().any(|range| range.contains(place));
        (self.given.max(1)..self.tokens.len()).filter(move |place| !skipped(place))
    }

    /// Checks that a model can learn from it and be measured on it.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), String> {
        let Limits { vocabulary, positions, has_encoder, classes } = *limits;
        self.check_class(classes)?;
        if self.learnt() == 0 || (has_encoder && self.given == 0) {
            return Err("there is nothing to learn, or nothing to learn it from".to_owned());
        }
        if has_encoder && !self.skipped.is_empty() {
            return Err("a Switch Transformer learns all of its target, and skips nothing".to_owned());
        }
        if let Some(most) = positions.filter(|&most| self.tokens.len() > most) {
            return Err(format!("it has {} tokens; the model reads {most}", self.tokens.len()));
        }
        match self.tokens.iter().find(|&&token| token < 0 || token >= vocabulary as i64) {
            Some(&token) => Err(beyond(token, vocabulary)),
            None => Ok(()),
        }
    }
}

/// The examples of each record.
pub(super) fn records(examples: &[Example]) -> Vec<Vec<usize>> {
    // An example without a record gets a number that no other has.
    let unused = examples.iter().filter_map(|example| example.record).max().map_or(0, |largest| largest + 1);
    let number = |(place, example): (usize, &Example)| example.record.unwrap_or(unused + place);
    by_record(examples.iter().enumerate().map(number))
}

impl Example {
    /// Whether it teaches what a head over so many classes learns; where there is no head, that is no class.
    fn check_class(&self, classes: usize) -> Result<(), String> {
        match self.class {
            None if classes == 0 => Ok(()),
            None => Err("it has no class, and a head over classes learns nothing else".to_owned()),
            Some(_) if classes == 0 => Err("it has a class, and the adapter no head over classes".to_owned()),
            Some(class) if class >= classes => {
                Err(format!("its class is number {class}, counted from 0; there are {classes}"))
            }
            Some(_) => Ok(()),
        }
    }
}

/// A prompt and the texts that may follow it, as tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// What is asked.
    pub prompt: Vec<i64>,
    /// What may follow.
    pub options: Vec<Vec<i64>>,
}

impl Question {
    /// Each option after the prompt.
    pub fn examples(&self) -> impl Iterator<Item = Example> {
        let example =
            |option: &Vec<i64>| Example::new([self.prompt.as_slice(), option].concat(), self.prompt.len());
        self.options.iter().map(example)
    }
}

impl ExampleBatch {
    pub(crate) fn new(examples: &[&Example], model: &PublishedModel) -> Self {
        let device = model.device();
        let counts = examples.iter().map(|example| example.learnt() as i64).collect();
        let learnt: Vec<i64> =
            examples.iter().flat_map(|example| example.targets()).map(|(_, target)| target).collect();
        let learnt = uploaded(&Tensor::from_slice(&learnt), device);
        match model {
            PublishedModel::Decoder(_) => {
                let texts: Vec<&[i64]> = examples.iter().map(|example| example.tokens.as_slice()).collect();
                let rows = Some(uploaded(&Tensor::from_slice(&predicting_rows(examples)), device));
                Self { texts: Tokens::new(&texts, device), targets: None, rows, learnt, counts }
            }
            PublishedModel::Switch(_) => {
                let (sources, targets) =
                    examples.iter().map(|example| example.tokens.split_at(example.given)).unzip();
                let tokens = |texts: Vec<&[i64]>, device: Device| Tokens::new(&texts, device);
                let (sources, targets) = (tokens(sources, device), tokens(targets, device));
                Self { texts: sources, targets: Some(targets), rows: None, learnt, counts }
            }
        }
    }
}

/// The row that tells each token or class that is learnt.
fn predicting_rows(examples: &[&Example]) -> Vec<i64> {
    let mut rows = Vec::new();
    let mut start = 0;
    for example in examples {
        rows.extend(example.targets().iter().map(|(place, _)| (start + place) as i64));
        start += example.tokens.len();
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_learnt_token_is_predicted_by_the_row_before_it() {
        let example = |length, given| Example::new(vec![1; length], given);
        let (first, second) = (example(4, 2), example(3, 0));
        assert_eq!((first.learnt(), second.learnt()), (2, 2));
        assert_eq!(predicting_rows(&[&first, &second]), [1, 2, 4, 5]);
        assert_eq!(example(1, 0).learnt(), 0);
        let talk = Example { skipped: std::iter::once(3..5).collect(), ..example(7, 2) };
        assert_eq!(talk.learnt(), 3);
        assert_eq!(predicting_rows(&[&second, &talk]), [0, 1, 4, 7, 8]);
        let of_class = Example::of_class(vec![1; 4], 2);
        assert_eq!((of_class.targets(), of_class.learnt()), (vec![(3, 2)], 1));
        assert_eq!(predicting_rows(&[&of_class, &second, &of_class]), [3, 4, 5, 10]);
        assert_eq!(Example::of_class(vec![], 2).learnt(), 0);
    }
}
