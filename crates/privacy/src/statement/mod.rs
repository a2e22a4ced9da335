//! The privacy statement, `dp-statement.json`: what NIST SP 800-226 asks of a claim of differential privacy,
//! generated from a hospital's ledger (`PRIV-09`). Its schema is `protocols/schema/dp-statement.schema.json`.
//!
//! The field names are those of the JSON file. The texts are read by a compliance officer or a patient board.

use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use serde::Serialize;

use crate::accountant::Mechanism;
use crate::accuracy::AccuracyCost;
use crate::budget::Budget;
use crate::closed::ClosedRound;
use crate::explanation::Spent;
use crate::ledger::{Charge, History};
use crate::release::{Release, Released};

mod leaving;

use leaving::{Leaving, leaving};

/// The name of the format. A format with another schema would have another name.
pub const FORMAT: &str = "cloister/dp-statement/v1";

/// A statement about everything that was released of one hospital's data.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Statement {
    format: &'static str,
    holder: String,
    unit: PrivacyUnit,
    record: Record,
    neighbouring_relation: &'static str,
    sampling: Sampling,
    trust_model: &'static str,
    delta: f64,
    epsilon: Option<f64>,
    epsilon_method: &'static str,
    budget: Option<Budget>,
    budgets_before: Vec<EarlierBudget>,
    epsilon_counted_against_budget: Option<f64>,
    accountant: Accountant,
    accuracy_cost: AccuracyCost,
    what_left: Vec<Leaving>,
    rounds: Vec<RoundStatement>,
    ledger_head: Digest,
    not_covered: Vec<&'static str>,
    in_plain_words: String,
}

/// What one record is.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Record {
    definition: String,
    group_by: Option<String>,
}

/// A budget to which charges were held when they were made.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct EarlierBudget {
    /// How many rounds were charged before this budget held.
    after_rounds: usize,
    /// `None` if the policy had no budget.
    budget: Option<Budget>,
}

/// Which members and which records took part by chance. Sampling amplifies privacy only if it is counted.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Sampling {
    of_members: &'static str,
    of_records: String,
}

/// The program that computed ε.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct Accountant {
    name: &'static str,
    version: &'static str,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct RoundStatement {
    epoch: Digest,
    round: Round,
    model: Digest,
    /// Digest of the closing that opened the round's sums; `None` if none is known.
    closing: Option<Digest>,
    releases: Vec<ReleaseStatement>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct ReleaseStatement {
    released: Released,
    count: u64,
    coordinates: u64,
    sensitivity: f64,
    norm: &'static str,
    distribution: &'static str,
    noise_per_member: u32,
    /// The standard deviation of the noise that is in the release also if members drop out, in integer steps.
    noise_guaranteed: f64,
    /// The noise that was in it with the members that did not drop out, if all of them are honest.
    noise_realised: NoiseRealised,
    mechanism: Mechanism,
}

/// The noise that was in a release.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
enum NoiseRealised {
    Known {
        /// In the release with the least noise, in integer steps.
        standard_deviation: f64,
        /// How many members' noise is in it.
        members: u32,
    },
    NotKnown {
        reason: &'static str,
    },
}

const NOT_CLOSED: &str = "the round ended without sums, or the hospital did not see it close; the most \
                          that it may have released is counted";
const NOT_OPENED: &str = "the round closed, but no sum of this kind that includes this hospital was opened";

const TRUST_MODEL: &str = "The coordinator and up to T organisations of the roster may work together. They \
                           may see everything that leaves the hospital, and they know the noise that they \
                           added themselves. Sums are opened only over cohorts with at least H other \
                           honest members (secure aggregation). Only the noise of this hospital and of H \
                           honest companions is counted. Sketches and counts are protected by this \
                           hospital's own noise alone.";

/// What is not covered if each row is a record.
const SEVERAL_ROWS: &str = "a person with several rows in the file: the promise is for one row, and it is \
                            weaker for several rows together";

