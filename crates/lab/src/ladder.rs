//! Ladders: one configuration in several rows, each with settings of its own, so that strategies and ablations compare.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::chart::{ChartFrame, range};
use crate::config::{Config, ROWS, SWEEP};
use crate::environment::RunEnvironment;
use crate::epsilons::RELEASED_DELTA;
use crate::error::LabError;
use crate::progress::RunProgress;
use crate::results::{RunSummary, write_json};
use crate::run::run;
use crate::table::{aligned, epsilon_in_words, in_per_cent, range_in_per_cent};

/// A configuration in rows: a [`Config`]'s TOML file with tables `[[rows]]`, each of a `name` and of what to `set`.
#[derive(Clone, PartialEq, Debug)]
pub struct Ladder {
    /// Name and configuration of each row.
    pub rows: Vec<(String, Config)>,
}

/// The result of one row.
#[derive(Clone, PartialEq, Debug)]
pub struct RowResult {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: Config,
    /// Its results.
    pub summary: RunSummary,
}

/// A row as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowTable {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) set: Vec<String>,
    /// Whether a sweep sets its key in this row; a ladder does not ask.
    #[serde(default = "RowTable::is_swept_by_default")]
    pub(crate) swept: bool,
    /// What a sweep sweeps in this row, in place of its own key and values; a ladder does not ask.
    #[serde(default)]
    pub(crate) sweep: Option<RowSweep>,
}

/// What a sweep sweeps in one row.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowSweep {
    pub(crate) key: String,
    pub(crate) values: Vec<f64>,
}

impl RowTable {
    fn is_swept_by_default() -> bool {
        true
    }
}

/// The file of a ladder or of a sweep, before its rows are read as configurations.
pub(crate) struct RowsFile {
    /// What all rows have in common, as TOML.
    pub(crate) base: String,
    /// The table `[sweep]`, if there is one.
    pub(crate) sweep: Option<toml::Value>,
    /// The rows that are wanted, in the file's order.
    pub(crate) rows: Vec<RowTable>,
}

impl RowsFile {
    /// Reads all rows, or those that `only` names.
    ///
    /// # Errors
    /// [`LabError::Config`], naming what is wrong.
    pub(crate) fn parse(text: &str, place: &str, only: &[String]) -> Result<Self, LabError> {
        let mut table: toml::Table = text.parse().map_err(|error| LabError::config(place, error))?;
        let rows = table.remove(ROWS).unwrap_or(toml::Value::Array(Vec::new()));
        let sweep = table.remove(SWEEP);
        let rows: Vec<RowTable> = rows.try_into().map_err(|error| LabError::config(place, error))?;
        check(&rows, only).map_err(|reason| LabError::config(place, reason))?;
        // Parsed again for each row, so that every row is checked like a file of its own.
        let base = toml::to_string(&table).map_err(|error| LabError::config(place, error))?;
        let wanted = rows.into_iter().filter(|row| only.is_empty() || only.contains(&row.name));
        Ok(Self { base, sweep, rows: wanted.collect() })
    }
}

impl Ladder {
    /// Reads a ladder, with settings in place of the file's in every row; of all rows, or those that `only` names.
    ///
    /// # Errors
    /// [`LabError::Config`], naming what is wrong.
    pub fn parse(text: &str, place: &str, settings: &[String], only: &[String]) -> Result<Self, LabError> {
        let RowsFile { base, rows, .. } = RowsFile::parse(text, place, only)?;
        let mut wanted = Vec::with_capacity(rows.len());
        for row in rows {
            // Later settings win, and the command line must win over the row.
            let all = [&row.set[..], settings].concat();
            let config = Config::parse(&base, &format!("{place}, row {}", row.name), &all)?;
            wanted.push((row.name, config));
        }
        Ok(Self { rows: wanted })
    }

    /// Every row made small, to check that it runs.
    pub fn quick(self) -> Self {
        Self { rows: self.rows.into_iter().map(|(name, config)| (name, config.quick())).collect() }
    }

