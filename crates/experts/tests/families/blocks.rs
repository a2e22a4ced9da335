//! The table of blocks and what is known of a model before it is loaded.

use cloister_experts::Precision;
use cloister_experts::families::layers::losses::{self, Totals};
use cloister_experts::families::{
    Adapter, AdapterBlocks, AdapterSettings, AnyConfig, PublishedModel, Tokens, Workload, overview,
};
use cloister_params::block::BlockKind;
use tch::{Device, Kind, Tensor};

use crate::common::{DECODERS, difference, expected, fixture, logits, open, texts};

fn settings() -> AdapterSettings {
    let modules = vec!["o_proj".to_owned()];
    AdapterSettings { rank: 2, alpha: 4.0, router: true, modules, ..AdapterSettings::default() }
}

/// Numbers of the adapter that training in rounds moves.
fn shared(adapter: &Adapter) -> usize {
    let tensors = adapter.tensors();
    let moved = tensors.iter().filter(|(name, _)| !name.ends_with("lora_A"));
    moved.map(|(_, tensor)| tensor.numel()).sum()
}

#[test]
fn the_modules_of_a_configuration_are_those_of_its_model() {
    for family in DECODERS.into_iter().chain(["switch_transformers"]) {
        let config = AnyConfig::read(&fixture(family)).expect(family);
        assert_eq!(config.sites(), open(family).sites(), "{family}");
    }
}

#[test]
fn blocks_hold_every_trained_number_once_and_give_it_back() {
    for family in ["olmoe", "mixtral", "deepseek_v3"] {
        let mut model = open(family);
        let table = AdapterBlocks::new(&model.sites(), &settings()).expect(family);
        let adapter = Adapter::new(&mut model, &settings(), 3).expect(family);
        let texts = texts(&expected(family));
        let moe = model.moe().expect("it has experts").clone();
        let layers = AnyConfig::read(&fixture(family)).expect(family).layers().1;
        assert_eq!(table.blocks().len(), layers * (moe.experts + 2) + 1);
        assert!((0..).zip(table.table()).all(|(id, shape)| shape.id.0 == id));

        let vectors = table.vectors(&adapter).expect("it is this model's");
        let reserved = layers + layers * moe.experts;
        assert_eq!(vectors.iter().map(Vec::len).sum::<usize>(), shared(&adapter) + reserved);
        // TASK-02
        let pieces = table.blocks().iter().flat_map(|block| &block.pieces);
        assert!(pieces.clone().count() > 0 && pieces.clone().all(|piece| !piece.tensor.ends_with("lora_A")));

        let moved: Vec<Vec<f32>> =
            vectors.iter().map(|vector| vector.iter().map(|value| value + 0.05).collect()).collect();
        table.load(&moved, &adapter).expect("it follows the table");
        let back = table.vectors(&adapter).expect("it is this model's");
        for ((block, moved), back) in table.blocks().iter().zip(&moved).zip(&back) {
            let length = match block.shape.kind {
                BlockKind::Routing { .. } => 0,
                BlockKind::Router { .. } => moved.len() - 1,
                _ => moved.len(),
            };
            assert_eq!(moved[..length], back[..length], "{family}: {}", block.shape.kind);
        }
        let before = logits(&model, &texts);
        model.attach(&adapter, 0.0).expect("it is this model's");
        assert!(difference(&logits(&model, &texts), &before) > 1e-3, "{family}: what was loaded takes part");
    }
}

#[test]
fn one_expert_s_block_moves_only_that_expert() {
    let mut model = open("olmoe");
    let table = AdapterBlocks::new(&model.sites(), &settings()).expect("sound settings");
    let adapter = Adapter::new(&mut model, &settings(), 3).expect("sound settings");
    let mut vectors = table.vectors(&adapter).expect("it is this model's");
    let expert = BlockKind::Expert { layer: 1, expert: 4 };
    let block = table.blocks().iter().position(|block| block.shape.kind == expert).expect("it is there");
    vectors[block].iter_mut().for_each(|value| *value = 1.0);
    table.load(&vectors, &adapter).expect("it follows the table");
    let is_expert_tensor = |name: &str| name.contains(".mlp.experts.") && name.ends_with("lora_B");
    for (name, tensor) in adapter.tensors().into_iter().filter(|(name, _)| is_expert_tensor(name)) {
        for other in 0..6 {
            let all_one = tensor.get(other).eq(1.0).all().int64_value(&[]) == 1;
            assert_eq!(
                all_one,
                name.starts_with("model.layers.1.") && other == 4,
                "{name} of expert {other}"
            );
        }
    }
    // An error changes nothing, although the blocks before the faulty one are sound.
    let before = table.vectors(&adapter).expect("it is this model's");
    vectors.iter_mut().flatten().for_each(|value| *value += 3.0);
    vectors[block].pop();
    let error = table.load(&vectors, &adapter).expect_err("a short vector").to_string();
    assert!(error.contains("layer 1 expert 4 has"), "{error}");
    assert_eq!(table.vectors(&adapter).expect("it is this model's"), before);
    vectors[block].push(0.0);
    let no_router = AdapterSettings { router: false, ..settings() };
    let other = Adapter::new(&mut model, &no_router, 3).expect("sound settings");
    let before: Vec<Tensor> = other.tensors().into_iter().map(|(_, tensor)| tensor.copy()).collect();
    table.load(&vectors, &other).expect_err("its routers are not trained, and experts come before them");
    assert!(other.tensors().iter().zip(&before).all(|((_, tensor), before)| tensor.equal(before)));
    table.load(&vectors, &adapter).expect("the control");
    assert_eq!(table.vectors(&adapter).expect("it is this model's")[0], vectors[0]);
}

