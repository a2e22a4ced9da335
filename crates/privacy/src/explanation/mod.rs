//! What a ledger says, summed up: how much was spent, on what, and in which round.

use std::collections::BTreeMap;
use std::fmt;

use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_params::time::UtcTime;
use serde::Serialize;

use crate::accountant::{Account, Epsilon, Mechanism};
use crate::budget::Budget;
use crate::closed::ClosedRound;
use crate::ledger::History;
use crate::release::{Release, Released};

/// For how many rounds at most an ε up to the round is computed. Each takes as long as an ε of everything.
const MOST_LINES: usize = 200;
/// The most kinds of mechanisms that these computations look at, all rounds together.
const MOST_PARTS: usize = 100_000;

/// An ε, or that there is none.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spent {
    /// The least ε at the explanation's δ; `None` if something was released that no ε covers.
    pub epsilon: Option<f64>,
    /// How it was found: `pld`, `zcdp` or `rdp` as in [`Epsilon`], or `unbounded`.
    pub method: &'static str,
}

impl Spent {
    /// What an account costs at `delta`.
    pub fn from_account(account: &Account, delta: f64) -> Self {
        let Epsilon { epsilon, method } = account.epsilon(delta);
        // JSON has no infinity: `None` and the method's name say that there is no ε.
        if epsilon.is_finite() {
            Self { epsilon: Some(epsilon), method }
        } else {
            Self { epsilon: None, method: "unbounded" }
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epsilon {
            Some(epsilon) => f.pad(&format!("{epsilon:.4}")),
            None => f.pad("unbounded"),
        }
    }
}

/// One kind of release, over all rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct KindSpent {
    /// What was released.
    pub released: Released,
    /// How many releases of this kind there were.
    pub count: u64,
    /// How many of them had no noise, so that no ε covers them.
    pub unbounded: u64,
    /// What these releases alone would cost. The kinds do not add up to the whole, because ε grows more
    /// slowly than the number of releases.
    pub alone: Spent,
}

/// One round that was charged.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RoundSpent {
    /// Digest of the epoch's consortium file.
    pub epoch: Digest,
    /// The round whose plan was charged.
    pub round: Round,
    /// When it was charged; `None` for a line of an earlier version.
    pub charged_at: Option<UtcTime>,
    /// What everything up to this round costs, this round included. `None` for some rounds of a long ledger.
    pub so_far: Option<Spent>,
    /// The sums that were opened; `None` if the round ended without sums, or the hospital did not see it end.
    pub closed: Option<ClosedRound>,
}

impl RoundSpent {
    /// How many sums were opened, and how many members each has at least, as two cells of a table.
    fn opened(&self) -> (String, String) {
        let Some(closed) = &self.closed else { return ("not known".into(), String::new()) };
        let fewest = closed.sums.iter().map(|sums| sums.members).min();
        let count: u32 = closed.sums.iter().map(|sums| sums.count).sum();
        (count.to_string(), fewest.map_or(String::new(), |fewest| format!("{fewest} or more")))
    }
}

/// A ledger, explained.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// Whose data it is: the hospital's name in the consortium file.
    pub holder: String,
    /// The unit whose data is protected.
    pub unit: PrivacyUnit,
    /// What one record is, as a part of a sentence.
    pub record: String,
    /// The δ of every ε in the explanation.
    pub delta: f64,
    /// What everything costs together.
    pub spent: Spent,
    /// The ε that the budget's filter counts; `None` without a budget, or if its training does not cover the
    /// ledger.
    pub by_filter: Option<f64>,
    /// What each kind of release costs.
    pub kinds: Vec<KindSpent>,
    /// What was spent round by round, oldest first.
    pub rounds: Vec<RoundSpent>,
    /// Digest of the ledger's last line. It names this state of the ledger.
    pub head: Digest,
}

