//! The committed fixtures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use cloister_experts::Precision;
use cloister_experts::families::{Adapter, PublishedModel, Tokens};
use tch::{Device, Tensor};

/// Families of decoders.
pub(crate) const DECODERS: [&str; 7] =
    ["llama", "olmoe", "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3"];

/// The folder of a family's tiny checkpoint.
pub(crate) fn fixture(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family)
}

/// The folder of a checkpoint with settings or files of another published kind.
pub(crate) fn variant(name: &str) -> PathBuf {
    fixture("variants").join(name)
}

/// The family's model.
pub(crate) fn open(family: &str) -> PublishedModel {
    PublishedModel::open(&fixture(family), Precision::Float32, Device::Cpu).expect(family)
}

/// What the Python program wrote of a family.
pub(crate) fn expected(family: &str) -> BTreeMap<String, Tensor> {
    tensors(&fixture(family).join("expected.safetensors"))
}

/// The tensors of a file of the fixtures.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path).expect("the fixture is committed").into_iter().collect()
}

/// The texts of a fixture, without their padding.
pub(crate) fn texts(expected: &BTreeMap<String, Tensor>) -> Vec<Vec<i64>> {
    let lengths: Vec<i64> = Vec::try_from(&expected["lengths"]).expect("a vector");
    let rows: Vec<Vec<i64>> = Vec::try_from(&expected["tokens"]).expect("a matrix");
    rows.into_iter().zip(lengths).map(|(row, length)| row[..length as usize].to_vec()).collect()
}

/// Families with a fixture of a head over classes.
pub(crate) const CLASSIFIERS: [&str; 2] = ["mixtral", "qwen3_moe"];

/// The tensors of an adapter, which gradients reach from now on.
pub(crate) fn trained(adapter: &Adapter) -> Vec<(String, Tensor)> {
    let tensors = adapter.tensors().into_iter();
    tensors.map(|(name, tensor)| (name, tensor.set_requires_grad(true))).collect()
}

/// The largest difference of any value.
pub(crate) fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    (got - expected).abs().max().double_value(&[])
}

/// Logits of all tokens of texts; of Switch Transformers with the texts as sources and as targets.
pub(crate) fn logits(model: &PublishedModel, texts: &[Vec<i64>]) -> Tensor {
    let tokens = Tokens::new(texts, Device::Cpu);
    match model {
        PublishedModel::Decoder(model) => model.logits(&model.hidden(&tokens).rows),
        PublishedModel::Switch(model) => model.forward(&tokens, &tokens).logits,
    }
}

/// An empty folder that is removed in the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        // Numbered, because tests run at the same time and some choose the same name.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("cloister-adapters-{}-{number}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
