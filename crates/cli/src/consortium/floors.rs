//! `cloister consortium floors`.

use cloister_params::floors::{COHORTS_FROM, DEFAULT_CUSTODIANS, Floors};

use crate::failure::Failure;

/// The table of `protocols/round.md`. The first members are custodians too, up to the default number.
pub(super) fn floors_table() -> Result<String, Failure> {
    let mut table = String::from(
        "members  custodians  malicious  corrupt  cohort  seal    reveal     members that\n\
         n        c           f          T        F       quorum  threshold  may be lost\n",
    );
    for n in 3..=20 {
        // The same function that checks consortium files, so the table cannot contradict it.
        let floors = Floors::for_roster(n, n.min(DEFAULT_CUSTODIANS)).map_err(Failure::error)?;
        let remark = match n {
            3 | 4 => "  plain secure aggregation; a lost member ends the round",
            _ if n < COHORTS_FROM => "  cohorts can hardly be smaller than everyone",
            _ => "",
        };
        table += &format!(
            "{n:<9}{:<12}{:<11}{:<9}{:<8}{:<8}{:<11}{}{remark}\n",
            floors.custodians,
            floors.malicious_custodians,
            floors.corrupt_organisations,
            floors.cohort,
            floors.seal_quorum,
            floors.reveal_threshold,
            floors.tolerated_losses(),
        );
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_size() {
        let table = floors_table().expect("covered sizes");
        assert_eq!(table.lines().count(), 2 + 18);
        assert!(
            table.contains("8        8           2          2        5       6       5          2\n"),
            "{table}"
        );
    }
}