    /// Runs every row into a folder of its name, as [`run`] does, and writes `results.csv`, `manifest.json`,
    /// `rounds.svg` and, where members are scored, `consensus.svg` of all of them. `begin` gets the name of each row before it runs.
    ///
    /// # Errors
    /// [`LabError`], which says what to change.
    pub fn run(
        &self,
        environment: &RunEnvironment,
        begin: &mut dyn FnMut(&str),
        progress: &mut dyn FnMut(RunProgress),
    ) -> Result<Vec<RowResult>, LabError> {
        let mut all = Vec::with_capacity(self.rows.len());
        for (name, config) in &self.rows {
            begin(name);
            let row_environment = RunEnvironment { out: environment.out.join(name), ..environment.clone() };
            let summary = run(config, &row_environment, None, progress)?;
            all.push(RowResult { name: name.clone(), config: config.clone(), summary });
        }
        write(&all, environment)?;
        Ok(all)
    }
}

/// Checks that each row has its own name, which serves as a folder's name, and that `only` names rows.
fn check(rows: &[RowTable], only: &[String]) -> Result<(), String> {
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !is_folder_name(name)) {
        return Err(format!("the row “{name}” needs a name of letters, digits and hyphens"));
    }
    if let Some(name) = names.iter().find(|name| names.iter().filter(|other| other == name).count() > 1) {
        return Err(format!("there are several rows named {name}; give each a name of its own"));
    }
    match only.iter().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("there is no row {name}; the rows are {}", names.join(", "))),
        None if names.is_empty() => Err("the file needs tables `[[rows]]`".to_owned()),
        None => Ok(()),
    }
}

/// Whether a name is a valid folder name on every system and cannot be a path: it is joined to the results'
/// folder.
fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
}

/// The object that `cloister lab ladder --json` prints: each row with its summary.
pub fn to_json(all: &[RowResult]) -> Value {
    let rows = all.iter();
    rows.map(|row| json!({ "row": row.name, "summary": row.summary.to_json(&row.config) })).collect()
}

/// The table that `cloister lab ladder` prints, and what a reader has to know of heads from sums.
pub fn to_table(all: &[RowResult]) -> String {
    let heads =
        ["row", "accuracy", "spread", "95 % texts", "ε, member", "ε, text", "ε of training", "ε of head"];
    let mut lines = vec![heads.map(str::to_owned)];
    for row in all {
        let accuracy = row.summary.estimate();
        let epsilons = row.summary.epsilons(&row.config, RELEASED_DELTA);
        lines.push([
            row.name.clone(),
            in_per_cent(accuracy.mean),
            if accuracy.seeds > 1 { in_per_cent(accuracy.std) } else { "-".to_owned() },
            range_in_per_cent(accuracy.over_texts),
            epsilon_in_words(epsilons.member),
            epsilon_in_words(epsilons.record),
            epsilon_in_words(epsilons.training),
            epsilon_in_words(epsilons.head),
        ]);
    }
    let mut text = aligned(&lines);
    text += &format!(
        "In per cent, spread over seeds. 95 % texts: Wilson's interval of the measured texts. ε of a member and of a text are \
         of everything released behind masks, δ = {RELEASED_DELTA:e}; a hyphen says that nothing was.\n"
    );
    for row in all {
        for note in row.summary.notes_on_head(&row.config) {
            text += &format!("{}: {note}\n", row.name);
        }
    }
    text
}

fn write(all: &[RowResult], environment: &RunEnvironment) -> Result<(), LabError> {
    let folder = &environment.out;
    write_text(&folder.join("results.csv"), &to_csv(all))?;
    write_text(&folder.join("rounds.svg"), &plot(all, ACCURACY, RunSummary::by_round))?;
    if all.iter().any(|row| !row.summary.consensus_by_round().is_empty()) {
        write_text(&folder.join("consensus.svg"), &plot(all, CONSENSUS, RunSummary::consensus_by_round))?;
    }
    let mut manifests = Vec::with_capacity(all.len());
    for row in all {
        let path = folder.join(&row.name).join("manifest.json");
        let text = fs::read(&path).map_err(LabError::file(&path))?;
        let manifest: Value =
            serde_json::from_slice(&text).map_err(|error| LabError::config("a row's manifest", error))?;
        manifests.push(json!({ "row": row.name, "manifest": manifest }));
    }
    write_json(&folder.join("manifest.json"), &manifests)
}

