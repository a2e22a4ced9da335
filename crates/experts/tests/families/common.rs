//! The committed fixtures.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cloister_experts::families::{Model, Precision, Tokens};
use tch::{Device, Tensor};

/// Families of decoders.
pub(crate) const DECODERS: [&str; 7] =
    ["llama", "olmoe", "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3"];

/// The folder of a family's tiny checkpoint.
pub(crate) fn fixture(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family)
}

/// The family's model.
pub(crate) fn open(family: &str) -> Model {
    Model::open(&fixture(family), Precision::Float32, Device::Cpu).expect(family)
}

/// What the Python program wrote of a family.
pub(crate) fn expected(family: &str) -> BTreeMap<String, Tensor> {
    let path = fixture(family).join("expected.safetensors");
    Tensor::read_safetensors(path).expect("the fixture is committed").into_iter().collect()
}

/// The texts of a fixture, without their padding.
pub(crate) fn texts(expected: &BTreeMap<String, Tensor>) -> Vec<Vec<i64>> {
    let lengths: Vec<i64> = Vec::try_from(&expected["lengths"]).expect("a vector");
    let rows: Vec<Vec<i64>> = Vec::try_from(&expected["tokens"]).expect("a matrix");
    rows.into_iter().zip(lengths).map(|(row, length)| row[..length as usize].to_vec()).collect()
}

/// The largest difference of any value.
pub(crate) fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    (got - expected).abs().max().double_value(&[])
}

/// Logits of all tokens of texts; of Switch Transformers with the texts as sources and as targets.
pub(crate) fn logits(model: &Model, texts: &[Vec<i64>]) -> Tensor {
    let tokens = Tokens::new(texts, Device::Cpu);
    match model {
        Model::Decoder(model) => model.logits(&model.hidden(&tokens).rows),
        Model::Switch(model) => model.forward(&tokens, &tokens).logits,
    }
}
