//! Privacy ledgers of members in this process: nothing is released uncharged here either.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundPlan;
use cloister_privacy::ledger::{Charge, Ledger, LedgerError, Opening, ReleasePermit};
use cloister_privacy::release::releases;

use crate::error::LabError;

static OPENED: AtomicU64 = AtomicU64::new(0);

/// The ledgers of a run's members, in a folder that goes with them. They keep account and refuse nothing: public data
/// has no budget.
#[derive(Debug)]
pub struct Accounts {
    folder: PathBuf,
    ledgers: Vec<Ledger>,
}

impl Accounts {
    /// Fresh ledgers for so many members.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(members: usize) -> Result<Self, LabError> {
        let name = format!("cloister-lab-{}-{}", std::process::id(), OPENED.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).map_err(LabError::file(&folder))?;
        let open = |member: usize| {
            let opening = Opening { holder: format!("member {member}"), unit: PrivacyUnit::Record };
            Ledger::open(&folder.join(format!("{member}.ledger")), opening)
        };
        let ledgers = (1..=members).map(open).collect::<Result<_, LedgerError>>()?;
        Ok(Self { folder, ledgers })
    }

    /// Charges one member's contribution to a round.
    ///
    /// # Errors
    /// A ledger that cannot be written.
    pub fn permit(&mut self, member: usize, plan: &RoundPlan) -> Result<ReleasePermit, LabError> {
        let releases = releases(&plan.settings, PrivacyUnit::Record).map_err(LedgerError::from)?;
        let charge = Charge { epoch: plan.epoch, round: plan.round, model: plan.model, releases };
        Ok(self.ledgers[member].charge(charge, None)?)
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        // A folder that stays behind holds charges and no data.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
