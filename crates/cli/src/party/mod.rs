//! What `cloister client` and `cloister custodian` share: flags, configuration, events, and how they end.

mod event_text;
mod proxy_flags;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cloister_client::{
    ArrivingFileError, ClientConfig, ClientError, ClientEvent, ClientLifetime, Participation, PolicyUpdates,
};
use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::{Party, PublicBytes};
use cloister_params::id::PartyId;
use cloister_transport::{HostPort, Identity, StopSignal, TransportSettings};
use tracing::Level;

use crate::create::create_folder;
use crate::failure::{Failure, FailureKind};
use crate::folder::{POLICY, PartyFolder, load_consortium, newest_edition};
use crate::link_flags::LinkFlags;
use crate::output;
use crate::progress::ProgressDisplay;
use crate::service::events;
use crate::service::{SOUND, ServiceArguments, log, notify_ready, run_until_stopped, stop_signal};
use event_text::{steps_of, to_json, to_text};
pub(crate) use proxy_flags::ProxyFlags;

/// Flags of every party other than the coordinator.
#[derive(Debug, Args)]
pub(crate) struct PartyFlags {
    /// The consortium file. Its signature is in the file of the same name with `.sig` appended.
    #[arg(long, env = "CLOISTER_CONSORTIUM")]
    pub(crate) consortium: PathBuf,
    /// This party's folder: certificate.pem, key.pem, signing.key, policy.toml.
    #[arg(long, env = "CLOISTER_IDENTITY")]
    pub(crate) identity: PathBuf,
    /// The coordinator's name or address, and its port, as in cloister.example.org:443.
    #[arg(long, env = "CLOISTER_COORDINATOR")]
    pub(crate) coordinator: HostPort,
    /// The folder for what this party must remember, such as its journal; a member's has the privacy ledger and the model too.
    /// Use the same one for every start.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Send at most this many bytes per second. By default there is no limit.
    #[arg(long)]
    uplink_bytes_per_second: Option<NonZeroU64>,
    /// With --until-finished, go on trying to reach the coordinator for this many seconds. Otherwise it is tried for ever.
    #[arg(long, default_value_t = 300, requires = "until_finished")]
    reach_within_s: u64,
    #[command(flatten)]
    link: LinkFlags,
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    pub(crate) service: ServiceArguments,
    /// The data folder was restored from a backup, emptied or lost. Give this at the first start afterwards alone: the folder
    /// records it. A custodian then signs nothing until the others have closed a round, and no second seal in this edition. A
    /// member leaves out the blocks that it may have given before.
    #[arg(long)]
    restored: bool,
}

/// Runs a party until it is told to stop, or until the last round has ended. `participation` says what it does, from its flags
/// the edition of the consortium file in force, and its number there.
pub(crate) fn run(
    flags: PartyFlags,
    participation: impl FnOnce(&PartyFlags, &Epoch, PartyId) -> Result<Participation, Failure>,
) -> Result<(), Failure> {
    // Before anything is written and before threads start, because the umask belongs to the whole process:
    // journal, ledger and model must not be readable by other users.
    cloister_storage::restrict_new_files();
    let print_events = flags.service.events;
    let (sender, policy_updates) = PolicyUpdates::new();
    let reloading = flags.service.start_log().with_policy(flags.identity.join(POLICY), sender);
    let (switch, stop) = stop_signal();
    let only_checks = flags.service.check;
    let config = ClientConfig { policy_updates, ..configure(flags, stop, participation)? };
    if only_checks {
        return output::line(SOUND);
    }
    let party = config.party.0;
    let mut progress = ProgressDisplay::for_service();
    let result = run_until_stopped(
        &switch,
        &reloading,
        cloister_client::run(config, &mut |event| {
            if matches!(event, ClientEvent::Ready(_) | ClientEvent::CustodianReady) {
                notify_ready("ready");
            }
            match (print_events, steps_of(&event)) {
                (true, _) => events::print(to_json(party, &event)),
                (false, Some((what, done, total))) => progress.step(what, done, total),
                (false, None) => {
                    let (text, fields) = (to_text(&event), to_json(party, &event));
                    progress.above_bar(|| log::event(level(&event), &text, &fields));
                }
            }
        }),
    )?;
    result.map_err(failure)
}

impl PartyFlags {
    /// How links are made.
    pub(crate) fn transport(&self) -> Result<TransportSettings, Failure> {
        Ok(TransportSettings {
            uplink_bytes_per_second: self.uplink_bytes_per_second,
            proxy: self.proxy.clone().proxy()?,
            ..self.link.settings()
        })
    }
}

