use super::*;
use crate::accountant::Mechanism;
use crate::release::Released;

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("cloister-ledger-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn opening() -> Opening {
    Opening { holder: "hospital 1".into(), unit: PrivacyUnit::Member, group_by: None }
}

fn charge(round: u64, mechanism: Mechanism) -> Charge {
    let release = Release {
        released: Released::SharedSum,
        count: 1,
        coordinates: 10,
        sensitivity: 4.0,
        noise_per_member: 16,
        honest_noises: 3,
        mechanism,
    };
    Charge {
        epoch: Digest([1; 32]),
        round: Round(round),
        model: Digest([2; 32]),
        releases: vec![release],
        at: None,
    }
}

fn budget(epsilon: f64) -> Option<Budget> {
    Some(Budget::new(epsilon, 1e-6).expect("a budget"))
}

/// PRIV-05
#[test]
fn charges_add_up_to_the_budget_and_not_beyond() {
    let path = scratch("budget");
    let mut ledger = Ledger::open(&path, opening()).expect("a new file");
    let small = |round| charge(round, Mechanism::Concentrated { rho: 0.05 });
    let taken = (1..).take_while(|round| match ledger.charge(small(*round), budget(4.0)) {
        Ok(permit) => permit.redeem() == Round(*round),
        Err(LedgerError::WouldExceed(why)) => {
            assert!(matches!(why, WouldExceed::Epsilon { got, .. } if got > 4.0), "{why}");
            false
        }
        Err(other) => panic!("{other}"),
    });
    let taken = taken.count();
    let history = History::read(&path).expect("a ledger");
    assert_eq!(history.charges.len(), taken);
    assert!((3..8).contains(&taken), "{taken} charges");
    assert!(history.account().epsilon(1e-6).epsilon <= 4.0);
    let refused = ledger.would_admit(&small(99), Budget::new(4.0, 1e-6).expect("a budget"));
    assert!(matches!(refused, Err(LedgerError::WouldExceed(_))));
    assert!(ledger.charge(charge(100, Mechanism::Unbounded), budget(1e9)).is_err(), "no budget covers it");
    let _ = ledger.charge(charge(100, Mechanism::Unbounded), None).expect("kept account of").redeem();
    assert_eq!(History::read(&path).expect("a ledger").account().epsilon(1e-6).epsilon, f64::INFINITY);
    std::fs::remove_file(path).expect("there");
}

/// PRIV-06
#[test]
fn a_torn_line_is_dropped_and_a_changed_one_is_named() {
    let path = scratch("torn");
    let mut ledger = Ledger::open(&path, opening()).expect("a new file");
    for round in 1..=3 {
        let _ = ledger
            .charge(charge(round, Mechanism::Concentrated { rho: 0.01 }), None)
            .expect("taken")
            .redeem();
    }
    let whole = std::fs::read_to_string(&path).expect("there");
    std::fs::write(&path, format!("{whole}{}", &whole[..100])).expect("writable");
    assert_eq!(History::read(&path).expect("readable").charges.len(), 3);
    let mut ledger = Ledger::open(&path, opening()).expect("readable");
    let _ = ledger.charge(charge(4, Mechanism::Concentrated { rho: 0.01 }), None).expect("taken").redeem();
    let longer = std::fs::read_to_string(&path).expect("there");
    assert!(longer.starts_with(&whole) && longer.lines().count() == 5);
    for changed in [longer.replace("\"round\":2", "\"round\":9"), without_line(&longer, 2)] {
        std::fs::write(&path, changed).expect("writable");
        let error = Ledger::open(&path, opening()).expect_err("changed").to_string();
        assert!(error.contains("line 3: its digest is not"), "{error}");
    }
    std::fs::remove_file(path).expect("there");
}

