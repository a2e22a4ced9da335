//! What a model takes, whatever its family.

/// What a model with its head takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Rows of the vocabulary.
    pub(crate) vocabulary: usize,
    /// The most tokens of a text, where there is such a limit.
    pub(crate) positions: Option<usize>,
    /// Whether what is given goes through an encoder of its own, as in a Switch Transformer.
    pub(crate) has_encoder: bool,
    /// Classes that a head tells apart; 0 without a head.
    pub(crate) classes: usize,
}
