//! The numbers of a configuration that go into a round's plan.

use cloister_params::plan::MOST_LOCAL_EPOCHS;

use crate::config::Config;

/// Checks that a plan has room for the numbers of a configuration, which it would cut otherwise.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let (training, scoring) = (&config.strategy.training, &config.scoring);
    let local = config.strategy.kind.settings().training(training);
    let (words, long_words) = (f64::from(u16::MAX), f64::from(u32::MAX));
    for (name, value, least, most) in [
        ("strategy.local_epochs", training.local_epochs as f64, 1.0, f64::from(MOST_LOCAL_EPOCHS)),
        ("strategy.batch_size", training.batch_size as f64, 1.0, words),
        ("strategy.learning_rate", training.learning_rate, 0.0, long_words / 1e6),
        ("strategy.routing_penalty", local.routing_penalty, 0.0, long_words / 1e3),
        ("scoring.beta", scoring.beta, 0.0, words / 256.0),
        ("scoring.consensus_fraction", scoring.consensus_fraction, 0.0, words / 256.0),
    ] {
        if !(least..=most).contains(&value) {
            return Err(format!("`{name}` is {value}; a plan has room for {least} to {most}"));
        }
    }
    Ok(())
}
