//! Values that this code makes with randomness of its own, for the program beside the vectors to check.

use std::fs;
use std::path::PathBuf;

use cloister_alignment::sketch::sketch;
use cloister_crypto::group::{ScalarSecret, prove_knowledge};
use cloister_crypto::seed::{SeedBases, SeedSecret};
use cloister_crypto::sharing::SharingSecret;
use cloister_crypto::sign::SigningKey;
use cloister_crypto::{letter, merkle};
use cloister_params::block::BlockKind;
use cloister_params::consortium::Role;
use cloister_params::fixed::Scale;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_protocol::member::MemberOutput;
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::masks::{Common, words_digest};
use crate::numbers::{sketch_plan, subject};
use crate::parties::Rounds;
use crate::vectors::{self, Hex};

const EACH: usize = 12;

type Random = ChaCha20Rng;

fn bytes<const N: usize>(random: &mut Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill_bytes(&mut bytes);
    bytes
}

fn some_bytes(random: &mut Random, most: usize) -> Vec<u8> {
    let length = random.next_u64() as usize % (most + 1);
    (0..length).map(|_| random.next_u32() as u8).collect()
}

fn singles(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.next_u32().cast_signed() as f32 / (1u64 << 31) as f32).collect()
}

fn knowledge(random: &mut Random) -> Value {
    let (secret, context) = (ScalarSecret::random(random), some_bytes(random, 60));
    let proof = prove_knowledge(&secret, &context, random);
    json!({
        "element": hex::encode(secret.public().bytes()),
        "context": hex::encode(context),
        "proof": hex::encode(proof),
    })
}

fn letter(random: &mut Random) -> Value {
    let (secret, context) = (ScalarSecret::random(random), some_bytes(random, 60));
    let content = some_bytes(random, 300);
    let sealed = letter::seal(&content, &secret.public(), &context, random);
    json!({
        "letter": hex::encode(sealed),
        "secret": hex::encode(*secret.reveal()),
        "context": hex::encode(context),
        "content": hex::encode(content),
    })
}

fn shares(random: &mut Random) -> Value {
    let secret = ScalarSecret::random(random);
    let holders: Vec<u32> = (1..=3 + random.next_u32() % 9).map(|number| number * number).collect();
    let threshold = holders.len() / 2 + 1;
    let made = SharingSecret::new(&secret, threshold, random);
    let share = |holder: u32| json!([holder, hex::encode(*made.share_of(PartyId(holder)).reveal())]);
    let commitments: Vec<String> = made.commitments().iter().map(hex::encode).collect();
    json!({
        "threshold": threshold,
        "commitments": commitments,
        "shares": holders.into_iter().map(share).collect::<Vec<Value>>(),
        "secret": hex::encode(*secret.reveal()),
    })
}

/// What one secret makes of some blocks of a plan.
fn seeds(random: &mut Random) -> Value {
    const PLANNED: usize = 40;
    let (epoch, round, plan) = (Digest(bytes(random)), Round(random.next_u64()), Digest(bytes(random)));
    let (dealer, by) = (PartyId(random.next_u32()), PartyId(random.next_u32() % 3));
    let first = random.next_u32() % 2;
    let blocks: Vec<BlockId> = (0..PLANNED as u32).filter(|block| block % 3 != first).map(BlockId).collect();
    let secret = ScalarSecret::random(random);
    let bases = SeedBases::new(epoch, round, plan, PLANNED);
    let made = bases.seeds(&secret, &blocks);
    let proof = bases.prove((dealer, by), (&secret, &secret.public()), &made);
    let rows: Vec<Value> = made
        .iter()
        .map(|(block, seed)| json!({ "block": block, "seed": hex::encode(seed.bytes()) }))
        .collect();
    json!({
        "epoch": epoch,
        "round": round,
        "plan": plan,
        "dealer": dealer,
        "by": by,
        "secret": hex::encode(*secret.reveal()),
        "seeds": rows,
        "proof": hex::encode(proof),
    })
}

fn signature(random: &mut Random) -> Value {
    let (key, _) = SigningKey::generate(random);
    let (tag, message) = ("cloister/v1/closing", some_bytes(random, 200));
    json!({
        "public": key.public().to_string(),
        "tag": tag,
        "message": hex::encode(&message),
        "signature": hex::encode(key.sign(tag, &message)),
    })
}

fn path(random: &mut Random) -> Value {
    let size = 1 + random.next_u64() as usize % 40;
    let leaves: Vec<Digest> = (0..size).map(|_| Digest(bytes(random))).collect();
    let index = random.next_u64() as usize % size;
    let path = merkle::Tree::new(leaves.clone()).path(index);
    json!({ "leaves": leaves, "root": merkle::root(&leaves), "index": index, "path": path })
}

