//! `cloister model pull`.

use cloister_client::{ModelPull, PullError, PullEvent, pull_model};
use cloister_transport::Fingerprint;
use tokio::runtime::Runtime;

use super::PullArguments;
use crate::failure::{Failure, FailureKind};
use crate::folder::{PartyFolder, load_consortium, load_model, newest_edition};
use crate::output;
use crate::party::{PartyFlags, find_party};
use crate::progress::ProgressDisplay;
use crate::service::config_command::service_command;
use crate::training_command::TrainingCommand;

pub(super) fn run(arguments: &PullArguments) -> Result<(), Failure> {
    // The model follows from notes.
    cloister_storage::restrict_new_files();
    let out = arguments.out.display();
    if arguments.out.exists() {
        let present = load_model(&arguments.out)?.digest();
        return match present == arguments.digest {
            true => output::line(format_args!("{out} is this model already")),
            false => Err(Failure::config(format!(
                "{out} has the model {present}; remove it, or give another --out"
            ))),
        };
    }
    let pull = configure(arguments)?;
    let runtime = Runtime::new().map_err(Failure::error)?;
    let mut progress = ProgressDisplay::new();
    let pulled = runtime.block_on(pull_model(&pull, &mut |event| show(&mut progress, &event)));
    pulled.map_err(|error| Failure::new(kind(&error), error))?;
    output::line(format_args!("{out} is the model {}", arguments.digest))
}

fn configure(arguments: &PullArguments) -> Result<ModelPull, Failure> {
    let flags = party_flags(arguments)?;
    let folder = PartyFolder::load(&flags.identity)?;
    let given = load_consortium(&flags.consortium, &folder.policy)?;
    let epoch = newest_edition(given, &flags.data, &folder.policy);
    Ok(ModelPull {
        party: find_party(&epoch, &folder.identity, &folder.signing_key)?.id,
        pinned: Fingerprint(epoch.consortium().coordinator().certificate.0),
        transport: flags.transport()?,
        identity: folder.identity,
        coordinator: flags.coordinator,
        model: arguments.digest,
        out: arguments.out.clone(),
    })
}

fn party_flags(arguments: &PullArguments) -> Result<PartyFlags, Failure> {
    match crate::parse_service(&service_command("client", &arguments.file))? {
        crate::Command::Training(TrainingCommand::Client(client)) => Ok(client.party),
        _ => unreachable!("the command line is that of a client"),
    }
}

fn show(progress: &mut ProgressDisplay, event: &PullEvent) {
    match event {
        PullEvent::Progress { here, total } => progress.step("pulling", *here, *total),
        PullEvent::Lost(reason) => {
            progress
                .above_bar(|| output::tell(format_args!("the link was lost, and is made again: {reason}")));
        }
        PullEvent::WrongBlock(block) => progress.above_bar(|| {
            output::tell(format_args!("{block} has wrong bytes; it is asked for again, from its beginning"));
        }),
    }
}

fn kind(error: &PullError) -> FailureKind {
    match error {
        PullError::Connect(_) | PullError::Fruitless(_) | PullError::Space { .. } => FailureKind::Unavailable,
        PullError::Refused(_) | PullError::Wrong { .. } => FailureKind::Config,
        PullError::Arriving(_) | PullError::Write { .. } => FailureKind::Error,
    }
}
