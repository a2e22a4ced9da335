//! What families call their tensors on disk. At run time transformers 5 has one name for all: `mlp.experts`,
//! `mlp.gate`; adapters follow those.

use crate::families::config::Family;

/// Names within a layer that has experts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SparseNames {
    /// The block of router and experts.
    pub(crate) block: &'static str,
    /// The maps of an expert: gate, up, down.
    pub(crate) maps: [&'static str; 3],
    /// The experts that every token uses.
    pub(crate) shared: &'static str,
}

/// The names of a family that has decoders.
pub(crate) fn sparse_names(family: Family) -> SparseNames {
    let usual = ["gate_proj", "up_proj", "down_proj"];
    match family {
        Family::Mixtral => SparseNames { block: "block_sparse_moe", maps: ["w1", "w3", "w2"], shared: "" },
        Family::Qwen2Moe => SparseNames { block: "mlp", maps: usual, shared: "shared_expert" },
        _ => SparseNames { block: "mlp", maps: usual, shared: "shared_experts" },
    }
}
