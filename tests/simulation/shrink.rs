//! Making a failing list short enough to read.

use crate::generator::Failure;
use crate::operation::{Configuration, Operation};
use crate::simulation::replay;

/// Replays that shrinking may take.
const BUDGET: usize = 400;

/// The same failure with a list as short as it could be made.
pub(crate) fn shrunk(failure: &Failure) -> Failure {
    let operations = shrink(&failure.configuration, failure.operations.clone(), failure.violation.rule);
    Failure { operations, configuration: failure.configuration.clone(), violation: failure.violation.clone() }
}

/// A failure as an entry of `reproduction.rs`.
pub(crate) fn reproduction(failure: &Failure) -> String {
    let Failure { violation, configuration, operations } = failure;
    format!(
        "{violation}\nkeep this in tests/simulation/reproduction.rs:\nReproduction {{ name: {:?}, configuration: {configuration:?}, operations: vec!{operations:?} }},",
        violation.rule,
    )
}

/// Drops ever smaller pieces of a list for as long as what is left breaks the same rule.
fn shrink(configuration: &Configuration, mut list: Vec<Operation>, rule: &str) -> Vec<Operation> {
    let fails = |list: &[Operation]| {
        let (_, result) = replay(configuration, list);
        result.is_err_and(|violation| violation.rule == rule)
    };
    let mut budget = BUDGET;
    let mut piece = list.len() / 2;
    while piece > 0 && budget > 0 {
        let mut start = 0;
        while start < list.len() && budget > 0 {
            let end = (start + piece).min(list.len());
            let shorter = [&list[..start], &list[end..]].concat();
            budget -= 1;
            if fails(&shorter) {
                list = shorter;
            } else {
                start = end;
            }
        }
        piece /= 2;
    }
    list
}

#[test]
fn a_failing_list_becomes_short() {
    use crate::operation::Operation::{Connect, Settle, StartRound, Step};
    let configuration = Configuration { members_lie: true, ..Configuration::with_members(3) };
    let list = vec![Connect(1), StartRound, Step(3), Connect(2), Step(1), Settle, Connect(1)];
    assert_eq!(shrink(&configuration, list, "sum"), [StartRound, Settle]);
}
