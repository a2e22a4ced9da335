//! Checks of a hospital's way to its coordinator, by probes (`WIRE-09`): the running client's link stays as it is.

use std::time::Duration;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::PartyId;
use cloister_transport::{
    Carrier, ConnectError, Fingerprint, HostPort, Identity, ProbeAttempt, ProbeReport, ProgramVersion,
    TransportSettings, probe,
};

use super::clock;
use super::outcome::CheckOutcome;
use super::party::ExaminedParty;
use crate::failure::{Failure, FailureKind};
use crate::party::{PartyFlags, find_party};

/// How long one way may take until the coordinator has answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The ways to the coordinator, and what came of each.
#[derive(Debug)]
pub(super) struct ProbedLinks {
    settings: Option<TransportSettings>,
    /// What was tried, or why nothing was.
    attempts: Result<Vec<ProbeAttempt>, String>,
}

impl ProbedLinks {
    /// Before anything was tried.
    pub(super) fn untried() -> Self {
        Self { settings: None, attempts: Err("the coordinator's name was not looked up".to_owned()) }
    }

    /// Looks up the name of the coordinator or of the proxy, and probes every way that the configuration admits.
    pub(super) fn check_name(&mut self, flags: &PartyFlags, party: &ExaminedParty) -> CheckOutcome {
        let settings = match flags.transport() {
            Ok(settings) => TransportSettings { handshake_timeout: ANSWER_WITHIN, ..settings },
            Err(failure) => {
                self.attempts = Err("the link's settings cannot be used".to_owned());
                return CheckOutcome::failure(&failure);
            }
        };
        let (target, proxy) =
            (&flags.coordinator, settings.proxy.as_ref().map(|proxy| proxy.address().clone()));
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                return CheckOutcome::not_checked(format!("this machine starts no threads: {error}"));
            }
        };
        let outcome = runtime.block_on(judge_name(target, proxy.as_ref()));
        self.attempts = match credentials(party) {
            Ok(credentials) => runtime
                .block_on(credentials.probe(target, &settings))
                .map_err(|_| "the coordinator's name has no address".to_owned()),
            Err(why) => Err(why.to_owned()),
        };
        self.settings = Some(settings);
        outcome
    }

    /// The ways over one carrier.
    pub(super) fn check_carrier(&self, carrier: Carrier) -> CheckOutcome {
        if let Some(settings) = &self.settings {
            if !settings.carriers.include(carrier) {
                return CheckOutcome::not_checked("the configuration does not use it (carrier)");
            }
            if carrier == Carrier::Quic && settings.proxy.is_some() && settings.carriers.include(Carrier::Tcp)
            {
                return CheckOutcome::not_checked("the configuration has a proxy, which carries TCP alone");
            }
        }
        match &self.attempts {
            Err(why) => CheckOutcome::not_checked(why),
            Ok(attempts) => judge_carrier(attempts, carrier),
        }
    }

    /// The coordinator's clock, by the answer that came back soonest.
    pub(super) fn check_clock(&self) -> CheckOutcome {
        match self.best_report() {
            Some(report) => clock::judge(clock::skew(report)),
            None => CheckOutcome::not_checked("no probe was answered"),
        }
    }

    /// The coordinator's version and edition.
    pub(super) fn check_coordinator(&self, epoch: Option<&Epoch>) -> CheckOutcome {
        let (Some(report), Some(epoch)) = (self.best_report(), epoch) else {
            return CheckOutcome::not_checked("no probe was answered");
        };
        judge_coordinator(report, epoch.consortium().epoch_number())
    }

    fn best_report(&self) -> Option<&ProbeReport> {
        let attempts = self.attempts.iter().flatten();
        attempts.filter_map(|attempt| attempt.outcome.as_ref().ok()).min_by_key(|report| report.round_trip)
    }
}

/// What a probe authenticates with.
struct Credentials<'a> {
    identity: &'a Identity,
    coordinator: Fingerprint,
    party: PartyId,
}

