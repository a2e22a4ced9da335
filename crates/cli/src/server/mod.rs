//! `cloister server`.

mod event_text;
mod run_events;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cloister_crypto::consortium::Epoch;
use cloister_identity::online::EnrolmentDesk;
use cloister_identity::operator::TokenDesk;
use cloister_params::consortium::PublicBytes;
use cloister_params::plan::RoundSettings;
use cloister_server::{
    DailyWindow, PublicLogError, QueueError, RoundJournalError, ServerConfig, ServerError, ServerEvent,
    ServerLifetime,
};
use cloister_transport::{OperatorListener, StopSignal};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::Level;

use crate::failure::{Failure, FailureKind};
use crate::folder::{PartyFolder, check_coordinator, load_consortium, load_model, newest_edition, read_text};
use crate::link_flags::LinkFlags;
use crate::output;
use crate::service::control::{
    Answering, ControlDesk, EventReporter, Invitations, Watchers, serve_https, serve_socket, socket_path,
};
use crate::service::{SOUND, ServiceArguments, notify_ready, run_until_stopped, stop_signal};
use event_text::{level, to_json, to_text};

/// Flags of `cloister server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// The consortium file. Its signature is in the file of the same name with `.sig` appended.
    #[arg(long, env = "CLOISTER_CONSORTIUM")]
    pub(crate) consortium: PathBuf,
    /// The coordinator's folder: certificate.pem, key.pem, signing.key, policy.toml.
    #[arg(long, env = "CLOISTER_IDENTITY")]
    pub(crate) identity: PathBuf,
    /// The round settings that the consortium agreed on.
    #[arg(long)]
    pub(crate) settings: PathBuf,
    /// The initial parameters that the consortium agreed on.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The folder for logs, the model and the journal. A coordinator that is started again with the same folder goes on where
    /// it stopped.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Address and port to listen on, for UDP and TCP. A port alone means all IPv4 addresses of this machine; `[::]:443` means
    /// all IPv4 and IPv6 addresses.
    #[arg(long, default_value = "0.0.0.0:443", value_parser = listen_address)]
    pub(crate) listen: SocketAddr,
    /// Number of rounds with sums of the first run, including those before a restart. `cloister run start` queues further runs.
    #[arg(long, default_value_t = NonZeroU64::MIN)]
    num_rounds: NonZeroU64,
    /// Number of members that must be connected before a round starts. By default the smallest cohort; with --until-finished, all
    /// members, before the first round alone.
    #[arg(long)]
    min_available_nodes: Option<usize>,
    /// Keep the models of this many last closings in the data folder, for members to pull. The model in force and the one that
    /// the edition starts from are kept in addition.
    #[arg(long, default_value_t = NonZeroUsize::new(3).expect("not 0"), value_name = "NUMBER")]
    pub(crate) keep_models: NonZeroUsize,
    /// Keep the opened sums of this many last rounds, from which an audit follows the models. By default all are kept: a round's
    /// take about as many bytes as the model.
    #[arg(long, value_name = "NUMBER")]
    keep_sums: Option<NonZeroUsize>,
    /// Start rounds in this part of each day alone, in UTC, such as 20:00-06:00. A round in progress goes on.
    #[arg(long, value_name = "HH:MM-HH:MM")]
    rounds_between: Option<DailyWindow>,
    /// With --until-finished, wait this many seconds for these members. Otherwise the coordinator waits as long as it takes.
    #[arg(long, default_value_t = 600, requires = "until_finished")]
    start_within_s: u64,
    /// Also answer operators' programs over HTTPS at this address and port of this machine. Each needs a token: see `cloister
    /// run token`. A port alone means all IPv4 addresses. Off by default.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen_address)]
    pub(crate) control_https: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) link: LinkFlags,
    /// Wait this many seconds for a party that lost its link.
    #[arg(long, default_value_t = 60)]
    reconnect_within_s: u64,
    #[command(flatten)]
    service: ServiceArguments,
}

pub(crate) fn run(arguments: ServerArguments) -> Result<(), Failure> {
    // Before anything is written and before threads start, because the umask belongs to the whole process.
    cloister_storage::restrict_new_files();
    let print_events = arguments.service.events;
    let reloading = arguments.service.start_log();
    let (switch, stop) = stop_signal();
    let switch = Arc::new(switch);
    let (only_checks, control_https) = (arguments.service.check, arguments.control_https);
    let (config, governance_key) = configure(arguments, stop)?;
    let invitations = Invitations::new(config.desk.clone(), config.identity.fingerprint());
    if only_checks {
        return output::line(SOUND);
    }
    let (coordinator, control) = mpsc::channel(1);
    let watchers = Watchers::new();
    let (reporter, ending) = (EventReporter::new(watchers.clone(), print_events), watchers.clone());
    let mut show = shown_by(reporter.clone());
    let tokens = TokenDesk::open(&config.folder).map_err(Failure::config)?;
    let identity = config.identity.clone();
    let mut desk = ControlDesk {
        coordinator,
        stop: switch.clone(),
        data: config.folder.clone(),
        governance_key,
        invitations,
        tokens,
        https: None,
        watchers,
        reporter,
        settings: tokio::sync::Mutex::new(config.settings.clone()),
        answering: Answering::default(),
    };
    let served = run_until_stopped(&switch, &reloading, async {
        let https = control_https.map(|address| OperatorListener::bind(address, &identity)).transpose();
        let https = https.map_err(ServerError::from)?;
        desk.https = https.as_ref().and_then(|listener| listener.local_address().ok());
        let answering = desk.answering.clone();
        let mut operator = Box::pin(serve_operator(Arc::new(desk), https));
        let served = tokio::select! {
            served = cloister_server::run(config, control, &mut show) => served,
            never = &mut operator => match never {},
        };
        tokio::select! {
            () = answering.finish() => {}
            never = &mut operator => match never {},
        }
        drop(operator);
        ending.finish().await;
        served
    })?;
    served.map_err(|error| Failure::new(kind(&error), error))
}

