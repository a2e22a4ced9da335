//! `cloister server`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cloister_params::id::{BlockId, PartyId};
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::{Event, RoundReport};
use cloister_server::{RoundJournalError, ServerConfig, ServerError, ServerEvent, ServerLifetime};
use cloister_transport::StopSignal;
use cloister_wire::message::Ending;
use cloister_wire::statement::CohortChoice;
use serde_json::{Value, json};
use tracing::Level;

use crate::events;
use crate::failure::{Failure, FailureKind};
use crate::folder::{PartyFolder, load_consortium, load_model, read_text};
use crate::link_flags::{LinkFlags, carrier_name};
use crate::service::{ServiceArguments, log, notify_ready, run_until_stopped, stop_signal};

/// Flags of `cloister server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// The consortium file. Its signature is in the file of the same name with `.sig` appended.
    #[arg(long, env = "CLOISTER_CONSORTIUM")]
    consortium: PathBuf,
    /// The coordinator's folder: certificate.pem, key.pem, signing.key, policy.toml.
    #[arg(long, env = "CLOISTER_IDENTITY")]
    identity: PathBuf,
    /// The round settings that the consortium agreed on.
    #[arg(long)]
    settings: PathBuf,
    /// The initial parameters that the consortium agreed on.
    #[arg(long)]
    model: PathBuf,
    /// The folder for logs, the model and the journal. A coordinator that is started again with the same folder goes on where
    /// it stopped.
    #[arg(long)]
    data: PathBuf,
    /// Address and port to listen on, for UDP and TCP. A port alone means all IPv4 addresses of this machine; [::]:443 means
    /// all IPv4 and IPv6 addresses.
    #[arg(long, default_value = "0.0.0.0:443", value_parser = listen_address)]
    listen: SocketAddr,
    /// Number of rounds to run, including those before a restart.
    #[arg(long, default_value_t = NonZeroU64::MIN)]
    num_rounds: NonZeroU64,
    /// Number of members that must be connected before a round starts. By default the smallest cohort; with --until-finished, all
    /// members, before the first round alone.
    #[arg(long)]
    min_available_nodes: Option<usize>,
    /// With --until-finished, wait this many seconds for these members. Otherwise the coordinator waits as long as it takes.
    #[arg(long, default_value_t = 600, requires = "until_finished")]
    start_within_s: u64,
    #[command(flatten)]
    link: LinkFlags,
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
    arguments.service.start_log();
    let (switch, stop) = stop_signal();
    let config = configure(arguments, stop)?;
    let served = run_until_stopped(
        &switch,
        cloister_server::run(config, &mut |event: ServerEvent| {
            if let ServerEvent::Listening(address) = &event {
                notify_ready(&format!("listening at {address}"));
            }
            match print_events {
                true => events::print(to_json(&event)),
                false => log::event(level(&event), &to_text(&event), &to_json(&event)),
            }
        }),
    )?;
    served.map_err(|error| Failure::new(kind(&error), error))
}

/// How important an event is to the operator.
fn level(event: &ServerEvent) -> Level {
    match event {
        // Normal after a restart.
        ServerEvent::Unexpected(..) => Level::DEBUG,
        ServerEvent::Disconnected(..)
        | ServerEvent::PeerRefused(_)
        | ServerEvent::Fault(..)
        | ServerEvent::Waiting { .. }
        | ServerEvent::Paused { .. }
        | ServerEvent::Round(Event::QuorumLost(_) | Event::Refused(..) | Event::Missing(_)) => Level::WARN,
        ServerEvent::Round(Event::BadLetter { .. } | Event::Blamed(..) | Event::Refuted(_)) => Level::ERROR,
        _ => Level::INFO,
    }
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

fn configure(arguments: ServerArguments, stop: StopSignal) -> Result<ServerConfig, Failure> {
    let folder = PartyFolder::load(&arguments.identity)?;
    let epoch = load_consortium(&arguments.consortium, &folder.policy)?;
    let settings = RoundSettings::parse(&read_text(&arguments.settings)?)
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.settings.display())))?;
    settings
        .check(epoch.consortium())
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.settings.display())))?;
    let members = epoch.consortium().members().count();
    let model = load_model(&arguments.model)?;
    // Before the port is opened: settings for other blocks than the model's could not be planned.
    model.check(&settings.blocks).map_err(|why| {
        Failure::config(format!("{} and {}: {why}", arguments.settings.display(), arguments.model.display()))
    })?;
    let lifetime = match arguments.service.until_finished {
        true => ServerLifetime::UntilFinished { start_within: Duration::from_secs(arguments.start_within_s) },
        false => ServerLifetime::UntilStopped,
    };
    Ok(ServerConfig {
        signing_key: folder.signing_key,
        identity: folder.identity,
        listen: arguments.listen,
        settings,
        model,
        num_rounds: arguments.num_rounds.get(),
        min_available_nodes: arguments.min_available_nodes.unwrap_or(match lifetime {
            ServerLifetime::UntilFinished { .. } => members,
            // A service goes on without a hospital that is away for a night.
            ServerLifetime::UntilStopped => epoch.consortium().floors().cohort,
        }),
        lifetime,
        stop,
        reconnect_within: Duration::from_secs(arguments.reconnect_within_s),
        transport: arguments.link.settings(),
        folder: arguments.data,
        epoch,
    })
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