impl Credentials<'_> {
    async fn probe(
        &self,
        target: &HostPort,
        settings: &TransportSettings,
    ) -> Result<Vec<ProbeAttempt>, ConnectError> {
        probe(target.clone(), self.identity, self.coordinator, self.party, settings).await
    }
}

fn credentials(party: &ExaminedParty) -> Result<Credentials<'_>, &'static str> {
    let (Some(identity), Some(key)) = (&party.identity, &party.signing_key) else {
        return Err("a probe needs this party's keys");
    };
    let epoch = party.epoch.as_ref().ok_or("a probe needs the consortium file")?;
    let listed = find_party(epoch, identity, key)
        .map_err(|_| "a probe needs a consortium file that lists this party")?;
    let coordinator = Fingerprint(epoch.consortium().coordinator().certificate.0);
    Ok(Credentials { identity, coordinator, party: listed.id })
}

async fn judge_name(target: &HostPort, proxy: Option<&HostPort>) -> CheckOutcome {
    let looked_up = proxy.unwrap_or(target);
    match looked_up.resolve().await {
        Ok(found) => {
            let addresses: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
            let behind = proxy.map_or_else(String::new, |_| format!("; the proxy looks up {target} itself"));
            CheckOutcome::ok(format!("{looked_up} has the address {}{behind}", addresses.join(", ")))
        }
        Err(error) => CheckOutcome::fault(
            FailureKind::Unavailable,
            format!("the host of {looked_up} is not found: {error}"),
            "check the name and this machine's name resolution",
        ),
    }
}

fn judge_carrier(attempts: &[ProbeAttempt], carrier: Carrier) -> CheckOutcome {
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    for attempt in attempts.iter().filter(|attempt| attempt.route.carrier() == carrier) {
        match &attempt.outcome {
            Ok(report) => answers.push(answer_in_words(attempt, report)),
            Err(error) => failures.push(error),
        }
    }
    let Some(first) = failures.first() else { return CheckOutcome::ok(answers.join("; ")) };
    // A server that is another one, or that does not let this party in, is a fault whatever else works.
    let worst = failures.iter().find(|error| !error.is_network_fault()).unwrap_or(first);
    let failure = Failure::new(FailureKind::Unavailable, worst);
    let other_works = attempts.iter().any(|attempt| attempt.outcome.is_ok());
    match worst.is_network_fault() && other_works {
        false => CheckOutcome::failure(&failure),
        true if answers.is_empty() => {
            CheckOutcome::warning_in(&format!("links go over the other carrier, because {failure}"))
        }
        true => CheckOutcome::warning_in(&format!(
            "{}; another address fails, because {failure}",
            answers.join("; ")
        )),
    }
}

fn answer_in_words(attempt: &ProbeAttempt, report: &ProbeReport) -> String {
    format!(
        "{} lets this party in, with the listed certificate (handshake {:.1} ms, round trip {:.1} ms; it sees this party at {})",
        attempt.route,
        milliseconds(report.handshake),
        milliseconds(report.round_trip),
        report.answer.seen_from
    )
}

fn milliseconds(duration: Duration) -> f64 {
    1000.0 * duration.as_secs_f64()
}

fn judge_coordinator(report: &ProbeReport, known: u32) -> CheckOutcome {
    let (version, edition) = (report.answer.version, report.answer.edition);
    let this = ProgramVersion::current();
    let says = format!("it runs version {version} and edition {edition} of the consortium file");
    if edition > known {
        return CheckOutcome::warning(
            format!("{says}; this party has edition {known}"),
            "the client receives the newer file when it connects; have the configuration name it too",
        );
    }
    if edition < known {
        return CheckOutcome::warning(
            format!("{says}; this party has edition {known}"),
            "ask the coordinator's operator to begin this edition (`cloister run edition`)",
        );
    }
    match version == this {
        true => CheckOutcome::ok(format!("{says}, as this party does")),
        false => CheckOutcome::warning(
            format!("{says}; this program is version {this}"),
            "install the same version at all parties",
        ),
    }
}
