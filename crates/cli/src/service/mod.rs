//! What the long-running commands share: a configuration file, logs, signals, and systemd.

pub(crate) mod config_command;
pub(crate) mod config_file;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod log;
mod reload;
mod systemd;

use std::future::Future;
use std::path::PathBuf;

use clap::Args;
use cloister_transport::{StopSignal, StopSwitch};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use log::{LogFormat, LogLevel};
pub(crate) use reload::Reloading;
pub(crate) use systemd::notify_ready;

/// Flags of every long-running command.
#[derive(Debug, Args)]
pub(crate) struct ServiceArguments {
    /// A file in TOML with any of these flags, named as here with `_` for `-`. Relative paths in it start at the file's folder.
    /// Environment variables override the file, and flags override both.
    #[arg(long, env = "CLOISTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration and the files that it names, and end.
    #[arg(long)]
    pub(crate) check: bool,
    /// End after the last round, as scripts need it. Without this flag the program runs until it is told to stop.
    #[arg(long)]
    pub(crate) until_finished: bool,
    /// The form of the log on stderr.
    #[arg(long, value_enum, default_value = "text", env = "CLOISTER_LOG_FORMAT")]
    log_format: LogFormat,
    /// The least important messages to log.
    #[arg(long, value_enum, default_value = "info", env = "CLOISTER_LOG_LEVEL")]
    log_level: LogLevel,
    /// Print events as lines of JSON on stdout, and log nothing.
    #[arg(long)]
    pub(crate) events: bool,
}

/// What a checked configuration is answered with.
pub(crate) const SOUND: &str = "the configuration and the files that it names are sound";

impl ServiceArguments {
    /// Starts the log. The result reads the configuration again when the service is asked to.
    pub(crate) fn start_log(&self) -> Reloading {
        Reloading::new(log::start(self.log_format, self.log_level))
    }
}

/// A signal that SIGTERM and SIGINT set, and its switch for [`run_until_stopped`].
pub(crate) fn stop_signal() -> (StopSwitch, StopSignal) {
    StopSignal::new()
}

/// Runs a service on a runtime of its own. SIGTERM and SIGINT ask it to stop, and SIGHUP to read its configuration
/// again. While it makes progress, systemd's watchdog is told so.
pub(crate) fn run_until_stopped<T>(
    stop: &StopSwitch,
    reloading: &Reloading,
    service: impl Future<Output = T>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::error)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::error)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::error)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::error)?;
        let mut watchdog = systemd::Watchdog::new();
        tokio::pin!(service);
        loop {
            tokio::select! {
                result = &mut service => return Ok(result),
                _ = terminate.recv() => stop.request(),
                _ = interrupt.recv() => stop.request(),
                _ = hangup.recv() => reloading.reload(),
                // In the same task as the service: if the service blocks, systemd notices.
                () = watchdog.due() => watchdog.notify(),
            }
        }
    })
}