const NOT_COVERED: [&str; 4] = [
    "who takes part and how often, how long training takes, and the sizes and times of messages",
    "what the hospital's own staff and systems see of its data",
    "facts that are true of a patient because they are true of patients in general",
    "releases that were charged to another ledger, or to a copy of this one",
];

impl Statement {
    /// The statement of a ledger at `delta` (`PRIV-09`), with the budget of the hospital's policy if it has
    /// one, and with what is known about the noise's cost in accuracy.
    pub fn from_history(
        history: &History,
        delta: f64,
        budget: Option<Budget>,
        accuracy_cost: AccuracyCost,
    ) -> Self {
        let account = history.account();
        let spent = Spent::from_account(&account, delta);
        let counted =
            budget.map(|budget| budget.epsilon_by_filter(&account)).filter(|epsilon| epsilon.is_finite());
        Self {
            format: FORMAT,
            holder: history.opening.holder.clone(),
            unit: history.opening.unit,
            record: Record {
                definition: history.opening.record(),
                group_by: history.opening.group_by.clone(),
            },
            neighbouring_relation: neighbouring_relation(history.opening.unit),
            sampling: Sampling {
                of_members: "none: every member takes part in every round, so that sampling of members amplifies nothing",
                of_records: sampling_of_records(history),
            },
            trust_model: TRUST_MODEL,
            delta,
            epsilon: spent.epsilon,
            epsilon_method: spent.method,
            budget,
            budgets_before: history.budgets.iter().map(|&budget| EarlierBudget::from(budget)).collect(),
            epsilon_counted_against_budget: counted,
            accountant: Accountant { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            accuracy_cost,
            rounds: history
                .charges
                .iter()
                .zip(&history.closed)
                .map(|(charge, closed)| RoundStatement::new(charge, closed.as_ref()))
                .collect(),
            what_left: leaving(history),
            ledger_head: history.head(),
            not_covered: not_covered(history),
            in_plain_words: in_plain_words(history, spent, delta),
        }
    }

    /// Whose data it is about: the hospital's name in the consortium file.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// A paragraph for a patient board.
    pub fn in_plain_words(&self) -> &str {
        &self.in_plain_words
    }
}

impl From<(usize, Option<Budget>)> for EarlierBudget {
    fn from((after_rounds, budget): (usize, Option<Budget>)) -> Self {
        Self { after_rounds, budget }
    }
}

fn not_covered(history: &History) -> Vec<&'static str> {
    let is_by_row = history.opening.unit == PrivacyUnit::Record && history.opening.group_by.is_none();
    NOT_COVERED.into_iter().chain(is_by_row.then_some(SEVERAL_ROWS)).collect()
}

impl RoundStatement {
    fn new(charge: &Charge, closed: Option<&ClosedRound>) -> Self {
        let releases = charge.releases.iter().map(|release| ReleaseStatement::new(release, closed)).collect();
        let closing = closed.map(|closed| closed.closing);
        Self { epoch: charge.epoch, round: charge.round, model: charge.model, closing, releases }
    }
}

impl ReleaseStatement {
    fn new(release: &Release, closed: Option<&ClosedRound>) -> Self {
        Self {
            released: release.released,
            count: release.count,
            coordinates: release.coordinates,
            sensitivity: release.sensitivity,
            norm: "l2",
            distribution: if release.noise_per_member == 0 { "none" } else { "discrete_gaussian" },
            noise_per_member: release.noise_per_member,
            // Variances add up, so that `n` members' noise is `sqrt(n)` times as wide.
            noise_guaranteed: f64::from(release.noise_per_member) * f64::from(release.honest_noises).sqrt(),
            noise_realised: NoiseRealised::new(release, closed),
            mechanism: release.mechanism,
        }
    }
}

