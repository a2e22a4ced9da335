//! What members of a run behind masks release, for both units of privacy, and the ε of parts of it.
//!
//! It follows from the plan of every round, as the charges of the members' ledgers do. It is kept with a seed's result,
//! because a ledger of the lab ends with its process, and an interrupted run continues in another one.

use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::{CERTAIN_MICRO, PrivateTrainingPlan, RoundSettings};
use cloister_privacy::accountant::{Account, Mechanism};
use cloister_privacy::ledger::LedgerError;
use cloister_privacy::release::{Release, Released, releases};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::LabError;
use crate::private;

/// Equal releases of one kind, in all rounds of a seed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Charged {
    /// What is released.
    pub released: Released,
    /// The mechanism of each.
    pub mechanism: Mechanism,
    /// How many there are.
    pub count: u64,
}

impl From<Release> for Charged {
    fn from(release: Release) -> Self {
        Self { released: release.released, mechanism: release.mechanism, count: release.count }
    }
}

/// What each member releases in all rounds of a seed, by the unit that is protected.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SeedCharges {
    /// With a whole member as the unit.
    pub member: Vec<Charged>,
    /// With one text of a member as the unit.
    pub record: Vec<Charged>,
}

/// A part of what a member releases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleasedPart {
    /// Everything.
    Everything,
    /// What the member announces alone: sketches, signs or scores, and token counts.
    Announced,
    /// Sketches, signs or scores, without token counts.
    Sketches,
}

impl ReleasedPart {
    fn has(self, released: Released) -> bool {
        let is_announced = !released.is_sum() && released != Released::PrivateStep;
        match self {
            Self::Everything => true,
            Self::Announced => is_announced,
            Self::Sketches => is_announced && released != Released::TokenCount,
        }
    }
}

impl SeedCharges {
    /// The charges of all rounds of a configuration with these settings. `texts` is how many each member has.
    ///
    /// # Errors
    /// [`LabError::Ledger`] for settings that cannot be charged.
    pub(crate) fn from_rounds(
        config: &Config,
        settings: &RoundSettings,
        texts: &[usize],
    ) -> Result<Self, LabError> {
        let rounds = config.strategy.training.num_rounds as u64;
        let mut charges = Self { member: Vec::new(), record: Vec::new() };
        for release in releases(settings, PrivacyUnit::Member).map_err(LedgerError::from)? {
            charges.member.push(Charged { count: release.count * rounds, ..release.into() });
        }
        let fewest = texts.iter().copied().min().unwrap_or(0);
        for release in record_releases(config, settings, fewest)? {
            charges.record.push(Charged { count: release.count * rounds, ..release.into() });
        }
        if let Some(every) = config.strategy.training.head_every {
            // The sums that the head is estimated from again carry no noise: `head.noise` needs a `head.kind`.
            let count = 1 + rounds / every as u64;
            let head = Charged { released: Released::SharedSum, mechanism: Mechanism::Unbounded, count };
            charges.member.push(head);
            charges.record.push(head);
        }
        Ok(charges)
    }

    /// The charges of a head and of the rounds after it; `None` of neither.
    pub(crate) fn together(head: Option<Self>, rounds: Option<Self>) -> Option<Self> {
        match (head, rounds) {
            (Some(mut head), Some(rounds)) => {
                head.member.extend(rounds.member);
                head.record.extend(rounds.record);
                Some(head)
            }
            (head, rounds) => head.or(rounds),
        }
    }

    /// ε at `delta` of a part of the releases. Infinity says that no ε covers it: a release has no noise. `None` where
    /// there is no such release.
    pub fn epsilon(&self, part: ReleasedPart, unit: PrivacyUnit, delta: f64) -> Option<f64> {
        let charged = match unit {
            PrivacyUnit::Member => &self.member,
            PrivacyUnit::Record => &self.record,
        };
        let mut account = Account::default();
        let mut is_empty = true;
        for release in charged.iter().filter(|release| part.has(release.released)) {
            if release.mechanism == Mechanism::Unbounded {
                return Some(f64::INFINITY);
            }
            account.add(release.mechanism, release.count);
            is_empty = false;
        }
        (!is_empty).then(|| account.epsilon(delta).epsilon)
    }
}

