//! Federations whose model answers multiple-choice questions: a causal language model with experts, of any family,
//! whose adapters and routers are trained on the right answers.

mod clusters;
mod data;
mod formats;

use cloister_experts::families::finetune::{Example, FineTuning, Question, RoundTrainer};
use cloister_experts::families::{AdapterSettings, PublishedModel};
use cloister_experts::{BlockVectors, ExpertsError, LocalResult, LocalTraining};

use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::data::Files;
use crate::environment::RunEnvironment;
use crate::error::LabError;
use crate::federation::{Federation, relative_sizes};
use crate::learners::{Learners, ModelScore};
use crate::partition::{Texts, counts, divide};
use crate::progress::RunProgress;
use crate::questions::data::Questions;
use crate::results::{MeasuredRound, SeedOutcome};
use crate::seeds::{Purpose, seed_for};
use crate::statistics::Statistics;
use crate::trained::TrainedRounds;

/// Options that pass through the model together when it answers: a limit on memory.
const ANSWER_BATCH: usize = 64;

/// What all seeds share: the questions and one model, which serves all members in turn.
pub(crate) struct QuestionRun<'a> {
    config: &'a Config,
    questions: Questions,
    trainer: RoundTrainer,
    initial: BlockVectors,
}

impl<'a> QuestionRun<'a> {
    pub(crate) fn new(
        config: &'a Config,
        files: &Files,
        environment: &RunEnvironment,
    ) -> Result<Self, LabError> {
        let folder = config.model.folder.as_deref().ok_or_else(|| {
            LabError::config("model.folder", "name the folder of a causal model with experts")
        })?;
        let questions = Questions::read(config, files, folder, environment)?;
        let model = PublishedModel::open(folder, config.model.precision.into(), environment.device)?;
        let settings = AdapterSettings {
            rank: config.model.rank,
            experts: config.model.expert_training,
            modules: config.model.modules.clone(),
            router: true,
            ..AdapterSettings::default()
        };
        let trainer = RoundTrainer::new(model, &settings, 0)?;
        Ok(Self { config, questions, initial: trainer.vectors()?, trainer })
    }

    /// Runs one seed.
    pub(crate) fn measure(
        &mut self,
        seed: u64,
        checkpoints: &Checkpoints,
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<SeedOutcome, LabError> {
        let split = self.questions.split(seed)?;
        let parts = self.parts(&split.train, seed)?;
        let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
        let mut learners = Answerers {
            trainer: &mut self.trainer,
            parts: parts.iter().map(|part| self.questions.lessons(part)).collect(),
            questions: split.held_out.iter().map(|&question| self.questions.all[question].clone()).collect(),
            right: split.held_out.iter().map(|&question| self.questions.right[question]).collect(),
        };
        let before = learners.score(0, &self.initial)?.accuracy;
        let mut federation = Federation {
            config: self.config,
            learners: Box::new(learners),
            sizes: relative_sizes(&sizes),
            texts: sizes,
            global: self.initial.clone(),
            seed,
        };
        let before = MeasuredRound::before(Some(before));
        let TrainedRounds { rounds, .. } = federation.rounds(before, checkpoints, progress)?;
        Ok(SeedOutcome {
            labels: counts(&parts, &self.questions.topics),
            rounds,
            epsilon_of_head: None,
            measured_on: split.held_out.len(),
            accuracy_by_mix: None,
            charges: federation.charges()?,
        })
    }

    /// Each member's questions; one member has them all where training is centralised.
    fn parts(&self, train: &[usize], seed: u64) -> Result<Vec<Vec<usize>>, LabError> {
        if self.config.strategy.kind.settings().pools_data() {
            return Ok(vec![train.to_vec()]);
        }
        let Questions { all, topics, domains, .. } = &self.questions;
        let labels: Vec<usize> = train.iter().map(|&question| topics[question]).collect();
        let domains: Vec<usize> = train.iter().map(|&question| domains[question]).collect();
        let lengths: Vec<usize> = train.iter().map(|&question| all[question].prompt.len()).collect();
        let texts = Texts { labels: &labels, domains: &domains, lengths: &lengths };
        let parts = divide(&self.config.partition, &texts, seed_for(seed, Purpose::Division))?;
        Ok(parts.iter().map(|part| part.iter().map(|&question| train[question]).collect()).collect())
    }
}

impl Questions {
    /// Questions with their right answers, as training examples.
    fn lessons(&self, part: &[usize]) -> Vec<Example> {
        part.iter().filter_map(|&question| self.all[question].examples().nth(self.right[question])).collect()
    }
}

/// Members whose model answers questions. They share one loaded model, into which each member's parameters
/// are loaded.
struct Answerers<'a> {
    trainer: &'a mut RoundTrainer,
    parts: Vec<Vec<Example>>,
    questions: Vec<Question>,
    right: Vec<usize>,
}

impl Learners for Answerers<'_> {
    fn members(&self) -> usize {
        self.parts.len()
    }

    fn train(
        &mut self,
        member: usize,
        start: &BlockVectors,
        settings: &LocalTraining,
    ) -> Result<LocalResult, LabError> {
        self.trainer.load(start)?;
        Ok(self.trainer.train(&self.parts[member], &FineTuning::from(settings), &mut |_| ())?)
    }

    fn statistics(&mut self, _member: usize, _model: &BlockVectors) -> Result<Option<Statistics>, LabError> {
        Ok(None)
    }

    fn score(&mut self, _member: usize, model: &BlockVectors) -> Result<ModelScore, LabError> {
        self.trainer.load(model)?;
        let chosen = self.trainer.tuner().choose(&self.questions, ANSWER_BATCH)?;
        let right = chosen.iter().zip(&self.right).filter(|(chosen, right)| chosen == right).count();
        match self.questions.len() {
            0 => Err(ExpertsError::NoNotes.into()),
            all => Ok(ModelScore { accuracy: right as f64 / all as f64, by_class: Vec::new() }),
        }
    }
}
