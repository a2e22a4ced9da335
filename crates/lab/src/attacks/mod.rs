//! What can a coordinator learn about a member: with plain federated averaging, with masks, and with masks
//! and noise?
//!
//! Three attacks on the same trainings, from every [`View`] that a coordinator has: [`membership`] inference,
//! [`inversion`] to a text or its words, and inference of a [`property`], the member's mix of classes. The attacker has
//! the model and trains it like a member; it knows the attacked members' settings, and other texts of the same kind.
//! Updates, sketches and noise are the client's own ([`cloister_gate::prepare`]); sums are those of the prepared
//! integers, which is what opens behind masks (`tests/sums`, and the first round of every audit).
//!
//! # Leakage
//! The attacks read texts of public data. Nothing here is for patients' data.

mod announced;
mod figure;
pub mod inversion;
pub mod membership;
pub mod property;
mod report;
mod ridge;
mod roc;
mod strength;
mod view;
mod world;

use std::path::{Path, PathBuf};

use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundSettings;
use cloister_privacy::ledger::LedgerError;
use cloister_privacy::release::{account, releases};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::error::LabError;
use announced::Reference;
use inversion::{Ranking, WordGuesser, WordsFound, rank};
use membership::{Membership, Trainings};
use property::{ClassMix, Mixes};
pub use report::{AttackReport, AttackSummary, Mean};
pub use view::{Observed, Protection, View};
use view::{Observer, Sent, Whose};
use world::AttackedData;

/// Texts of a companion and of a member whose mix is inferred.
const MEMBER_TEXTS: usize = 24;
/// Texts of a batch in which one text is looked for.
const BATCH: usize = 8;
/// The δ of the ε that the report gives next to the attacks.
const DELTA: f64 = 1e-5;

/// How much to attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Sizes {
    /// Texts whose membership is inferred, and among which one is looked for.
    pub candidates: usize,
    /// Trainings on half of the candidates each; half of the trainings are the attacker's own.
    pub trainings: usize,
    /// Texts that the attacker learns words from.
    pub known: usize,
    /// Members whose mix of classes is inferred; half of them are the attacker's own.
    pub mixes: usize,
    /// Members that the attacked one may be summed with; half of them are the attacker's own.
    pub companions: usize,
    /// Texts that companions and mixes are drawn from.
    pub pool: usize,
}

impl Sizes {
    /// The sizes of the published figures.
    pub const FULL: Self =
        Self { candidates: 64, trainings: 96, known: 300, mixes: 80, companions: 96, pool: 400 };
    /// Sizes that take minutes.
    pub const QUICK: Self =
        Self { candidates: 48, trainings: 80, known: 200, mixes: 60, companions: 64, pool: 300 };
}

/// Which data to attack, and how much.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttackSettings {
    /// Names and files of the data.
    pub data: Vec<(String, PathBuf)>,
    /// A run for each seed.
    pub seeds: Vec<u64>,
    /// How much.
    pub sizes: Sizes,
}

/// How well the attacks work from one view.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttackResult {
    /// Name of the data.
    pub data: String,
    /// The seed of everything.
    pub seed: u64,
    /// Where the coordinator looks.
    pub view: View,
    /// Norm of the noise over the norm of the observation without it. A sum is taken without the mean of its
    /// companions. 0 where there is no noise.
    pub noise_over_signal: f64,
    /// Was this text trained on?
    pub membership: Membership,
    /// Which text was it, where it was the only one of the training?
    pub alone: Ranking,
    /// Which text was one of a batch of eight?
    pub in_a_batch: Ranking,
    /// Which words were in it, where it was the only one?
    pub words: WordsFound,
    /// How many texts of each class are there?
    pub class_mix: ClassMix,
}

/// How far the attacks are.
#[derive(Clone, PartialEq, Debug)]
pub enum AttackProgress {
    /// Trainings of one run are done.
    Trained {
        /// How many.
        done: usize,
        /// How many there are.
        all: usize,
    },
    /// A view was attacked.
    Attacked(Box<AttackResult>),
}

/// Runs every attack from every view, for every seed of every data set. `minilm` is the folder of MiniLM's files.
///
/// # Errors
/// [`LabError`], which says what to change.
pub fn attack(
    settings: &AttackSettings,
    minilm: &Path,
    progress: &mut dyn FnMut(AttackProgress),
) -> Result<AttackReport, LabError> {
    let mut rows = Vec::new();
    let mut epsilons = [0.0; 2];
    for (data, file) in &settings.data {
        for &seed in &settings.seeds {
            let sizes = settings.sizes;
            let world = AttackedData::open(file, minilm, sizes.texts(), seed)?;
            epsilons = epsilons_of(&world)?;
            let trained = TrainedAttack::new(&world, sizes, seed, progress)?;
            for view in View::all() {
                let row = trained.row(data, view)?;
                progress(AttackProgress::Attacked(Box::new(row.clone())));
                rows.push(row);
            }
        }
    }
    Ok(AttackReport::new(settings, (epsilons, DELTA), rows))
}

/// The ledger's charge to a member for a round with slight noise and with noise that covers a member. It
/// depends on the model's shape alone, which is that of every data set except for the number of classes.
fn epsilons_of(world: &AttackedData) -> Result<[f64; 2], LabError> {
    let [_, slight, covering] = world.settings();
    Ok([epsilon(slight)?, epsilon(covering)?])
}

fn epsilon(settings: &RoundSettings) -> Result<f64, LabError> {
    let all = releases(settings, PrivacyUnit::Member).map_err(LedgerError::from)?;
    Ok(account(&all).epsilon(DELTA).epsilon)
}

