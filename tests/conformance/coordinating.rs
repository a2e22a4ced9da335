//! The coordinator of the rounds with late sketches: it gets what the parties of the vectors send, and must send them
//! exactly the frames of the vectors. It has no randomness.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::PartyId;
use cloister_protocol::coordinator::{Coordinator, CoordinatorOutput, Time};
use cloister_protocol::fault::Fault;
use cloister_wire::frame::Frame;

use crate::parties::Rounds;
use crate::replay::COORDINATOR;

/// No deadline passes: a party that leaves is not waited for.
const NOW: Time = Time(0);

/// A frame on its way to a party.
type Delivery = (PartyId, Vec<u8>);

/// The number in a party's name; a member and a custodian of one number are one party.
fn party(name: &str) -> PartyId {
    PartyId(name.split_once(' ').unwrap().1.parse().unwrap())
}

/// The last entry of each party, after which it is gone.
fn last_entries(rounds: &Rounds) -> BTreeMap<PartyId, usize> {
    let named = rounds.script.iter().enumerate().flat_map(|(at, step)| {
        let names = step.to.iter().chain([&step.from]).filter(|name| *name != COORDINATOR);
        names.map(move |name| (party(name), at))
    });
    named.collect()
}

/// What the coordinator sent so far to parties that were still there.
fn collect(coordinator: &mut Coordinator, sent: &mut BTreeSet<Delivery>) {
    while let Some(output) = coordinator.poll_output() {
        if let CoordinatorOutput::Send { to, frame } = output {
            sent.insert((to, frame.encode()));
        }
    }
}

/// LATE-02, LATE-06, LATE-08, LATE-09
pub(crate) fn check(rounds: &Rounds) {
    let mut coordinator = Coordinator::new(rounds.key(0), rounds.epoch(), rounds.model());
    let last = last_entries(rounds);
    last.keys().for_each(|party| coordinator.handle_connected(*party, NOW));
    coordinator.start_round(rounds.first_plan().parse().unwrap().settings, NOW).unwrap();
    let (mut sent, mut expected) = (BTreeSet::new(), BTreeSet::new());
    collect(&mut coordinator, &mut sent);
    for (at, step) in rounds.script.iter().enumerate() {
        let bytes = &rounds.frames[step.frame].0;
        if step.from == COORDINATOR {
            let deliveries: Vec<Delivery> = step.to.iter().map(|to| (party(to), bytes.clone())).collect();
            assert!(deliveries.iter().all(|delivery| sent.contains(delivery)), "entry {at} is not sent");
            expected.extend(deliveries);
            continue;
        }
        let gone = last.iter().filter(|(_, last)| **last == at).map(|(party, _)| *party);
        gone.for_each(|party| coordinator.handle_disconnected(party, NOW));
        let result = coordinator.handle_frame(party(&step.from), Frame::decode(bytes).unwrap(), NOW);
        // The first shares that reach the threshold open a secret; one that comes after them is not awaited.
        let is_spare = matches!(result, Err(Fault::NotAwaited { what: "shares", .. }));
        assert!(result.is_ok() || is_spare, "entry {at}: {result:?}");
        collect(&mut coordinator, &mut sent);
    }
    let more: Vec<PartyId> = sent.difference(&expected).map(|(to, _)| *to).collect();
    assert_eq!(more, [], "the coordinator sends frames that the vectors do not have");
    assert_eq!(*coordinator.model(), rounds.closed_model());
}
