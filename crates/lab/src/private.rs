//! DP-SGD in the lab: settings for a member's texts, and what they cost.
//!
//! The lab's texts are public, so the sampling probability and the number of steps may follow from the number
//! of texts, as a researcher expects of `batch_size` and `local_epochs`. Hospitals take both from the plan,
//! because otherwise both would reveal how many records they have.

use cloister_experts::PrivateTraining;
use cloister_params::plan::LEAST_NOISE_MULTIPLIER_MILLI;
use cloister_privacy::accountant::{Account, Mechanism};

use crate::training::{MemberTrainingConfig, PrivateTrainingConfig};

/// One round's private training of a member with `texts` texts; `None` if training is not private.
pub(crate) fn training(config: &MemberTrainingConfig, texts: usize) -> Option<PrivateTraining> {
    let private = config.private?;
    Some(PrivateTraining {
        clipping_norm: private.clipping_norm,
        noise_multiplier: private.noise_multiplier,
        sampling_probability: (config.batch_size as f64 / texts as f64).min(1.0),
        steps: config.local_epochs * texts.div_ceil(config.batch_size),
    })
}

/// ε of all rounds' training for each text of a member with `texts` texts. Fewer texts have a larger ε, because each is in
/// a larger share of the batches.
pub(crate) fn epsilon(config: &MemberTrainingConfig, texts: usize) -> Option<f64> {
    let (round, private) = (training(config, texts)?, config.private?);
    let mut account = Account::default();
    account.add(mechanism(&round), round.steps as u64 * config.num_rounds as u64);
    Some(account.epsilon(private.delta).epsilon)
}

/// The mechanism of one step, for the accountant.
pub(crate) fn mechanism(training: &PrivateTraining) -> Mechanism {
    let PrivateTraining { noise_multiplier, sampling_probability, .. } = *training;
    Mechanism::Gaussian { noise_multiplier, sampling_probability }
}

/// The largest noise multiplier that is tried, in thousandths.
const MOST_NOISE_MILLI: u32 = 1_000_000;

/// The least noise multiplier, in whole thousandths, with which all rounds' training of a member with `texts` texts
/// costs at most this ε. `None` if training is not private, or if no multiplier up to 1000 is enough.
pub(crate) fn noise_for(config: &MemberTrainingConfig, texts: usize, epsilon: f64) -> Option<f64> {
    if epsilon_with(config, texts, MOST_NOISE_MILLI)? > epsilon {
        return None;
    }
    // `too_little` never suffices, and `enough` always does. Less than the least is never tried, because it hides no
    // record.
    let (mut too_little, mut enough) = (LEAST_NOISE_MULTIPLIER_MILLI - 1, MOST_NOISE_MILLI);
    while enough - too_little > 1 {
        let middle = too_little + (enough - too_little) / 2;
        if epsilon_with(config, texts, middle)? <= epsilon {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Some(f64::from(enough) / 1e3)
}

/// The same ε with another noise multiplier, in thousandths.
fn epsilon_with(config: &MemberTrainingConfig, texts: usize, noise_milli: u32) -> Option<f64> {
    let noise_multiplier = f64::from(noise_milli) / 1e3;
    let private = PrivateTrainingConfig { noise_multiplier, ..config.private? };
    epsilon(&MemberTrainingConfig { private: Some(private), ..config.clone() }, texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_for_a_target_meets_it_and_a_thousandth_less_does_not() {
        let mut config = MemberTrainingConfig {
            private: Some(PrivateTrainingConfig::default()),
            num_rounds: 2,
            ..MemberTrainingConfig::default()
        };
        let noise = noise_for(&config, 320, 4.0).expect("it can be met");
        for (multiplier, is_met) in [(noise, true), (noise - 1e-3, false)] {
            config.private.as_mut().expect("private").noise_multiplier = multiplier;
            let found = epsilon(&config, 320).expect("private");
            assert_eq!(found <= 4.0, is_met, "{multiplier}: {found}");
            assert!((3.9..4.1).contains(&found), "{found}");
        }
        assert_eq!(noise_for(&config, 320, 1e-9), None);
        assert_eq!(noise_for(&MemberTrainingConfig::default(), 320, 4.0), None);
    }

    #[test]
    fn the_cost_follows_from_noise_sampling_and_steps() {
        let private = PrivateTrainingConfig { noise_multiplier: 0.8, clipping_norm: 1.0, delta: 1e-6 };
        let config = MemberTrainingConfig {
            private: Some(private),
            num_rounds: 10,
            local_epochs: 1,
            batch_size: 16,
            ..MemberTrainingConfig::default()
        };
        let round = training(&config, 320).expect("private");
        assert_eq!((round.sampling_probability, round.steps), (0.05, 20));
        // 0.8, 0.05, 200 steps, 10⁻⁶: dp-accounting's tight bound is 8.8657.
        let found = epsilon(&config, 320).expect("private");
        assert!((8.8657..8.8657 * 1.03).contains(&found), "{found}");
        assert!(epsilon(&config, 160).expect("private") > found, "fewer texts, a larger share of each batch");
        assert_eq!(training(&config, 8).expect("private").sampling_probability, 1.0);
        assert_eq!(epsilon(&MemberTrainingConfig { private: None, ..config }, 320), None);
    }
}
