//! Lies about uploads: what the late sketches show of them, and who is named.

use std::collections::BTreeSet;

use cloister_params::id::{PartyId, Round};
use cloister_params::plan::LateSketchMode;
use cloister_params::rule;
use cloister_wire::message::{Message, RevealedSecret};
use cloister_wire::statement::{BlameAnswer, LateSketches, SumCheck};

use crate::lying::{
    LIAR, LONG, Lie, answers, ask_about_another_sum, before_blame, claims_nothing, closing, half_the_ring,
    hides_half_the_ring, named, outcome, run, run_to_end, stage,
};
use crate::stage::Stage;

/// LATE-01, LATE-03, LATE-05
#[test]
fn sums_of_honest_members_are_checked_and_applied() {
    let without = run(&mut stage(LateSketchMode::Off), Lie::default(), &[]);
    assert_eq!(outcome(&without), (SumCheck::NotSketched, named(&[]), true));
    for policy in [LateSketchMode::Optional, LateSketchMode::Required] {
        let report = run(&mut stage(policy), Lie::default(), &[]);
        assert_eq!(outcome(&report), (SumCheck::Checked, named(&[]), true));
        assert_eq!(report.model, without.model, "late sketches change no sum");
        let short = closing(&report).sums.iter().filter(|sum| sum.check == SumCheck::NotSketched).count();
        assert_eq!(short, closing(&report).sums.len() - 1, "short blocks have none");
    }
}

/// LATE-05
#[test]
fn a_silent_member_leaves_its_block_unchecked() {
    let outcome = |policy| outcome(&run(&mut stage(policy), Lie::default(), &[PartyId(5)]));
    assert_eq!(outcome(LateSketchMode::Optional), (SumCheck::Unchecked, named(&[]), true));
    assert_eq!(outcome(LateSketchMode::Required), (SumCheck::Unchecked, named(&[]), false));
}

/// LATE-02, LATE-03, LATE-06
#[test]
fn a_lie_of_half_the_ring_in_two_coordinates() {
    let lie = || Lie { upload: Some(half_the_ring), sketch: Some(hides_half_the_ring), ..Lie::default() };
    let report = run(&mut stage(LateSketchMode::Required), lie(), &[]);
    assert_eq!(outcome(&report), (SumCheck::Refuted, named(&[LIAR]), false));
    let open = Lie { upload: Some(half_the_ring), ..Lie::default() };
    let report = run(&mut stage(LateSketchMode::Required), open, &[]);
    assert_eq!(outcome(&report), (SumCheck::Refuted, named(&[LIAR]), false), "its own sketch is too large");
    let control = run(&mut stage(LateSketchMode::Off), lie(), &[]);
    assert_eq!(
        outcome(&control),
        (SumCheck::NotSketched, named(&[]), true),
        "control: without late sketches"
    );
}

/// LATE-06, LATE-07, LATE-09
#[test]
fn a_lie_behind_an_honest_sketch_names_exactly_the_liar() {
    let lies: [fn() -> Lie; 2] = [
        || Lie { sketch: Some(claims_nothing), ..Lie::default() },
        || Lie { sketch: Some(|body| body.sketches[0].rows[7] ^= 1), ..Lie::default() },
    ];
    for lie in lies {
        let report = run(&mut stage(LateSketchMode::Required), lie(), &[]);
        assert_eq!(outcome(&report), (SumCheck::Refuted, named(&[LIAR]), false));
    }
    let lie = Lie { sketch: Some(claims_nothing), ..Lie::default() };
    let report = rule::without("LATE-03", || run_to_end(&mut stage(LateSketchMode::Required), &lie, &[]));
    assert_eq!(
        outcome(&report),
        (SumCheck::Checked, named(&[]), true),
        "control: where sketches are not compared"
    );
}

/// LATE-04
#[test]
fn an_upload_beyond_the_clip_is_named_by_its_own_sketch() {
    let large = |factor: i32, policy| {
        let mut stage = stage(policy);
        let contribution = stage.world.fixed_contributions.get_mut(&LIAR).unwrap();
        contribution.integers[LONG].iter_mut().for_each(|integer| *integer *= factor);
        outcome(&run(&mut stage, Lie::default(), &[]))
    };
    assert_eq!(large(70, LateSketchMode::Required), (SumCheck::Refuted, named(&[LIAR]), false));
    assert_eq!(
        large(1, LateSketchMode::Required),
        (SumCheck::Checked, named(&[]), true),
        "control: within the clip"
    );
    assert!(large(70, LateSketchMode::Off).2, "control: without late sketches it is applied");
}