/// PRIV-06: a ledger that lost charges would forget what was spent.
#[test]
fn a_ledger_that_was_cut_is_used_and_one_with_a_changed_byte_is_rejected_and_kept() {
    let path = scratch("damaged");
    let mut ledger = Ledger::open(&path, opening()).expect("a new file");
    for round in 1..=2 {
        let small = charge(round, Mechanism::Concentrated { rho: 0.01 });
        let _ = ledger.charge(small, None).expect("taken").redeem();
    }
    let whole = std::fs::read(&path).expect("there");
    for length in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..length]).expect("writable");
        let charges =
            Ledger::open(&path, opening()).and_then(|mut ledger| ledger.read()).expect("cut").charges;
        let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(charges.len(), lines.saturating_sub(1), "{length}");
    }
    // The last byte is the line break of a charge for which a permit was made.
    for place in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x21;
        std::fs::write(&path, &bytes).expect("writable");
        let error = Ledger::open(&path, opening()).expect_err("damaged");
        assert!(matches!(error, LedgerError::Broken { .. }), "{place}: {error}");
        assert!(History::read(&path).is_err(), "{place}");
        assert_eq!(std::fs::read(&path).expect("there"), bytes, "{place}: the file is as it was");
    }
    std::fs::remove_file(path).expect("there");
}

/// PRIV-06
#[test]
fn another_file_that_is_given_as_a_ledger_is_rejected_and_kept() {
    let path = scratch("given");
    for other in ["the only copy, without a line break", "text,label\na note,yes\nanother", "abc"] {
        std::fs::write(&path, other).expect("writable");
        assert!(matches!(Ledger::open(&path, opening()), Err(LedgerError::Broken { .. })), "{other}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), other);
    }
    std::fs::remove_file(&path).expect("there");
    drop(Ledger::open(&path, opening()).expect("a new file"));
    let torn = std::fs::read_to_string(&path).expect("there") + "00";
    std::fs::write(&path, &torn).expect("writable");
    let other = Opening { holder: "hospital 2".into(), ..opening() };
    assert!(matches!(Ledger::open(&path, other), Err(LedgerError::Other { .. })));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), torn, "another hospital's is kept as it is");
    std::fs::remove_file(path).expect("there");
}

