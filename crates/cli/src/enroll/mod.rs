//! `cloister enroll`: a party enrols over the network, by an invitation of the coordinator's operator.

mod outcome;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cloister_identity::ShortFingerprint;
use cloister_identity::enrolment::Applicant;
use cloister_identity::online::{
    EnrolmentAnswer, EnrolmentRefusal, EnrolmentRequest, Invitation, Receipt, SignedEdition,
};
use cloister_transport::{ConnectError, HostPort, TransportSettings, hand_in, printable};
use tokio::runtime::Runtime;

use crate::consortium::parse_governance_key;
use crate::failure::{Failure, FailureKind};
use crate::folder::{ENROLMENT, POLICY, read_policy};
use crate::identity::{Enrolled, make_keys};
use crate::link_flags::LinkFlags;
use crate::output;
use crate::party::ProxyFlags;
use outcome::{GovernanceTrust, Outcome};

/// The first pause before the coordinator is asked again, and the longest. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Flags of `cloister enroll`.
#[derive(Debug, Args)]
pub(crate) struct EnrollArguments {
    /// The line of text that the coordinator's operator sent.
    #[arg(long, value_name = "TEXT", env = "CLOISTER_INVITE", hide_env_values = true)]
    invite: String,
    /// This party's folder of keys. It is made if it does not exist.
    #[arg(long, value_name = "DIR", env = "CLOISTER_IDENTITY")]
    identity: PathBuf,
    /// The party's name, which no other party of the consortium has. Needed to make keys.
    #[arg(long)]
    name: Option<String>,
    /// The organisation to which the party belongs. Needed to make keys.
    #[arg(long)]
    organisation: Option<String>,
    /// For how many days the TLS certificate of new keys is valid.
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    valid_days: u32,
    /// The governance key's public half, in 64 hexadecimal digits, after a person has compared its fingerprint with the key's
    /// holder. By default the one that policy.toml in the folder pins, if it is there.
    #[arg(long, value_name = "HEX")]
    governance_key: Option<String>,
    /// The governance key's fingerprint of 25 digits, as its holder read it to you over a channel that you trust, such as a call
    /// to a number that you know.
    #[arg(long, value_name = "DIGITS", conflicts_with = "governance_key")]
    governance_fingerprint: Option<ShortFingerprint>,
    /// Ask again and again, up to every five minutes, until the consortium file lists this party.
    #[arg(long)]
    wait: bool,
    /// Print one JSON object for each answer.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkFlags,
    #[command(flatten)]
    proxy: ProxyFlags,
}

/// What the coordinator answered, other than a refusal.
enum Answer {
    Kept(Receipt),
    Listed(SignedEdition),
}

/// What each question to the coordinator needs.
struct Desk {
    target: HostPort,
    invitation: Invitation,
    enrolled: Enrolled,
    settings: TransportSettings,
    runtime: Runtime,
}

