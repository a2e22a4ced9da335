//! The demo's notes: synthetic ones in house styles, or a file divided among the hospitals.

use cloister_experts::Note;
use cloister_experts::files::notes::{NotesFile, classes, read_notes};
use cloister_experts::partition::{hold_out, label_dirichlet};
use cloister_experts::synthetic::{CLASSES, Style, generate};

use super::DemoArguments;
use crate::classes::warn_of_twins;
use crate::failure::Failure;

/// The largest number of notes that are held out of a file, of which a fifth is held out otherwise.
const MOST_HELD_OUT: usize = 320;
/// Held-out synthetic notes in each style.
const HELD_OUT_IN_STYLE: usize = 30;
/// The fewest notes of a hospital.
const FEWEST: usize = 20;

/// The notes of a demo, read or generated before any process starts.
#[derive(Debug)]
pub(super) struct Text {
    /// Where the notes come from, in a few words.
    pub(super) description: String,
    pub(super) classes: Vec<String>,
    pub(super) hospitals: Vec<DemoHospital>,
    pub(super) held_out: Vec<Note>,
}

/// A hospital and its notes.
#[derive(Debug)]
pub(super) struct DemoHospital {
    pub(super) party: u32,
    pub(super) name: String,
    pub(super) style: Option<String>,
    pub(super) notes: Vec<Note>,
}

impl DemoHospital {
    pub(super) fn notes_by_class(&self, classes: &[String]) -> Vec<usize> {
        classes.iter().map(|class| self.notes.iter().filter(|note| note.label == *class).count()).collect()
    }
}

const NAMES: [&str; 8] = [
    "St. Anne's Hospital",
    "Riverside Clinic",
    "University Medical Centre",
    "Lakeview General",
    "Hillcrest Infirmary",
    "Harbour City Hospital",
    "Northgate Medical",
    "Meadowbrook Clinic",
];

fn name_of(party: u32) -> String {
    let index = party as usize - 1;
    let name = NAMES[index % NAMES.len()];
    if index < NAMES.len() { name.to_owned() } else { format!("{name} {}", index / NAMES.len() + 1) }
}

pub(super) fn prepare(arguments: &DemoArguments) -> Result<Text, Failure> {
    match &arguments.notes {
        None => Ok(synthetic(arguments)),
        Some(path) => from_file(arguments, path),
    }
}

/// A hospital with a house style and two specialties that make up most of its notes.
fn synthetic_hospital(arguments: &DemoArguments, party: u32) -> DemoHospital {
    let index = party as usize - 1;
    let style = Style::ALL[index % Style::ALL.len()];
    let mut weights = [0.5; CLASSES.len()];
    weights[index % CLASSES.len()] += 6.0;
    weights[(3 * index + 1) % CLASSES.len()] += 3.0;
    // Each hospital has its own stream, so that one more hospital does not change the notes of the others.
    let seed = arguments.seed ^ (u64::from(party) << 32);
    let notes = generate(arguments.notes_per_member, &weights, style, seed);
    DemoHospital { party, name: name_of(party), style: Some(format!("{style:?}").to_lowercase()), notes }
}

fn synthetic(arguments: &DemoArguments) -> Text {
    let held_out = (0u64..).zip(Style::ALL).flat_map(|(index, style)| {
        // Seeds that no hospital has, or held-out notes would be training notes.
        generate(HELD_OUT_IN_STYLE, &[1.0; CLASSES.len()], style, arguments.seed ^ (0xffff_0000 + index))
    });
    Text {
        description: format!("synthetic notes, seed {}", arguments.seed),
        classes: CLASSES.map(str::to_owned).to_vec(),
        hospitals: (1..=arguments.members).map(|party| synthetic_hospital(arguments, party)).collect(),
        held_out: held_out.collect(),
    }
}

fn from_file(arguments: &DemoArguments, path: &std::path::Path) -> Result<Text, Failure> {
    let file = NotesFile { encoding: arguments.encoding, ..path.into() };
    let notes = read_notes(file).map_err(Failure::config)?;
    let classes = classes(&notes);
    warn_of_twins(&classes);
    if classes.len() < 2 {
        return Err(Failure::config(format!(
            "{}: all notes have the same label, and a model needs at least two to tell apart",
            path.display()
        )));
    }
    let label = |note: &Note| classes.iter().position(|class| *class == note.label).unwrap_or_default();
    let labels: Vec<usize> = notes.iter().map(label).collect();
    // Held out before notes are divided: every hospital is measured on the same notes, which none of them
    // has.
    let fraction = 0.2f64.min(MOST_HELD_OUT as f64 / notes.len() as f64);
    let split = hold_out(&labels, fraction, arguments.seed).map_err(Failure::config)?;
    let wanted = arguments.notes_per_member * arguments.members as usize;
    let kept = thin_out(&split.train, &labels, wanted, arguments.seed)?;
    let kept_labels: Vec<usize> = kept.iter().map(|index| labels[*index]).collect();
    let parts =
        label_dirichlet(&kept_labels, arguments.members as usize, arguments.alpha, FEWEST, arguments.seed)
            .map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    let mut hospitals = Vec::new();
    for (party, part) in (1..).zip(parts) {
        let notes = part.into_iter().map(|index| notes[kept[index]].clone()).collect();
        hospitals.push(DemoHospital { party, name: name_of(party), style: None, notes });
    }
    Ok(Text {
        description: path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        hospitals,
        held_out: split.held_out.iter().map(|index| notes[*index].clone()).collect(),
        classes,
    })
}

/// Keeps about `wanted` of the notes, in the same proportions of labels.
fn thin_out(train: &[usize], labels: &[usize], wanted: usize, seed: u64) -> Result<Vec<usize>, Failure> {
    if train.len() <= wanted {
        return Ok(train.to_vec());
    }
    let train_labels: Vec<usize> = train.iter().map(|index| labels[*index]).collect();
    let split = hold_out(&train_labels, wanted as f64 / train.len() as f64, seed).map_err(Failure::config)?;
    Ok(split.held_out.into_iter().map(|index| train[index]).collect())
}
