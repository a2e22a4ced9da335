//! The group, proofs, shares, commitments and letters.

use cloister_crypto::group::{
    Element, ScalarSecret, prove_agreement, prove_knowledge, verify_agreement, verify_knowledge,
};
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::sharing::{Commitments, DealingContext, DealtKey, SharingSecret};
use cloister_crypto::{letter, shamir};
use cloister_params::id::{Digest, PartyId, Round};
use serde::Deserialize;

use crate::steps::{Tape, variant};
use crate::vectors::Hex;

pub(crate) fn secret(bytes: &Hex) -> ScalarSecret {
    ScalarSecret::from_revealed(bytes.array()).expect("a canonical scalar")
}

pub(crate) fn element(bytes: &Hex) -> Element {
    Element::decode(bytes.array()).expect("an element")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    multiples: Vec<Hex>,
    wides: Vec<Wide>,
    bad: Vec<BadEncoding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wide {
    wide: Hex,
    scalar: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadEncoding {
    element: Option<Hex>,
    scalar: Option<Hex>,
    step: String,
}

pub(crate) fn group(file: Group) {
    for (number, bytes) in (1u8..).zip(&file.multiples) {
        let mut scalar = [0; 32];
        scalar[0] = number;
        assert_eq!(ScalarSecret::from_revealed(scalar).unwrap().public().bytes(), bytes.array());
        assert_eq!(element(bytes).bytes(), bytes.array());
    }
    for case in file.wides {
        let drawn = ScalarSecret::random(&mut Tape::from_bytes(case.wide.0));
        assert_eq!(drawn.reveal().to_vec(), case.scalar.0);
    }
    for bad in file.bad {
        match (bad.element, bad.scalar) {
            (Some(bytes), None) => {
                assert_eq!((bad.step.as_str(), Element::decode(bytes.array()).is_err()), ("element", true));
            }
            (None, Some(bytes)) => {
                let refused = ScalarSecret::from_revealed(bytes.array()).is_none();
                assert_eq!((bad.step.as_str(), refused), ("scalar", true));
            }
            _ => panic!("an element or a scalar"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Knowledge {
    cases: Vec<KnowledgeCase>,
    bad: Vec<BadKnowledge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnowledgeCase {
    secret: Hex,
    element: Hex,
    epoch: Digest,
    round: u64,
    member: u32,
    kind: u8,
    place: Hex,
    context: Hex,
    nonce: Hex,
    proof: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadKnowledge {
    why: String,
    element: Hex,
    context: Hex,
    proof: Hex,
    step: String,
}

fn key_of_kind(kind: u8) -> DealtKey {
    match kind {
        0 => DealtKey::Mask,
        1 => DealtKey::Seed,
        other => panic!("no key of kind {other}"),
    }
}

/// MASK-02
pub(crate) fn knowledge(file: Knowledge) {
    for case in file.cases {
        let (round, dealer) = (Round(case.round), PartyId(case.member));
        let place = DealingContext { epoch: case.epoch, round, dealer };
        assert_eq!(place.encode(), case.place.0);
        let context = place.knowledge_context(key_of_kind(case.kind));
        assert_eq!(context, case.context.0);
        assert_eq!(secret(&case.secret).public().bytes(), case.element.array());
        let proof = prove_knowledge(&secret(&case.secret), &context, &mut Tape::from_bytes(case.nonce.0));
        assert_eq!(proof.to_vec(), case.proof.0);
        assert!(verify_knowledge(&element(&case.element), &context, &proof).is_ok());
    }
    for bad in file.bad {
        assert_eq!(bad.step, "proof");
        let result = verify_knowledge(&element(&bad.element), &bad.context.0, &bad.proof.array());
        assert!(result.is_err(), "{}", bad.why);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agreements {
    cases: Vec<Agreement>,
    bad: Vec<BadAgreement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Agreement {
    secret: Hex,
    #[serde(rename = "own")]
    public_of_secret: Hex,
    public: Hex,
    context: Hex,
    nonce: Hex,
    agreed: Hex,
    proof: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadAgreement {
    why: String,
    #[serde(rename = "own")]
    public_of_secret: Hex,
    public: Hex,
    agreed: Hex,
    context: Hex,
    proof: Hex,
    step: String,
}

pub(crate) fn agreements(file: Agreements) {
    for case in file.cases {
        let (secret_key, public) = (secret(&case.secret), element(&case.public));
        assert_eq!(secret_key.public().bytes(), case.public_of_secret.array());
        let made =
            prove_agreement(&secret_key, &public, &case.context.0, &mut Tape::from_bytes(case.nonce.0));
        assert_eq!(made, (case.agreed.array(), case.proof.array()));
        assert!(verify_agreement(&secret_key.public(), &public, made.0, &case.context.0, &made.1).is_ok());
    }
    for bad in file.bad {
        assert_eq!(bad.step, "proof");
        let (prover, public) = (element(&bad.public_of_secret), element(&bad.public));
        let agreed = bad.agreed.array();
        let result = verify_agreement(&prover, &public, agreed, &bad.context.0, &bad.proof.array());
        assert!(result.is_err(), "{}", bad.why);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shamir {
    cases: Vec<Sharing>,
    bad: Vec<BadShares>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sharing {
    secret: Hex,
    threshold: usize,
    draws: Vec<Hex>,
    shares: Vec<(u32, Hex)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadShares {
    threshold: usize,
    shares: Vec<(u32, Hex)>,
    step: String,
}

fn points(shares: &[(u32, Hex)]) -> Vec<(u32, [u8; 32])> {
    shares.iter().map(|(holder, share)| (*holder, share.array())).collect()
}

/// A polynomial with these coefficients above the key's.
fn sharing(key: &ScalarSecret, threshold: usize, draws: Vec<Hex>) -> SharingSecret {
    let mut tape = Tape::from_bytes(draws.into_iter().flat_map(|draw| draw.0));
    let made = SharingSecret::new(key, threshold, &mut tape);
    assert!(tape.is_used_up());
    made
}

/// MASK-11
pub(crate) fn shamir(file: Shamir) {
    for case in file.cases {
        let made = sharing(&secret(&case.secret), case.threshold, case.draws);
        let mut points = points(&case.shares);
        for (holder, share) in &points {
            assert_eq!(*made.share_of(PartyId(*holder)).reveal(), *share);
        }
        for _ in 0..points.len() {
            points.rotate_left(1);
            let combined = shamir::combine(case.threshold, &points).unwrap();
            assert_eq!(combined.reveal().to_vec(), case.secret.0);
        }
    }
    for bad in file.bad {
        let error = shamir::combine(bad.threshold, &points(&bad.shares)).unwrap_err();
        assert_eq!(variant(&error), bad.step);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Committed {
    epoch: Digest,
    round: u64,
    dealer: u32,
    custodian: u32,
    plan: Digest,
    place: Hex,
    letter_context: Hex,
    key_contexts: Vec<Hex>,
    cases: Vec<CommittedKey>,
    bad: Vec<BadShare>,
    bad_commitments: Vec<BadList>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommittedKey {
    threshold: usize,
    coefficients: Vec<Hex>,
    commitments: Vec<Hex>,
    shares: Vec<CommittedShare>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommittedShare {
    holder: u32,
    share: Hex,
    public: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadShare {
    why: String,
    commitments: Vec<Hex>,
    holder: u32,
    share: Hex,
    step: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadList {
    why: String,
    threshold: usize,
    commitments: Vec<Hex>,
    step: String,
}

pub(crate) fn arrays(listed: &[Hex]) -> Vec<[u8; 32]> {
    listed.iter().map(Hex::array).collect()
}

impl Committed {
    fn check_contexts(&self) {
        let (round, dealer) = (Round(self.round), PartyId(self.dealer));
        let context = DealingContext { epoch: self.epoch, round, dealer };
        assert_eq!(context.encode(), self.place.0);
        assert_eq!(context.letter_context(self.plan, PartyId(self.custodian)), self.letter_context.0);
        for (kind, expected) in (0..).zip(&self.key_contexts) {
            assert_eq!(context.knowledge_context(key_of_kind(kind)), expected.0);
        }
    }
}

/// MASK-08, MASK-11
pub(crate) fn commitments(file: Committed) {
    file.check_contexts();
    for case in file.cases {
        // A scalar in 64 bytes is what is drawn of it.
        let draws =
            case.coefficients[1..].iter().map(|scalar| Hex([&scalar.0[..], &[0; 32]].concat())).collect();
        let made = sharing(&secret(&case.coefficients[0]), case.threshold, draws);
        assert_eq!(made.commitments(), arrays(&case.commitments));
        let commitments = Commitments::decode(&made.commitments(), case.threshold).unwrap();
        for CommittedShare { holder, share, public } in case.shares {
            assert_eq!(*made.share_of(PartyId(holder)).reveal(), share.array());
            assert_eq!(commitments.public_share(PartyId(holder)), Some(element(&public)));
            assert!(commitments.fits(PartyId(holder), &secret(&share)));
        }
    }
    for bad in file.bad {
        assert_eq!(bad.step, "share");
        let commitments = Commitments::decode(&arrays(&bad.commitments), bad.commitments.len()).unwrap();
        let share = ScalarSecret::from_revealed(bad.share.array());
        assert!(!share.is_some_and(|share| commitments.fits(PartyId(bad.holder), &share)), "{}", bad.why);
    }
    for bad in file.bad_commitments {
        assert_eq!(bad.step, "commitments");
        assert!(Commitments::decode(&arrays(&bad.commitments), bad.threshold).is_err(), "{}", bad.why);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Letters {
    cases: Vec<Letter>,
    bad: Vec<BadLetter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    secret: Hex,
    recipient: Hex,
    context: Hex,
    ephemeral: Hex,
    content: Hex,
    letter: Hex,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadLetter {
    why: String,
    letter: Hex,
    secret: Hex,
    context: Hex,
    step: String,
}

pub(crate) fn letters(file: Letters) {
    for case in file.cases {
        let mut tape = Tape::from_bytes(case.ephemeral.0);
        let made = letter::seal(&case.content.0, &element(&case.recipient), &case.context.0, &mut tape);
        assert_eq!(made, case.letter.0);
        assert_eq!(digest(Domain::Letter, &[&made]), case.digest);
        let opened = letter::open(&made, &secret(&case.secret), &case.context.0).unwrap();
        assert_eq!(*opened, case.content.0);
    }
    for bad in file.bad {
        assert_eq!(bad.step, "letter");
        let result = letter::open(&bad.letter.0, &secret(&bad.secret), &bad.context.0);
        assert!(result.is_err(), "{}", bad.why);
    }
}
