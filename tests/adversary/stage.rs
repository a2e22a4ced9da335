//! A consortium that a test stops at any message, and an attacker that has seen everything up to it.

use std::collections::BTreeMap;

use cloister_cluster::consortium::{TestConsortium, consortium};
use cloister_cluster::plan::template;
use cloister_crypto::group::ScalarSecret;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{ReceivingKeyEntry, RoundPlan, RoundSettings, SketchValues};
use cloister_params::router::RouterUpdate;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::fault::{Fault, Misbehaviour, Refusal};
use cloister_protocol::model::Model;
use cloister_protocol::statement::sign;
use cloister_testkit::attacker::Attacker;
use cloister_testkit::world::{Observation, World, WorldStep};
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{Announcement, ReceivingKey, Signature, Signed, Vote};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Members of the ordinary stage: five signatures make a certificate, five organisations a cohort, four shares open.
pub(crate) const SEVEN: usize = 7;

/// The blocks of the ordinary settings that attacks aim at.
pub(crate) const FIRST_EXPERT: BlockId = BlockId(0);
pub(crate) const ROUTER: BlockId = BlockId(3);
pub(crate) const SHARED: BlockId = BlockId(4);

/// A world, its attacker, and everything that was observed.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) attacker: Attacker,
    pub(crate) seen: Vec<Observation>,
}

/// What a party did with a message.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) faults: Vec<Fault>,
    pub(crate) done: Vec<Observation>,
}

impl Stage {
    /// Seven members, all custodians, of weight 1.
    pub(crate) fn seven() -> Self {
        Self::new(consortium(&[1; SEVEN]), settings(), 3)
    }

    /// The same, with a first expert on which the first five members agree and the others want the opposite: the loss
    /// of one of the five makes its block void.
    pub(crate) fn with_split_minds() -> Self {
        let mut stage = Self::seven();
        let parameters = stage.world.coordinator.model().block_digests();
        let common = stage.world.contribution(PartyId(1), &parameters).sketches[&BlockId(0)].clone();
        for member in (1..=SEVEN as u32).map(PartyId) {
            let mut contribution = stage.world.contribution(member, &parameters);
            let mut sketch = common.clone();
            if member > PartyId(5)
                && let SketchValues::Projections { update, .. } = &mut sketch.values
            {
                update.iter_mut().for_each(|coordinate| *coordinate = -*coordinate);
            }
            contribution.sketches.insert(BlockId(0), sketch);
            stage.world.fixed_contributions.insert(member, contribution);
        }
        stage
    }

    pub(crate) fn new(consortium: TestConsortium, settings: RoundSettings, seed: u64) -> Self {
        let world = World::new(consortium, settings, seed);
        let attacker = Attacker::new(&world.consortium);
        Self { world, attacker, seen: Vec::new() }
    }

    /// Starts a round and runs to the first message of a kind to a party, which is not delivered.
    pub(crate) fn started_to(party: u32, wanted: fn(&Message) -> bool) -> Self {
        let mut stage = Self::seven();
        stage.world.start_round();
        stage.run_to(party, wanted);
        stage
    }

    /// Runs to the next message of a kind to a party, which is not delivered.
    pub(crate) fn run_to(&mut self, party: u32, wanted: fn(&Message) -> bool) -> Message {
        let found = self.world.run_until(|_, to, frame| {
            to == PartyId(party) && matches!(frame, Frame::Message(message) if wanted(message))
        });
        self.note();
        match found {
            Some((_, _, Frame::Message(message))) => message,
            _ => panic!("the message is sent"),
        }
    }

    /// A round in which three members are silent, and then one with other settings, up to its plan for member 7.
    pub(crate) fn run_to_a_plan_after_an_abort(&mut self, change: impl FnOnce(&mut RoundSettings)) {
        let silent = [1, 2, 3].map(PartyId);
        silent.iter().for_each(|member| self.world.silence_member(*member));
        self.world.start_round();
        self.finish();
        for member in silent {
            self.world.restart(member);
            self.world.connect(member);
        }
        change(self.world.template_mut());
        self.world.start_round();
        self.run_to(7, |message| matches!(message, Message::Plan { .. }));
    }

