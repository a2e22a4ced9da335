//! An update that is planted at one member is found nowhere in what the coordinator received, stored or logged.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_cluster::{Cluster, DropOut};
use cloister_params::id::{BlockId, PartyId, Round};
use cloister_wire::frame::{Frame, chunks};

const PLANTED_AT: PartyId = PartyId(3);

/// All runs of two consecutive words of the planted integers, as they would stand in memory or on the wire, as
/// integers and as the reals that they stand for.
fn needles(cluster: &Cluster) -> HashSet<[u8; 8]> {
    let integers = cluster.contributions[&PLANTED_AT].integers.iter();
    integers
        .flat_map(|(_, block)| {
            block.windows(2).flat_map(|pair| {
                let reals = [pair[0], pair[1]].map(|integer| (integer as f32 / 4096.0).to_le_bytes());
                let words = [pair[0], pair[1]].map(i32::to_le_bytes);
                [join(words), join(reals)]
            })
        })
        .collect()
}

fn join(pair: [[u8; 4]; 2]) -> [u8; 8] {
    [pair[0], pair[1]].concat().try_into().unwrap()
}

fn found(needles: &HashSet<[u8; 8]>, haystack: &[u8]) -> usize {
    haystack.windows(8).filter(|window| needles.contains(*window)).count()
}

fn cluster() -> Cluster {
    Cluster::new(consortium(&[1; 8]), template(4, 5, 1), 11)
}

/// Everything that the coordinator has seen or kept: frames, log, model, certificates.
fn everything(cluster: &mut Cluster) -> Vec<u8> {
    let report = cluster.run_round().expect("the round ends");
    assert!(!report.sums.is_empty());
    let mut kept = cluster.received.clone();
    for entry in report.log.entries() {
        kept.extend_from_slice(&entry.body);
        kept.extend_from_slice(entry.to_json_line().as_bytes());
    }
    kept.extend(report.model.to_bytes());
    kept.extend(cloister_wire::codec::encode(&report.ending));
    kept
}

#[test]
fn a_planted_update_reaches_the_coordinator_in_no_form() {
    let mut cluster = cluster();
    let needles = needles(&cluster);
    let kept = everything(&mut cluster);
    assert!(kept.len() > 50_000, "there is something to search");
    assert_eq!(found(&needles, &kept), 0);
}

#[test]
fn nor_does_it_when_the_member_is_lost_and_its_mask_key_is_recovered() {
    for when in [DropOut::InUpload(2), DropOut::BeforeRevealing] {
        let mut cluster = cluster();
        cluster.drop_member(PLANTED_AT, when);
        let needles = needles(&cluster);
        let kept = everything(&mut cluster);
        assert_eq!(found(&needles, &kept), 0, "{when:?}");
    }
}

/// The control: the same search finds the same update when it travels without its masks.
#[test]
fn without_masks_it_would_be_found() {
    let mut cluster = cluster();
    let needles = needles(&cluster);
    let mut kept = everything(&mut cluster);
    let words: Vec<u8> = cluster.contributions[&PLANTED_AT].integers[BlockId(0)]
        .iter()
        .flat_map(|integer| integer.to_le_bytes())
        .collect();
    for chunk in chunks(Round(1), PLANTED_AT, BlockId(0), &words) {
        kept.extend(Frame::Chunk(chunk).encode());
    }
    assert_eq!(found(&needles, &kept), words.len() / 4 - 1);
}