/// Writes a file of results.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(LabError::file(path))
}

/// A line for each row, seed and round.
fn to_csv(all: &[RowResult]) -> String {
    let mut lines = Vec::new();
    for row in all {
        let csv = row.summary.to_csv(&row.config);
        let mut measured = csv.lines();
        // Every row has the same head, which is written once.
        let head = measured.next().unwrap_or_default();
        if lines.is_empty() {
            lines.push(format!("row,{head}"));
        }
        lines.extend(measured.map(|line| format!("{},{line}", row.name)));
    }
    lines.join("\n") + "\n"
}

/// Lines differ by colour first and by dash second, so thirty rows can be told apart.
pub(crate) const COLOURS: [&str; 6] = ["#08519c", "#c33", "#31a354", "#e6850e", "#756bb1", "#555"];
pub(crate) const DASHES: [&str; 5] = ["none", "6 3", "2 2", "8 3 2 3", "1 5"];

const ACCURACY: &str = "Accuracy after each round, mean over seeds";
const CONSENSUS: &str = "Consensus of two members on an expert, mean over members, experts and seeds";

/// Shares after each round, a line for each row that has any.
fn plot(all: &[RowResult], title: &str, by_round: fn(&RunSummary) -> Vec<(usize, f64)>) -> String {
    let seeds = all.iter().flat_map(|row| &row.summary.measured);
    let rounds = seeds.map(|seed| seed.rounds.len()).max().unwrap_or(1);
    let ticks = (0..rounds).map(|round| round.to_string()).collect();
    let mut lines: Vec<_> = all.iter().map(|row| (row, by_round(&row.summary))).collect();
    lines.retain(|(_, values)| !values.is_empty());
    let range = range(lines.iter().flat_map(|(_, values)| values).map(|(_, share)| *share));
    let frame = ChartFrame { range, width: 480.0, legend: 160.0, ticks, entries: lines.len() };
    let mut svg = frame.open(title, "round; 0 is before training");
    for (at, (row, values)) in lines.iter().enumerate() {
        let (colour, dash) = (COLOURS[at % COLOURS.len()], DASHES[at / COLOURS.len() % DASHES.len()]);
        let style = format!("stroke=\"{colour}\" stroke-dasharray=\"{dash}\"");
        frame.line(&mut svg, values, &style);
        frame.entry(&mut svg, at, &row.name, &style);
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "dataset = \"x\"\n[data]\ntrain = [\"a\"]\n";

    fn parse(rows: &str, only: &[&str]) -> Result<Ladder, LabError> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        Ladder::parse(&format!("{BASE}{rows}"), "file", &["strategy.num_rounds=2".to_owned()], &only)
    }

    #[test]
    fn rows_have_settings_of_their_own_and_those_of_all() {
        let rows = "[[rows]]\nname = \"mean\"\nset = [\"strategy.name=FedAvg\"]\n[[rows]]\nname = \"ours\"\n";
        let ladder = parse(rows, &[]).expect("a ladder");
        let names: Vec<String> =
            ladder.rows.iter().map(|(_, config)| config.strategy.kind.name().to_owned()).collect();
        assert_eq!(names, ["FedAvg", "Head"]);
        assert!(ladder.rows.iter().all(|(_, config)| config.strategy.training.num_rounds == 2));
        assert_eq!(parse(rows, &["ours"]).expect("a ladder").rows.len(), 1);
    }

    #[test]
    fn rows_that_cannot_be_told_apart_or_are_not_there_are_refused() {
        let two = "[[rows]]\nname = \"a\"\n[[rows]]\nname = \"a\"\n";
        let wrong = [("", &[][..]), (two, &[]), ("[[rows]]\nname = \"../a\"\n", &[])];
        for (rows, only) in wrong {
            assert!(matches!(parse(rows, only), Err(LabError::Config { .. })), "{rows}");
        }
        let error = parse("[[rows]]\nname = \"a\"\n", &["b"]).expect_err("there is no such row");
        assert!(error.to_string().contains("the rows are a"), "{error}");
        let error = parse("[[rows]]\nname = \"a\"\nset = [\"strategy.rounds=1\"]\n", &[]);
        assert!(error.expect_err("there is no such setting").to_string().contains("row a"));
    }
}
