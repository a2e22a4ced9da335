//! Asks a trained model for the likelihood of canaries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tch::Kind;

use super::exposure::{CanaryReport, MeasuredCanary, check_power};
use super::list::{CanaryEntry, CanaryList, with_zeros};
use crate::classifier::encoder::{EncodedNote, Encoder};
use crate::classifier::predicting::LoadedClassifier;
use crate::draw::{Draw, DrawPurpose};
use crate::error::ExpertsError;
use crate::families::PublishedModel;
use crate::families::finetune::{Example, FineTuner, Reader};
use crate::files::notes::labelled_text;
use crate::files::rows::Row;
use crate::prediction::{PredictorSettings, TrainedModel, diverged};
use crate::task::Task;
use crate::texts::Windows;
use crate::training::settings::LocalTraining;

/// A trained model, to be tested with the canaries of a hospital.
pub struct CanaryTester {
    path: PathBuf,
    windows: Windows,
    model: TrainedModel,
}

/// The likelihoods of a canary, which comes first, and of its candidates.
struct Measured {
    likelihoods: Vec<f64>,
    is_recited: Option<bool>,
}

impl CanaryTester {
    /// Loads a model as [`Predictor::open`](crate::prediction::Predictor::open) does, and language models too.
    ///
    /// # Errors
    /// As [`Predictor::open`](crate::prediction::Predictor::open), but not for a task without classes.
    pub fn open(task: &Task, model: &Path, settings: &PredictorSettings) -> Result<Self, ExpertsError> {
        let loaded = TrainedModel::open(task, model, settings)?;
        Ok(Self { path: model.to_owned(), windows: settings.windows, model: loaded })
    }

