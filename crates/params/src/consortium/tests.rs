use super::*;
use crate::floors::FloorsError;

fn file(members: u32) -> ConsortiumFile {
    let bytes = |tag: u8, number: u32| PublicBytes([tag + u8::try_from(number).expect("small"); 32]);
    ConsortiumFile {
        name: "test".into(),
        epoch: 1,
        start: None,
        until: None,
        retired: Vec::new(),
        coordinator: CoordinatorEntry {
            name: "coordinator".into(),
            signing_key: bytes(0, 0),
            certificate: bytes(100, 0),
        },
        parties: (1..=members)
            .map(|number| Party {
                id: PartyId(number),
                name: format!("hospital {number}"),
                organisation: format!("organisation {number}"),
                roles: vec![Role::Member, Role::Custodian],
                signing_key: bytes(0, number),
                certificate: bytes(100, number),
                weight: 1,
            })
            .collect(),
    }
}

fn parse(file: &ConsortiumFile) -> Result<Consortium, ConsortiumError> {
    Consortium::parse(&file.to_toml().expect("serialisable"))
}

#[test]
fn a_file_survives_its_text() {
    let consortium = parse(&file(5)).expect("valid");
    assert_eq!(consortium.members().count(), 5);
    assert_eq!(consortium.floors(), Floors::for_roster(5, 5).expect("covered"));
}

/// CONS-03
#[test]
fn two_members_with_one_name_are_refused() {
    let mut twice = file(5);
    twice.parties[3].name = "hospital 1".into();
    let error = parse(&twice).expect_err("a duplicate");
    assert_eq!(
        error.to_string(),
        "\"hospital 1\" and \"hospital 1\" have the same name; every party needs its own"
    );
}

/// CONS-03
#[test]
fn one_key_for_two_parties_is_refused() {
    let mut twice = file(5);
    twice.parties[3].signing_key = twice.coordinator.signing_key;
    assert!(matches!(parse(&twice), Err(ConsortiumError::Duplicate { what: "signing key", .. })));
}

/// FLOOR-06
#[test]
fn two_custodians_of_one_organisation_are_refused() {
    let mut padded = file(5);
    padded.parties[4].organisation = padded.parties[0].organisation.clone();
    assert!(matches!(parse(&padded), Err(ConsortiumError::CustodianOrganisation { .. })));
    padded.parties[4].roles = vec![Role::Member];
    assert_eq!(parse(&padded).map(|consortium| consortium.floors().members), Ok(4));
}

/// FLOOR-05, CONS-05
#[test]
fn one_organisation_twice_counts_once() {
    let mut padded = file(5);
    for party in &mut padded.parties {
        party.organisation = format!("organisation {}", party.id.0 % 2);
        party.roles = vec![Role::Member];
    }
    assert_eq!(parse(&padded), Err(ConsortiumError::Floors(FloorsError::Members { got: 2 })));
}

/// CONS-04
#[test]
fn roles_weights_numbers_and_unknown_fields_are_checked() {
    let mut bad = file(5);
    bad.parties[0].weight = 16;
    assert!(matches!(parse(&bad), Err(ConsortiumError::Weight { got: 16, .. })));
    let mut bad = file(5);
    bad.parties[0].roles.clear();
    assert!(matches!(parse(&bad), Err(ConsortiumError::NoRole { .. })));
    let mut bad = file(5);
    bad.parties[0].id = PartyId::COORDINATOR;
    assert!(matches!(parse(&bad), Err(ConsortiumError::ReservedId { .. })));
    assert!(matches!(Consortium::parse("colour = 'blue'"), Err(ConsortiumError::Syntax(_))));
}

/// CONS-08
#[test]
fn the_number_of_a_party_that_left_is_not_given_again() {
    let mut edited = file(6);
    let before = edited.clone();
    assert_eq!(edited.remove(PartyId(6)).map(|party| party.name), Some("hospital 6".to_owned()));
    assert_eq!(edited.remove(PartyId(6)), None, "it has left");
    assert_eq!(edited.next_number(), PartyId(7), "and not 6");
    assert!(parse(&edited).is_ok());
    let mut reused = edited.clone();
    reused.parties.push(before.parties[5].clone());
    let refused = parse(&reused).expect_err("party 6 has left");
    assert!(matches!(refused, ConsortiumError::RetiredNumber { number: PartyId(6), .. }), "{refused}");
    assert!(edited.rotate(PartyId(2), PublicBytes([90; 32]), PublicBytes([91; 32])));
    assert_eq!(
        before.changes_to(&edited),
        ["party 2 (hospital 2) has new keys", "party 6 (hospital 6) leaves"]
    );
    assert_eq!(edited.changes_to(&before)[1], "party 6 (hospital 6, organisation 6) joins");
    assert!(before.changes_to(&before).is_empty());
}