    /// Runs to the next message of a kind to a party, and withholds it.
    pub(crate) fn withhold_from(&mut self, party: u32, wanted: fn(&Message) -> bool) -> Message {
        let message = self.run_to(party, wanted);
        self.world.lose_next(PartyId::COORDINATOR, PartyId(party));
        message
    }

    /// Runs to the next message of a kind to the coordinator, and takes it off the link.
    pub(crate) fn take_from(&mut self, party: u32, wanted: fn(&Message) -> bool) -> Message {
        let found = self.world.run_until(|from, _, frame| {
            from == PartyId(party) && matches!(frame, Frame::Message(message) if wanted(message))
        });
        self.world.lose_next(PartyId(party), PartyId::COORDINATOR);
        self.note();
        match found {
            Some((_, _, Frame::Message(message))) => message,
            _ => panic!("the message is sent"),
        }
    }

    /// Delivers the next message of the coordinator to a party.
    pub(crate) fn deliver_to(&mut self, party: u32) -> Answer {
        let step = WorldStep::Deliver { from: PartyId::COORDINATOR, to: PartyId(party) };
        self.answer(|world| world.take(step))
    }

    /// Gives a party a message of the attacker.
    pub(crate) fn give(&mut self, party: u32, message: Message) -> Answer {
        self.answer(|world| world.inject(PartyId(party), Frame::Message(message)))
    }

    /// Ends a member's training.
    pub(crate) fn train(&mut self, party: u32) -> Answer {
        self.answer(|world| world.take(WorldStep::Train(PartyId(party))))
    }

    fn answer(&mut self, what: impl FnOnce(&mut World)) -> Answer {
        self.note();
        self.world.faults.clear();
        let before = self.seen.len();
        what(&mut self.world);
        self.note();
        Answer {
            faults: self.world.faults.drain(..).map(|(_, fault)| fault).collect(),
            done: self.seen[before..].to_vec(),
        }
    }

    /// Lets everything happen, deadlines too.
    pub(crate) fn finish(&mut self) {
        self.world.settle();
        for _ in 0..8 {
            self.world.expire();
            self.world.settle();
        }
        self.note();
    }

    /// Shows the attacker what happened.
    pub(crate) fn note(&mut self) {
        for observation in std::mem::take(&mut self.world.observations) {
            self.attacker.observe(&observation);
            self.seen.push(observation);
        }
    }

    /// The reports of the rounds that ended.
    pub(crate) fn reports(&self) -> Vec<&RoundReport> {
        let ended = self.seen.iter().filter_map(|observation| match observation {
            Observation::Ended(report) => Some(&**report),
            _ => None,
        });
        ended.collect()
    }

    pub(crate) fn key(&self, party: u32) -> &SigningKey {
        &self.world.consortium.keys[&PartyId(party)]
    }

    /// The message of the coordinator that was sent last and is of a kind.
    pub(crate) fn sent_last(&self, wanted: fn(&Message) -> bool) -> Message {
        let sent = self.seen.iter().rev().find_map(|observation| match observation {
            Observation::FromCoordinator(_, Frame::Message(message)) if wanted(message) => Some(message),
            _ => None,
        });
        sent.expect("it was sent").clone()
    }

    /// A plan that the coordinator signs for a round, with keys that the custodians give for it, or would give if they
    /// had no round under way (`ROUND-28`): what is tried is the plan.
    pub(crate) fn forged_plan(
        &mut self,
        round: u64,
        previous: Digest,
        parameters: PerBlock<Digest>,
        ending: Option<Ending>,
    ) -> Message {
        let mut receiving_keys = Vec::new();
        for party in 1..=SEVEN as u32 {
            let answer = self.give(party, Message::KeyRequest { round: Round(round) });
            let given = answer.messages().into_iter().find_map(|message| match message {
                Message::ReceivingKey(signed) => Some(signed),
                _ => None,
            });
            receiving_keys.push(given.unwrap_or_else(|| self.receiving_key(party, round)));
        }
        let plan = RoundPlan {
            epoch: self.world.consortium.epoch.digest(),
            round: Round(round),
            previous,
            model: Model::digest_of(&parameters),
            parameters,
            custodians: receiving_keys.iter().map(entry).collect(),
            barred: Vec::new(),
            settings: settings(),
        };
        Message::Plan {
            plan: sign(self.key(0), PartyId::COORDINATOR, &plan),
            receiving_keys,
            previous: ending,
        }
    }

