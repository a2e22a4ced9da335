//! Does the noise hold? An empirical audit of what is really released, against what is charged for it.
//!
//! Canaries are included with probability ½ each. The attacker sees the release, knows everything except
//! those coins and the noise, and guesses. A claimed (ε, δ) bounds how many guesses can be right, so better
//! guesses refute the claim, and every run yields a lower bound on ε ([`bounds`]). Each kind of release has
//! its own claim, the accountant's ε for that kind, and is guessed from alone: noise that one kind lacks is
//! not hidden by the noise of the others. Reused noise and noise that is too small are tested for directly:
//! no guess about one round can notice reuse.
//!
//! An honest mechanism must stand, and one with a [`PlantedFault`] must be refuted: an audit that never
//! refutes anything would pass the first test.
//!
//! What is audited is an [`AuditedMechanism`]: [`AuditedRounds`] and [`AuditedSteps`] are the product's own.

pub mod bounds;
mod canary;
mod fault;
mod mechanism;
mod noise;
mod planned;
mod report;
mod rounds;
mod signs;
mod steps;
mod withheld;

use cloister_params::limits::PrivacyUnit;
use cloister_privacy::accountant::Account;
use cloister_privacy::release::{HONEST_NOISES, Released};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::error::LabError;
use bounds::{Decisions, Guesses};
pub use fault::PlantedFault;
pub use mechanism::{AuditSubject, AuditedMechanism, CanaryEvidence};
pub use planned::AuditPlan;
pub use report::{AuditCase, AuditReport, CanaryScores, Finding};
pub use rounds::AuditedRounds;
pub use signs::AuditedSigns;
pub use steps::AuditedSteps;

/// Members whose noise is counted, each of them a canary.
const HONEST: usize = HONEST_NOISES as usize;
/// Canaries with a direction of their own: a multiple of [`HONEST`], so that those of one round differ.
const DIRECTIONS: usize = 10 * HONEST;
/// `rho` of each kind of release in an audited round. Of all costs, at this one a bound from some thousand
/// canaries tells the noise best from half of it.
const RHO: f64 = 1.125;
/// Canaries for each guess; those with the largest scores are guessed. With fewer guesses, the bound of one
/// run has nothing left after what it pays for δ.
const CANARIES_A_GUESS: usize = 4;
/// What is tested of each claim: two bounds on ε, and the noise.
const TESTS: f64 = 3.0;

/// How to audit.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AuditSettings {
    /// Canaries of each run in which nothing is wrong; those with a fault take fewer.
    pub canaries: usize,
    /// A run for each seed.
    pub seeds: Vec<u64>,
    /// The δ of claims and bounds.
    pub delta: f64,
    /// The probability with which every test of every claim holds in every run in which nothing is wrong, together.
    pub confidence: f64,
}

/// Audits every kind of release, as it is and with each fault. `found` gets every finding as it is made.
///
/// # Errors
/// [`LabError::OtherSum`] for a fault of the program; [`LabError::File`] for ledgers that cannot be written.
pub fn audit(
    settings: &AuditSettings,
    found: &mut dyn FnMut(&CanaryScores),
) -> Result<AuditReport, LabError> {
    let plans = [
        AuditPlan::new(PrivacyUnit::Member, false)?,
        AuditPlan::new(PrivacyUnit::Record, false)?,
        AuditPlan::new(PrivacyUnit::Record, true)?,
    ];
    let withheld = AuditPlan::withheld_of_both_units()?;
    let by_signs = [AuditPlan::by_signs(PrivacyUnit::Member)?, AuditPlan::by_signs(PrivacyUnit::Record)?];
    // Each kind of release has a claim, and so has the whole round of some plans, and all signs together.
    let claims =
        plans.iter().map(|plan| plan.kinds().count() + 1).sum::<usize>() + withheld.len() + by_signs.len();
    // Bonferroni: any single test of any run may err, and the promise is for all of them together.
    let tests = TESTS * claims as f64 * settings.seeds.len() as f64;
    let mut auditor =
        Auditor { settings, significance: (1.0 - settings.confidence) / tests, found, findings: Vec::new() };
    for &seed in &settings.seeds {
        for planned in plans.iter().chain(&withheld) {
            auditor.rounds(planned, seed)?;
        }
        auditor.steps(seed)?;
        for planned in &by_signs {
            auditor.signs(planned, seed)?;
        }
    }
    Ok(AuditReport::new(settings, auditor.significance, auditor.findings))
}

/// An audit as it runs.
struct Auditor<'a> {
    settings: &'a AuditSettings,
    /// The probability with which one test may err.
    significance: f64,
    found: &'a mut dyn FnMut(&CanaryScores),
    findings: Vec<Finding>,
}

