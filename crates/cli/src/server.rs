//! `cloister server`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cloister_params::id::{BlockId, PartyId};
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::{Event, RoundReport};
use cloister_server::{RoundJournalError, ServerConfig, ServerError, ServerEvent};
use cloister_transport::{TransportSettings, printable};
use cloister_wire::message::Ending;
use cloister_wire::statement::CohortChoice;
use serde_json::{Value, json};

use crate::events;
use crate::failure::{Failure, FailureKind};
use crate::folder::{PartyFolder, load_consortium, load_model, read_text};
use crate::output;

/// Flags of `cloister server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// The consortium file; its signature lies beside it with `.sig` appended.
    #[arg(long, env = "CLOISTER_CONSORTIUM")]
    consortium: PathBuf,
    /// The coordinator's folder: certificate.pem, key.pem, signing.key, policy.toml.
    #[arg(long, env = "CLOISTER_IDENTITY")]
    identity: PathBuf,
    /// What each round does.
    #[arg(long)]
    settings: PathBuf,
    /// The parameters to start from.
    #[arg(long)]
    model: PathBuf,
    /// Where logs, the model and the journal are written. Started again with the same folder, the coordinator goes on where
    /// it stopped, whatever stopped it.
    #[arg(long)]
    data: PathBuf,
    /// Address and UDP port to listen on; a port alone stands for all addresses of this machine.
    #[arg(long, default_value = "0.0.0.0:443", value_parser = listen_address)]
    listen: SocketAddr,
    /// Rounds to run, those before a restart included.
    #[arg(long, default_value_t = NonZeroU64::MIN)]
    num_rounds: NonZeroU64,
    /// Members that must be connected before the first round; all of the consortium if not given.
    #[arg(long)]
    min_available_nodes: Option<usize>,
    /// Seconds to wait for them.
    #[arg(long, default_value_t = 600)]
    start_within_s: u64,
    /// Seconds after which a silent link is lost.
    #[arg(long, default_value_t = 30)]
    idle_timeout_s: u64,
    /// Seconds that a party which lost its link is waited for.
    #[arg(long, default_value_t = 60)]
    reconnect_within_s: u64,
    /// Print events as lines of JSON on stdout.
    #[arg(long)]
    events: bool,
    /// Tell of frames that came late or again too, which is usual after a restart.
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(arguments: ServerArguments) -> Result<(), Failure> {
    cloister_storage::restrict_new_files();
    let (print_events, verbose) = (arguments.events, arguments.verbose);
    let config = configure(arguments)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::error)?;
    let mut show = |event: ServerEvent| {
        if print_events {
            events::print(&to_json(&event));
        } else if verbose || !matches!(event, ServerEvent::Unexpected(..)) {
            // A refusal's reason, for one, is a peer's.
            output::tell(printable(to_text(&event).as_bytes()));
        }
    };
    runtime
        .block_on(cloister_server::run(config, &mut show))
        .map_err(|error| Failure::new(kind(&error), error))
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
        | ServerError::Journal(RoundJournalError::Epoch { .. }) => FailureKind::Config,
        ServerError::Io { .. } | ServerError::Journal(_) | ServerError::Resume { .. } => FailureKind::Error,
    }
}

fn configure(arguments: ServerArguments) -> Result<ServerConfig, Failure> {
    let folder = PartyFolder::load(&arguments.identity)?;
    let epoch = load_consortium(&arguments.consortium, &folder.policy)?;
    let settings = RoundSettings::parse(&read_text(&arguments.settings)?)
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.settings.display())))?;
    settings
        .check(epoch.consortium())
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.settings.display())))?;
    let members = epoch.consortium().members().count();
    let model = load_model(&arguments.model)?;
    model.check(&settings.blocks).map_err(|why| {
        Failure::config(format!("{} and {}: {why}", arguments.settings.display(), arguments.model.display()))
    })?;
    Ok(ServerConfig {
        signing_key: folder.signing_key,
        identity: folder.identity,
        listen: arguments.listen,
        settings,
        model,
        num_rounds: arguments.num_rounds.get(),
        min_available_nodes: arguments.min_available_nodes.unwrap_or(members),
        start_within: Duration::from_secs(arguments.start_within_s),
        reconnect_within: Duration::from_secs(arguments.reconnect_within_s),
        transport: TransportSettings {
            idle_timeout: Duration::from_secs(arguments.idle_timeout_s),
            ..TransportSettings::default()
        },
        folder: arguments.data,
        epoch,
    })
}

