//! What a round publishes: sums are right, and late sketches say of them what is so.

use cloister_params::id::PartyId;
use cloister_params::plan::RoundPlan;
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::opening::OpenedSum;
use cloister_testkit::world::World;
use cloister_wire::codec;
use cloister_wire::message::Ending;
use cloister_wire::statement::SumCheck;

use crate::invariants::{Violation, hold};

/// Every published sum is the plain weighted sum of the members' own integers. `other` is added to each of them, for
/// the positive control.
pub(crate) fn check_sums(world: &World, report: &RoundReport, other: u64) -> Result<(), Violation> {
    let Ending::Closed { certificate, .. } = &report.ending else {
        return Ok(());
    };
    let closing = certificate.parse().expect("the coordinator encodes closings");
    let plan: RoundPlan = codec::decode(&report.log.entries()[0].body).expect("a log begins with the plan");
    for listed in &closing.sums {
        let cohort = report.cohorts.iter().find(|cohort| cohort.block == listed.block);
        let present = cohort
            .into_iter()
            .flat_map(|cohort| &cohort.members)
            .filter(|weighted| report.uploaded.contains(&weighted.member));
        let length = plan.settings.blocks[listed.block.0 as usize].shape.length as usize;
        let mut sums = vec![0i64; length];
        for weighted in present {
            let contribution =
                world.uploaded(weighted.member, report.round).expect("it is listed as uploaded");
            let integers = &contribution.integers[listed.block];
            let parts = integers.iter().map(|integer| i64::from(*integer) * i64::from(weighted.weight));
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
        let words: Vec<u32> = sums.iter().map(|sum| *sum as u32 + other as u32).collect();
        let plain = OpenedSum::digest(listed.block, &plan.settings.ring.pack(&words));
        hold(listed.sum == plain, "sum", || {
            format!("the sum of {} in {} is wrong", listed.block, report.round)
        })?;
    }
    Ok(())
}

/// A sum that the late sketches are said to make up has no liar among its members, and nobody else is ever named.
pub(crate) fn check_late_sketches(
    report: &RoundReport,
    lies: impl Fn(PartyId) -> bool,
) -> Result<(), Violation> {
    let Ending::Closed { certificate, .. } = &report.ending else {
        return Ok(());
    };
    let closing = certificate.parse().expect("the coordinator encodes closings");
    for blamed in &closing.blamed {
        hold(lies(blamed.member), "late", || format!("{} is named, and did not lie", blamed.member))?;
    }
    for listed in closing.sums.iter().filter(|listed| listed.check == SumCheck::Checked) {
        let cohort = report.cohorts.iter().find(|cohort| cohort.block == listed.block);
        let members = cohort.into_iter().flat_map(|cohort| &cohort.members);
        let liar = members
            .map(|weighted| weighted.member)
            .find(|member| report.uploaded.contains(member) && lies(*member));
        hold(liar.is_none(), "late", || format!("{} is called checked with a liar in it", listed.block))?;
    }
    Ok(())
}
