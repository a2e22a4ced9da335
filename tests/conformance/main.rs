//! The code agrees with the test vectors of `protocols/vectors`, which are made from the specification by a program
//! that shares no code with it; and it writes vectors of its own for that program to check.
//!
//! Each file of vectors has one test. Whatever a vector says must be refused is refused at the step that it names.

#![allow(clippy::unwrap_used)]

mod bars;
mod consortium;
mod coordinating;
mod dealing;
mod enrolments;
mod exposure;
mod hashes;
mod invitations;
mod made;
mod masks;
mod numbers;
mod openings;
mod parties;
mod replay;
mod scoring;
mod seals;
mod seeds;
mod steps;
mod vectors;
mod wire;

/// Makes a test of each file, and the list of files that have one.
macro_rules! files {
    ($($name:ident: $check:path),* $(,)?) => {
        const CHECKED: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            $check(vectors::read(stringify!($name)));
        })*
    };
}

files! {
    agreements: dealing::agreements,
    apply: numbers::apply,
    bars: bars::check,
    blame_round: replay::rounds,
    blame_round_bad: replay::blame_refusals,
    codec: wire::codec,
    cohorts: scoring::cohorts,
    commitments: dealing::commitments,
    consistency: numbers::consistency,
    consortium: consortium::check,
    digests: hashes::digests,
    enrolments: enrolments::check,
    floors: consortium::floors,
    frames: wire::frames,
    group: dealing::group,
    invitations: invitations::check,
    knowledge: dealing::knowledge,
    late: numbers::late,
    late_round: replay::rounds,
    late_round_bad: replay::late_refusals,
    letters: dealing::letters,
    masks: masks::check,
    merkle: hashes::merkle,
    openings: openings::check,
    packing: numbers::packing,
    quantise: numbers::quantise,
    rehearsal_round: replay::rounds,
    repeated_rounds: replay::repeated_rounds,
    repeated_rounds_bad: replay::repeated_refusals,
    rounds: replay::rounds,
    rounds_bad: replay::refusals,
    scores: scoring::scores,
    seeds: seeds::check,
    shamir: dealing::shamir,
    sign_round: replay::rounds,
    withheld_round: replay::rounds,
    signatures: hashes::signatures,
    signs: numbers::sign_sketches,
    sketches: numbers::sketches,
}

#[test]
fn no_file_of_vectors_is_left_out() {
    let mut checked: Vec<String> = CHECKED.iter().map(|name| format!("{name}.json")).collect();
    checked.sort_unstable();
    assert_eq!(vectors::files(), checked);
}