pub(crate) fn run(arguments: EnrollArguments) -> Result<(), Failure> {
    // Before anything is written and before threads start, because the umask belongs to the whole process.
    cloister_storage::restrict_new_files();
    let invitation = Invitation::parse(&arguments.invite)
        .map_err(|error| Failure::config(format!("--invite is not an invitation: {error}")))?;
    let target: HostPort = invitation
        .address()
        .parse()
        .map_err(|error| Failure::config(format!("the invitation's address: {error}")))?;
    let trust = arguments.governance()?;
    arguments.prepare_keys(&invitation)?;
    let desk = Desk {
        target,
        enrolled: Enrolled::load(&arguments.identity)?,
        invitation,
        settings: TransportSettings { proxy: arguments.proxy.proxy()?, ..arguments.link.settings() },
        runtime: Runtime::new().map_err(Failure::error)?,
    };
    let mut pause = FIRST_PAUSE;
    let mut is_told = false;
    loop {
        match desk.ask() {
            Ok(Answer::Listed(edition)) => {
                let fetched = outcome::take_edition(&arguments.identity, &desk.enrolled, &edition, trust)?;
                return fetched.print(arguments.json);
            }
            Ok(Answer::Kept(receipt)) => {
                let kept = Outcome::Kept {
                    target: desk.target.to_string(),
                    consortium: printable(receipt.consortium.as_bytes()),
                    enrolment: &desk.enrolled.enrolment,
                };
                if !arguments.wait {
                    return kept.print(arguments.json);
                }
                if !is_told {
                    kept.print(arguments.json)?;
                    is_told = true;
                }
            }
            Err(failure) if arguments.wait && failure.kind() == FailureKind::Unavailable => {
                output::tell(format_args!("{failure}; asking again in {} s", pause.as_secs()));
            }
            Err(failure) => return Err(failure),
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

impl EnrollArguments {
    /// How a person has said which governance key is the right one: by a flag, or in the party's policy.
    fn governance(&self) -> Result<GovernanceTrust, Failure> {
        let given = self.governance_key.as_deref().map(parse_governance_key).transpose()?;
        let path = self.identity.join(POLICY);
        if !path.exists() {
            return Ok(match (given, self.governance_fingerprint) {
                (Some(key), _) => GovernanceTrust::Key(key),
                (None, Some(fingerprint)) => GovernanceTrust::Fingerprint(fingerprint),
                (None, None) => GovernanceTrust::Unknown,
            });
        }
        let policy = read_policy(&path)?;
        match given {
            Some(given) if given != policy.governance_key => Err(Failure::config(format!(
                "--governance-key is {given}, and {} pins {}; compare the key with its holder again, and correct the wrong one",
                path.display(),
                policy.governance_key
            ))),
            _ => Ok(GovernanceTrust::Key(policy.governance_key)),
        }
    }

    /// Makes keys for the roles of the invitation if the folder has none.
    fn prepare_keys(&self, invitation: &Invitation) -> Result<(), Failure> {
        let path = self.identity.join(ENROLMENT);
        if path.exists() {
            return self.check_names();
        }
        let (Some(name), Some(organisation)) = (self.name.clone(), self.organisation.clone()) else {
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "{} does not exist; give --name and --organisation to make keys, or --identity with the folder that \
                     `cloister identity new` made",
                    path.display()
                ),
            ));
        };
        make_keys(
            &self.identity,
            &Applicant { name, organisation, roles: invitation.roles().to_vec() },
            self.valid_days,
        )?;
        output::tell(format_args!("made keys in {}; they stay there", self.identity.display()));
        Ok(())
    }

    /// Checks that the names of the flags, if any, are those of the keys that are there.
    fn check_names(&self) -> Result<(), Failure> {
        let Enrolled { enrolment, .. } = Enrolled::load(&self.identity)?;
        let Applicant { name, organisation, .. } = enrolment.applicant();
        for (flag, given, there) in
            [("--name", &self.name, name), ("--organisation", &self.organisation, organisation)]
        {
            if given.as_ref().is_some_and(|given| given != there) {
                return Err(Failure::config(format!(
                    "{flag} is not {there:?}, for which {} was made; leave the flag out, or name another folder",
                    self.identity.join(ENROLMENT).display()
                )));
            }
        }
        Ok(())
    }
}

impl Desk {
    /// Hands the request in, or asks how it stands, which is the same.
    fn ask(&self) -> Result<Answer, Failure> {
        let Self { target, invitation, enrolled, settings, runtime } = self;
        let request =
            EnrolmentRequest { token: invitation.token().clone(), enrolment: enrolled.text.clone() };
        let request = request.encode().map_err(Failure::config)?;
        // CONS-14: the token goes to the server alone whose certificate the invitation names.
        let coordinator = invitation.coordinator();
        let handing_in = hand_in(target.clone(), &enrolled.identity, coordinator, &request, settings);
        let answer = runtime.block_on(handing_in).map_err(connect_failure)?;
        let answer = EnrolmentAnswer::decode(&answer).map_err(|error| {
            Failure::config(format!(
                "the coordinator's answer cannot be read: {error}; use the same version of the program on both sides"
            ))
        })?;
        match answer {
            EnrolmentAnswer::Kept(receipt) if receipt.enrolment != enrolled.enrolment.digest() => {
                Err(Failure::error(
                    "the coordinator says that it keeps another enrolment file than this party's; tell its operator",
                ))
            }
            EnrolmentAnswer::Kept(receipt) => Ok(Answer::Kept(receipt)),
            EnrolmentAnswer::Listed(edition) => Ok(Answer::Listed(edition)),
            EnrolmentAnswer::Refused(why) => {
                let kind = match why {
                    EnrolmentRefusal::Unavailable => FailureKind::Unavailable,
                    _ => FailureKind::Config,
                };
                // The coordinator's words, which must not command this terminal.
                let why = printable(why.to_string().as_bytes());
                Err(Failure::new(kind, format!("the coordinator rejected the enrolment: {why}")))
            }
        }
    }
}

fn connect_failure(error: ConnectError) -> Failure {
    let kind = match error {
        ConnectError::WrongCoordinator { .. }
        | ConnectError::KeyNotHeld { .. }
        | ConnectError::OtherProtocol { .. } => FailureKind::Config,
        _ => FailureKind::Unavailable,
    };
    Failure::new(kind, error)
}
