//! What a model says of the class of a text.

use tch::{Kind, Tensor};

use crate::device::values;

/// How likely a model finds each class of a text.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassScores {
    /// The number of the likeliest class. As in evaluations, the largest logit decides: probabilities of two classes may
    /// be equal after rounding.
    pub class: usize,
    /// The probability of each class, in the order of the head's rows. They add up to 1, up to rounding.
    pub probabilities: Vec<f32>,
}

/// The scores of each row of logits, `[texts, classes]`.
pub(crate) fn class_scores(logits: &Tensor) -> Vec<ClassScores> {
    let classes = logits.size()[1] as usize;
    let likeliest: Vec<i64> =
        Vec::try_from(logits.argmax(-1, false)).expect("classes are a vector of integers");
    let probabilities = values(&logits.softmax(-1, Kind::Float));
    let rows = probabilities.chunks(classes).zip(likeliest);
    rows.map(|(row, class)| ClassScores { class: class as usize, probabilities: row.to_vec() }).collect()
}