impl NoiseRealised {
    fn new(release: &Release, closed: Option<&ClosedRound>) -> Self {
        let of_one_member = f64::from(release.noise_per_member);
        if !release.released.is_sum() {
            return Self::Known { standard_deviation: of_one_member, members: 1 };
        }
        let Some(closed) = closed else { return Self::NotKnown { reason: NOT_CLOSED } };
        closed.sums_of(release.released).map_or(Self::NotKnown { reason: NOT_OPENED }, |sums| Self::Known {
            standard_deviation: of_one_member * sums.noises.sqrt(),
            members: sums.members,
        })
    }
}

fn neighbouring_relation(unit: PrivacyUnit) -> &'static str {
    match unit {
        PrivacyUnit::Member => {
            "zero-out: the hospital's contribution is there, or it is all zero and consists of its noise alone"
        }
        PrivacyUnit::Record => {
            "add or remove one record of the hospital. The record changes each step of private training by \
             at most its clipped gradient, and everything else that it influences by at most the clips"
        }
    }
}

/// How records were sampled, in words: the probabilities of all steps of private training.
fn sampling_of_records(history: &History) -> String {
    let mut sampled: Vec<String> = Vec::new();
    for release in history.releases().filter(|release| release.released == Released::PrivateStep) {
        if let Mechanism::Gaussian { sampling_probability, .. } = release.mechanism {
            let probability = sampling_probability.to_string();
            if !sampled.contains(&probability) {
                sampled.push(probability);
            }
        }
    }
    if sampled.is_empty() {
        return "none is counted".into();
    }
    format!(
        "Poisson: in each step of private training, each record takes part with the probability {}, \
         independently of all others. Everything else is computed from all records",
        sampled.join(" or ")
    )
}

/// A paragraph for a patient board. It states ε as odds, which is what ε bounds: whatever somebody believed
/// before, the odds that some data was used change by a factor of at most `e^ε`, except with a probability of
/// `δ`.
fn in_plain_words(history: &History, spent: Spent, delta: f64) -> String {
    let (holder, rounds) = (&history.opening.holder, history.charges.len());
    let whose = match (history.opening.unit, &history.opening.group_by) {
        (PrivacyUnit::Member, _) => "this hospital's records were".to_owned(),
        (PrivacyUnit::Record, None) => "one row of its file was".to_owned(),
        (PrivacyUnit::Record, Some(column)) => format!("the rows with one value of “{column}” were"),
    };
    let kinds: Vec<String> = leaving(history).iter().map(Leaving::in_words).collect();
    let what_left = match kinds.is_empty() {
        true => "Nothing has left it yet.".to_owned(),
        false => format!("What left it: {}.", kinds.join("; ")),
    };
    let training = format!(
        "{holder} helped to train a shared language model in {rounds} round(s). No notes left the hospital. {what_left}"
    );
    let promise = match spent.epsilon {
        Some(epsilon) if epsilon <= MEANINGFUL_EPSILON => format!(
            " Random noise was added to all of it. Somebody who sees everything that left, and who wants \
             to know whether {whose} used, can change the odds of their guess by a factor of at most \
             {:.1}, except with a probability of {delta:e}. Without any data, that factor would be 1.",
            epsilon.exp()
        ),
        Some(epsilon) => format!(
            " Random noise was added to all of it, but so little (ε = {epsilon:.0}) that there is no \
             meaningful promise that nobody can tell whether {whose} used."
        ),
        None => format!(
            " Some of it had no random noise, so there is no mathematical promise that nobody can tell \
             whether {whose} used. Sums over several hospitals hide what one of them added. What the \
             coordinator reads as this hospital's own is protected by its noise alone, and is not \
             protected if it has none."
        ),
    };
    training + &promise
}

/// Above this ε a statement claims no meaningful promise: the odds of a guess may change by a factor of
/// `e^20`, which is almost 500 million.
const MEANINGFUL_EPSILON: f64 = 20.0;

#[cfg(test)]
mod tests;
