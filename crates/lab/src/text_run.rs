//! Runs whose model classifies texts: the data that all seeds share, and the steps of one seed.

use cloister_experts::files::notes::near_twins;
use cloister_experts::{
    BlockVectors, Encoder, Features, ModelConfig, Trainer, block_vectors, initial_blocks,
};
use cloister_trainer::TrainerProgram;

use crate::charges::SeedCharges;
use crate::checkpoint::Checkpoints;
use crate::config::{Config, HeadConfig, HeadKind, PartitionConfig};
use crate::data::{Dataset, Files};
use crate::environment::RunEnvironment;
use crate::error::LabError;
use crate::federation::{Federation, relative_sizes};
use crate::frozen::FrozenFeatures;
use crate::head::{LinearHead, correct};
use crate::learners::{Classifiers, Learners};
use crate::partition::{Texts, counts, divide};
use crate::program::{LabelledTexts, ProgramLearners};
use crate::progress::RunProgress;
use crate::results::{MeasuredRound, SeedOutcome};
use crate::seeds::{Purpose, seed_for};
use crate::sketching::{Degradation, compare};
use crate::statistics::Statistics;
use crate::strategy::{MemberUpdates, SelfScores};
use crate::totals::total_statistics;
use crate::withheld_scores::WithheldScores;

/// What all seeds share: features of all texts.
pub(crate) struct TextRun<'a> {
    config: &'a Config,
    environment: &'a RunEnvironment,
    dataset: Dataset,
    model: ModelConfig,
    encoder: Encoder,
    /// The head's features of each text.
    embeddings: Vec<f32>,
    width: usize,
    /// Hidden states from which the built-in trainer starts; none if it trains nothing.
    hidden: Option<Features>,
}

/// The data that a seed decides.
struct SeedData {
    /// Texts of each member.
    parts: Vec<Vec<usize>>,
    /// Texts for measuring.
    held_out: Vec<usize>,
    /// The total of the members' statistics, if a head is fitted.
    total: Option<Statistics>,
    head: Option<LinearHead>,
    /// ε of the total, if it carries noise.
    epsilon_of_head: Option<f64>,
    /// What the total releases behind masks.
    charges: Option<SeedCharges>,
}

/// The sums that a head is fitted from; all none where no head is fitted.
#[derive(Default)]
struct HeadSums {
    total: Option<Statistics>,
    /// ε of the total, if it carries noise.
    epsilon_of_head: Option<f64>,
    /// What the total releases behind masks.
    charges: Option<SeedCharges>,
}

/// The fewest texts that a member has in any seed of a configuration. It reads the texts and no model.
///
/// # Errors
/// [`LabError`] for texts that cannot be read or divided.
pub(crate) fn fewest_texts(config: &Config, files: &Files) -> Result<usize, LabError> {
    let dataset = Dataset::read(config, files)?;
    let mut fewest = usize::MAX;
    for &seed in &config.partition.seeds {
        let parts = member_texts(config, &dataset, &dataset.split(seed)?.train, seed)?;
        fewest = parts.iter().map(Vec::len).fold(fewest, usize::min);
    }
    Ok(fewest)
}

/// Each member's texts; one member has them all where training is centralised.
fn member_texts(
    config: &Config,
    dataset: &Dataset,
    train: &[usize],
    seed: u64,
) -> Result<Vec<Vec<usize>>, LabError> {
    if config.strategy.kind.settings().pools_data() {
        return Ok(vec![train.to_vec()]);
    }
    let labels: Vec<usize> = train.iter().map(|&text| dataset.labels[text]).collect();
    let domains: Vec<usize> = train.iter().map(|&text| dataset.domains[text]).collect();
    let lengths: Vec<usize> = train.iter().map(|&text| dataset.notes[text].text.len()).collect();
    let texts = Texts { labels: &labels, domains: &domains, lengths: &lengths };
    // The division numbers the texts that it was given, not those of the data set.
    let parts = divide(&config.partition, &texts, seed_for(seed, Purpose::Division))?;
    Ok(parts.iter().map(|part| part.iter().map(|&text| train[text]).collect()).collect())
}

impl<'a> TextRun<'a> {
    pub(crate) fn new(
        config: &'a Config,
        files: &Files,
        environment: &'a RunEnvironment,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Self, LabError> {
        let dataset = Dataset::read(config, files)?;
        near_twins(&dataset.classes).into_iter().for_each(|twins| progress(RunProgress::Twins(twins)));
        let features = FrozenFeatures::open(config, &dataset, environment)?;
        let embeddings = features.head_features(&dataset.notes, &config.head, progress)?;
        let encoder = features.encoder;
        // A training program computes its own features.
        let trains_here = config.strategy.trains() && environment.trainer.is_none();
        let hidden = if trains_here { Some(encoder.features(&dataset.notes)?) } else { None };
        // Features, the head's among them, are made in 32-bit floats, whatever members train in.
        let encoder = encoder.in_precision(config.model.precision.into());
        let (model, width) = (encoder.config().clone(), config.head.width());
        Ok(Self { config, environment, dataset, model, encoder, embeddings, width, hidden })
    }