fn without_line(text: &str, index: usize) -> String {
    text.lines().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn a_ledger_of_another_hospital_or_unit_is_refused() {
    let path = scratch("other");
    drop(Ledger::open(&path, opening()).expect("a new file"));
    let other = Opening { holder: "hospital 2".into(), ..opening() };
    assert!(matches!(Ledger::open(&path, other), Err(LedgerError::Other { .. })));
    let record = Opening { unit: PrivacyUnit::Record, ..opening() };
    let error = Ledger::open(&path, record).expect_err("another unit").to_string();
    assert!(error.contains("counts by member") && error.contains("one row of the file"), "{error}");
    std::fs::remove_file(&path).expect("there");
    let by_row = Opening { unit: PrivacyUnit::Record, ..opening() };
    drop(Ledger::open(&path, by_row.clone()).expect("a new file"));
    let by_patient = Opening { group_by: Some("patient".into()), ..by_row };
    let error = Ledger::open(&path, by_patient).expect_err("another record").to_string();
    assert!(error.contains("one row of the file") && error.contains("“patient”"), "{error}");
    std::fs::remove_file(path).expect("there");
}

#[test]
fn a_file_that_is_too_long_for_a_ledger_is_refused_before_it_is_read() {
    let path = scratch("long");
    let file = File::create(&path).expect("it can be made");
    file.set_len(1 << 40).expect("it takes no room");
    for error in [
        History::read(&path).expect_err("a terabyte"),
        Ledger::open(&path, opening()).expect_err("a terabyte"),
    ] {
        let error = error.to_string();
        assert!(error.contains("it has 1099511627776 bytes, and a ledger has at most"), "{error}");
    }
    std::fs::remove_file(path).expect("there");
}

/// PRIV-05: a filter holds for a budget that is fixed beforehand, so a ledger says which one each charge was
/// held to.
#[test]
fn each_budget_that_charges_are_held_to_is_a_line_of_the_ledger() {
    let path = scratch("budgets");
    let mut ledger = Ledger::open(&path, opening()).expect("a new file");
    for (round, budget) in [(1, budget(2.0)), (2, budget(2.0)), (3, budget(3.0)), (4, None), (5, None)] {
        let small = charge(round, Mechanism::Concentrated { rho: 0.01 });
        let _ = ledger.charge(small, budget).expect("there is room").redeem();
    }
    let history = History::read(&path).expect("a ledger");
    assert_eq!(history.budgets, [(0, budget(2.0)), (2, budget(3.0)), (3, None)]);
    assert_eq!(history.charges.len(), 5);
    let text = std::fs::read_to_string(&path).expect("there");
    assert_eq!(text.lines().count(), 1 + 5 + 3);
    std::fs::remove_file(path).expect("there");
}

/// PRIV-12, PRIV-13
#[test]
fn what_became_of_a_charge_is_noted_once_and_never_without_one() {
    let path = scratch("closed");
    let mut ledger = Ledger::open(&path, opening()).expect("a new file");
    let closed =
        |round| ClosedRound { round: Round(round), closing: Digest([5; 32]), sums: vec![], at: None };
    ledger.close(closed(1)).expect("readable");
    assert!(History::read(&path).expect("a ledger").closed.is_empty(), "nothing was charged");
    let permit = ledger.charge(charge(1, Mechanism::Unbounded), None).expect("kept account of");
    let entry = permit.entry();
    assert_eq!(permit.redeem(), Round(1));
    assert_eq!(ledger.read().expect("readable").head(), entry, "the permit names the charge's line");
    ledger.close(closed(2)).expect("writable");
    ledger.close(closed(3)).expect("readable");
    let history = History::read(&path).expect("a ledger");
    assert_eq!(history.closed, [Some(closed(2))], "the first time counts");
    ledger.require(entry, Path::new("journal")).expect("control: it is there");
    let missing = ledger.require(Digest([9; 32]), Path::new("journal"));
    assert!(matches!(missing, Err(LedgerError::Older { .. })));
    // A closing where nothing is open is a line that this program does not write.
    let json = serde_json::to_string(&Entry::Closed(closed(4))).expect("JSON");
    let text = std::fs::read_to_string(&path).expect("there") + &CHAIN.line(&history.head().0, &json);
    std::fs::write(&path, text).expect("writable");
    let error = History::read(&path).expect_err("nothing to close");
    assert!(error.to_string().contains("line 4: it closes a round that nothing was charged for"), "{error}");
    std::fs::remove_file(path).expect("there");
}

/// PRIV-06: a hospital that updates the program goes on with its ledger.
#[test]
fn lines_have_a_time_and_those_of_earlier_versions_are_read_without_one() {
    let path = scratch("times");
    let time = UtcTime::try_from("2026-12-03T05:58:12Z".to_owned()).expect("a time");
    let mut ledger = Ledger::open(&path, opening()).expect("a new file");
    let before = charge(1, Mechanism::Concentrated { rho: 0.01 });
    let _ = ledger.charge(before.clone(), None).expect("taken").redeem();
    let first = std::fs::read_to_string(&path).expect("there");
    assert!(!first.contains("\"at\""), "as earlier versions wrote it: {first}");
    ledger
        .close(ClosedRound { round: Round(1), closing: Digest([5; 32]), sums: vec![], at: Some(time) })
        .expect("open");
    let timed = Charge { round: Round(2), at: Some(time), ..before.clone() };
    let _ = ledger.charge(timed.clone(), None).expect("taken").redeem();
    let text = std::fs::read_to_string(&path).expect("there");
    assert_eq!(text.matches("\"at\":\"2026-12-03T05:58:12Z\"}").count(), 2, "{text}");
    let history = History::read(&path).expect("a ledger");
    assert_eq!(history.charges, [before, timed]);
    assert_eq!(history.closed[0].as_ref().and_then(|closed| closed.at), Some(time));
    let json = serde_json::to_string(&Entry::Charged(history.charges[1].clone())).expect("JSON");
    let wrong = CHAIN.line(&history.head().0, &json.replace("05:58:12Z", "25:58:12Z"));
    std::fs::write(&path, text.clone() + &wrong).expect("writable");
    let error = History::read(&path).expect_err("no such time").to_string();
    assert!(error.contains("is not a time in UTC"), "{error}");
    // Control: with the right time the same line is read.
    std::fs::write(&path, text + &CHAIN.line(&history.head().0, &json)).expect("writable");
    assert_eq!(History::read(&path).expect("a ledger").charges.len(), 3);
    std::fs::remove_file(path).expect("there");
}