fn configure(
    flags: PartyFlags,
    stop: StopSignal,
    participation: impl FnOnce(&PartyFlags, &Epoch, PartyId) -> Result<Participation, Failure>,
) -> Result<ClientConfig, Failure> {
    let folder = PartyFolder::load(&flags.identity)?;
    // The policy comes first: its governance key decides which consortium file is accepted.
    let given = load_consortium(&flags.consortium, &folder.policy)?;
    let epoch = newest_edition(given, &flags.data, &folder.policy);
    let party = find_party(&epoch, &folder.identity, &folder.signing_key)?.id;
    let participation = participation(&flags, &epoch, party)?;
    create_folder(&flags.data)?;
    Ok(ClientConfig {
        party,
        signing_key: folder.signing_key,
        identity: folder.identity,
        policy: folder.policy,
        policy_updates: PolicyUpdates::never(),
        participation,
        restored: flags.restored,
        transport: flags.transport()?,
        coordinator: flags.coordinator,
        lifetime: match flags.service.until_finished {
            true => ClientLifetime::UntilFinished { reach_within: Duration::from_secs(flags.reach_within_s) },
            false => ClientLifetime::UntilStopped,
        },
        stop,
        folder: flags.data,
        epoch,
    })
}

/// The party whose certificate this folder has. The signing key must match, too: with a key of another
/// enrolment the hospital would connect, and then every statement that it signs would be rejected.
pub(crate) fn find_party<'a>(
    epoch: &'a Epoch,
    identity: &Identity,
    signing_key: &SigningKey,
) -> Result<&'a Party, Failure> {
    let certificate = PublicBytes(identity.fingerprint().0);
    let listed = epoch.consortium().parties().find(|party| party.certificate == certificate);
    let party = listed.ok_or_else(|| {
        Failure::config(format!(
            "the certificate in --identity, {certificate}, is not in the consortium file; check that both are the right \
             ones, or ask the consortium to add this hospital"
        ))
    })?;
    if party.signing_key != signing_key.public() {
        return Err(Failure::config(format!(
            "the consortium file lists {:?} with another signing key than the one in --identity; give the folder that was \
             enrolled",
            party.name
        )));
    }
    Ok(party)
}

/// How important an event is to the operator.
fn level(event: &ClientEvent) -> Level {
    match event {
        // Normal after a restart.
        ClientEvent::Unexpected(_) => Level::DEBUG,
        ClientEvent::Warning(_)
        | ClientEvent::Reconnecting(_)
        | ClientEvent::Unreachable(_)
        | ClientEvent::NotTrained(..)
        | ClientEvent::NotEvaluated(..)
        | ClientEvent::Aborted(_)
        | ClientEvent::Refused(..)
        | ClientEvent::Fault(_) => Level::WARN,
        _ => Level::INFO,
    }
}

fn failure(error: ClientError) -> Failure {
    let kind = match error {
        ClientError::Connect(_) | ClientError::Link(_) | ClientError::Behind => FailureKind::Unavailable,
        // Memory may be free again later, whereas a wrong file stays wrong.
        #[cfg(feature = "training")]
        ClientError::Setup(cloister_client::TrainingError::Experts(
            cloister_experts::ExpertsError::Memory { .. },
        )) => FailureKind::Unavailable,
        ClientError::Openings(_)
        | ClientError::Edition(_)
        | ClientError::NotListed(_)
        | ClientError::IsMember
        | ClientError::Journal(_)
        | ClientError::Ledger(_)
        | ClientError::Arriving(ArrivingFileError::Version(_))
        | ClientError::Setup(_) => FailureKind::Config,
        ClientError::PrivacyRefused { .. } => FailureKind::PrivacyRefused,
        ClientError::Training(_) | ClientError::EpochStart(_) | ClientError::Arriving(_) => {
            FailureKind::Error
        }
    };
    Failure::new(kind, error)
}

#[cfg(test)]
mod tests {
    use cloister_params::id::Round;

    use super::*;

    /// PRIV-05
    #[test]
    fn a_round_that_the_budget_refuses_ends_with_status_5_and_its_reason() {
        let reason = "policy `maximum_epsilon`: ε would be 4.2, this party allows 4".to_owned();
        let failure = failure(ClientError::PrivacyRefused { round: Round(3), reason });
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(5));
        assert!(
            failure.to_string().contains("round 3") && failure.to_string().contains("allows 4"),
            "{failure}"
        );
    }
}