fn mask(random: &mut Random) -> Value {
    let common = Common {
        epoch: Digest(bytes(random)),
        plan: Digest(bytes(random)),
        manifest: Digest(bytes(random)),
        round: random.next_u64(),
        block: random.next_u32(),
        ring_bits: 24,
        length: 1 + random.next_u64() % 5000,
    };
    let (secret, public) = (ScalarSecret::random(random), ScalarSecret::random(random).public());
    let (one, other) = (PartyId(random.next_u32()), PartyId(random.next_u32()));
    let seed = SeedSecret::from(&ScalarSecret::random(random).public());
    let self_mask = common.words(common.context().self_key(one, &seed));
    let pair = common.words(common.context().pair_key(one, other, &secret.agree(&public)));
    json!({
        "context": common,
        "seed": hex::encode(seed.reveal()),
        "secret": hex::encode(*secret.reveal()),
        "public": hex::encode(public.bytes()),
        "one": one,
        "other": other,
        "self": words_digest(&self_mask),
        "pair": words_digest(&pair),
    })
}

fn made_sketch(random: &mut Random) -> Value {
    let (seed, coordinates) = (Digest(bytes(random)), 16u16 << (random.next_u32() % 4));
    let block = (!random.next_u32().is_multiple_of(3)).then(|| random.next_u32());
    let (count, clip) = (random.next_u64() as usize % 60, f64::from(random.next_u32() % 8 + 1) / 2.0);
    let vector = singles(random, count);
    json!({
        "seed": seed,
        "coordinates": coordinates,
        "block": block,
        "vector": Hex::from_singles(&vector),
        "clip": hex::encode(clip.to_le_bytes()),
        "sketch": sketch(&sketch_plan(seed, coordinates), subject(block), &vector, clip),
    })
}

fn quantised(random: &mut Random) -> Value {
    let step_log2 = -i8::try_from(random.next_u32() % 20).unwrap();
    let scale = Scale { step_log2, clip_steps: 1 + random.next_u32() % 5000 };
    let router = random.next_u32().is_multiple_of(2);
    let kind = if router { BlockKind::Router { layer: 0 } } else { BlockKind::Shared };
    let count = 1 + random.next_u64() as usize % 40;
    let update = singles(random, count);
    let made = scale.quantise(kind, &update).unwrap();
    json!({
        "scale": scale,
        "router": router,
        "update": Hex::from_singles(&update),
        "integers": made.integers,
        "clipped": made.clipped,
    })
}

fn message(random: &mut Random) -> Value {
    let text: String = (0..random.next_u32() % 20)
        .map(|_| char::from_u32(random.next_u32() % 0xd800).expect("below the surrogates"))
        .collect();
    let message = Message::Refusal { round: Round(random.next_u64()), role: Role::Member, reason: text };
    let value = serde_json::to_value(&message).unwrap();
    json!({ "frame": hex::encode(Frame::Message(message).encode()), "message": value })
}

/// What a member deals in the first round of the vectors with other randomness than theirs.
fn dealing(rounds: &Rounds, number: u32, random: &mut Random) -> Value {
    let mut member = rounds.member(number);
    let plan = rounds.messages().find(|message| matches!(message, Message::Plan { .. })).unwrap();
    member.handle_frame(Frame::Message(plan), random).unwrap();
    let Some(MemberOutput::Train { digest, .. }) = member.poll_output() else { panic!("it trains first") };
    member.contribute(digest, rounds.contribution(number), random).unwrap();
    let mut sent = Vec::new();
    while let Some(output) = member.poll_output() {
        if let MemberOutput::Send(frame) = output {
            sent.push(hex::encode(frame.encode()));
        }
    }
    let receiving = rounds.receiving_draws.iter();
    let receiving: serde_json::Map<String, Value> = receiving
        .map(|(custodian, draws)| (custodian.to_string(), json!(hex::encode(&draws[0].0))))
        .collect();
    json!({
        "announcement": sent[0],
        "letters": sent[1..],
        "signing_key": rounds.key(number).public().to_string(),
        "receiving": receiving,
        "threshold": rounds.epoch().consortium().floors().reveal_threshold,
    })
}

fn several(make: impl Fn(&mut Random) -> Value, seed: u64) -> Vec<Value> {
    let mut random = Random::seed_from_u64(seed);
    (0..EACH).map(|_| make(&mut random)).collect()
}

fn everything() -> Value {
    let rounds: Rounds = vectors::read("rounds");
    let members = rounds.epoch().consortium().members().collect::<Vec<_>>();
    let mut random = Random::seed_from_u64(20);
    let dealings: Vec<Value> = members.iter().map(|member| dealing(&rounds, member.0, &mut random)).collect();
    json!({
        "knowledge": several(knowledge, 1),
        "letters": several(letter, 2),
        "shares": several(shares, 3),
        "signatures": several(signature, 4),
        "paths": several(path, 5),
        "masks": several(mask, 6),
        "sketches": several(made_sketch, 7),
        "quantised": several(quantised, 8),
        "messages": several(message, 9),
        "seeds": several(seeds, 10),
        "dealings": dealings,
    })
}

/// Writes the values into the folder that `CLOISTER_WRITE_VECTORS` names; `cargo xtask vectors --check` then has them
/// checked. Without it, this tests that they can be made and are the same each time.
#[test]
fn values_are_made_for_the_other_side() {
    let values = everything();
    assert_eq!(values, everything());
    if let Some(folder) = std::env::var_os("CLOISTER_WRITE_VECTORS") {
        fs::write(PathBuf::from(folder).join("rust.json"), values.to_string()).unwrap();
    }
}