impl Auditor<'_> {
    fn rounds(&mut self, planned: &AuditPlan, seed: u64) -> Result<(), LabError> {
        let case = AuditCase {
            unit: planned.unit,
            private_training: planned.settings.training.private.is_some(),
            fault: PlantedFault::None,
            seed,
        };
        self.sound(case, &AuditedRounds::sound(planned))?;
        for released in planned.kinds() {
            for fault in PlantedFault::MECHANICAL {
                if !fault.befalls(released, case.private_training) {
                    continue;
                }
                let changed =
                    fault.changes_data().then(|| planned.with_fault(fault, released)).transpose()?;
                let planned = changed.as_ref().unwrap_or(planned);
                self.run(AuditCase { fault, ..case }, &AuditedRounds::with_fault(planned, fault, released))?;
            }
        }
        Ok(())
    }

    fn steps(&mut self, seed: u64) -> Result<(), LabError> {
        let case =
            AuditCase { unit: PrivacyUnit::Record, private_training: true, fault: PlantedFault::None, seed };
        self.sound(case, &AuditedSteps::new(PlantedFault::None)?)?;
        for fault in
            PlantedFault::MECHANICAL.into_iter().filter(|fault| fault.befalls(Released::PrivateStep, true))
        {
            self.run(AuditCase { fault, ..case }, &AuditedSteps::new(fault)?)?;
        }
        Ok(())
    }

    fn signs(&mut self, planned: &AuditPlan, seed: u64) -> Result<(), LabError> {
        let case = AuditCase { unit: planned.unit, private_training: false, fault: PlantedFault::None, seed };
        self.sound(case, &AuditedSigns::new(planned, PlantedFault::None))?;
        for fault in PlantedFault::SIGNS {
            self.run(AuditCase { fault, ..case }, &AuditedSigns::new(planned, fault))?;
        }
        Ok(())
    }

    /// A run in which nothing is wrong, and the same one were each kind of release not charged.
    fn sound(&mut self, case: AuditCase, mechanism: &dyn AuditedMechanism) -> Result<(), LabError> {
        let all = self.run(case, mechanism)?;
        for evidence in all.into_iter().filter(|evidence| evidence.subject != AuditSubject::Round) {
            // The evidence stays, the claim is ε = 0: no second run is needed to plant this fault.
            let uncharged = CanaryEvidence { claimed: Account::default(), ..evidence };
            self.find(AuditCase { fault: PlantedFault::NotCharged, ..case }, &uncharged);
        }
        Ok(())
    }

    fn run(
        &mut self,
        case: AuditCase,
        mechanism: &dyn AuditedMechanism,
    ) -> Result<Vec<CanaryEvidence>, LabError> {
        let canaries = case.fault.canaries(self.settings.canaries);
        let all = mechanism.evidence(canaries, case.seed)?;
        all.iter().for_each(|evidence| self.find(case, evidence));
        Ok(all)
    }

    fn find(&mut self, case: AuditCase, evidence: &CanaryEvidence) {
        let scores = judge(case, evidence, self.settings.delta, self.significance);
        (self.found)(&scores);
        self.findings.push(scores.finding);
    }
}

/// What the evidence says of a claim, where each test may err with probability `significance`.
pub fn judge(case: AuditCase, evidence: &CanaryEvidence, delta: f64, significance: f64) -> CanaryScores {
    let (inside, outside) = (evidence.scores_where(true), evidence.scores_where(false));
    let guesses = most_likely(&evidence.scores, &evidence.included);
    let decisions = decide(&inside, &outside);
    let (by_one_run, by_decisions) =
        (guesses.epsilon(delta, significance), decisions.epsilon(delta, significance));
    let (noise_repeats, noise_small) = evidence.noise.judge(significance);
    let finding = Finding {
        case,
        subject: evidence.subject,
        epsilon_claimed: evidence.claimed.epsilon(delta).epsilon,
        epsilon_lower_bound: by_one_run.max(by_decisions),
        by_one_run,
        by_decisions,
        moved: evidence.moved,
        noise_repeats,
        noise_small,
        canaries: guesses.canaries,
        guesses: guesses.guesses,
        correct: guesses.correct,
        false_positive_rate: decisions.false_positives as f64 / decisions.outside.max(1) as f64,
        false_negative_rate: decisions.false_negatives as f64 / decisions.inside.max(1) as f64,
    };
    CanaryScores { finding, inside, outside }
}

/// Whether each canary is included. The coins have a stream of their own: in the stream of the noise they
/// would depend on it.
fn coins(canaries: usize, seed: u64) -> Vec<bool> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    random.set_stream(1);
    (0..canaries).map(|_| random.next_u32() & 1 == 1).collect()
}

/// Guesses that the canaries with the largest scores were included. Their number was fixed beforehand, except
/// that all canaries with the last one's score are guessed: choosing among ties would look at something other
/// than the scores.
fn most_likely(scores: &[f64], included: &[bool]) -> Guesses {
    let mut descending = scores.to_vec();
    descending.sort_by(|one, other| other.total_cmp(one));
    let last = descending.get(scores.len().div_ceil(CANARIES_A_GUESS).saturating_sub(1));
    let mut found = Guesses { canaries: scores.len() as u64, guesses: 0, correct: 0 };
    for (score, included) in scores.iter().zip(included) {
        if last.is_some_and(|last| score >= last) {
            found.guesses += 1;
            found.correct += u64::from(*included);
        }
    }
    found
}

/// Takes a canary for included if that is likelier under the claimed noise. The threshold 0 was fixed before
/// any score was seen, as the bound requires.
fn decide(inside: &[f64], outside: &[f64]) -> Decisions {
    Decisions {
        outside: outside.len() as u64,
        false_positives: outside.iter().filter(|score| **score > 0.0).count() as u64,
        inside: inside.len() as u64,
        false_negatives: inside.iter().filter(|score| **score <= 0.0).count() as u64,
    }
}
