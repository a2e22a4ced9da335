//! `cloister config check`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// Flags of `cloister config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file: unknown settings, missing ones, and the files that it names. Nothing is started.
    Check {
        /// The command whose configuration it is.
        #[arg(value_enum)]
        command: ServiceName,
        /// The configuration file.
        file: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ServiceName {
    /// A coordinator.
    Server,
    /// A hospital.
    Client,
    /// A party that is only a custodian.
    Custodian,
}

impl ConfigArguments {
    /// The command line that checks the file: the check is that of the service itself.
    pub(crate) fn service_command(&self) -> Vec<OsString> {
        let ConfigCommand::Check { command, file } = &self.command;
        let name = match command {
            ServiceName::Server => "server",
            ServiceName::Client => "client",
            ServiceName::Custodian => "custodian",
        };
        let mut command = service_command(name, file);
        command.push("--check".into());
        command
    }
}

/// The command line that starts a service with a configuration file.
pub(crate) fn service_command(name: &str, file: &Path) -> Vec<OsString> {
    vec!["cloister".into(), name.into(), "--config".into(), file.into()]
}
