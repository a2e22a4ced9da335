//! Inversion: which text, and which words, were trained on?
//!
//! The attacker has the model and can train it. Candidates: it holds some texts, one of which was in the
//! batch, and ranks them by the angle between what it observes and the update from training on each alone.
//! Words: it learns a linear map from updates to words on texts of its own. Exact attacks read tokens off the
//! gradients of embeddings and of the first layer (Zhu, Liu and Han 2019). Those gradients never exist here,
//! because everything below the experts is frozen.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ridge::{Ridge, dot};
use super::view::{Observed, Observer, Sent, View, Whose};
use super::world::AttackedData;
use crate::error::LabError;

/// How many of the most frequent words are looked for, and how many of them a guess names.
const WORDS: usize = 200;
const GUESSED: usize = 10;
/// The length of the shortest word that is looked for, in letters. Shorter ones are in every text, and reveal
/// nothing.
const SHORTEST: usize = 4;

/// How well candidates are ranked.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Ranking {
    /// Share of the trainings whose text is ranked first.
    pub first: f64,
    /// Mean share of the other candidates that rank below the right one; ½ is chance.
    pub above: f64,
}

/// How many words are recovered from a training on one text.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct WordsFound {
    /// Share of the texts' frequent words that are among ten guesses for each text.
    pub found: f64,
    /// The same if the ten most frequent words are always guessed: the baseline, without looking.
    pub by_frequency: f64,
}

/// Ranks the candidates of each training by the angle, or scores by the distance; the right one has the training's number.
pub(crate) fn rank(observer: &Observer<'_>, view: View, trainings: &[Sent], candidates: &[Sent]) -> Ranking {
    let directions = observer.imagine(view.source, candidates);
    let lengths: Vec<f64> =
        // Only the candidate's length is divided out. The observation's is the same for all candidates of a
        // training.
        directions.iter().map(|direction| dot(direction, direction).sqrt().max(f64::MIN_POSITIVE)).collect();
    let seen = observer.observe(view, trainings, Whose::Members);
    let (mut first, mut above) = (0.0, 0.0);
    for (right, observed) in seen.iter().enumerate() {
        let mut alike: Vec<f64> = directions
            .iter()
            .zip(&lengths)
            .map(|(direction, length)| dot(observed, direction) / length)
            .collect();
        // Scores have a scale, and a few numbers say more by their distance than by their angle.
        if matches!(view.source, Observed::Scores(_) | Observed::SteeredScores(_)) {
            alike = directions.iter().map(|direction| -squared_distance(observed, direction)).collect();
        }
        // Strictly lower: candidates that tie with the right one count against the attacker.
        let beaten = alike.iter().filter(|other| **other < alike[right]).count();
        let others = directions.len() - 1;
        first += f64::from(u8::from(beaten == others));
        above += beaten as f64 / others as f64;
    }
    Ranking { first: first / seen.len() as f64, above: above / seen.len() as f64 }
}

fn squared_distance(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// The attack on words, with the words that it looks for.
pub(crate) struct WordGuesser {
    /// For each text, which of the words are in it.
    present: Vec<Vec<bool>>,
}

impl WordGuesser {
    /// Looks for the most frequent words of all texts, the attacked ones included. This favours the attacker.
    pub(crate) fn from_texts(world: &AttackedData) -> Self {
        let texts: Vec<Vec<String>> = world.notes.iter().map(|note| words(&note.text)).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for word in texts.iter().flatten() {
            *counts.entry(word).or_default() += 1;
        }
        let mut frequent: Vec<(&str, usize)> = counts.into_iter().collect();
        // Ties in the order of the alphabet, so that the words do not depend on the order of texts.
        frequent.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), *word));
        frequent.truncate(WORDS);
        let mut present = Vec::with_capacity(texts.len());
        for text in &texts {
            present.push(frequent.iter().map(|(word, _)| text.iter().any(|other| other == word)).collect());
        }
        Self { present }
    }

    /// Learns from trainings on one text each, and guesses the words of others.
    pub(crate) fn attack(
        &self,
        observer: &Observer<'_>,
        view: View,
        (known, known_texts): (&[Sent], &[usize]),
        (attacked, attacked_texts): (&[Sent], &[usize]),
    ) -> Result<WordsFound, LabError> {
        let mut targets: Vec<Vec<f64>> = Vec::with_capacity(known_texts.len());
        for text in known_texts {
            targets.push(self.present[*text].iter().map(|is_in| f64::from(u8::from(*is_in))).collect());
        }
        let ridge = Ridge::fit(&observer.observe(view, known, Whose::Attackers), &targets)?;
        let seen = observer.observe(view, attacked, Whose::Members);
        let words = WORDS.min(self.present[0].len());
        let frequencies: Vec<f64> =
            (0..words).map(|word| targets.iter().map(|row| row[word]).sum::<f64>()).collect();
        Ok(WordsFound {
            found: self.found(&seen, attacked_texts, |observed| ridge.predict(observed)),
            by_frequency: self.found(&seen, attacked_texts, |_| frequencies.clone()),
        })
    }

    /// The share of all words of the texts that are among the best guesses for their text; `scores` has a score for each
    /// word.
    fn found(&self, seen: &[Vec<f32>], texts: &[usize], scores: impl Fn(&[f32]) -> Vec<f64>) -> f64 {
        let mut hits = 0;
        for (observed, text) in seen.iter().zip(texts) {
            let scores = scores(observed);
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
            hits += order.iter().take(GUESSED).filter(|&&word| self.present[*text][word]).count();
        }
        let there: usize =
            texts.iter().map(|text| self.present[*text].iter().filter(|is_in| **is_in).count()).sum();
        hits as f64 / there.max(1) as f64
    }
}

/// Words in small letters.
fn words(text: &str) -> Vec<String> {
    let parts = text.split(|letter: char| !letter.is_alphabetic());
    parts.filter(|part| part.chars().count() >= SHORTEST).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_alone_and_not_the_shortest() {
        assert_eq!(
            words("The Marlins' 2nd pitcher, David-Weathers!"),
            ["marlins", "pitcher", "david", "weathers"]
        );
    }
}
