//! The examples from which a model learns, and the questions on which it is measured.

use std::ops::Range;

use tch::Tensor;

use crate::device::uploaded;
use crate::families::config::limits::Limits;
use crate::families::models::batch::ExampleBatch;
use crate::families::{PublishedModel, Tokens};
use crate::texts::beyond;
use crate::training::private::by_record;

/// A text as tokens, some of which are learnt; or a text whose class is learnt.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Example {
    /// Numbers of all tokens.
    pub tokens: Vec<i64>,
    /// How many tokens at the start are given: nothing is learnt from predicting them. For a Switch
    /// Transformer these are the source.
    pub given: usize,
    /// The class of the whole text, if that is learnt instead of tokens: its number among the adapter's
    /// classes. Then `given` and `skipped` are ignored.
    pub class: Option<usize>,
    /// Later tokens that are given too, in ascending ranges: in a conversation, what is not the assistant's.
    pub skipped: Vec<Range<usize>>,
    /// The record, for privacy, to which it belongs: the windows of one note are one record, and so are all
    /// notes of a patient if a column names patients. An example without a number is a record of its own.
    pub record: Option<usize>,
    /// Whether its text was longer than the model reads, so that a part of it is missing.
    pub cut: bool,
}

impl Example {
    /// A text of which all tokens after the first `given` are learnt. It is a record of its own.
    pub fn new(tokens: Vec<i64>, given: usize) -> Self {
        Self { tokens, given, ..Self::default() }
    }

    /// A text of which the class is learnt. It is a record of its own.
    pub fn for_class(tokens: Vec<i64>, class: usize) -> Self {
        Self { tokens, class: Some(class), ..Self::default() }
    }

    /// How many tokens are learnt, or 1 for a class.
    pub(crate) fn learnt(&self) -> usize {
        self.targets().len()
    }

    /// The tokens or the class that are learnt. Each comes with the index of the token whose hidden state
    /// predicts it: the token before a token, and the last token for a class.
    pub(crate) fn targets(&self) -> Vec<(usize, i64)> {
        let last = self.tokens.len().checked_sub(1);
        match self.class {
            Some(class) => last.map(|last| (last, class as i64)).into_iter().collect(),
            None => self.places().map(|place| (place - 1, self.tokens[place])).collect(),
        }
    }

    /// The indices of the tokens that are learnt. The first token of a text is never learnt, because no token
    /// predicts it.
    fn places(&self) -> impl Iterator<Item = usize> {
        (self.given.max(1)..self.tokens.len())
            .filter(|place| !self.skipped.iter().any(|range| range.contains(place)))
    }

    /// Checks that a model with these limits can learn from it and be measured on it.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), String> {
        let Limits { vocabulary, positions, has_encoder, classes } = *limits;
        self.check_class(classes)?;
        if self.learnt() == 0 || (has_encoder && self.given == 0) {
            return Err("there is nothing to learn, or nothing to learn it from".to_owned());
        }
        // The rows of a target and its learnt tokens must match one by one.
        if has_encoder && !self.skipped.is_empty() {
            return Err("a Switch Transformer learns its whole target, so a conversation must be one prompt with one answer"
                .to_owned());
        }
        if let Some(most) = positions.filter(|&most| self.tokens.len() > most) {
            return Err(format!("it has {} tokens; the model reads {most}", self.tokens.len()));
        }
        // Found before training, where libtorch would panic on the index.
        match self.tokens.iter().find(|&&token| token < 0 || token >= vocabulary as i64) {
            Some(&token) => Err(beyond(token, vocabulary)),
            None => Ok(()),
        }
    }
}

/// The indices of the examples of each record.
pub(super) fn records(examples: &[Example]) -> Vec<Vec<usize>> {
    // An example without a record gets a number that no other example has.
    let unused = examples.iter().filter_map(|example| example.record).max().map_or(0, |largest| largest + 1);
    let numbered = examples.iter().enumerate();
    by_record(numbered.map(|(place, example)| example.record.unwrap_or(unused + place)))
}

impl Example {
    /// Checks that it has a class if there is a head over so many classes, and no class if there is none.
    fn check_class(&self, classes: usize) -> Result<(), String> {
        match self.class {
            None if classes == 0 => Ok(()),
            None => Err("it has no class, but a head over classes learns only classes".to_owned()),
            Some(_) if classes == 0 => {
                Err("it has a class, but the adapter has no head over classes".to_owned())
            }
            Some(class) if class >= classes => {
                Err(format!("its class is number {class}, counted from 0; there are {classes}"))
            }
            Some(_) => Ok(()),
        }
    }
}

/// A multiple-choice question: a prompt and the texts that may follow it, as tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The question, which is given.
    pub prompt: Vec<i64>,
    /// The texts that may follow it.
    pub options: Vec<Vec<i64>>,
}

impl Question {
    /// One example for each option: the option after the prompt.
    pub fn examples(&self) -> impl Iterator<Item = Example> {
        self.options
            .iter()
            .map(|option| Example::new([self.prompt.as_slice(), option].concat(), self.prompt.len()))
    }
}

impl ExampleBatch {
    /// Packs examples for a model, on its device.
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
                let (sources, targets): (Vec<&[i64]>, Vec<&[i64]>) =
                    examples.iter().map(|example| example.tokens.split_at(example.given)).unzip();
                let targets = Some(Tokens::new(&targets, device));
                // All of the target is learnt (`check` rejects skipped tokens), so each row predicts one.
                Self { texts: Tokens::new(&sources, device), targets, rows: None, learnt, counts }
            }
        }
    }
}

/// The row of the packed batch that predicts each token or class that is learnt.
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
        let labelled = Example::for_class(vec![1; 4], 2);
        assert_eq!((labelled.targets(), labelled.learnt()), (vec![(3, 2)], 1));
        assert_eq!(predicting_rows(&[&labelled, &second, &labelled]), [3, 4, 5, 10]);
        assert_eq!(Example::for_class(vec![], 2).learnt(), 0);
    }
}