/// Reports each event of the coordinator. systemd hears when it listens.
fn shown_by(reporter: EventReporter) -> impl FnMut(ServerEvent) + Send {
    move |event: ServerEvent| {
        if let ServerEvent::Listening(address) = &event {
            notify_ready(&format!("listening at {address}"));
        }
        reporter.report(level(&event), &to_text(&event), to_json(&event));
    }
}

/// Answers operators' requests, at the socket and over HTTPS.
async fn serve_operator(desk: Arc<ControlDesk>, https: Option<OperatorListener>) -> Infallible {
    match https {
        None => serve_local_operator(&desk).await,
        Some(listener) => {
            if let Some(address) = desk.https {
                let sentence = format!("operators with a token are answered at https://{address}");
                let fields = json!({"event": "control_https", "address": address.to_string()});
                desk.reporter.report(Level::INFO, &sentence, fields);
            }
            tokio::select! {
                never = serve_local_operator(&desk) => never,
                never = serve_https(desk.clone(), listener) => never,
            }
        }
    }
}

/// Answers requests at the socket. Without a socket the rounds go on, and nobody can ask there.
async fn serve_local_operator(desk: &ControlDesk) -> Infallible {
    let path = socket_path(&desk.data);
    if let Err(error) = serve_socket(desk, &path).await {
        tracing::warn!(
            "`cloister run` does not work, because {} cannot be listened at: {error}",
            path.display()
        );
    }
    std::future::pending().await
}

fn kind(error: &ServerError) -> FailureKind {
    match error {
        ServerError::Bind(_)
        | ServerError::TooFewMembers { .. }
        | ServerError::Journal(RoundJournalError::InUse(_)) => FailureKind::Unavailable,
        ServerError::QuorumLost(_)
        | ServerError::RefusedWithoutQuorum { .. }
        | ServerError::Refused { .. }
        | ServerError::NothingSummed(_) => FailureKind::QuorumLost,
        ServerError::InvalidPlan(_)
        | ServerError::Outdated { .. }
        | ServerError::Roster(_)
        | ServerError::Ledger(_)
        | ServerError::Edition(_)
        | ServerError::PublicLog(PublicLogError::Damaged { .. })
        | ServerError::Runs(QueueError::Syntax { .. } | QueueError::Version { .. })
        | ServerError::Journal(RoundJournalError::Epoch { .. } | RoundJournalError::Version { .. }) => {
            FailureKind::Config
        }
        ServerError::Io { .. }
        | ServerError::Journal(_)
        | ServerError::PublicLog(PublicLogError::Io { .. })
        | ServerError::Runs(QueueError::Io { .. })
        | ServerError::Resume { .. } => FailureKind::Error,
    }
}

impl ServerArguments {
    /// The file of the round settings in force: those that came with an edition, until an edition brings others.
    pub(crate) fn settings_file(&self, given: &Epoch, newest: &Epoch) -> PathBuf {
        match newest.digest() == given.digest() {
            true => self.settings.clone(),
            false => cloister_server::settings_path(&self.data),
        }
    }
}

fn configure(arguments: ServerArguments, stop: StopSignal) -> Result<(ServerConfig, PublicBytes), Failure> {
    let folder = PartyFolder::load(&arguments.identity)?;
    let given = load_consortium(&arguments.consortium, &folder.policy)?;
    let epoch = newest_edition(given.clone(), &arguments.data, &folder.policy);
    let certificate = PublicBytes(folder.identity.fingerprint().0);
    check_coordinator(&epoch, Some(certificate), Some(folder.signing_key.public()))?;
    let settings_file = arguments.settings_file(&given, &epoch);
    let in_settings = |error: String| Failure::config(format!("{}: {error}", settings_file.display()));
    let settings =
        RoundSettings::parse(&read_text(&settings_file)?).map_err(|error| in_settings(error.to_string()))?;
    settings.check(epoch.consortium()).map_err(|error| in_settings(error.to_string()))?;
    let model = load_model(&arguments.model)?;
    // Before the port is opened: settings for other blocks than the model's could not be planned.
    model.check(&settings.blocks).map_err(|why| {
        Failure::config(format!("{} and {}: {why}", arguments.settings.display(), arguments.model.display()))
    })?;
    let lifetime = match arguments.service.until_finished {
        true => ServerLifetime::UntilFinished { start_within: Duration::from_secs(arguments.start_within_s) },
        false => ServerLifetime::UntilStopped,
    };
    let config = ServerConfig {
        signing_key: folder.signing_key,
        identity: folder.identity,
        listen: arguments.listen,
        settings,
        model,
        num_rounds: arguments.num_rounds.get(),
        min_available_nodes: arguments.min_available_nodes,
        rounds_between: arguments.rounds_between,
        lifetime,
        stop,
        reconnect_within: Duration::from_secs(arguments.reconnect_within_s),
        transport: arguments.link.settings(),
        desk: Arc::new(
            EnrolmentDesk::open(&arguments.data, folder.policy.governance_key).map_err(Failure::config)?,
        ),
        folder: arguments.data,
        keep_models: arguments.keep_models.get(),
        keep_sums: arguments.keep_sums,
        epoch,
    };
    Ok((config, folder.policy.governance_key))
}

/// An address of this machine with a port, or a port alone.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        // All addresses, because a coordinator must be reachable from other machines.
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    text.parse().map_err(|_| {
        "expected an address of this machine with a port, like 0.0.0.0:443, or a port alone".to_owned()
    })
}
