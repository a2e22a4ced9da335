//! Sweeps: the rows of a ladder at several values of one setting, such as noise, and what privacy costs in accuracy.
//!
//! A sweep's file is a ladder's with a table `[sweep]`. Every row is run at every value, and rows that are not swept
//! are baselines. Results are a table with the ε of each row and value, intervals, and plots of accuracy against ε.

mod axis;
mod columns;
mod files;
mod latex;
mod parquet;
mod plot;
mod report;
mod screen;
mod stopwatch;
mod vega;

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::SketchForm;
use serde::{Deserialize, Serialize};

use crate::charges::ReleasedPart;
use crate::config::Config;
use crate::data::Files;
use crate::environment::RunEnvironment;
use crate::epsilons::RELEASED_DELTA;
use crate::error::LabError;
use crate::ladder::{Ladder, RowSweep, RowTable, RowsFile};
use crate::private::noise_for;
use crate::progress::RunProgress;
use crate::text_run::fewest_texts;
pub use report::{MixAccuracy, PairedDifference, SweepReport, SweepRow, SweepRun};
use stopwatch::Stopwatch;

/// The only key whose value can be solved for: the accountant knows what its noise costs before a run.
const SOLVED_KEY: &str = "strategy.private.noise_multiplier";

/// Which ε the curve is drawn over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SweepAxis {
    /// That of DP-SGD, for a text.
    Training,
    /// That of the head from noised sums, for the unit of its noise.
    Head,
    /// That of releases behind masks.
    #[serde(untagged)]
    Released(ReleasedPart),
}

/// The table `[sweep]` of a file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepSettings {
    /// The configuration key that is swept, such as `scoring.noise_steps`.
    pub key: String,
    /// Its values.
    #[serde(default)]
    pub values: Vec<f64>,
    /// In place of values: the ε of training that the noise is solved for, at `strategy.private.delta`.
    #[serde(default)]
    pub epsilons: Vec<f64>,
    /// The ε that the curve is drawn over. By default it follows from the key.
    #[serde(default)]
    pub epsilon: Option<SweepAxis>,
    /// Whose data is protected, for the ε of releases behind masks.
    #[serde(default = "SweepSettings::default_unit")]
    pub unit: PrivacyUnit,
    /// The δ of the ε of releases behind masks.
    #[serde(default = "SweepSettings::default_delta")]
    pub delta: f64,
}

impl SweepSettings {
    fn default_unit() -> PrivacyUnit {
        PrivacyUnit::Member
    }

    fn default_delta() -> f64 {
        RELEASED_DELTA
    }

    /// The ε that the curve is drawn over.
    pub fn axis(&self) -> SweepAxis {
        let by_key = match self.key.as_str() {
            key if key.starts_with("strategy.private.") => SweepAxis::Training,
            key if key.starts_with("head.noise.") => SweepAxis::Head,
            key if key.starts_with("scoring.") => SweepAxis::Released(ReleasedPart::Sketches),
            _ => SweepAxis::Released(ReleasedPart::Everything),
        };
        self.epsilon.unwrap_or(by_key)
    }

    /// Rejects a table that names no sweep.
    fn check(&self) -> Result<(), String> {
        if self.values.is_empty() == self.epsilons.is_empty() {
            return Err("`[sweep]` needs either `values` or `epsilons`, with a number at least".to_owned());
        }
        check_values(&[&self.values[..], &self.epsilons].concat())?;
        if !self.epsilons.is_empty() && self.key != SOLVED_KEY {
            return Err(format!(
                "`sweep.epsilons` needs `sweep.key = \"{SOLVED_KEY}\"`, not {}: other noise cannot be solved \
                 for; give `sweep.values`",
                self.key
            ));
        }
        if self.epsilons.contains(&0.0) {
            return Err("`sweep.epsilons` are above 0: no noise gives an ε of 0".to_owned());
        }
        if !(self.delta > 0.0 && self.delta < 1.0) {
            return Err(format!("`sweep.delta` must lie between 0 and 1, not {}", self.delta));
        }
        Ok(())
    }
}

/// A row at one value, or a baseline.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepPoint {
    /// The row's name.
    pub row: String,
    /// The value of the swept key; none for baselines.
    pub value: Option<f64>,
    /// The key that is swept; none for baselines.
    pub key: Option<String>,
    /// The ε that the value is solved for, if it is.
    pub target_epsilon: Option<f64>,
    /// The configuration.
    pub config: Config,
}

