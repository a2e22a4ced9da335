//! Which rows of the experts' products are which tokens'.

use tch::{Kind, Tensor};

/// The pairs of a token and one of its experts, sorted by expert. Each pair is one row of the products.
pub(crate) struct Dispatch {
    /// The token of each row, `[rows]`.
    pub(crate) tokens: Tensor,
    /// The row of each pair in the order of tokens, `[pairs]`: brings outputs back into that order.
    pub(crate) places: Tensor,
    /// How many rows each expert has, `[experts]`.
    pub(crate) counts: Tensor,
    /// True for rows of padding, `[rows, 1]`, if there are any.
    pub(crate) padding: Option<Tensor>,
}

impl Dispatch {
    /// The rows for experts `[tokens, chosen]` of so many that there are.
    pub(crate) fn new(chosen: &Tensor, experts: i64) -> Self {
        let flat = chosen.flatten(0, 1);
        // Stable: an expert's rows keep the order of the tokens.
        let order = flat.argsort_stable(true, 0, false);
        let ones = flat.ones_like();
        let counts = Tensor::zeros([experts], (Kind::Int64, flat.device())).scatter_add(0, &flat, &ones);
        // The inverse of the permutation `order`.
        let ranks = Tensor::arange(flat.size()[0], (Kind::Int64, flat.device()));
        let places = order.empty_like().scatter(0, &order, &ranks);
        // Pair p belongs to the token p / chosen.
        Self { tokens: order.divide_scalar_mode(chosen.size()[1], "floor"), places, counts, padding: None }
    }

    /// The same with each expert's rows padded to a multiple of `rows`. The padding counts as the first
    /// token's rows, but with values of 0.
    pub(crate) fn filled(self, rows: i64) -> Self {
        let counts = (&self.counts + (rows - 1)).divide_scalar_mode(rows, "floor") * rows;
        // Every row of an expert moves by the padding of the experts before it.
        let moves = (&counts - &self.counts).cumsum(0, Kind::Int64) - (&counts - &self.counts);
        let moves = moves.repeat_interleave_self_tensor(&self.counts, 0, self.tokens.size()[0]);
        let now = Tensor::arange(self.tokens.size()[0], (Kind::Int64, self.tokens.device())) + moves;
        let all = counts.sum(Kind::Int64).int64_value(&[]);
        let tokens = Tensor::zeros([all], (Kind::Int64, self.tokens.device())).scatter(0, &now, &self.tokens);
        let padding = Tensor::ones([all, 1], (Kind::Bool, self.tokens.device())).index_fill(0, &now, 0);
        Self { tokens, places: now.index_select(0, &self.places), counts, padding: Some(padding) }
    }

    /// The rows of tokens, `[tokens, width]`, in the order of the pairs, `[rows, width]`.
    pub(crate) fn sorted(&self, rows: &Tensor) -> Tensor {
        let sorted = rows.index_select(0, &self.tokens);
        match &self.padding {
            // Not copies of a token's row: an expert that the token does not use may overflow on it, and its
            // gradient would then depend on which experts other records use (`PRIV-10`).
            Some(padding) => sorted.masked_fill(padding, 0.0),
            None => sorted,
        }
    }
}
