//! What secrets print.

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::keystream::StreamSecret;
use cloister_crypto::mask::MaskContext;
use cloister_crypto::seed::SeedSecret;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_testkit::world::{Observation, World};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;

/// The snapshot: the printed text, word for word.
#[test]
fn single_secrets_print_their_names_alone() {
    let secret = ScalarSecret::from_revealed([7; 32]).unwrap();
    let digest = Digest([1; 32]);
    let context = MaskContext {
        epoch: digest,
        plan: digest,
        manifest: digest,
        round: Round(1),
        block: BlockId(0),
        ring_bits: 32,
        length: 1,
    };
    let key = SigningKey::from_seed(&[7; 32]);
    let printed = [
        format!("{secret:?}"),
        format!("{:?}", secret.agree(&secret.public())),
        format!("{:?}", StreamSecret::new(&[7; 32])),
        format!("{:?}", context.self_key(PartyId(1), &SeedSecret::from(&secret.public()))),
        format!("{key:?}"),
    ];
    let signing = format!("SigningKey(public {})", key.public());
    let expected = ["ScalarSecret(…)", "AgreedSecret(…)", "StreamSecret(…)", "MaskKey(…)", &signing];
    assert_eq!(printed, expected);
}

/// The ways in which bytes stand in a printed text.
fn stands_in(bytes: &[u8], text: &str) -> bool {
    let list = format!("{bytes:?}");
    text.contains(list.trim_matches(['[', ']'])) || text.contains(&hex::encode(bytes))
}

/// Everything of all parties, printed while their secrets are in memory, has none of what they reveal later.
#[test]
fn state_machines_print_no_seed_and_no_share() {
    let mut world = World::new(consortium(&[1; 5]), template(1, 4, 15), 3);
    world.start_round();
    let is_revealing = |frame: &Frame| {
        matches!(
            frame,
            Frame::Message(Message::Sealed2 { .. } | Message::Seeds { .. } | Message::SeedParts { .. })
        )
    };
    assert!(world.run_until(|_, _, frame| is_revealing(frame)).is_some());
    let printed = format!("{:?}", world.nodes);
    assert!(printed.contains("RoundSecrets(of "), "control: the secrets are in what is printed");
    assert!(printed.contains("HeldShares(of "), "control: the shares are");
    world.observations.clear();
    world.settle();
    let seeds: Vec<[u8; 32]> = world.observations.iter().flat_map(revealed).collect();
    assert!(!seeds.is_empty(), "seeds were revealed later");
    for seed in &seeds {
        assert!(!stands_in(seed, &printed));
    }
    let shown = format!("{:?}", world.observations);
    assert!(stands_in(&seeds[0], &shown), "control: in a frame that reveals it, a seed is found");
}

fn revealed(observation: &Observation) -> Vec<[u8; 32]> {
    match observation {
        Observation::FromMember(_, Frame::Message(Message::Seeds { seeds, .. })) => {
            seeds.seeds.iter().map(|revealed| revealed.seed).collect()
        }
        _ => Vec::new(),
    }
}
