//! The values of settings that a `config.json` leaves out: the defaults of the families' configuration
//! classes in transformers, which differ between families.

use crate::families::config::Family;

/// Defaults of one family.
pub(super) struct Defaults {
    /// `rms_norm_eps`.
    pub(super) norm_epsilon: f64,
    /// `rope_theta`.
    pub(super) theta: f64,
    /// `num_key_value_heads`; `None` if it is the number of attention heads.
    pub(super) key_value_heads: Option<usize>,
    /// `norm_topk_prob`.
    pub(super) normalised: bool,
    /// `routed_scaling_factor`.
    pub(super) scale: f64,
    /// `router_aux_loss_coef`.
    pub(super) balance: f64,
    /// `first_k_dense_replace`.
    pub(super) dense_first: usize,
    /// `sliding_window`, where it is in use.
    pub(super) window: Option<usize>,
}

/// The defaults of a family.
pub(super) fn family_defaults(family: Family) -> Defaults {
    let usual = Defaults {
        norm_epsilon: 1e-6,
        theta: 1e4,
        key_value_heads: None,
        normalised: false,
        scale: 1.0,
        balance: 0.001,
        dense_first: 0,
        window: None,
    };
    match family {
        Family::Olmoe => Defaults { norm_epsilon: 1e-5, balance: 0.01, ..usual },
        Family::Mixtral => Defaults { norm_epsilon: 1e-5, theta: 1e6, key_value_heads: Some(8), ..usual },
        Family::Qwen2Moe => Defaults { key_value_heads: Some(16), window: Some(4096), ..usual },
        Family::Qwen3Moe => Defaults { key_value_heads: Some(4), window: Some(4096), ..usual },
        Family::DeepseekV3 => Defaults { normalised: true, scale: 2.5, dense_first: 3, ..usual },
        Family::Llama | Family::DeepseekV2 | Family::SwitchTransformers => usual,
    }
}
