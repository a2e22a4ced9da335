//! Members' texts, and trainings on some of them.

use std::cell::RefCell;
use std::path::Path;

use cloister_experts::files::notes::{classes, read_notes};
use cloister_experts::{
    BlockVectors, Device, Encoder, Features, LocalResult, LocalTraining, ModelConfig, Note, Trainer,
    initial_blocks,
};
use cloister_gate::prepare;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundSettings;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::model::Model;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::announced::{Reference, TrainedExperts, by_signs, sign_vector};
use super::strength::{COVERING, SLIGHT};
use super::view::Sent;
use crate::accounts::Permits;
use crate::error::LabError;
use crate::federation::plan;
use crate::noise::{Clips, Target, settings};
use crate::shuffle::shuffled;

/// Tokens after which a text is cut.
const MAX_TOKENS: usize = 48;
/// Texts that the attacked model was trained on beforehand.
const EARLIER: usize = 64;
/// Members that plans are made for: as many as the largest sum that is attacked.
const MEMBERS: usize = 16;
/// Clips that a training of a few steps does not reach, so that clipping hides nothing from the attacker.
const CLIPS: Clips = Clips { update_log2: 2, region_milli: 10_000 };

/// Texts with their features, and the model that members train.
pub(crate) struct AttackedData {
    encoder: Encoder,
    features: Features,
    /// The texts, without those that the model was trained on beforehand.
    pub(crate) notes: Vec<Note>,
    /// Class of each.
    pub(crate) labels: Vec<usize>,
    /// Names of the classes.
    pub(crate) classes: Vec<String>,
    start: BlockVectors,
    bare: RoundSettings,
    slight: RoundSettings,
    noised: RoundSettings,
    /// By signs: the settings of each size, for each strength of noise.
    by_signs: [[RoundSettings; 3]; 3],
    /// What the training beforehand published.
    published: Option<Reference>,
    /// In a cell, because a contribution is charged while the world is shared by all attacks.
    permits: RefCell<Permits>,
    seed: u64,
}

impl AttackedData {
    /// `texts` texts of a file and a model that was trained a little, chosen by the seed.
    pub(crate) fn open(file: &Path, minilm: &Path, texts: usize, seed: u64) -> Result<Self, LabError> {
        let all = read_notes(file)?;
        let classes = classes(&all);
        let order = shuffled((0..all.len()).collect(), seed);
        let chosen: Vec<Note> = order.iter().take(texts + EARLIER).map(|&note| all[note].clone()).collect();
        let config = ModelConfig {
            moe_layers: 1,
            experts: 8,
            rank: 2,
            max_tokens: MAX_TOKENS,
            ..ModelConfig::new(classes.clone())
        };
        let bare = settings(&config, MEMBERS, CLIPS, None)?;
        let (slight, noised) = (noised_settings(&config, SLIGHT)?, noised_settings(&config, COVERING)?);
        let by_signs = [&bare, &slight, &noised].map(by_signs);
        let published = None;
        let encoder = Encoder::open(minilm, config.clone(), 1, Device::Cpu)?;
        let features = encoder.features(&chosen)?;
        let notes = chosen[..chosen.len().saturating_sub(EARLIER)].to_vec();
        let labels = features.labels()[..notes.len()].to_vec();
        let permits = RefCell::new(Permits::counting(PrivacyUnit::Member)?);
        let start = initial_blocks(&config);
        let mut world = Self {
            encoder,
            features,
            notes,
            labels,
            classes,
            start,
            bare,
            slight,
            noised,
            by_signs,
            published,
            permits,
            seed,
        };
        let earlier: Vec<usize> = (world.notes.len()..world.features.notes()).collect();
        let first = world.train(&earlier, seed)?;
        let experts = TrainedExperts::new(world.start.table(), &first, &world.bare.scoring, 0);
        world.published = Some(Reference::published(&[experts]));
        world.start = world.start.map(|shape, before| {
            let change = first.updates.get(shape.kind).unwrap_or_default();
            before.iter().zip(change).map(|(before, change)| before + change).collect()
        });
        Ok(world)
    }

    /// The settings of rounds without the noise that covers a member, with slight noise, and with it.
    pub(crate) fn settings(&self) -> [&RoundSettings; 3] {
        [&self.bare, &self.slight, &self.noised]
    }

    /// The contributions of a member with these texts, after one epoch on them. `number` seeds the training.
    pub(crate) fn send(&self, notes: &[usize], number: u64) -> Result<Sent, LabError> {
        let seed = self.seed << 32 | number;
        let result = self.train(notes, seed)?;
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        Ok(Sent {
            // One training for all strengths of noise: views then differ in protection and in nothing else.
            bare: self.prepared(&result, &self.bare, &mut random)?,
            slight: self.prepared(&result, &self.slight, &mut random)?,
            noised: self.prepared(&result, &self.noised, &mut random)?,
            signs: self.signs(&result, &mut random)?,
            experts: TrainedExperts::new(self.start.table(), &result, &self.bare.scoring, number),
        })
    }

    /// What the member would announce by signs, for each strength of noise and each size.
    fn signs(&self, result: &LocalResult, random: &mut ChaCha20Rng) -> Result<Vec<Vec<Vec<f32>>>, LabError> {
        let mut all = Vec::with_capacity(self.by_signs.len());
        for sizes in &self.by_signs {
            let mut of_strength = Vec::with_capacity(sizes.len());
            for settings in sizes {
                of_strength.push(sign_vector(&self.prepared(result, settings, random)?, &settings.scoring));
            }
            all.push(of_strength);
        }
        Ok(all)
    }

    /// What the last round published before the attacked one.
    pub(crate) fn published(&self) -> Reference {
        self.published.clone().unwrap_or_else(|| Reference::published(&[]))
    }

    /// The contribution that a member would make to a first round with these settings.
    fn prepared(
        &self,
        result: &LocalResult,
        settings: &RoundSettings,
        random: &mut ChaCha20Rng,
    ) -> Result<Contribution, LabError> {
        let plan = plan(settings, &Model::new(self.start.values().to_vec()), 1);
        let permit = self.permits.borrow_mut().next(&plan)?;
        // In a first round there is no published distribution yet.
        let published = self.start.map(|_, values| vec![0.0; values.len()]);
        let (contribution, _) = prepare(&plan, &Model::new(published.into_values()), result, permit, random)?;
        Ok(contribution)
    }

    fn train(&self, notes: &[usize], seed: u64) -> Result<LocalResult, LabError> {
        let mut trainer = Trainer::new(&self.encoder, self.features.select(notes)?);
        trainer.load(&self.start)?;
        Ok(trainer.train(&LocalTraining { seed, ..LocalTraining::default() }, &mut |_| ())?)
    }
}

fn noised_settings(config: &ModelConfig, rho: f64) -> Result<RoundSettings, LabError> {
    settings(config, MEMBERS, CLIPS, Some(Target { unit: PrivacyUnit::Member, rho }))
}
