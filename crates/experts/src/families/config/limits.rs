//! The limits of a model's inputs, of any family.

/// The limits of the inputs of a model with its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Rows of the vocabulary.
    pub(crate) vocabulary: usize,
    /// The most tokens of a text, if there is such a limit.
    pub(crate) positions: Option<usize>,
    /// Whether the given part of a text goes through an encoder of its own, as in a Switch Transformer. Then
    /// an example must have a given part.
    pub(crate) has_encoder: bool,
    /// How many classes a head has; 0 without a head.
    pub(crate) classes: usize,
}