    /// Runs one seed.
    pub(crate) fn measure(
        &self,
        seed: u64,
        checkpoints: &Checkpoints,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<SeedOutcome, LabError> {
        let data = self.seed_data(seed)?;
        let before = self.before_training(&data);
        let learners = match (&self.hidden, &self.environment.trainer) {
            (Some(hidden), _) => Some(self.classifiers(hidden, &data)?),
            (None, Some(program)) if self.config.strategy.trains() => {
                Some(self.program_learners(program, &data, seed)?)
            }
            _ => None,
        };
        let labels = counts(&data.parts, &self.dataset.labels);
        let (mut accuracy_by_mix, mut charges) = (None, data.charges.clone());
        let rounds = match learners {
            Some(learners) => {
                let mut federation = self.federation(learners, &data, seed)?;
                let trained = federation.rounds(before, checkpoints, progress)?;
                accuracy_by_mix = trained.accuracy_by_mix(&labels);
                charges = SeedCharges::together(charges, federation.charges()?);
                trained.rounds
            }
            None => {
                progress(RunProgress::Measured(before.clone()));
                vec![before]
            }
        };
        let (measured_on, epsilon_of_head) = (data.held_out.len(), data.epsilon_of_head);
        Ok(SeedOutcome { labels, rounds, epsilon_of_head, measured_on, accuracy_by_mix, charges })
    }

    /// Trains in the clear, and compares cohorts from sketches with those from what the last round yielded.
    pub(crate) fn compare_sketches(
        &self,
        seed: u64,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Vec<Degradation>, LabError> {
        let hidden = self.hidden.as_ref().ok_or_else(|| {
            LabError::config("strategy", "a strategy that trains, and at least one round of it, are needed")
        })?;
        let data = self.seed_data(seed)?;
        let mut federation = self.federation(self.classifiers(hidden, &data)?, &data, seed)?;
        let mut strategy = federation.strategy();
        let last = self.config.strategy.training.num_rounds;
        let settings = federation.settings(false);
        let mut published = SelfScores::new(WithheldScores::default(), settings.scoring, seed);
        for round in 1..last {
            let before = federation.global.clone();
            let results = federation.train(&mut *strategy, round, progress)?;
            federation.sum_plain(&mut *strategy, &results, round)?;
            let updates =
                MemberUpdates { global: &before, sizes: &federation.sizes, results: &results, round };
            published.close_round(&before, &federation.global, &updates);
        }
        let results = federation.train(&mut *strategy, last, progress)?;
        let Federation { global, sizes, .. } = &federation;
        let updates = MemberUpdates { global, sizes, results: &results, round: last };
        compare(&settings, &updates, &published, seed)
    }

    fn seed_data(&self, seed: u64) -> Result<SeedData, LabError> {
        let split = self.dataset.split(seed)?;
        let parts = member_texts(self.config, &self.dataset, &split.train, seed)?;
        let HeadSums { total, epsilon_of_head, charges } = self.statistics(&parts, seed)?;
        let HeadConfig { kind, shrinkage, .. } = self.config.head;
        let head = match &total {
            Some(total) => LinearHead::fit(kind, total, shrinkage)?,
            None => None,
        };
        Ok(SeedData { parts, held_out: split.held_out, total, head, epsilon_of_head, charges })
    }

    fn labels(&self, texts: &[usize]) -> Vec<usize> {
        texts.iter().map(|&text| self.dataset.labels[text]).collect()
    }

    /// The classes that a member believes its texts to have: those of the last `partition.miscoded` members
    /// are off by one.
    fn assigned_labels(&self, member: usize, texts: &[usize]) -> Vec<usize> {
        let PartitionConfig { members, miscoded, .. } = self.config.partition;
        let shift = usize::from(member + miscoded >= members);
        self.labels(texts).into_iter().map(|label| (label + shift) % self.dataset.classes.len()).collect()
    }

    fn rows(&self, texts: &[usize]) -> Vec<f32> {
        texts.iter().flat_map(|&text| &self.embeddings[text * self.width..][..self.width]).copied().collect()
    }

    /// The total of the members' statistics.
    fn statistics(&self, parts: &[Vec<usize>], seed: u64) -> Result<HeadSums, LabError> {
        if self.config.head.kind == HeadKind::None {
            return Ok(HeadSums::default());
        }
        let classes = self.dataset.classes.len();
        let mut members = Vec::with_capacity(parts.len());
        for (member, part) in parts.iter().enumerate() {
            let labels = self.assigned_labels(member, part);
            members.push(Statistics::from_texts(&self.rows(part), &labels, classes, self.width));
        }
        if !self.config.secure {
            return Ok(HeadSums { total: Statistics::total(&members), ..HeadSums::default() });
        }
        let total = total_statistics(self.config, &members, seed, 0)?;
        Ok(total.map_or_else(HeadSums::default, |total| HeadSums {
            total: Some(total.statistics),
            epsilon_of_head: total.epsilon,
            charges: Some(total.charges),
        }))
    }

    fn before_training(&self, data: &SeedData) -> MeasuredRound {
        let texts = &data.held_out;
        let right = data.head.as_ref().map(|head| {
            correct(&head.logits(&self.rows(texts)), &self.labels(texts), self.dataset.classes.len())
        });
        MeasuredRound::before(right.map(|right| right as f64 / texts.len() as f64))
    }

    /// The members with the built-in trainer.
    fn classifiers(&self, hidden: &Features, data: &SeedData) -> Result<Box<dyn Learners + '_>, LabError> {
        let (parts, classes) = (&data.parts, self.dataset.classes.len());
        let mut trainers = Vec::with_capacity(parts.len());
        for (member, part) in parts.iter().enumerate() {
            let labels = self.assigned_labels(member, part);
            let prior = self.prior(&labels, data.total.as_ref());
            let features = self.with_offsets(hidden, data, part, Some(&prior))?.with_labels(&labels)?;
            trainers.push(Trainer::new(&self.encoder, features));
        }
        // No prior for the test texts: it corrects for a member's mix of labels while that member trains.
        let test = self.with_offsets(hidden, data, &data.held_out, None)?;
        Ok(Box::new(Classifiers { training: &self.config.strategy.training, classes, trainers, test }))
    }

    /// The members with a program of the researcher's own.
    fn program_learners(
        &self,
        program: &TrainerProgram,
        data: &SeedData,
        seed: u64,
    ) -> Result<Box<dyn Learners + '_>, LabError> {
        let mut members = Vec::with_capacity(data.parts.len());
        for (member, part) in data.parts.iter().enumerate() {
            members.push(self.labelled_texts(part, &self.assigned_labels(member, part)));
        }
        let held_out = self.labelled_texts(&data.held_out, &self.labels(&data.held_out));
        let model = (&self.model, self.environment.minilm.as_path());
        let folder = self.environment.out.join(format!("seed-{seed}.trainer"));
        Ok(Box::new(ProgramLearners::new(program, model, &members, &held_out, folder)?))
    }

