//! Synthetic clinical notes: invented by templates, so that there is no patient behind them.
//!
//! Eight specialties have a vocabulary each, and hospitals write in house styles. Notes also hold symptoms and drugs
//! that all specialties share and, as comorbidities, words of related specialties, so that telling the specialties
//! apart takes more than spotting one word.

mod style;
mod vocabulary;

pub use style::Style;

use crate::draw::{Draw, DrawPurpose};
use crate::files::notes::Note;
use vocabulary::{DURATIONS, SHARED, SPECIALTIES, Vocabulary};

/// The names of the specialties, in the order of the weights that [`generate`] takes.
pub const CLASSES: [&str; 8] = [
    "cardiology",
    "orthopaedics",
    "neurology",
    "gastroenterology",
    "pulmonology",
    "dermatology",
    "obstetrics",
    "psychiatry",
];

/// Probability that a phrase is the specialty's own.
const OWN: f64 = 0.62;
/// Probability that it is one of those that all specialties share; the rest comes from a related specialty.
const SHARED_BY_ALL: f64 = 0.3;

/// What a note tells, before a style puts it into words.
pub(crate) struct Case {
    age: usize,
    woman: bool,
    duration: &'static str,
    complaints: [&'static str; 2],
    findings: [&'static str; 2],
    test: &'static str,
    drug: &'static str,
    plan: &'static str,
}

/// Writes `count` notes in one style; specialties are drawn with probability proportional to their weights, which
/// must be non-negative and not all 0.
pub fn generate(count: usize, weights: &[f64; 8], style: Style, seed: u64) -> Vec<Note> {
    (0..count)
        .map(|index| {
            // A stream for each note, so that the first notes are the same whatever `count` is.
            let mut draw = Draw::new(seed, DrawPurpose::Text, index);
            let specialty = draw.weighted(weights);
            let case = Case::draw(specialty, &mut draw);
            Note { text: style.write(&case, &mut draw), label: CLASSES[specialty].to_owned() }
        })
        .collect()
}

impl Case {
    fn draw(specialty: usize, draw: &mut Draw) -> Self {
        let obstetric = CLASSES[specialty] == "obstetrics";
        Self {
            age: if obstetric { 18 + draw.below(26) } else { 18 + draw.below(70) },
            woman: obstetric || draw.chance(0.5),
            duration: one_of(DURATIONS, draw),
            complaints: two(specialty, draw, |vocabulary| vocabulary.complaints),
            findings: two(specialty, draw, |vocabulary| vocabulary.findings),
            test: phrase(specialty, draw, |vocabulary| vocabulary.tests),
            drug: phrase(specialty, draw, |vocabulary| vocabulary.drugs),
            plan: phrase(specialty, draw, |vocabulary| vocabulary.plans),
        }
    }
}

type Field = fn(&Vocabulary) -> &'static str;

/// Two different phrases.
fn two(specialty: usize, draw: &mut Draw, field: Field) -> [&'static str; 2] {
    let first = phrase(specialty, draw, field);
    // It ends, because a test checks that every list has at least 6 different phrases.
    loop {
        let second = phrase(specialty, draw, field);
        if second != first {
            return [first, second];
        }
    }
}

/// A phrase of the specialty, of a related one, or of all.
fn phrase(specialty: usize, draw: &mut Draw, field: Field) -> &'static str {
    let specialty_words = &SPECIALTIES[specialty];
    let origin = draw.unit();
    let vocabulary = if origin < OWN {
        specialty_words
    } else if origin < OWN + SHARED_BY_ALL {
        &SHARED
    } else {
        &SPECIALTIES[draw.pick(&specialty_words.related)]
    };
    one_of(field(vocabulary), draw)
}

/// One of the phrases of a list.
fn one_of(list: &'static str, draw: &mut Draw) -> &'static str {
    let phrases: Vec<&str> = list.split("; ").collect();
    draw.pick(&phrases)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: [f64; 8] = [1.0; 8];

    #[test]
    fn a_seed_fixes_the_notes() {
        assert_eq!(generate(20, &EVEN, Style::Soap, 3), generate(20, &EVEN, Style::Soap, 3));
        assert_ne!(generate(20, &EVEN, Style::Soap, 3), generate(20, &EVEN, Style::Soap, 4));
    }

    #[test]
    fn every_list_has_several_different_phrases() {
        for vocabulary in SPECIALTIES.iter().chain([&SHARED]) {
            let Vocabulary { complaints, findings, tests, drugs, plans, .. } = vocabulary;
            for list in [complaints, findings, tests, drugs, plans] {
                let phrases: std::collections::BTreeSet<&str> = list.split("; ").collect();
                assert!(phrases.len() >= 6 && phrases.len() == list.split("; ").count(), "{list}");
                assert!(
                    phrases.iter().all(|phrase| phrase.trim() == *phrase && !phrase.contains(';')),
                    "{list}"
                );
            }
        }
    }

    #[test]
    fn weights_choose_the_specialties() {
        let mut weights = [0.0; 8];
        weights[2] = 1.0;
        weights[7] = 3.0;
        let notes = generate(400, &weights, Style::Terse, 1);
        let psychiatry = notes.iter().filter(|note| note.label == "psychiatry").count();
        assert!((250..350).contains(&psychiatry), "{psychiatry}");
        assert!(notes.iter().all(|note| ["neurology", "psychiatry"].contains(&note.label.as_str())));
    }

    #[test]
    fn every_style_writes_35_to_60_words_on_average_and_differs() {
        let mut firsts = std::collections::BTreeSet::new();
        for style in Style::ALL {
            let notes = generate(200, &EVEN, style, 5);
            let words: usize = notes.iter().map(|note| note.text.split_whitespace().count()).sum();
            let mean = words as f64 / notes.len() as f64;
            assert!((35.0..=60.0).contains(&mean), "{style:?} writes {mean} words");
            assert!(firsts.insert(notes[0].text.clone()), "{style:?} writes like another style");
        }
        assert!(Style::ALL.len() >= 8);
    }

    #[test]
    fn obstetric_notes_are_about_women() {
        let mut weights = [0.0; 8];
        weights[6] = 1.0;
        let notes = generate(50, &weights, Style::Dictated, 9);
        assert!(notes.iter().all(|note| !note.text.contains("-year-old man")));
    }

    #[test]
    fn no_name_of_a_specialty_gives_a_note_away() {
        for note in generate(500, &EVEN, Style::Letter, 2) {
            assert!(CLASSES.iter().all(|class| !note.text.to_lowercase().contains(class)), "{}", note.text);
        }
    }
}
