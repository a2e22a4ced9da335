//! The coordinator's own ledgers of what rounds released, for an auditor who has no hospital's files
//! (`PRIV-13`).
//!
//! They follow from each round's plan, seals and closing, which the log has. A ledger counts what a hospital
//! released that contributed to every round. There is one for each unit of privacy, because each hospital's
//! policy chooses its unit. These ledgers have no budget: each hospital has its own.

use std::path::Path;

use cloister_crypto::merkle::leaf_hash;
use cloister_params::id::Round;
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundPlan;
use cloister_params::time::UtcTime;
use cloister_privacy::closed::ClosedRound;
use cloister_privacy::ledger::{Charge, History, Ledger, LedgerError, Opening, SentRound};
use cloister_privacy::release::releases;
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::statement::body_digest;
use cloister_transcript::EntryKind;
use cloister_wire::codec;
use cloister_wire::message::Ending;

/// Writes what a round released into both ledgers of the folder, at this time. Writing the same round again changes
/// nothing.
pub(crate) fn record(
    folder: &Path,
    consortium: &str,
    report: &RoundReport,
    at: UtcTime,
) -> Result<(), LedgerError> {
    let Some(plan) = plan_of(report) else { return Ok(()) };
    for unit in [PrivacyUnit::Record, PrivacyUnit::Member] {
        let holder = format!("a member of {consortium} in every round");
        let path = folder.join(format!("privacy-ledger-{unit}"));
        let mut ledger = Ledger::open(&path, Opening { holder, unit, group_by: None })?;
        if plan.settings.rehearsal {
            pass_over(&mut ledger, plan.round)?;
            continue;
        }
        if !report.announced.is_empty() {
            charge(&mut ledger, &plan, unit, at)?;
        }
        if let Ending::Closed { certificate, .. } = &report.ending {
            let closing = body_digest(&certificate.body);
            let opened = report.opened_with_members();
            ledger.close(ClosedRound::new(&plan.settings, (report.round, closing), opened, at))?;
        }
    }
    Ok(())
}

fn plan_of(report: &RoundReport) -> Option<RoundPlan> {
    let plan = report.log.entries().iter().find(|entry| entry.kind == EntryKind::Plan)?;
    codec::decode(&plan.body).ok()
}

/// Charges a round in which somebody announced, unless members sent again what they were charged for.
fn charge(ledger: &mut Ledger, plan: &RoundPlan, unit: PrivacyUnit, at: UtcTime) -> Result<(), LedgerError> {
    let settings = leaf_hash(&codec::encode(&plan.settings.without_deadlines()));
    let sent = SentRound { round: plan.round, settings };
    let history = ledger.read()?;
    let last = history.charges.last().filter(|last| last.epoch == plan.epoch);
    if last.is_some_and(|last| is_charged(&history, last, plan, sent)) {
        // For the charge's own round too: its line is missing if the coordinator was stopped right behind the charge.
        return ledger.sent(sent);
    }
    let releases = releases(&plan.settings, unit)?;
    let charge = Charge { epoch: plan.epoch, round: plan.round, model: plan.model, releases, at: Some(at) };
    // The coordinator releases nothing of its own: it only counts, and the permit is used up here.
    let _ = ledger.charge(charge, None)?.redeem();
    ledger.sent(sent)
}

/// Passes over a rehearsal (`ROUND-39`): it released nothing, and members still have what an abort before it left them.
fn pass_over(ledger: &mut Ledger, round: Round) -> Result<(), LedgerError> {
    match ledger.read()?.sent {
        Some(before) if before.round.next() == round => ledger.sent(SentRound { round, ..before }),
        _ => Ok(()),
    }
}

