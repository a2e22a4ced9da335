//! What an `adapter_config.json` says that the tensors beside it do not.

use crate::error::ExpertsError;
use crate::families::config::fields::Fields;

/// Settings of `adapter_config.json` that must be absent or empty: with them, an adapter is more than its
/// matrices and one scale. `alpha_pattern` and `rank_pattern`, for example, give modules scales of their own.
const CHANGING: [&str; 12] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "megatron_config",
    "monteclora_config",
    "rank_pattern",
    "trainable_token_indices",
    "use_bdlora",
    "velora_config",
];

/// Settings that do not change what a trained adapter computes: names and versions, how the matrices were
/// initialised, which modules were targeted (the tensors themselves tell), and what acts only in PEFT's own
/// training.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// Settings by which PEFT adds to some only of the modules that `target_modules` names. The tensors tell which.
const CHOOSING: [&str; 3] = ["exclude_modules", "layers_pattern", "layers_to_transform"];

/// What `adapter_config.json` says that the tensors do not.
pub(super) struct Settings {
    /// Factor of all additions.
    pub(super) scale: f64,
    /// Rank of every addition in the file, at least 1.
    pub(super) rank: usize,
    /// Names, or last parts of names, of modules that all have additions. Empty if the settings choose among
    /// the modules that have such names.
    modules: Vec<String>,
    /// Names, or last parts of names, of fused parameters that all have additions.
    parameters: Vec<String>,
    /// Last letters of the names of modules that are all saved whole.
    saved: Vec<String>,
}

impl Settings {
    /// Reads the settings, and rejects those that change what the adapter computes in a way that is not
    /// implemented.
    pub(super) fn read(fields: &Fields) -> Result<Self, ExpertsError> {
        fields.demand("peft_type", &["LORA"])?;
        fields.demand("bias", &["none"])?;
        for off in ["use_dora", "lora_bias", "fan_in_fan_out", "use_qalora"] {
            fields.demand_false(off)?;
        }
        for empty in CHANGING {
            fields.demand_empty(empty)?;
        }
        check_start(fields)?;
        let rank = fields.size(&["r"])?;
        let alpha = fields.required("lora_alpha")?;
        let parameters = fields.texts("target_parameters")?;
        // PEFT 0.19 changed this layout only.
        if !parameters.is_empty() {
            check_orientation(fields)?;
        }
        // Rank-stabilised LoRA divides by the root of the rank.
        let is_stabilised = fields.flag("use_rslora", false)?;
        let divisor = if is_stabilised { (rank as f64).sqrt() } else { rank as f64 };
        let saved = fields.texts("modules_to_save")?;
        let chooses = CHOOSING.iter().any(|name| fields.is_set(name));
        let modules = if chooses { vec![] } else { fields.texts("target_modules")? };
        fields.refuse_others(&[HARMLESS, &CHOOSING])?;
        Ok(Self { scale: alpha / divisor, rank, modules, parameters, saved })
    }

    /// Whether the settings say that a linear map has an addition. A map may have one although they do not
    /// say so, because `target_modules` may be a pattern.
    pub(super) fn adds_to(&self, module: &str) -> bool {
        names(&self.modules, module)
    }

    /// Whether the adapter adds to a parameter of all experts of a layer.
    pub(super) fn adds_to_fused(&self, parameter: &str) -> bool {
        names(&self.parameters, parameter)
    }

    /// Whether a module is saved whole. PEFT compares letters here, not parts of names.
    pub(super) fn saves(&self, module: &str) -> bool {
        self.saved.iter().any(|end| module.ends_with(end.as_str()))
    }
}

/// Whether one of these is the name of a module or the last parts of it, as PEFT compares them.
fn names(listed: &[String], module: &str) -> bool {
    listed.iter().any(|name| {
        module.strip_suffix(name.as_str()).is_some_and(|start| start.is_empty() || start.ends_with('.'))
    })
}

/// Rejects additions that were initialised from the model's weights. PEFT subtracts them from its copy of the
/// weights first, so adding them to the published weights gives a different model.
fn check_start(fields: &Fields) -> Result<(), ExpertsError> {
    let kind = fields.text_or_flag("init_lora_weights")?;
    match kind.as_deref() {
        // These fill the two matrices and leave the model's weights as they are.
        None | Some("true" | "false" | "gaussian" | "eva" | "orthogonal") => Ok(()),
        Some(kind) => Err(fields.unsupported(format!(
            "its init_lora_weights is “{kind}”, for which PEFT changes the model's weights too; convert it with PEFT \
             (save_pretrained with path_initial_model_for_weight_conversion)"
        ))),
    }
}

/// Rejects fused experts from PEFT before 0.19, whose halves are stored the other way round.
fn check_orientation(fields: &Fields) -> Result<(), ExpertsError> {
    let version = fields.text(&["peft_version"])?.unwrap_or_default();
    // A version that is absent or that cannot be read counts as 0.0, and is rejected.
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if release >= (0, 19) {
        return Ok(());
    }
    Err(fields.unsupported(format!(
        "its peft_version is “{version}”, which stores the adapters of experts in another layout; load the adapter with \
         PEFT 0.19 or newer and save it again"
    )))
}