impl Sizes {
    fn texts(self) -> usize {
        self.candidates + self.known + self.pool
    }

    fn trainings(self) -> usize {
        2 * self.candidates + self.known + self.trainings + self.mixes + self.companions
    }
}

/// Everything that was trained, with one seed.
struct TrainedAttack<'a> {
    world: &'a AttackedData,
    seed: u64,
    companions: Vec<Sent>,
    candidates: Vec<usize>,
    /// Training on each candidate alone.
    alone: Vec<Sent>,
    /// Training on each candidate with others.
    batches: Vec<Sent>,
    known_texts: Vec<usize>,
    known: Vec<Sent>,
    trainings: Trainings,
    mixes: Mixes,
    vocabulary: WordGuesser,
    /// What an honest round published, and what corrupt members make of it.
    references: [Reference; 2],
}

impl<'a> TrainedAttack<'a> {
    fn new(
        world: &'a AttackedData,
        sizes: Sizes,
        seed: u64,
        progress: &mut dyn FnMut(AttackProgress),
    ) -> Result<Self, LabError> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let count = world.notes.len();
        // Candidates, the attacker's known texts and the pool share no text: otherwise a companion could hold
        // the text that is looked for.
        let candidates: Vec<usize> = (0..sizes.candidates).collect();
        let known_texts: Vec<usize> = (sizes.candidates..sizes.candidates + sizes.known).collect();
        let pool: Vec<usize> = (sizes.candidates + sizes.known..count).collect();
        let mut numbered = NumberedTrainings { world, done: 0, all: sizes.trainings(), progress };
        let mut companions = Vec::with_capacity(sizes.companions);
        for _ in 0..sizes.companions {
            companions.push(draw(&pool, MEMBER_TEXTS, &mut random));
        }
        let companions = numbered.send(companions)?;
        let alone = numbered.send(candidates.iter().map(|&text| vec![text]).collect())?;
        let mut batches = Vec::with_capacity(candidates.len());
        for &text in &candidates {
            batches.push([vec![text], draw(&pool, BATCH - 1, &mut random)].concat());
        }
        let batches = numbered.send(batches)?;
        let known = numbered.send(known_texts.iter().map(|&text| vec![text]).collect())?;
        let trainings = Trainings::run(world, &candidates, &alone, sizes.trainings, seed)?;
        progress(AttackProgress::Trained { done: sizes.trainings() - sizes.mixes, all: sizes.trainings() });
        let mixes = Mixes::run(world, &pool, (sizes.mixes, MEMBER_TEXTS), seed)?;
        progress(AttackProgress::Trained { done: sizes.trainings(), all: sizes.trainings() });
        let vocabulary = WordGuesser::from_texts(world);
        let references = [world.published(), mixes.steered()];
        Ok(Self {
            world,
            seed,
            companions,
            candidates,
            alone,
            batches,
            known_texts,
            known,
            trainings,
            mixes,
            vocabulary,
            references,
        })
    }

    fn row(&self, data: &str, view: View) -> Result<AttackResult, LabError> {
        let observer = Observer {
            settings: self.world.settings(),
            companions: &self.companions,
            references: self.references.each_ref(),
            seed: self.seed,
        };
        let known = (self.known.as_slice(), self.known_texts.as_slice());
        let attacked = (self.alone.as_slice(), self.candidates.as_slice());
        Ok(AttackResult {
            data: data.to_owned(),
            seed: self.seed,
            view,
            noise_over_signal: noise_over_signal(&observer, view, &self.batches),
            membership: self.trainings.attack(&observer, view),
            // The attacker's own training on a candidate is the member's, seed and all: the best that any
            // attacker could do.
            alone: rank(&observer, view, &self.alone, &self.alone),
            in_a_batch: rank(&observer, view, &self.batches, &self.alone),
            words: self.vocabulary.attack(&observer, view, known, attacked)?,
            class_mix: self.mixes.attack(&observer, view)?,
        })
    }
}

/// The mean over trainings of the norm of the noise over the norm of the observation without it.
fn noise_over_signal(observer: &Observer<'_>, view: View, trainings: &[Sent]) -> f64 {
    // Both views draw the same companions, so their difference is the noise alone.
    let quiet = View { protection: Protection::Masks, ..view };
    let noised = observer.observe(view, trainings, Whose::Members);
    let bare = observer.observe(quiet, trainings, Whose::Members);
    let mut ratios = 0.0;
    for (with, without) in noised.iter().zip(&bare) {
        let noise: Vec<f32> = with.iter().zip(without).map(|(one, other)| one - other).collect();
        ratios += norm(&noise) / norm(without).max(f64::MIN_POSITIVE);
    }
    ratios / trainings.len() as f64
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// Texts of the pool, drawn with replacement.
fn draw(pool: &[usize], texts: usize, random: &mut ChaCha20Rng) -> Vec<usize> {
    (0..texts).map(|_| pool[(random.next_u64() % pool.len() as u64) as usize]).collect()
}

/// Trains on lists of texts, and counts them. A training's number seeds it.
struct NumberedTrainings<'a> {
    world: &'a AttackedData,
    done: usize,
    all: usize,
    progress: &'a mut dyn FnMut(AttackProgress),
}

impl NumberedTrainings<'_> {
    fn send(&mut self, lists: Vec<Vec<usize>>) -> Result<Vec<Sent>, LabError> {
        let mut sent = Vec::with_capacity(lists.len());
        for texts in lists {
            self.done += 1;
            sent.push(self.world.send(&texts, self.done as u64)?);
        }
        (self.progress)(AttackProgress::Trained { done: self.done, all: self.all });
        Ok(sent)
    }
}