    fn labelled_texts(&self, texts: &[usize], labels: &[usize]) -> LabelledTexts<'_> {
        let pairs = texts.iter().zip(labels);
        pairs
            .map(|(&text, &label)| {
                (self.dataset.notes[text].text.as_str(), self.dataset.classes[label].as_str())
            })
            .collect()
    }

    fn federation<'b>(
        &'b self,
        learners: Box<dyn Learners + 'b>,
        data: &SeedData,
        seed: u64,
    ) -> Result<Federation<'b>, LabError> {
        let sizes: Vec<usize> = data.parts.iter().map(Vec::len).collect();
        Ok(Federation {
            config: self.config,
            learners,
            sizes: relative_sizes(&sizes),
            texts: sizes,
            global: self.initial(seed)?,
            seed,
        })
    }

    /// Features of texts, with the logits that are added to the model's: those of the head from sums, and the
    /// class prior of a
    /// member that trains on them.
    fn with_offsets(
        &self,
        hidden: &Features,
        data: &SeedData,
        texts: &[usize],
        prior: Option<&[f32]>,
    ) -> Result<Features, LabError> {
        let classes = self.dataset.classes.len();
        let temper = self.config.head.temper as f32;
        let logits = match &data.head {
            Some(head) => head.logits(&self.rows(texts)),
            None => vec![0.0; texts.len() * classes],
        };
        let prior = prior.map_or(vec![0.0; classes], <[f32]>::to_vec);
        let sums = logits.iter().zip(prior.iter().cycle()).map(|(logit, prior)| logit * temper + prior);
        Ok(hidden.select(texts)?.with_offsets(&sums.collect::<Vec<f32>>(), classes)?)
    }

    /// The initial routers follow the seed; everything else starts at zero.
    fn initial(&self, seed: u64) -> Result<BlockVectors, LabError> {
        let drawn = initial_blocks(&ModelConfig {
            seed: seed_for(seed, Purpose::InitialModel),
            ..self.model.clone()
        });
        Ok(block_vectors(&self.model, drawn.into_values())?)
    }

    /// The log of the class shares of a member's labels, over those of all members where they are known.
    fn prior(&self, labels: &[usize], total: Option<&Statistics>) -> Vec<f32> {
        let classes = self.dataset.classes.len();
        if !self.config.strategy.training.balanced {
            return vec![0.0; classes];
        }
        let mut prior = Vec::with_capacity(classes);
        for class in 0..classes {
            let count = labels.iter().filter(|&&label| label == class).count();
            // One more text for each class, because the logarithm of a share of 0 is infinite.
            let share = (count as f64 + 1.0) / (labels.len() + classes) as f64;
            let overall = total.map_or(1.0, |total| total.count(class).max(1.0) / total.texts());
            prior.push((share / overall).ln() as f32);
        }
        prior
    }
}