impl Explanation {
    /// Explains a ledger at `delta`, against a budget if there is one.
    pub fn from_history(history: &History, delta: f64, budget: Option<Budget>) -> Self {
        let account = history.account();
        let by_filter =
            budget.map(|budget| budget.epsilon_by_filter(&account)).filter(|epsilon| epsilon.is_finite());
        Self {
            holder: history.opening.holder.clone(),
            unit: history.opening.unit,
            record: history.opening.record(),
            delta,
            spent: Spent::from_account(&account, delta),
            by_filter,
            kinds: kinds(history.releases(), delta),
            rounds: rounds(history, delta),
            head: history.head(),
        }
    }
}

/// Groups releases by kind, each kind with what it costs alone at `delta`.
pub fn kinds<'a>(releases: impl Iterator<Item = &'a Release>, delta: f64) -> Vec<KindSpent> {
    let mut groups: BTreeMap<Released, Vec<&Release>> = BTreeMap::new();
    for release in releases {
        groups.entry(release.released).or_default().push(release);
    }
    groups.into_iter().map(|(released, releases)| KindSpent::new(released, &releases, delta)).collect()
}

impl KindSpent {
    /// Counts are those of a file, which may have any figures; sums of them stay at the largest number.
    fn new(released: Released, releases: &[&Release], delta: f64) -> Self {
        let (mut count, mut unbounded) = (0u64, 0u64);
        for release in releases {
            count = count.saturating_add(release.count);
            if release.mechanism == Mechanism::Unbounded {
                unbounded = unbounded.saturating_add(release.count);
            }
        }
        let alone = Spent::from_account(&crate::release::account(releases.iter().copied()), delta);
        Self { released, count, unbounded, alone }
    }
}

/// What was spent round by round. For a long ledger, only every n-th round and the last one have the ε up to
/// them: no ledger then takes longer than a few hundred computations of ε.
fn rounds(history: &History, delta: f64) -> Vec<RoundSpent> {
    let lines = (MOST_PARTS / history.account().kinds().max(1)).clamp(1, MOST_LINES);
    let every = history.charges.len().div_ceil(lines).max(1);
    let mut account = Account::default();
    let mut rounds = Vec::with_capacity(history.charges.len());
    for (index, (charge, closed)) in history.charges.iter().zip(&history.closed).enumerate() {
        for release in &charge.releases {
            account.add(release.mechanism, release.count);
        }
        // Counted from the end, so that the last round has its ε.
        let rounds_after = history.charges.len() - index - 1;
        let so_far = rounds_after.is_multiple_of(every).then(|| Spent::from_account(&account, delta));
        let (epoch, round, charged_at) = (charge.epoch, charge.round, charge.at);
        rounds.push(RoundSpent { epoch, round, charged_at, so_far, closed: closed.clone() });
    }
    rounds
}

/// Tables for people.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, unit {}, at δ = {:e}", self.holder, self.unit, self.delta)?;
        if self.unit == PrivacyUnit::Record {
            writeln!(f, "one record is {}", self.record)?;
        }
        writeln!(f, "\n{:<36}{:>9}{:>12}{:>14}", "released", "times", "no noise", "ε alone")?;
        for kind in &self.kinds {
            let (what, count, unbounded) = (kind.released.in_words(), kind.count, kind.unbounded);
            writeln!(f, "{what:<36}{count:>9}{unbounded:>12}{:>14}", kind.alone)?;
        }
        writeln!(f, "\n{:<20}{:>14}{:>16}{:>20}", "round", "ε so far", "sums opened", "members in each")?;
        for round in &self.rounds {
            let name = format!("{} of {}", round.round.0, &round.epoch.to_string()[..8]);
            let (opened, members) = round.opened();
            let so_far = round.so_far.map_or(String::new(), |spent| spent.to_string());
            writeln!(f, "{name:<20}{so_far:>14}{opened:>16}{members:>20}")?;
        }
        writeln!(f, "\nε of everything: {}", self.spent)?;
        if let Some(by_filter) = self.by_filter {
            writeln!(f, "ε as the budget counts it: {by_filter:.4}")?;
        }
        if self.spent.epsilon.is_none() {
            writeln!(
                f,
                "Something was released without noise. Differential privacy promises nothing about it."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
