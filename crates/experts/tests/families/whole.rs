//! Experts that are trained whole.

use cloister_experts::Precision;
use cloister_experts::families::adapter::{Trained, write_merged};
use cloister_experts::families::finetune::{Example, FineTuner, FineTuning};
use cloister_experts::families::{
    Adapter, AdapterBlocks, AdapterSettings, AnyConfig, ExpertTraining, Layout, PublishedModel, Workload,
    overview,
};
use cloister_experts::task::{AdapterTask, Objective, Task};
use cloister_params::block::BlockKind;
use tch::{Device, Kind, Tensor};

use crate::common::{Scratch, difference, expected, fixture, logits, open, texts};

/// Families whose checkpoints are stored in 32-bit floats, so that merging rounds nothing.
const STORED_EXACTLY: [&str; 4] = ["olmoe", "qwen2_moe", "deepseek_v2", "switch_transformers"];

fn settings() -> AdapterSettings {
    AdapterSettings { experts: ExpertTraining::Whole, router: true, ..AdapterSettings::default() }
}

fn tuner(family: &str, precision: Precision) -> FineTuner {
    let mut model = PublishedModel::open(&fixture(family), precision, Device::Cpu).expect(family);
    let adapter = Adapter::new(&mut model, &settings(), 0).expect(family);
    FineTuner::new(model, adapter).expect("the adapter is this model's")
}

/// Four texts whose second half follows from their first token.
fn examples() -> Vec<Example> {
    let text = |first: i64| Example::new(vec![first, 7, 9, first + 20, 30 - first, 2], 3);
    (3..7).map(text).collect()
}

fn fast() -> FineTuning {
    FineTuning { epochs: 12, batch_size: 4, learning_rate: 1e-2, ..FineTuning::default() }
}

fn values(tuner: &FineTuner) -> Vec<(String, Tensor)> {
    tuner.adapter().tensors().into_iter().map(|(name, tensor)| (name, tensor.detach().copy())).collect()
}

#[test]
fn they_start_as_the_model_s_own_and_a_folder_gives_the_same_as_a_model() {
    for family in ["mixtral", "qwen3_moe", "deepseek_v3"].into_iter().chain(STORED_EXACTLY) {
        let mut model = open(family);
        let texts = texts(&expected(family));
        let before = logits(&model, &texts);
        let adapter = Adapter::new(&mut model, &settings(), 0).expect(family);
        assert!(adapter.modules.values().all(|trained| matches!(trained, Trained::Whole(_))), "{family}");
        model.attach(&adapter, 0.0).expect("the adapter is this model's");
        assert_eq!(difference(&logits(&model, &texts), &before), 0.0, "{family}");
        let read = Adapter::from_folder(&fixture(family), &settings(), 0).expect(family);
        for ((name, trained), (other, read)) in adapter.tensors().into_iter().zip(read.tensors()) {
            assert_eq!((&name, read.kind()), (&other, Kind::Float));
            assert!(trained.equal(read), "{family}: {name}");
        }
    }
}

#[test]
fn they_learn_and_the_merged_model_computes_what_they_do() {
    for family in STORED_EXACTLY {
        let mut fine_tuner = tuner(family, Precision::Float32);
        let before = fine_tuner.loss(&examples(), 4).expect("the examples are sound");
        // Only one layer in two of a Switch Transformer has experts, and they leave out tokens beyond their capacity.
        let long = FineTuning { epochs: 40, learning_rate: 3e-2, ..fast() };
        fine_tuner.train(&examples(), &long, &mut |_| {}).expect("the examples are sound");
        let after = fine_tuner.loss(&examples(), 4).expect("the examples are sound");
        assert!(after < 0.9 * before, "{family}: {before} fell to {after} only");
        let scratch = Scratch::new(&format!("whole-{family}"));
        write_merged(&fixture(family), fine_tuner.adapter(), &scratch.0).expect("the folder can be written");
        let merged = PublishedModel::open(&scratch.0, Precision::Float32, Device::Cpu).expect(family);
        let texts = texts(&expected(family));
        let off = difference(&logits(&merged, &texts), &tch::no_grad(|| logits(fine_tuner.model(), &texts)));
        assert!(off < 1e-4, "{family}: the merged model differs by {off}");
        let error =
            fine_tuner.adapter().write(&scratch.0, merged.family(), Layout::PerExpert).expect_err(family);
        assert!(error.to_string().contains("the merged layout"), "{error}");
    }
}

