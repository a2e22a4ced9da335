//! Averages over records that no single record moves far. Scoring and routing need them beside trained
//! parameters.

use cloister_params::block::BlockKind;

/// How records are averaged.
#[derive(Clone, PartialEq, Debug)]
pub struct Averaging {
    /// What hidden states are projected with, `[width, coordinates]`, row by row.
    pub projection: Vec<Vec<f64>>,
    /// The L2 norm that a record's projected mean is clipped to.
    pub clip: f64,
    /// Averages divide by at least this many records, which bounds how far one record moves them.
    pub minimum_records: usize,
}

/// Averages over a member's records. One record more or less moves each region by at most `2 · clip /
/// minimum_records`, and each routing distribution by at most `2 / minimum_records`, in L2 norm (`PRIV-11`).
/// They may leave only with noise.
#[derive(Clone, PartialEq)]
pub struct RecordAverages {
    /// For each layer and expert, the mean over records that use the expert of their clipped projected mean
    /// hidden state.
    pub regions: Vec<Vec<Vec<f64>>>,
    /// For each layer, the mean over records of their mean routing distribution.
    pub routing: Vec<Vec<f32>>,
}

/// They reveal something about the records, so they are never printed.
impl std::fmt::Debug for RecordAverages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordAverages({} layers)", self.regions.len())
    }
}

impl RecordAverages {
    /// The projected region of an expert; `None` for other blocks.
    pub fn region(&self, kind: BlockKind) -> Option<&[f64]> {
        let BlockKind::Expert { layer, expert } = kind else { return None };
        self.regions.get(usize::from(layer))?.get(usize::from(expert)).map(Vec::as_slice)
    }

    /// The routing distribution of a layer; `None` for other blocks.
    pub fn routing(&self, kind: BlockKind) -> Option<&[f32]> {
        let BlockKind::Routing { layer } = kind else { return None };
        self.routing.get(usize::from(layer)).map(Vec::as_slice)
    }
}
