//! `cloister doctor custodian`: what it needs is less than what a hospital needs.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod examination;
mod site;

use cloister_params::consortium::Role;
use examination::{Examined, LINKED_CHECKS, doctor};
use site::Site;

/// The checks after those of every party that has a link.
const CHECKS: [&str; 3] = ["role", "initial_parameters", "disk_space"];

/// Examines a custodian whose coordinator does not run.
fn examine(site: &Site, more: &str) -> Examined {
    let config = format!(
        "consortium = 'consortium.toml'\nidentity = 'party'\ncoordinator = '127.0.0.1:1'\ndata = 'none-yet'\n{more}"
    );
    std::fs::write(site.folder.join("custodian.toml"), config).unwrap();
    doctor(&["custodian", &site.path("custodian.toml")])
}

#[test]
fn a_custodian_s_faults_are_found_by_their_checks_alone() {
    let mut site = Site::new("doctor-custodian");
    site.enrol(&[Role::Custodian]);
    site.write_consortium();
    let examined = examine(&site, "model = 'model'\n");
    assert_eq!(examined.order, [LINKED_CHECKS.as_slice(), &CHECKS].concat());
    examined.expect_faults(&["quic", "tcp"], 69, &["127.0.0.1:1"]);
    // Without the parameters the first edition does not say what it starts from.
    let examined = examine(&site, "");
    assert_eq!(examined.in_state("fault"), ["quic", "tcp", "initial_parameters"]);
    assert_eq!(examined.code, Some(78), "a missing file is worse than a coordinator that is away");
    site.file.parties[0].roles = vec![Role::Member, Role::Custodian];
    site.write_consortium();
    let examined = examine(&site, "model = 'model'\n");
    assert_eq!(examined.in_state("fault"), ["quic", "tcp", "role"]);
    let said = examined.checks["role"].to_string();
    assert!(said.contains("as a member") && said.contains("cloister client"), "{said}");
}