/// An address of this machine with a port, or a port alone.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    text.parse().map_err(|_| {
        "an address of this machine with a UDP port is expected, like 0.0.0.0:443, or a port alone".to_owned()
    })
}

fn numbers(parties: &[PartyId]) -> Vec<u32> {
    parties.iter().map(|party| party.0).collect()
}

fn to_json(event: &ServerEvent) -> Value {
    match event {
        ServerEvent::Listening(address) => json!({"event": "listening", "address": address.to_string()}),
        ServerEvent::Resumed { closed_rounds, in_round, torn } => json!({
            "event": "resumed", "closed_rounds": closed_rounds, "in_round": in_round, "torn_bytes": torn
        }),
        ServerEvent::Connected(party) => json!({"event": "connected", "party": party.0}),
        ServerEvent::Disconnected(party, reason) => {
            json!({"event": "disconnected", "party": party.0, "reason": reason})
        }
        ServerEvent::PeerRefused(why) => json!({"event": "peer_refused", "reason": why.to_string()}),
        ServerEvent::Fault(party, why) => json!({"event": "fault", "party": party.0, "reason": why}),
        ServerEvent::Unexpected(party, why) => {
            json!({"event": "not_awaited", "party": party.0, "reason": why})
        }
        ServerEvent::Round(event) => round_event(event),
        ServerEvent::Ended(report) => round_report(report),
    }
}

fn round_event(event: &Event) -> Value {
    match event {
        Event::Planned(round) => json!({"event": "planned", "round": round.0}),
        Event::Announced(party) => json!({"event": "announced", "party": party.0}),
        Event::BadLetter { dealer, custodian, why } => {
            json!({"event": "bad_letter", "party": dealer.0, "custodian": custodian.0, "reason": why})
        }
        Event::Refused(party, reason) => json!({"event": "refused", "party": party.0, "reason": reason}),
        Event::Sealed => json!({"event": "sealed"}),
        Event::Uploaded(party) => json!({"event": "uploaded", "party": party.0}),
        Event::Missing(parties) => json!({"event": "missing", "parties": numbers(parties)}),
        Event::Recovering(parties) => json!({"event": "recovering", "parties": numbers(parties)}),
        Event::Barred(parties) => json!({"event": "barred", "parties": numbers(parties)}),
        Event::Repeated(blocks) => {
            let blocks: Vec<u32> = blocks.iter().map(|block| block.0).collect();
            json!({"event": "repeated", "blocks": blocks})
        }
        Event::Refuted(block) => json!({"event": "refuted", "block": block.0}),
        Event::Blamed(party, block) => json!({"event": "blamed", "party": party.0, "block": block.0}),
        Event::Outdated { custodians, round } => {
            json!({"event": "outdated", "custodians": custodians, "round": round.0})
        }
        Event::QuorumLost(why) => json!({"event": "quorum_lost", "reason": why}),
    }
}

fn round_report(report: &RoundReport) -> Value {
    let choice = |choice: CohortChoice| match choice {
        CohortChoice::Everyone => "everyone",
        CohortChoice::Aligned => "aligned",
        CohortChoice::Fallback => "fallback",
        CohortChoice::Void => "void",
    };
    let cohorts: Vec<Value> = report
        .cohorts
        .iter()
        .map(|cohort| {
            json!({
                "block": cohort.block.0,
                "choice": choice(cohort.choice),
                "members": cohort.members.iter().map(|listed| listed.member.0).collect::<Vec<_>>(),
                "consensus": cohort.consensus,
            })
        })
        .collect();
    json!({
        "event": "round",
        "round": report.round.0,
        "closed": matches!(report.ending, Ending::Closed { .. }),
        "announced": numbers(&report.announced),
        "uploaded": numbers(&report.uploaded),
        "cohorts": cohorts,
        "opened": report.opened.iter().map(|block| block.0).collect::<Vec<_>>(),
        "bytes_up": report.masked_bytes,
    })
}

