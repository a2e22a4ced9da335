//! A party's policy that changes between two rounds.

use cloister_cluster::Cluster;
use cloister_cluster::consortium::{consortium, policy};
use cloister_cluster::plan::template;
use cloister_params::id::PartyId;
use cloister_params::policy::Policy;
use cloister_protocol::coordinator::Event;

/// PLAN-20
#[test]
fn a_policy_that_became_stricter_decides_about_the_next_plan() {
    let mut cluster = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 7);
    assert_eq!(cluster.run_round().expect("it closes").uploaded.len(), 5, "control: the policy before");
    let strict = Policy { minimum_cohort: 5, ..policy(&cluster.consortium) };
    let node = cluster.parties.get_mut(&PartyId(2)).expect("a party");
    node.member.replace_policy(strict.clone());
    node.custodian.replace_policy(strict);
    let report = cluster.run_round().expect("it closes without it");
    assert!(report.uploaded.len() == 4 && !report.uploaded.contains(&PartyId(2)), "{:?}", report.uploaded);
    let is_refusal = |event: &Event| matches!(event, Event::Refused(PartyId(2), why) if why.contains("policy `minimum_cohort`"));
    assert!(cluster.events.iter().any(is_refusal), "{:?}", cluster.events);
}
