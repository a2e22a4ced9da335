//! Reading the configuration again, when a service gets SIGHUP.
//!
//! Only the log level changes in a running service, and the limits of a party's policy (`PLAN-20`). Keys, settings and files
//! were checked together when the service started, and a round in progress depends on them, so that they need a restart.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::CommandFactory;
use cloister_client::PolicySender;
use toml::Table;

use super::config_file;
use super::log::{LevelSwitch, LogLevel};
use crate::Cli;
use crate::failure::Failure;
use crate::folder::read_policy;

/// The setting that changes in a running service, as a configuration file names it.
const LOG_LEVEL: &str = "log_level";

/// The configuration that a service was started with, and what can be changed of it.
#[derive(Debug)]
pub(crate) struct Reloading {
    /// The program's arguments.
    arguments: Vec<OsString>,
    /// The settings of the configuration file at the start; empty without a file.
    settings: Table,
    level: LevelSwitch,
    /// A party's policy file, and where its policy goes.
    policy: Option<(PathBuf, PolicySender)>,
}

impl Reloading {
    pub(super) fn new(level: LevelSwitch) -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        // It was read without an error just before.
        let read = config_file::read(&arguments).ok().flatten();
        let settings = read.map(|(_, settings)| settings).unwrap_or_default();
        Self { arguments, settings, level, policy: None }
    }

    /// The same, and a party's policy file is read again too.
    pub(crate) fn with_policy(self, path: PathBuf, sender: PolicySender) -> Self {
        Self { policy: Some((path, sender)), ..self }
    }

    /// Reads policy and configuration again. What cannot be read changes nothing, and the service goes on.
    pub(super) fn reload(&self) {
        if let Some((path, sender)) = &self.policy {
            match read_policy(path) {
                Ok(policy) => sender.send(policy),
                // Not a warning: an operator who made the policy stricter must notice that it is not in force.
                Err(failure) => tracing::error!(
                    "the policy cannot be read again, and the one that was read before stays in force: {failure}"
                ),
            }
        }
        self.reload_configuration();
    }

    fn reload_configuration(&self) {
        let (level, settings) = match self.read_again() {
            Ok(read) => read,
            Err(failure) => {
                tracing::warn!("the configuration cannot be read again, and nothing changed: {failure}");
                return;
            }
        };
        self.level.set(level);
        let name = level.name();
        tracing::info!(
            "the configuration was read again; the log level is {name}. All other settings, and the contents of keys and \
             other files that it names, are read at the next start"
        );
        let changed = changed_settings(&self.settings, &settings);
        if !changed.is_empty() {
            tracing::warn!("these settings have changed and need a restart: {}", changed.join(", "));
        }
    }

    /// The log level, as flags, environment and file have it now, and the settings of the file.
    fn read_again(&self) -> Result<(LogLevel, Table), Failure> {
        let command = config_file::with_defaults(Cli::command(), &self.arguments)?;
        let matches = command.try_get_matches_from(&self.arguments).map_err(Failure::config)?;
        let service = matches.subcommand().map(|(_, service)| service);
        let level = service.and_then(|service| service.get_one(LOG_LEVEL).copied());
        let level = level.ok_or_else(|| Failure::config("the command line names no service"))?;
        let settings = config_file::read(&self.arguments)?.map(|(_, settings)| settings);
        Ok((level, settings.unwrap_or_default()))
    }
}

/// The settings, apart from the log level, that one file has and the other has not, or has with another value.
fn changed_settings(before: &Table, now: &Table) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let changed = names.into_iter().filter(|name| *name != LOG_LEVEL && before.get(*name) != now.get(*name));
    changed.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restart_is_needed_for_is_named() {
        let table = |text: &str| -> Table { text.parse().expect("TOML") };
        let before = table("data = 'd'\nlisten = '443'\nlog_level = 'info'\nnum_rounds = 3");
        let now = table("data = 'd'\nlisten = '444'\nlog_level = 'debug'\ncarrier = 'tcp'");
        assert_eq!(changed_settings(&before, &now), ["carrier", "listen", "num_rounds"]);
        assert!(changed_settings(&before, &before).is_empty());
    }
}
