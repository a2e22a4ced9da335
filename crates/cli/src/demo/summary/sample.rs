//! An invented run for tests: plausible, and always the same.

use cloister_params::plan::SketchForm;

use crate::demo::result::{DemoResult, ExpertResult, MemberResult, RoundResult, WrittenFile};

const NAMES: [&str; 8] = [
    "St. Anna Hospital",
    "Nordstadt Clinic",
    "University Hospital West",
    "Bergheim District Hospital",
    "Lindenhof Teaching Hospital",
    "Hôpital Saint-Luc",
    "Riverside Medical Center",
    "Ospedale Maggiore",
];
const STYLES: [&str; 8] =
    ["terse", "soap", "capitals", "abbreviated", "dictated", "bullets", "letter", "form"];
const CLASSES: [&str; 8] = [
    "cardiology",
    "orthopaedics",
    "neurology",
    "gastroenterology",
    "pulmonology",
    "dermatology",
    "obstetrics",
    "psychiatry",
];
const LAYERS: u16 = 2;
const EXPERTS: u16 = 8;
/// The hospital that is lost, in round 3 while it uploads.
const LOST: u32 = 7;

/// A number in `[0, 1)` that depends on all of its parts (an FNV hash), so that samples need no generator.
fn chance(parts: [u32; 4]) -> f64 {
    let mixed = parts
        .iter()
        .fold(2_166_136_261_u32, |hash, part| (hash ^ part).wrapping_mul(16_777_619).rotate_left(13));
    f64::from(mixed.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24)
}

/// A run in which hospital 7 is lost in round 3.
pub(crate) fn run(members: u32, rounds: u64) -> DemoResult {
    DemoResult {
        text: "synthetic notes, seed 1".to_owned(),
        classes: CLASSES.map(str::to_owned).to_vec(),
        sketches: SketchForm::Pairs,
        held_out: 400,
        members: (1..=members).map(|party| member(party, rounds)).collect(),
        rounds: (1..=rounds).map(|round| closed(round, members)).collect(),
        wall_s: 187.34,
        files: vec![
            file("this report", "target/demo/report.html"),
            file("the result as JSON", "target/demo/result.json"),
            file("adapter of the federated model", "target/demo/adapter/adapter_model.safetensors"),
            file("log of the coordinator, for cloister audit", "target/demo/coordinator/transcript.log"),
        ],
    }
}

/// A run that ended before its first round.
pub(crate) fn without_rounds() -> DemoResult {
    let mut result = run(3, 0);
    for member in &mut result.members {
        member.local_accuracy = None;
        member.federated_accuracy = None;
    }
    result
}

/// A round that was aborted before anything was opened.
pub(crate) fn aborted(round: u64) -> RoundResult {
    RoundResult {
        round,
        closed: false,
        announced: vec![1, 2, 3],
        uploaded: Vec::new(),
        accuracy: None,
        bytes_up: 0,
        seconds: 30.0,
        experts: Vec::new(),
    }
}

fn file(what: &str, path: &str) -> WrittenFile {
    WrittenFile { what: what.to_owned(), path: path.to_owned() }
}

fn member(party: u32, rounds: u64) -> MemberResult {
    let index = (party as usize - 1) % NAMES.len();
    let stays = party != LOST || rounds < 3;
    MemberResult {
        party,
        name: NAMES[index].to_owned(),
        style: Some(STYLES[index].to_owned()),
        notes_by_class: (0..8).map(|class| notes(party, class)).collect(),
        local_accuracy: stays.then(|| 0.24 + 0.3 * chance([party, 1, 0, 0])),
        federated_accuracy: (stays && rounds > 0).then(|| accuracy(rounds)),
        killed_in: (!stays).then_some(3),
    }
}

/// Each hospital has a main specialty, and no notes of some others.
fn notes(party: u32, class: u32) -> usize {
    if (party - 1) % 8 == class { 90 } else { (32.0 * chance([party, class, 7, 0]).powi(2)) as usize }
}

fn accuracy(round: u64) -> f64 {
    0.91 - 0.37 / round as f64
}

fn closed(round: u64, members: u32) -> RoundResult {
    let announced: Vec<u32> = (1..=members).filter(|party| *party != LOST || round <= 3).collect();
    let uploaded: Vec<u32> = announced.iter().copied().filter(|party| *party != LOST || round < 3).collect();
    let places = (0..LAYERS).flat_map(|layer| (0..EXPERTS).map(move |expert| (layer, expert)));
    let experts = places.map(|(layer, expert)| scored(round, layer, expert, &announced)).collect();
    RoundResult {
        round,
        closed: true,
        bytes_up: 4_321_000 * uploaded.len() as u64,
        announced,
        uploaded,
        accuracy: Some(accuracy(round)),
        seconds: 28.4 + round as f64,
        experts,
    }
}

fn scored(round: u64, layer: u16, expert: u16, announced: &[u32]) -> ExpertResult {
    let place = u32::from(layer) * 100 + u32::from(expert);
    let likeness =
        |party: u32| chance([party, place, 3, 0]) * 0.8 + 0.2 * chance([party, place, round as u32, 5]);
    let consensus: Vec<Option<f64>> = announced
        .iter()
        .map(|party| {
            Some(likeness(*party)).filter(|like| *like > 0.12).map(|like| like * announced.len() as f64 * 0.7)
        })
        .collect();
    let is_aligned = |score: &Option<f64>| score.is_some_and(|score| score > 0.3 * announced.len() as f64);
    let aligned: Vec<u32> = announced
        .iter()
        .zip(&consensus)
        .filter(|(_, score)| is_aligned(score))
        .map(|(party, _)| *party)
        .collect();
    let (choice, members) = match aligned.len() {
        0..=1 => ("void", Vec::new()),
        2..=3 => ("fallback", announced.to_vec()),
        _ => ("aligned", aligned),
    };
    ExpertResult { layer, expert, choice: choice.to_owned(), opened: !members.is_empty(), members, consensus }
}
