//! The names of tensors on disk, which differ between families. At run time transformers 5 has the same names
//! for all families, `mlp.experts` and `mlp.gate`; adapters use those.

use crate::families::config::Family;

/// The head over classes, by its name in transformers' models for sequence classification.
pub(crate) const HEAD: &str = "score";

/// The bias of a router's choice, stored beside the router's weight (DeepSeek-V3).
pub(crate) const CORRECTION: &str = "e_score_correction_bias";

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
        // Mixtral numbers its maps as the original Llama code does: w2 is the map down.
        Family::Mixtral => SparseNames { block: "block_sparse_moe", maps: ["w1", "w3", "w2"], shared: "" },
        Family::Qwen2Moe => SparseNames { block: "mlp", maps: usual, shared: "shared_expert" },
        _ => SparseNames { block: "mlp", maps: usual, shared: "shared_experts" },
    }
}

/// The name in the family's checkpoints of a module that has the name `module` at run time. Only Mixtral's
/// names differ.
pub(crate) fn on_disk(family: Family, module: &str) -> String {
    module.replace(".mlp.", &format!(".{}.", sparse_names(family).block))
}

/// The maps on disk of which a map that is fused at run time consists, in the order of its rows.
pub(crate) fn expert_maps(family: Family, map: &str) -> Vec<&'static str> {
    let [gate, up, down] = sparse_names(family).maps;
    match map {
        "gate_up_proj" => vec![gate, up],
        "down_proj" => vec![down],
        "wi" => vec!["wi"],
        _ => vec!["wo"],
    }
}

/// The name of one map of one expert.
pub(crate) fn expert_module(family: Family, experts: &str, expert: usize, map: &str) -> String {
    match family {
        Family::SwitchTransformers => format!("{experts}.expert_{expert}.{map}"),
        // A module list in Python, whose entries have numbers for names. Switch has a dictionary.
        _ => format!("{experts}.{expert}.{map}"),
    }
}

/// Whether a tensor of an adapter is a router's weight.
pub(crate) fn is_router(tensor: &str) -> bool {
    [".mlp.gate.weight", ".router.classifier.weight"].iter().any(|end| tensor.ends_with(end))
}

/// The name in transformers of the family's model with a head over classes; `None` if transformers has no
/// such model.
pub(crate) fn sequence_classifier(family: Family) -> Option<&'static str> {
    match family {
        Family::Llama => Some("LlamaForSequenceClassification"),
        Family::Mixtral => Some("MixtralForSequenceClassification"),
        Family::Qwen2Moe => Some("Qwen2MoeForSequenceClassification"),
        Family::Qwen3Moe => Some("Qwen3MoeForSequenceClassification"),
        Family::DeepseekV2 => Some("DeepseekV2ForSequenceClassification"),
        Family::DeepseekV3 => Some("DeepseekV3ForSequenceClassification"),
        Family::Olmoe | Family::SwitchTransformers => None,
    }
}