#[test]
fn the_overview_counts_what_the_model_holds() {
    let load = |length| Workload { texts: 1, length, recompute_layers: false, device: Device::Cpu };
    let seen = overview(&fixture("deepseek_v3"), &settings(), Precision::Bfloat16, load(128))
        .expect("a whole folder");
    assert_eq!((seen.family, seen.layers, seen.sparse_layers), ("deepseek_v3", 2, 1));
    assert_eq!((seen.experts, seen.experts_per_token), (8, 3));
    let adapter = Adapter::new(&mut open("deepseek_v3"), &settings(), 0).expect("sound settings");
    assert_eq!(seen.trained, shared(&adapter));
    assert_eq!(seen.memory.weights, 2 * seen.parameters);
    let memory = seen.memory;
    assert_eq!(memory.gradients + memory.optimizer, 12 * seen.trained);
    assert_eq!(memory.adapter, 4 * adapter.parameters());
    let longer = overview(&fixture("deepseek_v3"), &settings(), Precision::Bfloat16, load(256))
        .expect("a whole folder");
    assert_eq!(longer.memory.activations, 2 * seen.memory.activations);
    let recomputed = Workload { recompute_layers: true, ..load(256) };
    let less = overview(&fixture("deepseek_v3"), &settings(), Precision::Bfloat16, recomputed);
    assert!(less.expect("a whole folder").memory.activations < longer.memory.activations);
    let dense =
        overview(&fixture("llama"), &settings(), Precision::Float32, load(1)).expect("a whole folder");
    assert_eq!((dense.experts, dense.sparse_layers, dense.blocks), (0, 0, 1));
}

#[test]
fn the_load_balance_is_that_of_transformers() {
    for family in ["olmoe", "mixtral", "qwen2_moe", "qwen3_moe"] {
        let PublishedModel::Decoder(model) = open(family) else { panic!("{family} is a decoder") };
        let expected = expected(family);
        let routings = model.hidden(&Tokens::new(&texts(&expected), Device::Cpu)).routings;
        let totals = Totals::from_tokens(&routings).expect("there are routers");
        let got: Tensor = routings.iter().map(|routing| losses::balance(routing, &totals)).sum();
        assert!(difference(&got, &expected["balance"]) < 1e-5, "{family}");
        let z: Tensor = routings.iter().map(|routing| losses::z(routing, &totals)).sum();
        let squares =
            routings.iter().map(|routing| routing.logits.exp().sum_dim_intlist(-1, false, Kind::Float));
        let by_hand: f64 = squares.map(|sum| sum.log().square().mean(Kind::Float).double_value(&[])).sum();
        assert!((z.double_value(&[]) - by_hand / routings.len() as f64).abs() < 1e-4, "{family}");
    }
    assert!(Totals::from_tokens(&[]).is_none());
}

/// The losses of encoder and decoder are added, so both together are about twice those of a decoder alone.
#[test]
fn the_losses_of_a_switch_transformer_s_routers_are_those_of_transformers() {
    let PublishedModel::Switch(model) = open("switch_transformers") else { panic!("it has two stacks") };
    let expected = expected("switch_transformers");
    let text = &texts(&expected)[..1];
    let [source, target] = [(); 2].map(|()| Tokens::new(text, Device::Cpu));
    let routings = model.forward(&source, &target).routings;
    let totals = Totals::from_tokens(&routings).expect("there are routers");
    let balance: Tensor = routings.iter().map(|routing| losses::balance(routing, &totals)).sum();
    assert!(difference(&balance, &expected["balance"]) < 1e-5, "{balance:?}");
    let z: Tensor = routings.iter().map(|routing| losses::z(routing, &totals)).sum();
    assert!(difference(&z, &expected["z"]) < 1e-5, "{z:?}");
}