impl SweepPoint {
    /// The folder of its results: the row's name, and the value or the target.
    pub fn folder(&self) -> String {
        match (self.target_epsilon, self.value) {
            (Some(epsilon), _) => format!("{}-at-epsilon-{}", self.row, folder_part(epsilon)),
            (None, Some(value)) => format!("{}-at-{}", self.row, folder_part(value)),
            (None, None) => self.row.clone(),
        }
    }
}

/// A number without a dot, for the name of a folder.
fn folder_part(number: f64) -> String {
    number.to_string().replace('.', "-")
}

/// A sweep: points to run, and what is swept.
#[derive(Clone, PartialEq, Debug)]
pub struct Sweep {
    /// The table `[sweep]`.
    pub settings: SweepSettings,
    /// Rows at their values. A point with a target has no noise yet that meets it, until [`Sweep::run`] knows how many
    /// texts members have.
    pub points: Vec<SweepPoint>,
}

impl Sweep {
    /// Reads a sweep, with settings in place of the file's in every row; of all rows, or those that `only` names.
    ///
    /// # Errors
    /// [`LabError::Config`], naming what is wrong.
    pub fn parse(text: &str, place: &str, settings: &[String], only: &[String]) -> Result<Self, LabError> {
        let RowsFile { base, sweep, rows } = RowsFile::parse(text, place, only)?;
        let missing = "a sweep needs a table `[sweep]` with a `key` and `values`; without one, use a ladder";
        let sweep = sweep.ok_or_else(|| LabError::config(place, missing))?;
        let sweep: SweepSettings = sweep.try_into().map_err(|error| LabError::config(place, error))?;
        sweep.check().map_err(|reason| LabError::config(place, reason))?;
        let mut points = Vec::new();
        for row in rows {
            points.extend(sweep.points_of_row(row, &base, place, settings)?);
        }
        check_points(&points).map_err(|reason| LabError::config(place, reason))?;
        Ok(Self { settings: sweep, points })
    }

    /// Every point made small, to check that it runs.
    pub fn quick(self) -> Self {
        let points = self.points.into_iter();
        let points = points.map(|point| SweepPoint { config: point.config.clone().quick(), ..point });
        Self { points: points.collect(), ..self }
    }

