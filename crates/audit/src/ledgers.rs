//! The coordinator's privacy ledgers against the log (`PRIV-13`): what each round's plan releases is charged once, and
//! each closing is noted with what it opened.

use std::path::Path;
use std::time::SystemTime;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::merkle::leaf_hash;
use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_params::time::UtcTime;
use cloister_privacy::closed::ClosedRound;
use cloister_privacy::ledger::{Charge, History};
use cloister_privacy::release::releases;
use cloister_wire::codec;

use crate::replay::ReleasingRound;

/// Whether this build compares ledgers with the log.
pub(crate) const ARE_CHECKED: bool = true;

/// A charge that follows from the log, and its closing.
struct ExpectedCharge {
    charge: Charge,
    closed: Option<ClosedRound>,
    /// The last round in which its contribution was sent, and the digest of that round's settings.
    sent: (Round, Digest),
}

/// Compares a ledger with the rounds of an epoch, ascending.
pub(crate) fn check_ledger(
    ledger: &[u8],
    unit: PrivacyUnit,
    rounds: &[ReleasingRound],
    epoch: &Epoch,
) -> Result<(), String> {
    let ledger = history(&format!("privacy-ledger-{unit}"), ledger)?;
    if ledger.opening.unit != unit {
        return Err(format!("the ledger for {unit} counts by {}", ledger.opening.unit));
    }
    let mut expected = expected_charges(unit, rounds)?.into_iter();
    let kept = ledger.charges.iter().zip(&ledger.closed);
    for (charge, closed) in kept.filter(|(charge, _)| charge.epoch == epoch.digest()) {
        let round = charge.round;
        let Some(next) = expected.next() else {
            return Err(format!("the ledger for {unit} charges {round}, and the log does not"));
        };
        if (Charge { at: None, ..charge.clone() }) != next.charge {
            return Err(format!("the ledger for {unit} has another charge of {round} than the log"));
        }
        let closed = closed.clone().map(|closed| ClosedRound { at: None, ..closed });
        if closed != next.closed {
            return Err(format!(
                "the ledger for {unit} has another end of the charge of {round} than the log"
            ));
        }
    }
    match expected.next() {
        Some(next) => Err(format!("the ledger for {unit} does not charge {}", next.charge.round)),
        None => Ok(()),
    }
}

/// The closings that a hospital's ledger has of an epoch.
pub(crate) fn closings(name: &str, ledger: &[u8], epoch: &Epoch) -> Result<Vec<(Round, Digest)>, String> {
    let history = history(name, ledger)?;
    let rounds = history.charges.iter().zip(&history.closed);
    let of_epoch = rounds.filter(|(charge, _)| charge.epoch == epoch.digest());
    Ok(of_epoch
        .filter_map(|(_, closed)| closed.as_ref().map(|closed| (closed.round, closed.closing)))
        .collect())
}

fn history(name: &str, ledger: &[u8]) -> Result<History, String> {
    History::from_bytes(Path::new(name), ledger).map_err(|error| error.to_string())
}

/// What is charged in these rounds. A contribution that is sent again behind an abort is not charged again: the next
/// round has the same model, and the same settings but for deadlines (`ROUND-03`, `ROUND-31`).
fn expected_charges(unit: PrivacyUnit, rounds: &[ReleasingRound]) -> Result<Vec<ExpectedCharge>, String> {
    let mut charges: Vec<ExpectedCharge> = Vec::new();
    for ReleasingRound { plan, announced, closed } in rounds {
        if plan.settings.rehearsal {
            // Nothing is released, and what an abort left stays.
            if let Some(last) = charges.last_mut().filter(|last| last.sent.0.next() == plan.round) {
                last.sent.0 = plan.round;
            }
            continue;
        }
        if !announced {
            continue;
        }
        let settings = leaf_hash(&codec::encode(&plan.settings.without_deadlines()));
        let again = charges.last_mut().filter(|last| {
            last.closed.is_none()
                && last.charge.model == plan.model
                && (last.sent.0.next(), last.sent.1) == (plan.round, settings)
        });
        match again {
            Some(last) => last.sent.0 = plan.round,
            None => {
                let releases = releases(&plan.settings, unit).map_err(|error| error.to_string())?;
                let (epoch, round, model) = (plan.epoch, plan.round, plan.model);
                let charge = Charge { epoch, round, model, releases, at: None };
                charges.push(ExpectedCharge { charge, closed: None, sent: (round, settings) });
            }
        }
        if let (Some(last), Some((closing, opened))) = (charges.last_mut(), closed) {
            let at = UtcTime::from_time(SystemTime::UNIX_EPOCH);
            let closed = ClosedRound::new(&plan.settings, (plan.round, *closing), opened.iter().copied(), at);
            last.closed = Some(ClosedRound { at: None, ..closed });
        }
    }
    Ok(charges)
}