fn numbers(parties: &[PartyId]) -> Vec<u32> {
    parties.iter().map(|party| party.0).collect()
}

fn to_json(event: &ServerEvent) -> Value {
    match event {
        ServerEvent::Waiting { connected, wanted, missing } => json!({
            "event": "waiting", "connected": connected, "wanted": wanted, "missing": numbers(missing)
        }),
        ServerEvent::Paused { reason, pause } => {
            json!({"event": "paused", "reason": reason, "seconds": pause.as_secs()})
        }
        ServerEvent::RoundsDone(rounds) => json!({"event": "rounds_done", "rounds": rounds}),
        ServerEvent::Stopping => json!({"event": "stopping"}),
        ServerEvent::Listening(address) => json!({"event": "listening", "address": address.to_string()}),
        ServerEvent::Resumed { closed_rounds, in_round, torn } => json!({
            "event": "resumed", "closed_rounds": closed_rounds, "in_round": in_round, "torn_bytes": torn
        }),
        ServerEvent::Connected(party, carrier) => {
            json!({"event": "connected", "party": party.0, "carrier": carrier_name(*carrier)})
        }
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

fn choice_name(choice: CohortChoice) -> &'static str {
    match choice {
        CohortChoice::Everyone => "everyone",
        CohortChoice::Aligned => "aligned",
        CohortChoice::Fallback => "fallback",
        CohortChoice::Void => "void",
    }
}

fn round_report(report: &RoundReport) -> Value {
    let cohorts: Vec<Value> = report
        .cohorts
        .iter()
        .map(|cohort| {
            json!({
                "block": cohort.block.0,
                "choice": choice_name(cohort.choice),
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
        ServerEvent::Waiting { connected, wanted, missing } => format!(
            "no round starts yet: {connected} members are connected, at least {wanted} and a quorum of custodians are needed; \
             missing: {}",
            names(missing)
        ),
        ServerEvent::Paused { reason, pause } => {
            format!("{reason}; the next round starts in {} minutes", pause.as_secs() / 60)
        }
        ServerEvent::RoundsDone(rounds) => {
            format!(
                "all {rounds} rounds have ended; the coordinator stays for parties that missed the last one"
            )
        }
        ServerEvent::Stopping => "stopping; a round in progress continues after the next start".into(),
        ServerEvent::Listening(address) => format!("listening at {address}"),
        ServerEvent::Resumed { closed_rounds, in_round, torn } => {
            resumed_text(*closed_rounds, *in_round, *torn)
        }
        ServerEvent::Connected(party, carrier) => format!("{party} is connected over {carrier}"),
        ServerEvent::Disconnected(party, reason) => format!("{party} lost its link: {reason}"),
        ServerEvent::PeerRefused(why) => why.to_string(),
        ServerEvent::Fault(party, why) => format!("rejected a frame of {party}: {why}"),
        ServerEvent::Unexpected(party, why) => format!("ignored a frame of {party}: {why}"),
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
    let next = if in_round { "going on with the round in progress" } else { "no round is in progress" };
    let torn = match torn {
        0 => String::new(),
        bytes => format!(
            "; an incomplete record of {bytes} bytes at the journal's end was dropped and is asked for again"
        ),
    };
    format!("restored from the journal after {closed_rounds} rounds with sums; {next}{torn}")
}

fn names(parties: &[PartyId]) -> String {
    let names: Vec<String> = parties.iter().map(PartyId::to_string).collect();
    names.join(", ")
}

/// A sentence for the operator.
fn round_text(event: &Event) -> String {
    match event {
        Event::Planned(round) => format!("{round} is planned; waiting for announcements"),
        Event::Announced(party) => format!("{party} announced"),
        Event::BadLetter { dealer, custodian, why } => {
            format!(
                "{custodian} proved that the letter of {dealer} is bad: {why}; {dealer} is excluded from \
                 this round and barred from the next ones"
            )
        }
        Event::Refused(party, reason) => format!("{party} does not take part: {reason}"),
        Event::Sealed => "the cohorts are sealed; waiting for uploads".into(),
        Event::Uploaded(party) => format!("the upload of {party} is complete"),
        Event::Missing(parties) => format!("summed without {}", names(parties)),
        Event::Recovering(parties) => {
            format!("recovering the secrets of {} from custodians' shares", names(parties))
        }
        Event::Barred(parties) => {
            format!("{} dealt badly in an earlier round and must not take part", names(parties))
        }
        Event::Repeated(blocks) => {
            format!(
                "not summed: {}, because they were or may have been opened from the same parameters over \
                 other members; they are summed again over the same members, or when an epoch starts with \
                 other parameters for them",
                listed(blocks)
            )
        }
        Event::Refuted(block) => {
            format!(
                "the late sketches of {block} do not add up to its sum, so the sum is not applied; finding out who lied"
            )
        }
        Event::Blamed(party, block) => format!("it is proved that {party} lied about its upload of {block}"),
        Event::Outdated { custodians, round } => {
            format!("{custodians} custodians know how {round} ended, and this coordinator does not")
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
