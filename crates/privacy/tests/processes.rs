//! The ledger among processes: several race for the last of a budget, and one is killed again and again.

// This test is about processes: it starts, and kills, copies of itself.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_privacy::accountant::Mechanism;
use cloister_privacy::budget::Budget;
use cloister_privacy::ledger::{Charge, History, Ledger, LedgerError, Opening};
use cloister_privacy::release::{Release, Released};

/// Tells a copy of this program that it is the child, and where the ledger is.
const LEDGER: &str = "CLOISTER_TEST_LEDGER";

fn budget() -> Budget {
    Budget::new(4.0, 1e-6).expect("a budget")
}

fn charge(round: u64) -> Charge {
    let release = Release {
        released: Released::SharedSum,
        count: 1,
        coordinates: 10,
        sensitivity: 1.0,
        noise_per_member: 16,
        honest_noises: 1,
        mechanism: Mechanism::Concentrated { rho: 0.002 },
    };
    Charge {
        epoch: Digest([1; 32]),
        round: Round(round),
        model: Digest([2; 32]),
        releases: vec![release],
        at: None,
    }
}

fn open(path: &Path) -> Ledger {
    let opening = Opening { holder: "hospital 1".into(), unit: PrivacyUnit::Member, group_by: None };
    Ledger::open(path, opening).expect("a ledger")
}

/// What a child does: it releases, here a line on stdout, whatever it gets a permit for, until it gets none.
#[test]
fn child() {
    let Some(path) = std::env::var_os(LEDGER) else { return };
    let mut ledger = open(Path::new(&path));
    for round in 1.. {
        match ledger.charge(charge(round), Some(budget())) {
            Ok(permit) => println!("released {}", permit.redeem()),
            Err(LedgerError::WouldExceed(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn start(path: &Path) -> Child {
    let program = std::env::current_exe().expect("this test");
    let mut command = Command::new(program);
    command.args(["--exact", "child", "--nocapture"]).env(LEDGER, path);
    command.stdout(Stdio::piped()).spawn().expect("a child")
}

/// What a child tells of; it goes on only while somebody reads.
fn output_lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().expect("piped")).lines()
}

/// The releases that a child tells of, up to so many of them.
fn released(lines: &mut Lines<BufReader<ChildStdout>>, most: usize) -> usize {
    lines.map_while(Result::ok).filter(|line| line.contains("released")).take(most).count()
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("cloister-processes-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// How many charges fit, for one process that nobody disturbs.
fn all_that_fit(name: &str) -> usize {
    let path = scratch(name);
    let count = released(&mut output_lines(&mut start(&path)), usize::MAX);
    std::fs::remove_file(path).expect("there");
    count
}

/// PRIV-05, PRIV-06
#[test]
fn processes_that_race_share_one_budget() {
    let path = scratch("race");
    let mut children: Vec<Child> = (0..4).map(|_| start(&path)).collect();
    let total: usize = children.iter_mut().map(|child| released(&mut output_lines(child), usize::MAX)).sum();
    for mut child in children {
        assert!(child.wait().expect("ended").success());
    }
    let history = History::read(&path).expect("a whole ledger");
    assert_eq!(history.charges.len(), total, "each release is charged once");
    assert_eq!(total, all_that_fit("race-alone"), "and they are as many as for one process");
    budget().admit(&history.account()).expect("within the budget");
    std::fs::remove_file(path).expect("there");
}

/// PRIV-05, PRIV-06
#[test]
fn a_process_that_is_killed_at_any_moment_never_overspends() {
    let path = scratch("killed");
    let mut seen = 0;
    for lines in [1, 0, 3, 7, 0, 2, 11, 5, 0, 4] {
        let mut child = start(&path);
        let mut output = output_lines(&mut child);
        seen += released(&mut output, lines);
        child.kill().expect("SIGKILL");
        child.wait().expect("ended");
        // What it had told of before it was killed.
        seen += released(&mut output, usize::MAX);
    }
    assert!(seen >= 30, "{seen}");
    seen += released(&mut output_lines(&mut start(&path)), usize::MAX);
    let history = History::read(&path).expect("a whole ledger");
    assert!(seen <= history.charges.len(), "nothing was released that is not charged");
    assert_eq!(history.charges.len(), all_that_fit("killed-alone"));
    budget().admit(&history.account()).expect("within the budget");
    std::fs::remove_file(path).expect("there");
}
