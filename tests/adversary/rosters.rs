//! Attacks by the roster: one organisation under several names.

use cloister_cluster::consortium::{consortium, party, with_parties};
use cloister_params::consortium::{Consortium, ConsortiumFile, CoordinatorEntry, Party, Role};
use cloister_params::id::PartyId;
use cloister_wire::message::Ending;

use crate::stage::{Stage, settings};

/// How a round ends when the second member is lost, with these members of the first organisation.
fn ending_with(siblings: &[u32]) -> Ending {
    let mut parties: Vec<Party> = (1..=7).map(|number| party(number, 1)).collect();
    for sibling in siblings {
        let organisation = parties[0].organisation.clone();
        let sibling = &mut parties[*sibling as usize - 1];
        sibling.organisation = organisation;
        sibling.roles = vec![Role::Member];
    }
    let mut stage = Stage::new(with_parties(parties), settings(), 3);
    stage.world.silence_member(PartyId(2));
    stage.world.start_round();
    stage.finish();
    stage.reports()[0].ending.clone()
}

/// FLOOR-05
#[test]
fn one_organisation_twice_in_the_floors() {
    assert!(matches!(ending_with(&[6, 7]), Ending::Aborted(_)), "six members, but four organisations");
    assert!(matches!(ending_with(&[]), Ending::Closed { .. }), "control: six organisations");
}

#[test]
fn one_key_under_two_names() {
    let parsed = |second_key: u32| {
        let mut parties: Vec<Party> = (1..=7).map(|number| party(number, 1)).collect();
        parties[6].signing_key = party(second_key, 1).signing_key;
        Consortium::parse(&file(parties).to_toml().unwrap())
    };
    assert!(parsed(1).is_err());
    assert!(parsed(7).is_ok(), "control: a key of its own");
}

fn file(parties: Vec<Party>) -> ConsortiumFile {
    let coordinator = party(99, 1);
    ConsortiumFile {
        name: "test".into(),
        epoch: 1,
        start: None,
        until: None,
        retired: Vec::new(),
        coordinator: CoordinatorEntry {
            name: "coordinator".into(),
            signing_key: coordinator.signing_key,
            certificate: coordinator.certificate,
        },
        parties,
    }
}

/// Four custodians of whom three open everything, and one organisation runs them all.
/// FLOOR-06
#[test]
fn one_organisation_that_runs_all_custodians() {
    let mut parties: Vec<Party> = (1..=12).map(|number| party(number, 1)).collect();
    for (at, listed) in parties.iter_mut().enumerate() {
        if at < 4 {
            listed.organisation = "organisation 1".into();
        } else {
            listed.roles = vec![Role::Member];
        }
    }
    let floors = consortium(&[1; 12]).epoch.consortium().floors();
    assert!(floors.reveal_threshold > 1);
    assert!(Consortium::parse(&file(parties).to_toml().unwrap()).is_err());
}
