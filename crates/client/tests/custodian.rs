//! A party that is only a custodian, without any part of training.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Duration;

use cloister_client::{
    ClientConfig, ClientError, ClientEvent, ClientLifetime, Participation, PolicyUpdates, openings_path,
    verify_openings,
};
use cloister_cluster::consortium::{TestConsortium, party, with_parties};
use cloister_cluster::policy;
use cloister_params::consortium::Role;
use cloister_params::id::{Digest, PartyId};
use cloister_transport::{Identity, StopSignal, TransportSettings, Validity};

/// Four members that are custodians, and party 5 with these roles.
fn roster(roles: &[Role]) -> TestConsortium {
    let mut parties: Vec<_> = (1..=5).map(|number| party(number, 1)).collect();
    parties[4].roles = roles.to_vec();
    with_parties(parties)
}

/// Runs party 5 as a custodian alone, whose coordinator nobody reaches. The result has the number of its openings' records.
async fn run(
    consortium: &TestConsortium,
    restored: bool,
    name: &str,
) -> (Vec<ClientEvent>, ClientError, usize) {
    let folder = std::env::temp_dir().join(format!("cloister-custodian-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let config = ClientConfig {
        party: PartyId(5),
        epoch: consortium.epoch.clone(),
        signing_key: consortium.keys[&PartyId(5)].clone(),
        identity: Identity::generate("custodian", Validity::unlimited()).unwrap(),
        policy: policy(consortium),
        policy_updates: PolicyUpdates::never(),
        coordinator: std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(),
        transport: TransportSettings::default(),
        lifetime: ClientLifetime::UntilFinished { reach_within: Duration::ZERO },
        stop: StopSignal::new().1,
        folder: folder.clone(),
        restored,
        participation: Participation::Custodian { model: Digest([7; 32]) },
    };
    let mut events = Vec::new();
    let error = cloister_client::run(config, &mut |event| events.push(event)).await.unwrap_err();
    // There is no file if the party ended before it opened its files.
    let records = verify_openings(&openings_path(&folder)).unwrap_or_default();
    std::fs::remove_dir_all(folder).unwrap();
    (events, error, records)
}

/// An edition may give a custodian the role of a member while it runs, so its program checks this, too.
#[tokio::test]
async fn a_member_cannot_run_as_a_custodian_alone() {
    let (events, error, _) = run(&roster(&[Role::Member, Role::Custodian]), false, "roles").await;
    assert!(matches!(error, ClientError::IsMember) && events.is_empty(), "{error}");
    assert!(error.to_string().contains("`cloister client`"), "{error}");
    // Control: a party without that role is ready at once, and gets as far as the network.
    let (events, error, _) = run(&roster(&[Role::Custodian]), false, "roles").await;
    assert!(matches!(error, ClientError::Connect(_)), "{error}");
    assert_eq!(events, [ClientEvent::CustodianReady]);
}

/// ROUND-04: the flag is given at one start, which may reach nobody.
#[tokio::test]
async fn a_restored_folder_records_it_before_anything_is_reached() {
    for (restored, records) in [(true, 2), (false, 1)] {
        let (_, error, recorded) = run(&roster(&[Role::Custodian]), restored, "restored").await;
        assert!(matches!(error, ClientError::Connect(_)), "{error}");
        assert_eq!(recorded, records, "the epoch, and that the folder was restored");
    }
}
