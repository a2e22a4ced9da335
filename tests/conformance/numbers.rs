//! Fixed point, packed words, sketches and consistency weights.

use cloister_alignment::late::LateProjection;
use cloister_alignment::signs::{centred, centred_means, signs};
use cloister_alignment::sketch::{SketchSubject, direction, sketch};
use cloister_crypto::hash::{Domain, digest};
use cloister_params::block::BlockKind;
use cloister_params::fixed::{CohortTotal, RingWidth, Scale};
use cloister_params::id::{BlockId, Digest};
use cloister_params::late::norm_bound;
use cloister_params::plan::{PlannedBlock, SketchPlan};
use cloister_protocol::model::Model;
use serde::Deserialize;

use crate::steps::variant;
use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Packing {
    cases: Vec<PackingCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackingCase {
    bits: u8,
    words: Vec<u32>,
    packed: Hex,
    lifted: Vec<i64>,
}

pub(crate) fn packing(file: Packing) {
    for case in file.cases {
        let ring = RingWidth::new(case.bits).unwrap();
        assert_eq!(ring.pack(&case.words), case.packed.0);
        let lift = |words: &[u32]| -> Vec<i64> { words.iter().map(|word| ring.lift(*word)).collect() };
        assert_eq!(lift(&case.words), case.lifted);
        assert_eq!(lift(&ring.unpack(&case.packed.0)), case.lifted);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quantise {
    cases: Vec<QuantiseCase>,
    bad: Vec<BadUpdate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuantiseCase {
    kind: BlockKind,
    scale: Scale,
    update: Hex,
    integers: Vec<i32>,
    clipped: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadUpdate {
    kind: BlockKind,
    scale: Scale,
    update: Hex,
    step: String,
}

pub(crate) fn quantise(file: Quantise) {
    for case in file.cases {
        let made = case.scale.quantise(case.kind, &case.update.singles()).unwrap();
        assert_eq!((made.integers, made.clipped), (case.integers, case.clipped), "{}", case.kind);
    }
    for bad in file.bad {
        let error = bad.scale.quantise(bad.kind, &bad.update.singles()).unwrap_err();
        assert_eq!(variant(&error), bad.step);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Apply {
    cases: Vec<ApplyCase>,
    bad: Vec<BadSum>,
    models: Vec<NamedModel>,
}

#[derive(Deserialize)]
struct ApplyCase {
    kind: BlockKind,
    scale: Scale,
    parameters: Hex,
    sum: Vec<i64>,
    #[serde(flatten)]
    total: Total,
    applied: Hex,
}

#[derive(Deserialize)]
struct BadSum {
    kind: BlockKind,
    scale: Scale,
    parameters: Hex,
    sum: Vec<i64>,
    #[serde(flatten)]
    total: Total,
    step: String,
}

#[derive(Deserialize)]
struct Total {
    weight: u64,
    max_weight: u8,
    noise_steps: u32,
}

impl Total {
    fn to_cohort_total(&self) -> CohortTotal {
        let Self { weight, max_weight, noise_steps } = *self;
        CohortTotal { weight, max_weight, noise_steps }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedModel {
    blocks: Vec<Hex>,
    digest: Digest,
}

pub(crate) fn apply(file: Apply) {
    for case in file.cases {
        let mut parameters = case.parameters.singles();
        case.scale.apply(case.kind, &mut parameters, &case.sum, case.total.to_cohort_total()).unwrap();
        assert_eq!(Hex::from_singles(&parameters), case.applied, "{}", case.kind);
    }
    for bad in file.bad {
        let mut parameters = bad.parameters.singles();
        let error =
            bad.scale.apply(bad.kind, &mut parameters, &bad.sum, bad.total.to_cohort_total()).unwrap_err();
        assert_eq!(variant(&error), bad.step);
        assert_eq!(Hex::from_singles(&parameters), bad.parameters, "nothing was applied");
    }
    for model in file.models {
        assert_eq!(Model::new(model.blocks.iter().map(Hex::singles).collect()).digest(), model.digest);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consistency {
    cases: Vec<ConsistencyCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsistencyCase {
    #[serde(rename = "own")]
    distribution: Hex,
    published: Hex,
    margins: Hex,
    weight: Hex,
}

pub(crate) fn consistency(file: Consistency) {
    for case in file.cases {
        let (distribution, published) = (case.distribution.singles(), case.published.singles());
        let weight =
            cloister_alignment::consistency::weight(&distribution, &published, &case.margins.singles());
        assert!((f64::from(weight) - case.weight.double()).abs() < 1e-6, "{weight}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sketches {
    seed: Digest,
    cases: Vec<SketchCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SketchCase {
    coordinates: u16,
    block: Option<u32>,
    vector: Hex,
    clip: Hex,
    sketch: Vec<i16>,
}

/// A plan for sketches without noise.
pub(crate) fn sketch_plan(seed: Digest, coordinates: u16) -> SketchPlan {
    SketchPlan { seed, coordinates, noise_steps: 0, region_clip_milli: 1, count_noise: 0 }
}

pub(crate) fn subject(block: Option<u32>) -> SketchSubject {
    block.map_or(SketchSubject::Region, |block| SketchSubject::Update(BlockId(block)))
}

pub(crate) fn sketches(file: Sketches) {
    for case in file.cases {
        let plan = sketch_plan(file.seed, case.coordinates);
        let made = sketch(&plan, subject(case.block), &case.vector.singles(), case.clip.double());
        assert_eq!(made, case.sketch, "{} coordinates, {:?}", case.coordinates, case.block);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signs {
    seed: Digest,
    directions: Vec<DirectionCase>,
    cases: Vec<SignCase>,
    centred: Vec<CentredCase>,
    means: Vec<MeansCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectionCase {
    coordinates: u16,
    block: Option<u32>,
    vector: Hex,
    direction: Vec<i16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignCase {
    update: Vec<i64>,
    region: Vec<i64>,
    /// What each 0 counts as.
    coins: Vec<bool>,
    signs: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CentredCase {
    region: Vec<i64>,
    counted: Vec<Vec<i64>>,
    centred: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeansCase {
    regions: Vec<Hex>,
    counted: Vec<bool>,
    centred: Vec<Hex>,
}

/// ALIGN-14
pub(crate) fn sign_sketches(file: Signs) {
    for case in file.directions {
        let plan = sketch_plan(file.seed, case.coordinates);
        assert_eq!(direction(&plan, subject(case.block), &case.vector.singles()), case.direction);
    }
    for case in file.cases {
        let mut coins = case.coins.iter();
        let bits = signs(&case.update, &case.region, || *coins.next().expect("a coin for each 0"));
        assert_eq!((bits, coins.next()), (case.signs.0, None));
    }
    for case in file.centred {
        let counted: Vec<&[i64]> = case.counted.iter().map(Vec::as_slice).collect();
        assert_eq!(centred(&case.region, &counted), case.centred);
    }
    for case in file.means {
        let regions: Vec<Vec<f32>> = case.regions.iter().map(Hex::singles).collect();
        let regions: Vec<&[f32]> = regions.iter().map(Vec::as_slice).collect();
        let expected: Vec<Vec<f32>> = case.centred.iter().map(Hex::singles).collect();
        assert_eq!(centred_means(&regions, &case.counted), expected);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Late {
    cases: Vec<LateCase>,
    bounds: Vec<BoundCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LateCase {
    seal2: Hex,
    block: u32,
    seeds: Vec<Hex>,
    seed: Digest,
    bits: u8,
    words: Vec<u32>,
    rows: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundCase {
    block: PlannedBlock,
    weight: u8,
    bound: String,
}

/// LATE-02, LATE-04
pub(crate) fn late(file: Late) {
    for case in file.cases {
        let seeds: Vec<u8> = case.seeds.iter().flat_map(|seed| seed.0.clone()).collect();
        let seed = digest(Domain::Late, &[&case.seal2.0, &case.block.to_be_bytes(), &seeds]);
        assert_eq!(seed, case.seed);
        let rows = LateProjection::new(seed).rows(RingWidth::new(case.bits).unwrap(), case.words);
        assert_eq!(rows, case.rows);
    }
    for case in file.bounds {
        assert_eq!(norm_bound(&case.block, case.weight).to_string(), case.bound);
    }
}
