//! A party that is only a custodian, without any part of training.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Duration;

use cloister_client::{ClientConfig, ClientError, ClientEvent, ClientLifetime, Participation};
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

/// Runs party 5 as a custodian alone, whose coordinator nobody reaches.
async fn run(consortium: &TestConsortium) -> (Vec<ClientEvent>, ClientError) {
    let folder = std::env::temp_dir().join(format!("cloister-custodian-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let config = ClientConfig {
        party: PartyId(5),
        epoch: consortium.epoch.clone(),
        signing_key: consortium.keys[&PartyId(5)].clone(),
        identity: Identity::generate("custodian", Validity::unlimited()).unwrap(),
        policy: policy(consortium),
        coordinator: std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(),
        transport: TransportSettings::default(),
        lifetime: ClientLifetime::UntilFinished { reach_within: Duration::ZERO },
        stop: StopSignal::new().1,
        folder: folder.clone(),
        restored: false,
        participation: Participation::Custodian { model: Digest([7; 32]) },
    };
    let mut events = Vec::new();
    let error = cloister_client::run(config, &mut |event| events.push(event)).await.unwrap_err();
    std::fs::remove_dir_all(folder).unwrap();
    (events, error)
}

/// An edition may give a custodian the role of a member while it runs, so its program checks this, too.
#[tokio::test]
async fn a_member_cannot_run_as_a_custodian_alone() {
    let (events, error) = run(&roster(&[Role::Member, Role::Custodian])).await;
    assert!(matches!(error, ClientError::IsMember) && events.is_empty(), "{error}");
    assert!(error.to_string().contains("`cloister client`"), "{error}");
    // Control: a party without that role is ready at once, and gets as far as the network.
    let (events, error) = run(&roster(&[Role::Custodian])).await;
    assert!(matches!(error, ClientError::Connect(_)), "{error}");
    assert_eq!(events, [ClientEvent::CustodianReady]);
}
