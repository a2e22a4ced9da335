//! DP-SGD in the lab: settings for a member's texts, and what they cost.
//!
//! The lab's texts are public, so the sampling probability and the number of steps may follow from the number
//! of texts, as a researcher expects of `batch_size` and `local_epochs`. Hospitals take both from the plan,
//! because otherwise both would reveal how many records they have.

use cloister_experts::PrivateTraining;
use cloister_privacy::accountant::{Account, Mechanism};

use crate::training::MemberTrainingConfig;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::PrivateTrainingConfig;

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
