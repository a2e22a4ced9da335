//! The files of a sweep.

use std::path::Path;

use super::report::SweepReport;
use super::{columns, latex, parquet, plot, vega};
use crate::error::LabError;
use crate::ladder::write_text;
use crate::results::write_json;

impl SweepReport {
    /// Writes every file of the sweep into this folder.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), LabError> {
        let table = columns::table(self);
        write_text(&folder.join("sweep.csv"), &columns::to_csv(&table))?;
        parquet::write(&folder.join("sweep.parquet"), &table)?;
        write_text(&folder.join("sweep-runs.csv"), &columns::to_csv(&columns::runs(self)))?;
        write_text(&folder.join("sweep-differences.csv"), &columns::to_csv(&columns::differences(self)))?;
        write_json(&folder.join("sweep.vl.json"), &vega::specification(self))?;
        write_text(&folder.join("sweep.tex"), &latex::tabular(self))?;
        write_text(&folder.join("sweep.svg"), &plot::svg(self))?;
        write_json(&folder.join("sweep.json"), self)
    }
}