/// Whether what members sent in a round is charged already: because the round is written again after a restart, or
/// because it was the contribution of the aborted round before. Members send that again if the model and all settings
/// but the deadlines are the same (`ROUND-03`), and only in the next round (`ROUND-31`). Otherwise they train, add noise
/// and are charged anew.
fn is_charged(history: &History, last: &Charge, plan: &RoundPlan, sent: SentRound) -> bool {
    let last_sent = history.sent.map_or(last.round, |sent| sent.round);
    let follows = last_sent.next() == plan.round;
    let is_same =
        last.model == plan.model && history.sent.is_some_and(|before| before.settings == sent.settings);
    plan.round <= last_sent || (history.is_open() && follows && is_same)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use cloister_cluster::consortium::consortium;
    use cloister_cluster::plan::template;
    use cloister_cluster::{Cluster, DropOut};
    use cloister_params::id::{Digest, PartyId};
    use cloister_privacy::release::Released;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cloister-ledgers-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("writable");
        folder
    }

    fn now() -> UtcTime {
        UtcTime::try_from("2026-12-03T05:58:12Z".to_owned()).expect("a time")
    }

    fn read_ledger(folder: &Path, unit: &str) -> History {
        History::read(&folder.join(format!("privacy-ledger-{unit}"))).expect("a sound ledger")
    }

    /// PRIV-13
    #[test]
    fn what_rounds_released_is_in_a_chained_ledger_for_each_unit_with_who_was_summed() {
        let folder = folder("rounds");
        let mut cluster = Cluster::new(consortium(&[1; 8]), template(4, 5, 1), 11);
        cluster.drop_member(PartyId(3), DropOut::InUpload(2));
        let first = cluster.run_round().expect("it closes");
        let second = cluster.run_round().expect("it closes");
        for report in [&first, &second, &second] {
            record(&folder, "test", report, now()).expect("writable");
        }
        for unit in ["record", "member"] {
            let history = read_ledger(&folder, unit);
            assert_eq!(history.charges.len(), 2, "the same round again changes nothing");
            let released: Vec<Released> =
                history.charges[0].releases.iter().map(|release| release.released).collect();
            assert!(released.contains(&Released::RegionSketch) && released.contains(&Released::TokenCount));
            let closed = history.closed[0].as_ref().expect("it closed");
            assert_eq!(closed.round, first.round);
            let shared = closed.sums_of(Released::SharedSum).expect("opened");
            assert_eq!(
                (shared.count, shared.members, shared.noises),
                (1, 7, 7.0),
                "3 was lost in its upload"
            );
        }
        let ledger = read_ledger(&folder, "member").closed[1].clone().expect("it closed");
        let (closing, seen_by_member) = &cluster.closed[&PartyId(1)];
        assert_eq!(ledger.closing, *closing, "a member knows the same closing");
        let mut summed = second.opened_with_members();
        summed.retain(|(block, _)| seen_by_member.iter().any(|(seen, _)| seen == block));
        assert!(
            !summed.is_empty() && summed == *seen_by_member,
            "and the same numbers of members: {summed:?}, {seen_by_member:?}"
        );
        std::fs::remove_dir_all(folder).expect("it was written");
    }

    /// PRIV-03, PRIV-13
    #[test]
    fn a_contribution_that_an_abort_sends_again_is_charged_once() {
        let folder = folder("abort");
        let mut cluster = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 3);
        cluster.drop_member(PartyId(3), DropOut::AfterAnnouncing);
        cluster.drop_member(PartyId(4), DropOut::AfterAnnouncing);
        let report = cluster.run_round().expect("it ends");
        assert!(matches!(report.ending, Ending::Aborted(_)), "too few uploaded");
        let next = cluster.run_round().expect("it ends");
        assert!(matches!(next.ending, Ending::Aborted(_)) && !next.announced.is_empty());
        for report in [&report, &next, &next] {
            record(&folder, "test", report, now()).expect("writable");
        }
        let history = read_ledger(&folder, "member");
        assert_eq!((history.charges.len(), history.closed.as_slice()), (1, &[None][..]));
        std::fs::remove_dir_all(folder).expect("it was written");
    }

    /// PRIV-03, PRIV-13, ROUND-03: what members are charged for anew is charged anew here.
    #[test]
    fn after_an_abort_other_settings_and_a_round_that_nobody_announced_in_are_charged_anew() {
        let path = folder("anew").join("ledger");
        let report = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 3).run_round().expect("it ends");
        let first = plan_of(&report).expect("the log has it");
        let at = |round: u64, change: fn(&mut RoundPlan)| {
            let mut plan = RoundPlan { round: Round(round), ..first.clone() };
            change(&mut plan);
            plan
        };
        let charges = |plans: &[RoundPlan]| {
            let _ = std::fs::remove_file(&path);
            let opening = Opening { holder: "test".into(), unit: PrivacyUnit::Member, group_by: None };
            let mut ledger = Ledger::open(&path, opening).expect("a new file");
            for plan in plans {
                let noted = match plan.settings.rehearsal {
                    true => pass_over(&mut ledger, plan.round),
                    false => charge(&mut ledger, plan, PrivacyUnit::Member, now()),
                };
                noted.expect("writable");
            }
            ledger.read().expect("a sound ledger").charges.len()
        };
        let same: fn(&mut RoundPlan) = |_| {};
        assert_eq!(charges(&[at(1, same), at(2, same), at(3, same)]), 1, "two aborts");
        assert_eq!(
            charges(&[at(1, same), at(1, same), at(2, same), at(2, same), at(1, same)]),
            1,
            "restarts"
        );
        assert_eq!(charges(&[at(1, same), at(2, |plan| plan.settings.deadlines.upload += 1)]), 1);
        assert_eq!(charges(&[at(1, same), at(2, |plan| plan.settings.training.learning_rate_micro += 1)]), 2);
        assert_eq!(charges(&[at(1, same), at(2, |plan| plan.model = Digest([9; 32]))]), 2);
        assert_eq!(charges(&[at(1, same), at(2, |plan| plan.epoch = Digest([9; 32]))]), 2);
        assert_eq!(
            charges(&[at(1, same), at(3, same)]),
            2,
            "nobody announced in round 2, so nothing was left"
        );
        let rehearsal: fn(&mut RoundPlan) = |plan| plan.settings.rehearsal = true;
        assert_eq!(charges(&[at(1, same), at(2, rehearsal), at(3, same)]), 1, "members still have it");
        assert_eq!(charges(&[at(1, rehearsal), at(2, same), at(4, rehearsal), at(5, same)]), 2);
        std::fs::remove_dir_all(path.parent().expect("a folder")).expect("it was written");
    }
}
