//! What members deal to a custodian: its receiving key, their announcements, and the letters sealed to that
//! key.

use cloister_crypto::group::ScalarSecret;
use cloister_crypto::letter::{self, LetterEvidence};
use cloister_params::consortium::Role;
use cloister_params::id::{PartyId, Round};
use cloister_params::rule;
use cloister_wire::message::Message;
use cloister_wire::statement::{Announcement, ReceivingKey, Signed};
use rand_core::CryptoRng;

use super::Custodian;
use crate::dealing::{HeldShares, check_announcement, is_announced_letter};
use crate::fault::{Fault, Misbehaviour};
use crate::manifest::keep_announcement;
use crate::statement::{check_partys, sign};

/// A letter without a proven ephemeral key shows by itself that it is bad.
const NO_EVIDENCE: LetterEvidence = LetterEvidence { agreed: [0; 32], proof: [0; 64] };

impl Custodian {
    /// Makes a receiving key for one round. The secret stays in memory and is erased when the round ends.
    /// While letters of a round may still come, its key is not replaced by that of another round
    /// (`ROUND-28`).
    pub(super) fn handle_key_request(
        &mut self,
        round: Round,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        if round <= self.chain.round {
            self.tell_ahead(round);
            return Err(Fault::unexpected("a request for the key of a round that ended"));
        }
        if self.phase.planned_round().is_some_and(|planned| planned != round) && rule::in_force("ROUND-28") {
            return Err(Fault::unexpected("a request for a key while another round is in progress"));
        }
        // Asked again after a lost link, it gives the same key: members may have sealed letters to it.
        let secret = match self.receiving.take() {
            Some((made_for, secret)) if made_for == round => secret,
            _ => ScalarSecret::random(random),
        };
        let key = ReceivingKey { epoch: self.epoch.digest(), round, key: secret.public().bytes() };
        self.receiving = Some((round, secret));
        let signed = sign(&self.key, self.id, &key);
        self.send(Message::ReceivingKey(signed));
        Ok(())
    }

    pub(super) fn handle_announcement(&mut self, signed: &Signed<Announcement>) -> Result<(), Fault> {
        let planned = self.phase.planned_mut("an announcement").map_err(Misbehaviour::by_coordinator)?;
        let verified =
            check_partys(signed, &self.epoch, Role::Member).map_err(Misbehaviour::by_coordinator)?;
        let dealer = verified.signer();
        check_announcement(&planned.context, dealer, verified.body()).map_err(|what| what.by(dealer))?;
        keep_announcement(&mut planned.announcements, verified)
    }

    /// Opens a letter and says whether it holds what its dealer committed to; if not, shows it (`ROUND-24`).
    pub(super) fn handle_letter(
        &mut self,
        dealer: PartyId,
        sealed: &[u8],
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        let planned = self.phase.planned_mut("a letter").map_err(Misbehaviour::by_coordinator)?;
        let announced = planned.announcements.get(&dealer);
        let announced = announced.ok_or(Fault::unexpected("a letter before its announcement"))?.body();
        let round = planned.context.round();
        let secret = match &self.receiving {
            // A restart or the end of the round erased the key: nobody is at fault.
            Some((made_for, secret)) if *made_for == round => secret,
            _ => return Err(Fault::unexpected("a letter under a key that is erased")),
        };
        match HeldShares::open(&planned.context, self.id, secret, (dealer, announced), sealed) {
            Ok(shares) => {
                planned.shares.insert(dealer, shares);
                // Sent at once: a custodian signs one first seal in a round, so a bad letter that is found
                // after it ends the round.
                self.send(Message::LetterOpened { round, dealer });
                Ok(())
            }
            Err(what) => {
                // Nothing is shown of a letter that was not announced, or that begins with another party's
                // ephemeral key: the evidence could open an honest member's letter.
                if is_announced_letter(self.id, announced, sealed) {
                    let place = planned.context.dealing(dealer);
                    let context = place.letter_context(planned.context.plan_digest(), self.id);
                    let LetterEvidence { agreed, proof } =
                        letter::expose(sealed, secret, &context, random).unwrap_or(NO_EVIDENCE);
                    self.send(Message::LetterFault { round, dealer, agreed, proof });
                }
                Err(what.by(dealer))
            }
        }
    }
}
