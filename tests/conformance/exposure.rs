//! What a custodian's complaint about a letter gives away.
//!
//! Whoever knows the agreed element of a letter's ephemeral key and the receiving key can open every letter to that
//! custodian that begins with this ephemeral key, whatever follows it and whoever claims to have dealt it. So a
//! custodian must not show it for an ephemeral key that an honest dealer chose.

use cloister_crypto::group::{Element, ScalarSecret, prove_agreement};
use cloister_crypto::hash::{Domain, digest};
use cloister_params::id::{PartyId, Round};
use cloister_protocol::statement::sign;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::Announcement;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::parties::{Actor, Rounds};
use crate::replay::actor_before;
use crate::steps::Tape;
use crate::vectors;

const CUSTODIAN: PartyId = PartyId(2);
const HONEST: PartyId = PartyId(3);
/// A dealer that works with the coordinator.
const CORRUPT: PartyId = PartyId(6);

/// Where the custodian gets a message that a test looks for, and what the test takes from it.
fn find<T>(rounds: &Rounds, take: impl Fn(Message) -> Option<T>) -> (usize, T) {
    let message = |entry: usize| match Frame::decode(&rounds.frames[rounds.script[entry].frame].0).unwrap() {
        Frame::Message(message) => take(message),
        Frame::Chunk(_) => None,
    };
    let received = |entry: &usize| rounds.script[*entry].to.iter().any(|to| to == "custodian 2");
    let mut entries = (0..rounds.script.len()).filter(received);
    entries.find_map(|entry| Some((entry, message(entry)?))).unwrap()
}

/// The honest member's letter to the custodian, and where it comes.
fn honest_letter(rounds: &Rounds) -> (usize, Vec<u8>) {
    find(rounds, |message| match message {
        Message::Letter { dealer: HONEST, sealed, .. } => Some(sealed),
        _ => None,
    })
}

/// What the corrupt dealer announces, and where it comes.
fn corrupt_announcement(rounds: &Rounds) -> (usize, Announcement) {
    find(rounds, |message| match message {
        Message::Announcement(signed) if signed.signer == CORRUPT => signed.parse().ok(),
        _ => None,
    })
}

/// The element that opens the honest member's letter.
fn key_to_the_good_letter(rounds: &Rounds) -> [u8; 32] {
    let keys = rounds.first_plan().parse().unwrap().custodians;
    let at = keys.iter().position(|entry| entry.custodian == CUSTODIAN).unwrap();
    let receiving = Element::decode(keys[at].key).unwrap();
    let ephemeral = ScalarSecret::random(&mut Tape::from_bytes(rounds.letter_draw(HONEST, at)));
    prove_agreement(&ephemeral, &receiving, b"", &mut ChaCha20Rng::seed_from_u64(1)).0
}

fn give_bad_letter(rounds: &Rounds, custodian: &mut Actor, dealer: PartyId, sealed: Vec<u8>) {
    let letter = Message::Letter { round: Round::FIRST, dealer, custodian: CUSTODIAN, sealed };
    let mut random = ChaCha20Rng::seed_from_u64(2);
    assert!(custodian.handle(rounds, Frame::Message(letter), &mut random).is_err());
}

fn check_secrecy(rounds: &Rounds, custodian: &Actor) {
    for frame in &custodian.sent {
        if let Frame::Message(Message::LetterFault { agreed, .. }) = frame {
            assert_ne!(*agreed, key_to_the_good_letter(rounds), "the honest member's shares are open");
        }
    }
}

/// The coordinator changes the last byte of an honest member's letter and relays it. The letter is not the announced
/// one, and the custodian complains (`ROUND-24`).
#[test]
fn a_complaint_about_a_changed_letter_does_not_open_the_good_one() {
    let rounds: Rounds = vectors::read("rounds");
    let (entry, mut sealed) = honest_letter(&rounds);
    let mut custodian = actor_before(&rounds, "custodian 2", entry);
    *sealed.last_mut().unwrap() ^= 1;
    give_bad_letter(&rounds, &mut custodian, HONEST, sealed);
    check_secrecy(&rounds, &custodian);
}

/// The coordinator shows an honest member's letter to a corrupt dealer, who announces a letter of its own that begins
/// with the same ephemeral key. It is the announced one and cannot be opened, and the custodian complains (`MASK-13`).
#[test]
fn a_complaint_about_a_letter_with_a_borrowed_key_does_not_open_the_good_one() {
    let rounds: Rounds = vectors::read("rounds");
    let (_, good) = honest_letter(&rounds);
    let (entry, mut body) = corrupt_announcement(&rounds);
    let mut custodian = actor_before(&rounds, "custodian 2", entry);
    let sealed = [&good[..32], &[0; 64]].concat();
    let dealing = body.dealings.iter_mut().find(|dealing| dealing.custodian == CUSTODIAN).unwrap();
    dealing.letter = digest(Domain::Letter, &[&sealed]);
    let announced = Message::Announcement(sign(&rounds.key(CORRUPT.0), CORRUPT, &body));
    let mut random = ChaCha20Rng::seed_from_u64(3);
    custodian.handle(&rounds, Frame::Message(announced), &mut random).unwrap();
    give_bad_letter(&rounds, &mut custodian, CORRUPT, sealed);
    check_secrecy(&rounds, &custodian);
}
