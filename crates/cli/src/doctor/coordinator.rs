//! `cloister doctor server`.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use cloister_identity::operator::TokenDesk;
use cloister_params::plan::RoundSettings;
use cloister_protocol::model::Model;
use cloister_server::{kept_models, lock_path, verify_journal};
use cloister_transport::{Carrier, check_port};

use super::Check;
use super::outcome::CheckOutcome;
use super::party::ExaminedParty;
use crate::byte_count::bytes;
use crate::failure::{Failure, FailureKind};
use crate::folder::{load_model, read_text, unreadable};
use crate::run::status_line;
use crate::server::ServerArguments;
use crate::service::control::socket_path;

/// How long a running coordinator may take to say how its rounds stand.
const STATUS_WITHIN: Duration = Duration::from_secs(10);

/// A coordinator's machine, and what the checks have read of it so far.
pub(super) struct ExaminedCoordinator {
    arguments: ServerArguments,
    party: ExaminedParty,
    settings: Option<RoundSettings>,
}

/// The checks of a coordinator, in the order in which they run: later ones need what earlier ones have read.
pub(super) const CHECKS: &[Check<ExaminedCoordinator>] = &[
    ("keys", |coordinator| coordinator.party.check_keys()),
    ("certificate", |coordinator| coordinator.party.check_certificate()),
    ("policy", |coordinator| coordinator.party.check_policy()),
    ("consortium_file", |coordinator| coordinator.party.check_consortium(ExaminedParty::find_coordinator)),
    ("round_settings", ExaminedCoordinator::check_settings),
    ("initial_parameters", ExaminedCoordinator::check_parameters),
    ("data_folder", ExaminedCoordinator::check_folder),
    ("journal", ExaminedCoordinator::check_journal),
    ("kept_models", ExaminedCoordinator::check_models),
    ("disk_space", |coordinator| coordinator.party.check_space(coordinator.round_space())),
    ("coordinator", ExaminedCoordinator::check_status),
    ("udp_port", |coordinator| coordinator.check_port(Carrier::Quic)),
    ("tcp_port", |coordinator| coordinator.check_port(Carrier::Tcp)),
    ("control_https", ExaminedCoordinator::check_control_https),
];

impl ExaminedCoordinator {
    pub(super) fn new(arguments: ServerArguments) -> Self {
        let party = ExaminedParty::new(
            arguments.identity.clone(),
            arguments.consortium.clone(),
            arguments.data.clone(),
        );
        Self { arguments, party, settings: None }
    }