    /// Ranks each canary and control among as many candidates. `progress` gets how many are ranked, and how many there are.
    ///
    /// # Errors
    /// [`ExpertsError::Canaries`] if so many candidates are too few or too many, or if the model cannot read the canaries or
    /// tell their numbers apart; [`ExpertsError::Content`] if the model computes no numbers.
    pub fn test(
        &self,
        secrets: &CanaryList,
        candidates: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<CanaryReport, ExpertsError> {
        if candidates > secrets.most_candidates() {
            return Err(ExpertsError::Canaries(format!(
                "canaries of {} digits can have at most {} candidates, not {candidates}; take fewer",
                secrets.digits,
                secrets.most_candidates()
            )));
        }
        check_power(secrets.canaries.iter().map(|canary| canary.repeats), candidates)?;
        let mut measured = Vec::with_capacity(secrets.canaries.len());
        for (number, canary) in secrets.canaries.iter().enumerate() {
            let mut draw = Draw::new(secrets.seed, DrawPurpose::Candidates, number);
            let numbers = with_candidates(canary, secrets.digits, candidates, &mut draw);
            let Measured { likelihoods, is_recited } = self.measure(secrets, canary, &numbers)?;
            if likelihoods.iter().any(|likelihood| !likelihood.is_finite()) {
                return Err(diverged(&self.path));
            }
            let rank = rank_of_first(&likelihoods, &mut draw);
            measured.push(MeasuredCanary { repeats: canary.repeats, rank, is_recited });
            progress(number + 1, secrets.canaries.len());
        }
        Ok(CanaryReport::new(&measured, candidates))
    }

    /// The likelihoods of a canary's row with each of these numbers, read as training reads it.
    fn measure(
        &self,
        secrets: &CanaryList,
        canary: &CanaryEntry,
        numbers: &[String],
    ) -> Result<Measured, ExpertsError> {
        let rows = numbers.iter().map(|number| Row::typed(secrets.row(canary, number)));
        match &self.model {
            TrainedModel::Classifier { encoder, loaded } => {
                let read = rows.map(|row| encoded(encoder, &row, self.windows)).collect::<Result<_, _>>();
                let class = encoder.config().known_class(canary.class.as_deref().unwrap_or_default());
                let read = read.and_then(|notes| Ok((notes, class?)));
                let (notes, class) = read.map_err(unreadable)?;
                measure_notes((encoder, loaded), notes, class)
            }
            TrainedModel::Published { reader, tuner } => {
                let read = rows.map(|row| example(reader, &row)).collect::<Result<_, _>>();
                measure_examples(tuner, read.map_err(unreadable)?)
            }
        }
    }
}

/// The canary's number and as many others, all distinct and uniform. So the canary's place among them is uniform if the model
/// does not depend on it.
fn with_candidates(canary: &CanaryEntry, digits: usize, candidates: usize, draw: &mut Draw) -> Vec<String> {
    let mut taken = BTreeSet::from([canary.secret.clone()]);
    let mut numbers = vec![canary.secret.clone()];
    while numbers.len() <= candidates {
        let number = with_zeros(draw.below(10_usize.pow(digits as u32)) as u64, digits);
        if taken.insert(number.clone()) {
            numbers.push(number);
        }
    }
    numbers
}

/// The place of the first likelihood among all, from 1 for the largest. Among equal ones the place is drawn: counted as the
/// best or the worst of them, ranks would not be uniform.
fn rank_of_first(likelihoods: &[f64], draw: &mut Draw) -> usize {
    let first = likelihoods[0];
    let larger = likelihoods.iter().filter(|&&other| other > first).count();
    let equal = likelihoods.iter().filter(|&&other| other == first).count();
    1 + larger + draw.below(equal)
}

fn unreadable(reason: String) -> ExpertsError {
    ExpertsError::Canaries(format!("the model cannot be tested with these canaries: {reason}"))
}

fn check_whole(was_cut: bool) -> Result<(), String> {
    match was_cut {
        true => Err("a canary has more tokens than the task reads of a text (max_tokens), so that its number is cut; canaries \
                     are for tasks that read longer texts"
            .to_owned()),
        false => Ok(()),
    }
}

/// Checks that no two numbers are the same tokens.
fn check_distinct(mut texts: Vec<&[i64]>) -> Result<(), ExpertsError> {
    let all = texts.len();
    texts.sort_unstable();
    texts.dedup();
    match texts.len() == all {
        true => Ok(()),
        false => Err(unreadable(
            "its tokenizer does not tell numbers apart, so it cannot recite one; its tokens have no digits"
                .to_owned(),
        )),
    }
}

fn encoded(encoder: &Encoder, row: &Row, windows: Windows) -> Result<EncodedNote, String> {
    let note = encoder.encode_text(&labelled_text(row)?.text, windows)?;
    check_whole(note.was_cut).map(|()| note)
}

fn measure_notes(
    (encoder, loaded): (&Encoder, &LoadedClassifier),
    notes: Vec<EncodedNote>,
    class: usize,
) -> Result<Measured, ExpertsError> {
    check_distinct(notes.iter().flat_map(|note| &note.windows).map(Vec::as_slice).collect())?;
    let likelihoods = loaded.likelihoods(&encoder.features_of_texts(notes)?, class);
    Ok(Measured { likelihoods, is_recited: None })
}

fn example(reader: &Reader, row: &Row) -> Result<Example, String> {
    let mut examples = reader.examples(row)?;
    check_whole(examples.len() != 1 || examples[0].cut)?;
    Ok(examples.remove(0))
}

fn measure_examples(tuner: &FineTuner, mut examples: Vec<Example>) -> Result<Measured, ExpertsError> {
    check_distinct(examples.iter().map(|example| example.tokens.as_slice()).collect())?;
    let batch_size = LocalTraining::default().batch_size;
    let is_recited = match examples[0].class {
        Some(_) => None,
        None => {
            let number = number_alone(tuner.model(), &mut examples);
            let recited = tuner.predict(&[number], 1)?;
            // Each token is the likeliest one after the tokens before it. So by induction they are what a model writes that
            // takes the likeliest token each time.
            Some(recited.right == recited.tokens)
        }
    };
    // In 64-bit floats: a model that is certain would otherwise find many candidates equally likely.
    let likelihoods = tuner.likelihoods(&examples, batch_size, Kind::Double)?;
    Ok(Measured { likelihoods, is_recited })
}

/// Has nothing learnt but what differs between the examples, which is the number and what follows it. Returns the first
/// example without what follows its number.
fn number_alone(model: &PublishedModel, examples: &mut [Example]) -> Example {
    let shortest = examples.iter().map(|example| example.tokens.len()).min().unwrap_or(0);
    let first = examples[0].tokens.clone();
    let others = examples.iter().skip(1).map(|example| &example.tokens);
    let start = others.clone().map(|other| equal(first.iter(), other.iter())).min().unwrap_or(0);
    let start = start.min(shortest - 1);
    let end = others.map(|other| equal(first.iter().rev(), other.iter().rev())).min().unwrap_or(0);
    let end = first.len() - end.min(shortest - 1 - start);
    // Of an encoder and decoder, `given` is where the source ends, and the rest of the target is learnt whole.
    if matches!(model, PublishedModel::Decoder(_)) {
        examples.iter_mut().for_each(|example| example.given = example.given.max(start));
    }
    let number = examples[0].clone();
    Example { tokens: first[..end].to_vec(), ..number }
}

/// How many items are equal from the start on.
fn equal<'a>(one: impl Iterator<Item = &'a i64>, other: impl Iterator<Item = &'a i64>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_likelihoods_share_their_places_evenly() {
        let mut draw = Draw::new(5, DrawPurpose::Candidates, 0);
        let mut ranks = [0; 5];
        for _ in 0..3000 {
            ranks[rank_of_first(&[-2.0, -1.0, -2.0, -3.0, -2.0], &mut draw)] += 1;
        }
        assert_eq!((ranks[0], ranks[1]), (0, 0), "one is likelier");
        assert!(ranks[2..].iter().all(|count| (850..1150).contains(count)), "{ranks:?}");
    }

    #[test]
    fn candidates_are_distinct_and_none_is_the_canary() {
        let canary = CanaryEntry { carrier: "a".into(), secret: "007".into(), class: None, repeats: 1 };
        let numbers = with_candidates(&canary, 3, 400, &mut Draw::new(5, DrawPurpose::Candidates, 0));
        assert_eq!((numbers.len(), numbers[0].as_str()), (401, "007"));
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 401);
        assert!(numbers.iter().all(|number| number.len() == 3));
    }
}
