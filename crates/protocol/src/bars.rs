//! Members that are barred from rounds, by evidence that everybody can check (`ROUND-33`).

use std::collections::BTreeMap;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{PartyId, Round};
use cloister_params::plan::RoundPlan;
use cloister_params::rule;
use cloister_wire::message::BadDealing;

use crate::dealing::check_bad_dealing;
use crate::fault::{Misbehaviour, Refusal};

/// For how many rounds after its own one bad dealing bars its dealer.
pub const BARRED_ROUNDS: u64 = 16;

/// The evidence that a party holds, for each dealer what it was shown last.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Bars(BTreeMap<PartyId, (Round, BadDealing)>);

impl Bars {
    /// Takes evidence.
    ///
    /// # Errors
    /// Evidence that shows no bad letter.
    pub fn take(&mut self, epoch: &Epoch, evidence: &BadDealing) -> Result<(), Misbehaviour> {
        let (dealer, round) = check_bad_dealing(epoch, evidence)?;
        // One for each dealer bounds what is stored. It is the one that was shown last, and not the one of the
        // latest round: a dealer can sign any round number, and evidence of a round far off bars it from none
        // that comes now. What a plan relies on is shown before it.
        self.0.insert(dealer, (round, evidence.clone()));
        Ok(())
    }

    /// The members that are barred from a round, ascending.
    pub fn barred(&self, round: Round) -> impl Iterator<Item = PartyId> + '_ {
        self.evidence(round).map(|(dealer, _)| dealer)
    }

    /// The round of the bad letter for which a plan bars this member, and the first round that it is not
    /// barred from.
    pub fn term(&self, member: PartyId, plan: &RoundPlan) -> Option<(Round, Round)> {
        let (shown, _) = self.0.get(&member).filter(|_| plan.barred.contains(&member))?;
        Some((*shown, first_free_round(*shown)))
    }

    /// The evidence that bars members from a round, ascending by member.
    pub fn evidence(&self, round: Round) -> impl Iterator<Item = (PartyId, &BadDealing)> {
        let barring = self.0.iter().filter(move |(_, (shown, _))| bars(*shown, round));
        barring.map(|(dealer, (_, evidence))| (*dealer, evidence))
    }

    /// Checks that a plan bars nobody without evidence (`PLAN-14`).
    ///
    /// # Errors
    /// The first member that it bars so, or a list that is not ascending.
    pub fn check(&self, plan: &RoundPlan) -> Result<(), Refusal> {
        if !rule::in_force("PLAN-14") {
            return Ok(());
        }
        // A coordinator that could bar members freely could choose who is left in the cohorts.
        let unproven =
            plan.barred.iter().find(|member| !self.barred(plan.round).any(|barred| barred == **member));
        let disordered = plan.barred.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| &pair[1]);
        match unproven.or(disordered) {
            Some(member) => Err(Refusal::BarredWithoutEvidence { member: *member }),
            None => Ok(()),
        }
    }

    /// All evidence, as it came.
    pub fn all(&self) -> impl Iterator<Item = &BadDealing> {
        self.0.values().map(|(_, evidence)| evidence)
    }

    /// Drops evidence that bars nobody after this round.
    pub fn expire(&mut self, round: Round) {
        self.0.retain(|_, (shown, _)| round.0.saturating_sub(shown.0) <= BARRED_ROUNDS);
    }
}

/// Whether a bad letter of one round bars its dealer from another (`ROUND-33`).
fn bars(shown: Round, round: Round) -> bool {
    // Not from the letter's own round: there the dealer is out by the coordinator's exclusion, after the
    // plan.
    shown < round && round < first_free_round(shown) && rule::in_force("ROUND-33")
}

/// The first round that a bad letter of this round does not bar its dealer from. It saturates, because a
/// dealer can sign any round number.
fn first_free_round(shown: Round) -> Round {
    Round(shown.0.saturating_add(BARRED_ROUNDS + 1))
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::{TestConsortium, consortium};
    use cloister_crypto::group::ScalarSecret;
    use cloister_crypto::hash::{Domain, digest};
    use cloister_params::id::Digest;
    use cloister_wire::statement::{Announcement, Dealing, SharedKey};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::statement::sign;

    const DEALER: PartyId = PartyId(3);

    /// Evidence of a letter that nobody can open. The dealer can sign it for any round.
    fn evidence(consortium: &TestConsortium, round: u64) -> BadDealing {
        let (custodian, letter) = (PartyId(1), b"no letter".to_vec());
        let key = SharedKey { commitments: Vec::new(), proof: [0; 64] };
        let recipient = ScalarSecret::random(&mut ChaCha20Rng::seed_from_u64(1)).public().bytes();
        let announcement = Announcement {
            epoch: consortium.epoch.digest(),
            round: Round(round),
            plan: Digest::default(),
            mask_key: key.clone(),
            seed_key: key,
            has_budget: false,
            closed: Vec::new(),
            dealings: vec![Dealing { custodian, recipient, letter: digest(Domain::Letter, &[&letter]) }],
            sketches: Vec::new(),
        };
        let announcement = sign(&consortium.keys[&DEALER], DEALER, &announcement);
        BadDealing { announcement, custodian, letter, agreed: [0; 32], proof: [0; 64] }
    }

    /// ROUND-33
    #[test]
    fn evidence_of_a_round_far_off_does_not_replace_for_ever_what_bars_now() {
        let consortium = consortium(&[1; 5]);
        let mut bars = Bars::default();
        for (shown, is_barred) in [(3, true), (1 << 40, false), (3, true), (1, true), (20, false), (4, false)]
        {
            bars.take(&consortium.epoch, &evidence(&consortium, shown)).expect("nobody can open the letter");
            let barred: Vec<PartyId> = bars.barred(Round(4)).collect();
            assert_eq!(barred == [DEALER], is_barred, "after evidence of round {shown}");
        }
    }

    /// ROUND-33
    #[test]
    fn a_bar_ends_after_sixteen_rounds_and_at_the_last_number_of_a_round() {
        assert_eq!(first_free_round(Round(1)), Round(18));
        assert_eq!(first_free_round(Round(u64::MAX)), Round(u64::MAX));
    }
}
