//! Privacy ledgers of members in this process: the lab, too, releases nothing that is not charged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundPlan;
use cloister_privacy::ledger::{Charge, History, Ledger, LedgerError, Opening, ReleasePermit};
use cloister_privacy::release::releases;

use crate::error::LabError;

/// Numbers the folders of this process, because several runs may have ledgers at the same time.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// The ledgers of a run's members, in a folder that is removed with them. They count and reject nothing,
/// because public
/// data has no budget.
#[derive(Debug)]
pub struct Accounts {
    folder: PathBuf,
    unit: PrivacyUnit,
    ledgers: Vec<Ledger>,
}

impl Accounts {
    /// Opens new ledgers whose unit is a record.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(members: usize) -> Result<Self, LabError> {
        Self::counting(members, PrivacyUnit::Record)
    }

    /// Opens new ledgers with this unit.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn counting(members: usize, unit: PrivacyUnit) -> Result<Self, LabError> {
        // The process id keeps runs on one machine apart.
        let name = format!("cloister-lab-{}-{}", std::process::id(), OPENED.fetch_add(1, Ordering::Relaxed));
        let folder = temporary().join(name);
        fs::create_dir_all(&folder).map_err(LabError::file(&folder))?;
        let mut ledgers = Vec::with_capacity(members);
        for member in 0..members {
            let opening = Opening { holder: format!("member {}", member + 1), unit, group_by: None };
            ledgers.push(Ledger::open(&path(&folder, member), opening)?);
        }
        Ok(Self { folder, unit, ledgers })
    }

    /// Charges one member's contribution to a round.
    ///
    /// # Errors
    /// A ledger that cannot be written.
    pub fn permit(&mut self, member: usize, plan: &RoundPlan) -> Result<ReleasePermit, LabError> {
        let releases = releases(&plan.settings, self.unit).map_err(LedgerError::from)?;
        // An experiment has no clock.
        self.charge(
            member,
            Charge { epoch: plan.epoch, round: plan.round, model: plan.model, releases, at: None },
        )
    }

    /// Charges one member for releases that no plan of training names.
    ///
    /// # Errors
    /// A ledger that cannot be written.
    pub fn charge(&mut self, member: usize, charge: Charge) -> Result<ReleasePermit, LabError> {
        Ok(self.ledgers[member].charge(charge, None)?)
    }

    /// ε of everything that a member's ledger was charged.
    ///
    /// # Errors
    /// A ledger that cannot be read.
    pub fn epsilon(&self, member: usize, delta: f64) -> Result<f64, LabError> {
        Ok(History::read(&path(&self.folder, member))?.account().epsilon(delta).epsilon)
    }
}

/// Permits for preparing one contribution after another, of no member in particular.
#[derive(Debug)]
pub(crate) struct Permits {
    accounts: Accounts,
    /// How many permits the present ledger has given.
    given: usize,
}

/// Charges after which a new ledger is opened. Each charge reads the whole ledger, so a single one would take
/// quadratic time.
const CHARGES: usize = 32;

impl Permits {
    /// Permits that are charged by this unit.
    pub(crate) fn counting(unit: PrivacyUnit) -> Result<Self, LabError> {
        Ok(Self { accounts: Accounts::counting(1, unit)?, given: 0 })
    }

    /// Charges one more contribution to a round.
    pub(crate) fn next(&mut self, plan: &RoundPlan) -> Result<ReleasePermit, LabError> {
        if self.given == CHARGES {
            *self = Self::counting(self.accounts.unit)?;
        }
        self.given += 1;
        self.accounts.permit(0, plan)
    }
}

fn path(folder: &Path, member: usize) -> PathBuf {
    folder.join(format!("{}.ledger", member + 1))
}

/// A folder in memory, if the system has one: every charge is synced to disk, and these ledgers end with
/// their process.
fn temporary() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        // A folder that stays behind holds charges and no data.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
