//! Where the coordinator's events go.

use serde_json::Value;
use tracing::Level;

use super::watchers::Watchers;
use crate::service::events;
use crate::service::log;

/// Hands each event to the programs that watch, and to the log or, with `--events`, to stdout.
#[derive(Clone, Debug)]
pub(crate) struct EventReporter {
    watchers: Watchers,
    prints_events: bool,
}

impl EventReporter {
    pub(crate) fn new(watchers: Watchers, prints_events: bool) -> Self {
        Self { watchers, prints_events }
    }

    pub(crate) fn report(&self, level: Level, sentence: &str, fields: Value) {
        self.watchers.publish(level, sentence, &fields);
        match self.prints_events {
            true => events::print(fields),
            false => log::event(level, sentence, &fields),
        }
    }
}
