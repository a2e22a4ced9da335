//! What a ledger comes to: what was spent on what.

use std::collections::BTreeMap;
use std::fmt;

use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use serde::Serialize;

use crate::accountant::{Account, Epsilon, Mechanism};
use crate::budget::Budget;
use crate::closed::ClosedRound;
use crate::ledger::{Charge, History};
use crate::release::{Release, Released};

/// The most rounds of which it is said what there was up to them.
const MOST_LINES: usize = 200;
/// The most kinds of mechanisms that are looked at for them, all rounds together.
const MOST_PARTS: usize = 100_000;

/// An ε, or why there is none.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spent {
    /// The least ε at the explanation's δ; none where something was released that no ε covers.
    pub epsilon: Option<f64>,
    /// How it was found.
    pub method: &'static str,
}

impl Spent {
    /// What an account comes to at `delta`.
    pub fn from_account(account: &Account, delta: f64) -> Self {
        let Epsilon { epsilon, method } = account.epsilon(delta);
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

/// One kind of release over all rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct KindSpent {
    /// What was released.
    pub released: Released,
    /// How often.
    pub count: u64,
    /// How often without a bound: without noise.
    pub unbounded: u64,
    /// What these alone would come to. The parts do not add up to the whole: ε grows more slowly than their number.
    pub alone: Spent,
}

/// One round.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RoundSpent {
    /// The epoch.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// What everything up to and with this round comes to; none where there are so many rounds that it is not said for each.
    pub so_far: Option<Spent>,
    /// The sums that were opened; none where the round did not close, or was not seen to.
    pub closed: Option<ClosedRound>,
}

impl RoundSpent {
    /// How many sums were opened and how many members each has at least, for people.
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
    /// Whose data it is.
    pub holder: String,
    /// The unit that is protected.
    pub unit: PrivacyUnit,
    /// What one record is.
    pub record: String,
    /// The δ of every ε here.
    pub delta: f64,
    /// What everything comes to.
    pub spent: Spent,
    /// What a budget's filter counts, where a budget is given.
    pub by_filter: Option<f64>,
    /// By what was released.
    pub kinds: Vec<KindSpent>,
    /// By round.
    pub rounds: Vec<RoundSpent>,
    /// Digest of the ledger's last line.
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

/// Releases by kind, each kind with what it alone comes to.
pub fn kinds<'a>(releases: impl Iterator<Item = &'a Release>, delta: f64) -> Vec<KindSpent> {
    let mut groups: BTreeMap<Released, Vec<&Release>> = BTreeMap::new();
    for release in releases {
        groups.entry(release.released).or_default().push(release);
    }
    let kind = |(released, releases): (Released, Vec<&Release>)| {
        let unbounded = releases.iter().filter(|release| release.mechanism == Mechanism::Unbounded);
        KindSpent {
            released,
            count: releases.iter().fold(0, |sum, release| sum.saturating_add(release.count)),
            unbounded: unbounded.fold(0, |sum: u64, release| sum.saturating_add(release.count)),
            alone: Spent::from_account(&crate::release::account(releases.iter().copied()), delta),
        }
    };
    groups.into_iter().map(kind).collect()
}

/// Every so many rounds, and for the last, what there was up to it: no ledger takes longer than a hundred or two of ε do.
fn rounds(history: &History, delta: f64) -> Vec<RoundSpent> {
    let lines = (MOST_PARTS / history.account().kinds().max(1)).clamp(1, MOST_LINES);
    let (rounds, every) = (history.charges.len(), history.charges.len().div_ceil(lines).max(1));
    let mut account = Account::default();
    let charge = |(number, (charge, closed)): (usize, (&Charge, &Option<ClosedRound>))| {
        for release in &charge.releases {
            account.add(release.mechanism, release.count);
        }
        let so_far = ((rounds - number) % every == 0).then(|| Spent::from_account(&account, delta));
        RoundSpent { epoch: charge.epoch, round: charge.round, so_far, closed: closed.clone() }
    };
    (1..).zip(history.charges.iter().zip(&history.closed)).map(charge).collect()
}

/// A table for people.
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
        writeln!(f, "\nε in all: {}", self.spent)?;
        if let Some(by_filter) = self.by_filter {
            writeln!(f, "ε that the budget counts: {by_filter:.4}")?;
        }
        if self.spent.epsilon.is_none() {
            writeln!(
                f,
                "Something was released without noise: differential privacy promises nothing of it."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