    /// Runs every point into a folder of its own, as a [`Ladder`] does, and writes the ladder's files, `sweep.csv`,
    /// `sweep-runs.csv`, `sweep-differences.csv`, `sweep.parquet`, `sweep.vl.json`, `sweep.tex`, `sweep.svg` and
    /// `sweep.json`. `clock` is a time since any moment, for the seconds of runs. `begin` gets the name of each point
    /// before it runs.
    ///
    /// # Errors
    /// [`LabError`], which says what to change.
    pub fn run(
        &self,
        environment: &RunEnvironment,
        clock: &mut dyn FnMut() -> Duration,
        begin: &mut dyn FnMut(&str),
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<SweepReport, LabError> {
        let points = self.solved(&environment.data)?;
        let rows = points.iter().map(|point| (point.folder(), point.config.clone()));
        let ladder = Ladder { rows: rows.collect() };
        // Two callbacks of the ladder need the one stopwatch.
        let watch = RefCell::new(Stopwatch::new(clock, &environment.out));
        let results = ladder.run(
            environment,
            &mut |name| {
                watch.borrow_mut().begin(environment.out.join(name));
                begin(name);
            },
            &mut |event| {
                watch.borrow_mut().note(&event);
                progress(event);
            },
        )?;
        watch.into_inner().finish()?;
        let report = SweepReport::new(&self.settings, &points, &results, &environment.out);
        report.write(&environment.out)?;
        Ok(report)
    }

    /// The points, with the noise that meets each target for the member with the fewest texts.
    fn solved(&self, data: &Path) -> Result<Vec<SweepPoint>, LabError> {
        let mut points = self.points.clone();
        for point in &mut points {
            let Some(target) = point.target_epsilon else { continue };
            let files = Files::from_config(&point.config, data, None);
            let fewest = fewest_texts(&point.config, &files)?;
            let training = &mut point.config.strategy.training;
            let noise = noise_for(training, fewest, target).ok_or_else(|| {
                let reason = format!(
                    "no noise multiplier up to 1000 gives an ε of {target} with {fewest} texts; raise \
                     `sweep.epsilons`, or train for fewer rounds"
                );
                LabError::config(&format!("row {}", point.row), reason)
            })?;
            if let Some(private) = &mut training.private {
                private.noise_multiplier = noise;
            }
            point.value = Some(noise);
        }
        Ok(points)
    }
}

impl SweepSettings {
    /// A row at each value, or as a baseline.
    fn points_of_row(
        &self,
        row: RowTable,
        base: &str,
        place: &str,
        settings: &[String],
    ) -> Result<Vec<SweepPoint>, LabError> {
        let place = format!("{place}, row {}", row.name);
        let (key, steps) = match &row.sweep {
            Some(_) if !row.swept => {
                let reason = "`swept = false` and `sweep` contradict each other; leave one of them out";
                return Err(LabError::config(&place, reason));
            }
            Some(RowSweep { values, .. }) if values.is_empty() => {
                return Err(LabError::config(&place, "`sweep` needs `values`, with a number at least"));
            }
            Some(RowSweep { key, values }) => {
                check_values(values).map_err(|reason| LabError::config(&place, reason))?;
                (key, values.iter().map(|value| (*value, None)).collect())
            }
            None => (&self.key, self.steps()),
        };
        if let Some(setting) = settings.iter().find(|setting| sets(setting, key)) {
            let reason =
                "the sweep sets this key; change `[sweep]` in the file, or use `cloister lab ladder`";
            return Err(LabError::config(&format!("--set {setting}"), reason));
        }
        // Later settings win, and the command line must win over the row.
        let plain = Config::parse(base, &place, &[&row.set[..], settings].concat());
        let is_baseline = match &plain {
            Ok(config) => !row.swept || ignores(config, key),
            // The row may need the swept key.
            Err(_) => !row.swept,
        };
        if is_baseline {
            let point =
                SweepPoint { row: row.name, value: None, key: None, target_epsilon: None, config: plain? };
            return Ok(vec![point]);
        }
        let mut points = Vec::with_capacity(steps.len());
        for (value, target_epsilon) in steps {
            let all = [&row.set[..], &[format!("{key}={value}")], settings].concat();
            let config = Config::parse(base, &format!("{place} at {value}"), &all)?;
            let (row, key) = (row.name.clone(), Some(key.clone()));
            points.push(SweepPoint { row, value: Some(value), key, target_epsilon, config });
        }
        Ok(points)
    }

    /// Each value with the ε that it is solved for. A target has a value of 1 until it is solved.
    fn steps(&self) -> Vec<(f64, Option<f64>)> {
        let values = self.values.iter().map(|value| (*value, None));
        let targets = self.epsilons.iter().map(|epsilon| (1.0, Some(*epsilon)));
        values.chain(targets).collect()
    }
}

/// Rejects values that no setting can have, and repeated ones.
fn check_values(values: &[f64]) -> Result<(), String> {
    if let Some(number) = values.iter().find(|number| !number.is_finite() || **number < 0.0) {
        return Err(format!("`[sweep]` has the value {number}; values are finite, and not below 0"));
    }
    match repeated(values) {
        Some(number) => Err(format!("`[sweep]` has the value {number} several times; give each value once")),
        None => Ok(()),
    }
}

/// The first value that occurs more than once.
fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().find(|value| values.iter().filter(|other| other == value).count() > 1)
}

/// Whether a setting `KEY=VALUE` is of this key.
fn sets(setting: &str, key: &str) -> bool {
    setting.split('=').next() == Some(key)
}

/// Whether a key of scoring changes nothing, because the strategy does not score members, or no sketch leaves them.
fn ignores(config: &Config, key: &str) -> bool {
    let has_no_sketch = config.scoring.sketches == SketchForm::Withheld && key == "scoring.noise_steps";
    key.starts_with("scoring.") && (has_no_sketch || !config.strategy.kind.settings().scores_members())
}

/// Rejects points without a swept row, and points whose folders would be the same.
fn check_points(points: &[SweepPoint]) -> Result<(), String> {
    if points.iter().all(|point| point.value.is_none()) {
        return Err("no row is swept: each says `swept = false`, or its strategy ignores the key".to_owned());
    }
    let folders: Vec<String> = points.iter().map(SweepPoint::folder).collect();
    match repeated(&folders) {
        Some(folder) => Err(format!("two rows would have the folder {folder}; rename one of them")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
