//! A coordinator's events: their importance, as JSON, and as sentences.

use cloister_params::id::{BlockId, PartyId};
use cloister_protocol::coordinator::{Event, RoundReport};
use cloister_server::{Run, RunEnd, RunState, ServerEvent};
use cloister_wire::message::Ending;
use cloister_wire::statement::CohortChoice;
use serde_json::{Value, json};
use tracing::Level;

use super::run_events;
use crate::evaluation::{published_json, published_text};

/// How important an event is to the operator.
pub(super) fn level(event: &ServerEvent) -> Level {
    match event {
        // Normal after a restart.
        ServerEvent::Unexpected(..) => Level::DEBUG,
        // Scanners come to a public TCP port at any hour.
        ServerEvent::PeerRefused(why) if why.is_strangers() => Level::DEBUG,
        ServerEvent::EnrolmentRefused { is_strangers: true, .. } => Level::DEBUG,
        ServerEvent::RunEnded(Run { state: RunState::Ended { how: RunEnd::Unfit { .. }, .. }, .. })
        | ServerEvent::Disconnected(..)
        | ServerEvent::PeerRefused(_)
        | ServerEvent::Fault(..)
        | ServerEvent::EditionEnded(_)
        | ServerEvent::Warning(_)
        | ServerEvent::Waiting { .. }
        | ServerEvent::RoundWaits { .. }
        | ServerEvent::Paused { .. }
        | ServerEvent::Round(Event::QuorumLost(_) | Event::Refused(..) | Event::Missing(_)) => Level::WARN,
        ServerEvent::Round(Event::BadLetter { .. } | Event::Blamed(..) | Event::Refuted(_)) => Level::ERROR,
        _ => Level::INFO,
    }
}

fn numbers(parties: &[PartyId]) -> Vec<u32> {
    parties.iter().map(|party| party.0).collect()
}