#[test]
fn in_bfloat16_the_masters_are_32_bit_floats_and_learn_too() {
    let mut fine_tuner = tuner("qwen3_moe", Precision::Bfloat16);
    let before = fine_tuner.loss(&examples(), 4).expect("the examples are sound");
    fine_tuner.train(&examples(), &fast(), &mut |_| {}).expect("the examples are sound");
    let after = fine_tuner.loss(&examples(), 4).expect("the examples are sound");
    assert!(after < 0.9 * before, "{before} fell to {after} only");
    assert!(values(&fine_tuner).iter().all(|(_, tensor)| tensor.kind() == Kind::Float));
}

#[test]
fn only_the_experts_that_are_named_move_and_a_second_pass_changes_nothing() {
    let named = FineTuning { experts: vec![1, 3], weight_decay: 0.1, freeze_routers: true, ..fast() };
    let (mut fine_tuner, mut again) =
        (tuner("olmoe", Precision::Float32), tuner("olmoe", Precision::Float32));
    let before = values(&fine_tuner);
    fine_tuner.train(&examples(), &named, &mut |_| {}).expect("the examples are sound");
    let recomputed = FineTuning { recompute_layers: true, ..named };
    again.train(&examples(), &recomputed, &mut |_| {}).expect("the examples are sound");
    for (((name, before), (_, after)), (_, recomputed)) in
        before.iter().zip(values(&fine_tuner)).zip(values(&again))
    {
        if name.ends_with("gate.weight") {
            assert!(before.equal(&after), "{name} is frozen");
            continue;
        }
        for expert in 0..6 {
            let same = before.get(expert).equal(&after.get(expert));
            assert_eq!(same, ![1, 3].contains(&expert), "{name} of expert {expert}");
        }
        assert!(difference(&after, &recomputed) < 1e-4, "{name}");
    }
}

#[test]
fn each_expert_s_block_is_its_weights() {
    let config = AnyConfig::read(&fixture("olmoe")).expect("the fixture is whole");
    let table = AdapterBlocks::new(&config.sites(), &settings()).expect("sound settings");
    let block =
        table.blocks().iter().find(|block| block.shape.kind == BlockKind::Expert { layer: 1, expert: 4 });
    let block = block.expect("a block of the table");
    let pieces: Vec<_> =
        block.pieces.iter().map(|piece| (piece.tensor.as_str(), piece.shape.as_slice())).collect();
    let inside = "model.layers.1.mlp.experts";
    let names = [format!("{inside}.gate_up_proj.weight"), format!("{inside}.down_proj.weight")];
    assert_eq!(pieces, [(names[0].as_str(), &[24, 16][..]), (names[1].as_str(), &[16, 12])]);
    assert_eq!(block.shape.length, 24 * 16 + 16 * 12);
    let load = Workload { texts: 1, length: 64, recompute_layers: false, device: Device::Cpu };
    let seen = |precision| overview(&fixture("olmoe"), &settings(), precision, load).expect("a whole folder");
    let experts = 2 * 6 * block.shape.length as usize;
    assert_eq!(seen(Precision::Float32).trained, experts + 2 * 6 * 16);
    let (wide, narrow) = (seen(Precision::Float32).memory, seen(Precision::Bfloat16).memory);
    assert_eq!(narrow.adapter - wide.adapter, 2 * experts, "copies that it computes with");
}

/// TASK-02
#[test]
fn a_task_starts_from_the_model_s_own_experts_and_ends_as_a_merged_model() {
    let base = fixture("qwen2_moe");
    let task = AdapterTask::from_base(&base, "Qwen".into(), Objective::LanguageModel, settings(), 16);
    let task = Task::Adapter(task.expect("the fixture is whole"));
    let text = serde_json::to_string(&task).expect("plain data");
    assert!(text.contains(r#""experts":"whole""#), "{text}");
    assert_eq!(Task::parse(&text).expect("what was written"), task);
    let initial = task.initial(&base).expect("the fixture is whole");
    let moved = initial.map(|_, values| values.iter().map(|value| 0.9 * value).collect());
    let scratch = Scratch::new("whole-task");
    let written = task.write(&base, &moved, &scratch.0).expect("the folder can be written");
    assert_eq!(written, scratch.0.join("merged"));
    let adapter = Adapter::from_folder(&written, &settings(), 0).expect("a model's folder");
    for (name, after) in adapter.tensors() {
        let before = Adapter::from_folder(&base, &settings(), 0).expect("the fixture is whole");
        let before =
            before.tensors().into_iter().find(|(other_name, _)| *other_name == name).expect("the same").1
                * 0.9;
        assert!(difference(after, &before) < 1e-6, "{name}");
    }
}