    fn receiving_key(&self, party: u32, round: u64) -> Signed<ReceivingKey> {
        let epoch = self.world.consortium.epoch.digest();
        let key = ScalarSecret::random(&mut random(round)).public().bytes();
        sign(self.key(party), PartyId(party), &ReceivingKey { epoch, round: Round(round), key })
    }
}

fn entry(signed: &Signed<ReceivingKey>) -> ReceivingKeyEntry {
    ReceivingKeyEntry { custodian: signed.signer, key: signed.parse().unwrap().key }
}

/// Sets the consistency weight of a contribution's router, in steps.
pub(crate) fn set_consistency_weight(contribution: &mut Contribution, steps: i32) {
    let router = RouterUpdate::split(&contribution.integers[ROUTER]).unwrap();
    contribution.integers[ROUTER] = RouterUpdate::join(router.parameters.to_vec(), steps);
}

/// Seeded randomness of an attacker.
pub(crate) fn random(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The ordinary settings: three experts, weights up to 1.
pub(crate) fn settings() -> RoundSettings {
    template(3, 5, 1)
}

impl Answer {
    /// Whether nothing was refused.
    pub(crate) fn is_accepted(&self) -> bool {
        self.faults.is_empty()
    }

    /// The broken rules.
    pub(crate) fn misbehaviours(&self) -> Vec<&Misbehaviour> {
        let broken = self.faults.iter().filter_map(|fault| match fault {
            Fault::PeerMisbehaved { what, .. } => Some(what),
            _ => None,
        });
        broken.collect()
    }

    /// Why plans were refused.
    pub(crate) fn refusals(&self) -> Vec<&Refusal> {
        let refused = self.faults.iter().filter_map(|fault| match fault {
            Fault::PlanRefused { why, .. } => Some(why),
            _ => None,
        });
        refused.collect()
    }

    /// Every message that the party sent.
    pub(crate) fn messages(&self) -> Vec<Message> {
        messages_of(&self.done)
    }

    /// The party's vote, if it gave one.
    pub(crate) fn vote(&self) -> Option<Signature> {
        self.messages().into_iter().find_map(|message| match message {
            Message::Vote { signature, .. } => Some(signature),
            _ => None,
        })
    }
}

/// The messages that parties sent.
pub(crate) fn messages_of(observations: &[Observation]) -> Vec<Message> {
    let message = |observation: &Observation| match observation {
        Observation::FromMember(_, Frame::Message(message))
        | Observation::FromCustodian(_, Frame::Message(message)) => Some(message.clone()),
        _ => None,
    };
    observations.iter().filter_map(message).collect()
}

/// Everything that was revealed: dealer, and the block of a seed or none for the mask key.
pub(crate) fn revealed(observations: &[Observation]) -> Vec<(PartyId, Option<BlockId>)> {
    let mut revealed = Vec::new();
    for observation in observations {
        match observation {
            Observation::FromMember(member, Frame::Message(Message::Seeds { seeds, .. })) => {
                revealed.extend(seeds.seeds.iter().map(|seed| (*member, Some(seed.block))));
            }
            Observation::FromCustodian(_, Frame::Message(Message::SeedParts { dealer, parts, .. })) => {
                revealed.extend(parts.seeds.iter().map(|part| (*dealer, Some(part.block))));
            }
            Observation::FromCustodian(_, Frame::Message(Message::MaskKeyShare { dealer, .. })) => {
                revealed.push((*dealer, None));
            }
            _ => {}
        }
    }
    revealed
}

/// The announcements that members sent, by member.
pub(crate) fn announcements(observations: &[Observation]) -> BTreeMap<PartyId, Signed<Announcement>> {
    let announcement = |observation: &Observation| match observation {
        Observation::FromMember(member, Frame::Message(Message::Announcement(signed))) => {
            Some((*member, signed.clone()))
        }
        _ => None,
    };
    observations.iter().filter_map(announcement).collect()
}

/// Votes of parties in the order of a certificate.
pub(crate) fn votes(signatures: impl IntoIterator<Item = (u32, Option<Signature>)>) -> Vec<Vote> {
    let vote = |(party, signature): (u32, Option<Signature>)| {
        Some(Vote { custodian: PartyId(party), signature: signature? })
    };
    signatures.into_iter().filter_map(vote).collect()
}