/// The releases of a round with one text as the unit. With DP-SGD they are those of a plan of private training, whose
/// steps are the lab's: its sampling probability follows from the number of texts. `fewest` is the smallest member's.
fn record_releases(
    config: &Config,
    settings: &RoundSettings,
    fewest: usize,
) -> Result<Vec<Release>, LabError> {
    let mut settings = settings.clone();
    let steps = private::training(&config.strategy.training, fewest);
    settings.training.private = steps.as_ref().map(|_| PrivateTrainingPlan {
        // Only `minimum_records` decides what is charged, because the steps are replaced below.
        clipping_norm_milli: 1000,
        noise_multiplier_milli: 1000,
        sampling_probability_micro: CERTAIN_MICRO,
        minimum_records: u32::try_from(fewest).unwrap_or(u32::MAX),
    });
    let mut all = releases(&settings, PrivacyUnit::Record).map_err(LedgerError::from)?;
    for release in all.iter_mut().filter(|release| release.released == Released::PrivateStep) {
        if let Some(steps) = &steps {
            release.count = steps.steps as u64;
            release.mechanism = private::mechanism(steps);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use cloister_experts::ModelConfig;
    use cloister_params::id::{Digest, Round};
    use cloister_privacy::ledger::Charge;

    use super::*;
    use crate::accounts::Accounts;
    use crate::noise::{self, Clips, Target};

    #[test]
    fn whatever_form_is_announced_counts_as_sketches() {
        for released in [Released::RegionSketch, Released::UpdateSigns, Released::Score] {
            assert!(ReleasedPart::Announced.has(released) && ReleasedPart::Sketches.has(released));
        }
        assert!(ReleasedPart::Announced.has(Released::TokenCount));
        assert!(!ReleasedPart::Sketches.has(Released::TokenCount));
        for released in [Released::RegionSum, Released::ExpertSum, Released::PrivateStep] {
            assert!(!ReleasedPart::Announced.has(released) && ReleasedPart::Everything.has(released));
        }
    }

    /// PRIV-03: noise of every kind, so that every ε is finite.
    #[test]
    fn charges_are_those_of_a_ledger_after_all_rounds() {
        let text =
            "dataset = \"x\"\n[data]\ntrain = [\"a\"]\n[strategy]\nname = \"FedAvg\"\nnum_rounds = 3\n";
        let config = Config::parse(text, "the test", &[]).expect("a configuration");
        let model = ModelConfig {
            moe_layers: 1,
            experts: 3,
            rank: 1,
            ..ModelConfig::new(vec!["a".into(), "b".into()])
        };
        let clips = Clips { update_log2: 0, region_milli: 1000 };
        for unit in [PrivacyUnit::Member, PrivacyUnit::Record] {
            let target = Target { unit, rho: 1.0 };
            let settings = noise::settings(&model, 4, clips, Some(target)).expect("it fits");
            let charges = SeedCharges::from_rounds(&config, &settings, &[9, 7]).expect("charged");
            let mut accounts = Accounts::counting(1, unit).expect("a ledger");
            for round in 1..=3 {
                let releases = releases(&settings, unit).expect("charged");
                let (epoch, model) = (Digest::default(), Digest::default());
                let charge = Charge { epoch, round: Round(round), model, releases, at: None };
                accounts.charge(0, charge).expect("charged").redeem();
            }
            let ledger = accounts.epsilon(0, 1e-5).expect("a ledger");
            let [everything, announced, sketches] =
                [ReleasedPart::Everything, ReleasedPart::Announced, ReleasedPart::Sketches]
                    .map(|part| charges.epsilon(part, unit, 1e-5).expect("released"));
            assert!((everything - ledger).abs() < 1e-9 * ledger, "{unit:?}: {everything} {ledger}");
            assert!(sketches < announced && announced < everything, "{sketches} {announced} {everything}");
        }
        assert_eq!(SeedCharges::together(None, None), None);
    }
}