pub(super) fn to_json(event: &ServerEvent) -> Value {
    match event {
        ServerEvent::Waiting { connected, wanted, missing } => json!({
            "event": "waiting", "connected": connected, "wanted": wanted, "missing": numbers(missing)
        }),
        ServerEvent::RoundWaits { reason, missing } => round_waits(reason, missing),
        ServerEvent::OutsideWindow(window) => {
            json!({"event": "outside_window", "rounds_between": window.to_string()})
        }
        ServerEvent::Paused { reason, pause } => {
            json!({"event": "paused", "reason": reason, "seconds": pause.as_secs()})
        }
        ServerEvent::RunQueued(run) => run_events::to_json("run_queued", run),
        ServerEvent::RunBegun(run) => run_events::to_json("run_begun", run),
        ServerEvent::RunEnded(run) => run_events::to_json("run_ended", run),
        ServerEvent::RunWaits { number, not_before } => {
            json!({"event": "run_waits", "run": number, "not_before": not_before})
        }
        ServerEvent::RoundsDone(rounds) => json!({"event": "rounds_done", "rounds": rounds}),
        ServerEvent::EditionEnded(until) => json!({"event": "edition_ended", "until": until}),
        ServerEvent::Warning(reason) => json!({"event": "warning", "reason": reason}),
        ServerEvent::RoundsPaused => json!({"event": "rounds_paused"}),
        ServerEvent::RoundsResumed => json!({"event": "rounds_resumed"}),
        ServerEvent::Edition(edition) => json!({"event": "edition", "edition": edition}),
        ServerEvent::Stopping => json!({"event": "stopping"}),
        ServerEvent::Listening(address) => json!({"event": "listening", "address": address.to_string()}),
        ServerEvent::Resumed { closed_rounds, in_round, torn } => json!({
            "event": "resumed", "closed_rounds": closed_rounds, "in_round": in_round, "torn_bytes": torn
        }),
        ServerEvent::Connected(party, carrier) => {
            json!({"event": "connected", "party": party.0, "carrier": carrier.name()})
        }
        ServerEvent::Disconnected(party, reason) => {
            json!({"event": "disconnected", "party": party.0, "reason": reason})
        }
        ServerEvent::EnrolmentKept(kept) => json!({
            "event": "enrolment", "name": kept.name, "fingerprint": kept.fingerprint.to_string(),
            "file": kept.path
        }),
        ServerEvent::EnrolmentRefused { address, reason, .. } => {
            json!({"event": "enrolment_refused", "address": address.to_string(), "reason": reason})
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

fn round_waits(reason: &str, missing: &[PartyId]) -> Value {
    json!({"event": "quorum_lost", "reason": reason, "missing": numbers(missing)})
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
        Event::QuorumLost(why) => round_waits(why, &[]),
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
        "rehearsal": report.settings.rehearsal,
        "evaluation": report.evaluation().as_ref().map(published_json),
        "announced": numbers(&report.announced),
        "uploaded": numbers(&report.uploaded),
        "cohorts": cohorts,
        "opened": report.opened().iter().map(|block| block.0).collect::<Vec<_>>(),
        "bytes_up": report.masked_bytes,
    })
}

pub(super) fn to_text(event: &ServerEvent) -> String {
    match event {
        ServerEvent::Waiting { connected, wanted, missing } => format!(
            "no round starts yet: {connected} members are connected, at least {wanted} and a quorum of custodians are needed; \
             missing: {}",
            names(missing)
        ),
        ServerEvent::RoundWaits { reason, missing } => {
            format!(
                "the round waits without a sum: {reason}; custodians that are not connected: {}",
                names(missing)
            )
        }
        ServerEvent::OutsideWindow(window) => {
            format!("rounds start between {window} UTC; the next one waits until then")
        }
        ServerEvent::Paused { reason, pause } => {
            format!("{reason}; the next round starts in {} minutes", pause.as_secs() / 60)
        }
        ServerEvent::RunQueued(run) => run_events::queued(run),
        ServerEvent::RunBegun(run) => run_events::begun(run),
        ServerEvent::RunEnded(run) => run_events::ended(run),
        ServerEvent::RunWaits { number, not_before } => format!("run {number} begins at {not_before}"),
        ServerEvent::RoundsDone(rounds) => {
            format!(
                "all {rounds} rounds have ended, and no run waits; the coordinator stays for parties that missed the last one"
            )
        }
        ServerEvent::EditionEnded(until) => {
            format!(
                "the consortium file was in force until {until}: no round starts before a later edition is in force"
            )
        }
        ServerEvent::Warning(reason) => format!("warning: {reason}"),
        ServerEvent::RoundsPaused => "the operator paused the rounds; a round in progress goes on".into(),
        ServerEvent::RoundsResumed => "the operator resumed the rounds".into(),
        ServerEvent::Edition(edition) => {
            format!("edition {edition} of the consortium file is in force; all parties connect again")
        }
        ServerEvent::Stopping => "stopping; a round in progress continues after the next start".into(),
        ServerEvent::Listening(address) => format!("listening at {address}"),
        ServerEvent::Resumed { closed_rounds, in_round, torn } => {
            resumed_text(*closed_rounds, *in_round, *torn)
        }
        ServerEvent::Connected(party, carrier) => format!("{party} is connected over {carrier}"),
        ServerEvent::Disconnected(party, reason) => format!("{party} lost its link: {reason}"),
        ServerEvent::EnrolmentKept(kept) => format!(
            "{} has enrolled: give {} to the holder of the governance key, who compares its fingerprint with the party",
            kept.name,
            kept.path.display()
        ),
        ServerEvent::EnrolmentRefused { address, reason, .. } => {
            format!("rejected an enrolment from {address}: {reason}")
        }
        ServerEvent::PeerRefused(why) => why.to_string(),
        ServerEvent::Fault(party, why) => format!("rejected a frame of {party}: {why}"),
        ServerEvent::Unexpected(party, why) => format!("ignored a frame of {party}: {why}"),
        ServerEvent::Round(event) => round_text(event),
        ServerEvent::Ended(report) => ended_text(report),
    }
}

fn ended_text(report: &RoundReport) -> String {
    let what = if report.settings.rehearsal { " (a rehearsal: nothing is applied)" } else { "" };
    let evaluation = report.evaluation().map_or_else(String::new, |published| {
        format!("; the model before it, on held-out records: {}", published_text(&published_json(&published)))
    });
    format!(
        "{}{what} ended: {} of {} blocks opened, {} members, {} bytes up{evaluation}",
        report.round,
        report.sums.len(),
        report.cohorts.len(),
        report.uploaded.len(),
        report.masked_bytes
    )
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
    if parties.is_empty() {
        return "none".into();
    }
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