fn to_text(event: &ServerEvent) -> String {
    match event {
        ServerEvent::Listening(address) => format!("listening at {address}"),
        ServerEvent::Resumed { closed_rounds, in_round, torn } => {
            resumed_text(*closed_rounds, *in_round, *torn)
        }
        ServerEvent::Connected(party) => format!("{party} is connected"),
        ServerEvent::Disconnected(party, reason) => format!("{party} lost its link: {reason}"),
        ServerEvent::PeerRefused(why) => why.to_string(),
        ServerEvent::Fault(party, why) => format!("a frame of {party} was not accepted: {why}"),
        ServerEvent::Unexpected(party, why) => format!("a frame of {party} was passed over: {why}"),
        ServerEvent::Round(event) => round_text(event),
        ServerEvent::Ended(report) => format!(
            "{} ended: {} of {} blocks opened, {} members, {} bytes up",
            report.round,
            report.opened.len(),
            report.cohorts.len(),
            report.uploaded.len(),
            report.masked_bytes
        ),
    }
}

fn resumed_text(closed_rounds: u64, in_round: bool, torn: usize) -> String {
    let next = if in_round { "going on with the one under way" } else { "none is under way" };
    let torn = match torn {
        0 => String::new(),
        bytes => format!("; {bytes} bytes that were torn off the journal's end are asked for again"),
    };
    format!("started again after {closed_rounds} rounds with sums; {next}{torn}")
}

/// A sentence for the operator.
fn round_text(event: &Event) -> String {
    let names = |parties: &[PartyId]| parties.iter().map(PartyId::to_string).collect::<Vec<_>>().join(", ");
    match event {
        Event::Planned(round) => format!("{round} is planned; waiting for announcements"),
        Event::Announced(party) => format!("{party} announced"),
        Event::BadLetter { dealer, custodian, why } => {
            format!(
                "{custodian} showed that the letter of {dealer} is bad: {why}; {dealer} is out of this round and barred from the next ones"
            )
        }
        Event::Refused(party, reason) => format!("{party} takes no part: {reason}"),
        Event::Sealed => "the cohorts are sealed; waiting for uploads".into(),
        Event::Uploaded(party) => format!("the upload of {party} is whole"),
        Event::Missing(parties) => format!("summed without {}", names(parties)),
        Event::Recovering(parties) => {
            format!("recovering secrets of {} from custodians' shares", names(parties))
        }
        Event::Barred(parties) => {
            format!("{} dealt badly in an earlier round, and may not take part", names(parties))
        }
        Event::Repeated(blocks) => {
            format!(
                "not summed: {}, as they were or may have been opened from the same parameters over other members; they are summed \
                 again over the same members, or once an epoch starts with other parameters for them",
                listed(blocks)
            )
        }
        Event::Refuted(block) => {
            format!(
                "the late sketches of {block} do not make up its sum, which is not applied; asking who lied"
            )
        }
        Event::Blamed(party, block) => format!("{party} is shown to have lied about its upload of {block}"),
        Event::Outdated { custodians, round } => {
            format!("{custodians} custodians know how {round} ended, which this coordinator does not")
        }
        Event::QuorumLost(why) => format!("the round waits without a sum: {why}"),
    }
}

/// The first blocks of a list, and how many more there are.
fn listed(blocks: &[BlockId]) -> String {
    const SHOWN: usize = 8;
    let named: Vec<String> = blocks.iter().take(SHOWN).map(BlockId::to_string).collect();
    let named = named.join(", ");
    match blocks.len().saturating_sub(SHOWN) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