/// LATE-08, LATE-09
#[test]
fn a_liar_that_puts_it_on_a_pair_is_named_by_what_the_pair_agreed_on() {
    let lie = Lie {
        sketch: Some(claims_nothing),
        answer: Some(|answer| answer.pairs[3].value = answer.pairs[3].value.wrapping_add(12345)),
        ..Lie::default()
    };
    let mut stage = stage(LateSketchMode::Required);
    let report = run(&mut stage, lie, &[]);
    assert_eq!(outcome(&report), (SumCheck::Refuted, named(&[LIAR]), false));
    assert_eq!(opened_pairs(&stage), [(PartyId(5), LIAR)].into(), "its honest companion opens one pair");
    let mut honest = self::stage(LateSketchMode::Required);
    run(&mut honest, Lie { sketch: Some(claims_nothing), ..Lie::default() }, &[]);
    assert_eq!(opened_pairs(&honest), [].into(), "control: where no answers differ no pair opens");
}

/// LATE-09
#[test]
fn who_gives_no_answer_about_the_row_is_not_named() {
    let sketch = Some(claims_nothing as fn(&mut LateSketches));
    let evades = Lie { sketch, answer: Some(answers_another_row), ..Lie::default() };
    let report = run(&mut stage(LateSketchMode::Required), evades, &[]);
    assert_eq!(outcome(&report), (SumCheck::Refuted, named(&[]), false), "its sum is not applied either");
    let control = Lie { sketch, ..Lie::default() };
    let report = run(&mut stage(LateSketchMode::Required), control, &[]);
    assert_eq!(outcome(&report).1, named(&[LIAR]), "control: it answers");
}

fn answers_another_row(answer: &mut BlameAnswer) {
    answer.row = (answer.row + 1) % 48;
}

/// The pairs that members opened, each with who opened it first.
fn opened_pairs(stage: &Stage) -> BTreeSet<(PartyId, PartyId)> {
    crate::stage::messages_of(&stage.seen)
        .into_iter()
        .filter_map(|message| match message {
            Message::PairOpened { opening, .. } => Some((opening.member, opening.other)),
            _ => None,
        })
        .collect()
}

/// LATE-07
#[test]
fn blame_with_another_row_or_twice() {
    let (mut stage, request) = before_blame();
    let first = answers(&stage.deliver_to(1).messages());
    assert_eq!((first.len(), first[0].row), (1, 0), "the lie shows in the first row");
    for coordinate in 0..6 {
        let again = ask_about_another_sum(&mut stage, &request, coordinate);
        assert_eq!(again, first, "the same answer, whatever is asked now");
    }
    let row = |coordinate| {
        let (mut stage, request) = before_blame();
        ask_about_another_sum(&mut stage, &request, coordinate)[0].row
    };
    assert!((0..6).map(row).any(|row| row != 0), "control: asked first, such a sum gets another row");
}

/// LATE-07
#[test]
fn blame_where_nothing_fails() {
    let mut stage = stage(LateSketchMode::Required);
    stage.world.start_round();
    stage.run_to(1, |message| matches!(message, Message::ProposeClosing { .. }));
    let request = Message::BlameRequest { round: Round(1), block: LONG };
    let answer = stage.give(1, request);
    assert!(answer.messages().is_empty() && !answer.is_accepted());
    let (mut control, request) = before_blame();
    assert_eq!(answers(&control.give(1, request).messages()).len(), 1, "control: where a row fails");
}

/// LATE-02: what a member sketches follows from the seeds that the announced keys make, and it does so once.
#[test]
fn a_projection_of_the_coordinators_choice() {
    let mut stage = stage(LateSketchMode::Required);
    stage.world.start_round();
    let honest = stage.run_to(1, |message| matches!(message, Message::Revealed { .. }));
    let Message::Revealed { round, reveal: mut other } = honest.clone() else { unreachable!() };
    let RevealedSecret::Seeds(revealed) = &mut other.secret else { unreachable!() };
    revealed.seeds[0].seed = revealed.seeds[1].seed;
    assert!(
        !stage.give(1, Message::Revealed { round, reveal: other }).is_accepted(),
        "no key made these seeds"
    );
    assert!(stage.give(1, honest).is_accepted(), "control: the announced key did");
    let request = stage.run_to(1, |message| matches!(message, Message::LateRequest { .. }));
    let sketches = stage.give(1, request.clone()).messages();
    assert_eq!(sketches.len(), 1);
    assert_eq!(stage.give(1, request).messages(), sketches, "once a round");
}
