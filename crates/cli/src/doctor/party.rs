//! Checks of what every party has: its keys, its policy and the consortium file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_identity::{Identity, Validity, ending_soon, read_signing_key};
use cloister_params::consortium::PublicBytes;
use cloister_params::limits::Date;
use cloister_params::policy::Policy;

use super::outcome::CheckOutcome;
use crate::failure::{Failure, FailureKind};
use crate::folder::{POLICY, SIGNING_KEY, check_coordinator, load_consortium, newest_edition};
use crate::privacy::rounds::CheckedPolicy;

/// The files of a party, and what the checks have read of them so far.
#[derive(Debug)]
pub(super) struct ExaminedParty {
    /// The folder of its keys and its policy.
    pub(super) folder: PathBuf,
    pub(super) consortium: PathBuf,
    pub(super) data: PathBuf,
    pub(super) identity: Option<Identity>,
    pub(super) signing_key: Option<Arc<SigningKey>>,
    pub(super) policy: Option<CheckedPolicy>,
    /// The edition that was given.
    pub(super) given: Option<Arc<Epoch>>,
    /// The newest edition that the party knows.
    pub(super) epoch: Option<Arc<Epoch>>,
    /// Whether the service itself uses the data folder.
    pub(super) is_running: bool,
}

impl ExaminedParty {
    pub(super) fn new(folder: PathBuf, consortium: PathBuf, data: PathBuf) -> Self {
        Self {
            folder,
            consortium,
            data,
            identity: None,
            signing_key: None,
            policy: None,
            given: None,
            epoch: None,
            is_running: false,
        }
    }

    /// Certificate and key belong together, and nobody else can read the keys (`CONS-07`).
    pub(super) fn check_keys(&mut self) -> CheckOutcome {
        let mut failures = Vec::new();
        match Identity::load(&self.folder) {
            Ok(identity) => self.identity = Some(identity),
            Err(error) => failures.push(Failure::config(error)),
        }
        match read_signing_key(&self.folder.join(SIGNING_KEY)) {
            Ok(key) => self.signing_key = Some(Arc::new(key)),
            Err(error) => failures.push(Failure::config(error)),
        }
        match &self.identity {
            Some(identity) if failures.is_empty() => CheckOutcome::ok(format!(
                "certificate {} fits its key, and nobody else can read the keys",
                identity.fingerprint()
            )),
            _ => CheckOutcome::failures(&failures),
        }
    }

    /// The dates of the certificate (`WIRE-06`).
    pub(super) fn check_certificate(&mut self) -> CheckOutcome {
        let Some(identity) = &self.identity else {
            return CheckOutcome::not_checked("the certificate or its key cannot be used");
        };
        judge_dates(identity.validity(), SystemTime::now())
    }

    pub(super) fn check_policy(&mut self) -> CheckOutcome {
        let policy = match CheckedPolicy::read(&self.folder.join(POLICY)) {
            Ok(policy) => policy,
            Err(failure) => return CheckOutcome::failure(&failure),
        };
        let expiry = policy.check_expiry();
        self.policy = Some(policy);
        match expiry {
            Ok(()) => CheckOutcome::ok("it can be read, and admits plans today"),
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }

    /// The governance key of the policy has signed the file, which is in force (`CONS-12`). Who lists the party is for
    /// the role to say.
    pub(super) fn check_consortium(
        &mut self,
        listed: impl FnOnce(&Self, &Epoch) -> Result<String, Failure>,
    ) -> CheckOutcome {
        let Some(CheckedPolicy { policy, .. }) = &self.policy else {
            return CheckOutcome::not_checked(
                "its signature cannot be checked without the policy, which has the governance key",
            );
        };
        let epoch = match load_consortium(&self.consortium, policy) {
            Ok(given) => self.newest(given),
            Err(failure) => return CheckOutcome::failure(&failure),
        };
        let listed = match listed(self, &epoch) {
            Ok(listed) => listed,
            Err(failure) => return CheckOutcome::failure(&failure),
        };
        judge_edition(&epoch, &listed, SystemTime::now())
    }

    fn newest(&mut self, given: Arc<Epoch>) -> Arc<Epoch> {
        let policy: Option<&Policy> = self.policy.as_ref().map(|checked| &checked.policy);
        let epoch =
            policy.map_or_else(|| given.clone(), |policy| newest_edition(given.clone(), &self.data, policy));
        self.given = Some(given);
        self.epoch = Some(epoch.clone());
        epoch
    }

    /// The coordinator's own entry in the consortium file.
    pub(super) fn find_coordinator(&self, epoch: &Epoch) -> Result<String, Failure> {
        let certificate = self.identity.as_ref().map(|identity| PublicBytes(identity.fingerprint().0));
        let key = self.signing_key.as_ref().map(|key| key.public());
        check_coordinator(epoch, certificate, key)?;
        Ok(format!("it lists this coordinator ({})", epoch.consortium().coordinator().name))
    }
}

fn judge_dates(validity: Validity, now: SystemTime) -> CheckOutcome {
    if let Err(why) = validity.check(now) {
        return CheckOutcome::failure(&Failure::config(why));
    }
    match &ending_soon(validity, None, now)[..] {
        [warning, ..] => CheckOutcome::warning_in(warning),
        [] => CheckOutcome::ok(format!("it is valid until {}", validity.last_day())),
    }
}

fn judge_edition(epoch: &Epoch, listed: &str, now: SystemTime) -> CheckOutcome {
    let consortium = epoch.consortium();
    let until = consortium.until();
    let edition = format!("edition {} of {}", consortium.epoch_number(), consortium.name());
    let today = Date::from_time(now);
    if let Some(until) = until.filter(|until| *until < today) {
        return CheckOutcome::fault(
            FailureKind::Config,
            format!(
                "{edition} was in force until {until}, and today is {today}; all parties wait for a later one"
            ),
            "ask the holder of the governance key for the next edition",
        );
    }
    if let Some(warning) = ending_soon(Validity::unlimited(), until, now).first() {
        return CheckOutcome::warning_in(warning);
    }
    let parties = consortium.parties().count();
    let until = until.map_or_else(|| "a later edition".to_owned(), |until| until.to_string());
    CheckOutcome::ok(format!(
        "{edition} is signed by the governance key and in force until {until}; it lists {parties} parties; {listed}"
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::outcome::CheckState;
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_its_dates() {
        const DAY: Duration = Duration::from_hours(24);
        let now = UNIX_EPOCH + DAY * 20_000;
        let validity = Validity::starting(now, 60);
        for (day, state) in
            [(0, CheckState::Ok), (29, CheckState::Ok), (31, CheckState::Warning), (61, CheckState::Fault)]
        {
            assert_eq!(judge_dates(validity, now + DAY * day).state(), state, "day {day}");
        }
        assert_eq!(judge_dates(validity, now - DAY * 2).state(), CheckState::Fault, "not valid yet");
    }
}