    /// The settings in force can be planned for the roster.
    fn check_settings(&mut self) -> CheckOutcome {
        let (Some(given), Some(epoch)) = (&self.party.given, &self.party.epoch) else {
            return CheckOutcome::not_checked("they belong to the roster, which cannot be read");
        };
        let path = self.arguments.settings_file(given, epoch);
        let settings = read_text(&path).and_then(|text| {
            let parsed = RoundSettings::parse(&text).map_err(|error| error.to_string());
            parsed
                .and_then(|settings| match settings.check(epoch.consortium()) {
                    Ok(()) => Ok(settings),
                    Err(why) => Err(why.to_string()),
                })
                .map_err(|why| Failure::config(format!("{}: {why}", path.display())))
        });
        match settings {
            Ok(settings) => {
                let found =
                    format!("{} has {} blocks, and fits the roster", path.display(), settings.blocks.len());
                self.settings = Some(settings);
                CheckOutcome::ok(found)
            }
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }

    fn check_parameters(&mut self) -> CheckOutcome {
        let path = self.arguments.model.display();
        let model: Model = match load_model(&self.arguments.model) {
            Ok(model) => model,
            Err(failure) => return CheckOutcome::failure(&failure),
        };
        let Some(settings) = &self.settings else {
            return CheckOutcome::not_checked(format!(
                "{path} can be read, and the settings that it must fit cannot"
            ));
        };
        match model.check(&settings.blocks) {
            Ok(()) => CheckOutcome::ok(format!("{path} fits the settings; its digest is {}", model.digest())),
            Err(why) => CheckOutcome::failure(&Failure::config(format!("{path}: {why}"))),
        }
    }

    fn check_folder(&mut self) -> CheckOutcome {
        let lock = lock_path(&self.party.data);
        self.party.check_data_folder(Some(&lock), "server")
    }

    fn check_journal(&mut self) -> CheckOutcome {
        match verify_journal(&self.party.data) {
            Ok(None) => CheckOutcome::ok("there is none yet; the first round makes it"),
            Ok(Some(rounds)) => {
                CheckOutcome::ok(format!("it can be continued from, after {rounds} rounds with sums"))
            }
            Err(error) => CheckOutcome::failure(&Failure::config(error)),
        }
    }

    /// The models of the last closings, and what they take of the disk (`FILE-02`).
    fn check_models(&mut self) -> CheckOutcome {
        match kept_models(&self.party.data) {
            Ok(kept) => {
                let total = kept.iter().map(|model| model.bytes).sum();
                let most = self.arguments.keep_models;
                CheckOutcome::ok(format!(
                    "{} models take {}; the models of the last {most} closings stay",
                    kept.len(),
                    bytes(total)
                ))
            }
            Err(error) => CheckOutcome::failure(&unreadable(&self.party.data, &error)),
        }
    }

    /// The bytes that a round's journal and model take, and how they are derived.
    fn round_space(&self) -> Option<(u64, String)> {
        let model = fs::metadata(&self.arguments.model).ok()?.len();
        let members = self.party.epoch.as_ref()?.consortium().members().count() as u64;
        // A masked number takes at most twice the bytes of a parameter, and a file is written beside the one that it
        // replaces.
        let kept = 2 + self.arguments.keep_models.get() as u64;
        let needed = model.saturating_mul(2).saturating_mul(1 + 2 * members);
        let needed = needed.saturating_add(model.saturating_mul(kept));
        let derivation = format!(
            "twice the model and a masked update of each member, which takes up to twice the model's bytes, and {kept} models \
             that are kept"
        );
        Some((needed, derivation))
    }

    fn check_status(&mut self) -> CheckOutcome {
        if !socket_path(&self.party.data).exists() {
            return match self.party.is_running {
                true => CheckOutcome::warning(
                    "a coordinator uses the data folder, and has no control socket, so that `cloister run` does not work",
                    "restart it, and read its log",
                ),
                false => CheckOutcome::ok("no coordinator runs with this data folder"),
            };
        }
        match status_line(&self.party.data, STATUS_WITHIN) {
            Ok(status) => {
                self.party.is_running = true;
                CheckOutcome::ok(format!("it runs: {status}"))
            }
            // A coordinator that was killed leaves its socket behind.
            Err(_) if !self.party.is_running => CheckOutcome::ok("no coordinator runs with this data folder"),
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }

    fn check_port(&mut self, carrier: Carrier) -> CheckOutcome {
        if !self.arguments.link.settings().carriers.include(carrier) {
            return CheckOutcome::not_checked("the configuration does not use it (carrier)");
        }
        self.examine_port(carrier, self.arguments.listen)
    }

    /// Operators' programs can be answered over HTTPS, and some have a token.
    fn check_control_https(&mut self) -> CheckOutcome {
        let Some(address) = self.arguments.control_https else {
            return CheckOutcome::ok("the configuration answers no operators over HTTPS");
        };
        let now = SystemTime::now();
        let tokens = match TokenDesk::open(&self.party.data) {
            Ok(desk) => desk.tokens(),
            Err(error) => return CheckOutcome::failure(&Failure::config(error)),
        };
        let expired = tokens.iter().filter(|token| token.has_expired(now)).count();
        let valid = tokens.len() - expired;
        let found = format!("tokens: {valid} valid, {expired} expired");
        let outcome = self.examine_port(Carrier::Tcp, address).with_found(&found);
        match valid {
            0 => outcome.at_least_warning(
                "nobody can ask: run `cloister run token add`, or take control_https out of the configuration",
            ),
            _ => outcome,
        }
    }

    /// The port is free, or the running coordinator has it.
    fn examine_port(&self, carrier: Carrier, address: SocketAddr) -> CheckOutcome {
        if address.port() == 0 {
            return CheckOutcome::ok("any free port, which the system chooses at each start");
        }
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                return CheckOutcome::not_checked(format!("this machine starts no threads: {error}"));
            }
        };
        let bound = runtime.block_on(async { check_port(carrier, address) });
        match (bound, self.party.is_running) {
            (Err(cloister_transport::BindError::PortInUse { .. }), true) => {
                CheckOutcome::ok(format!("{address} is in use, and the coordinator runs"))
            }
            (Ok(()), true) => CheckOutcome::warning(
                format!("{address} is free, although the coordinator runs: it listens elsewhere"),
                "restart it if the configuration was changed",
            ),
            (Ok(()), false) => CheckOutcome::ok(format!("{address} is free")),
            (Err(error), _) => CheckOutcome::failure(&Failure::new(FailureKind::Unavailable, error)),
        }
    }
}
