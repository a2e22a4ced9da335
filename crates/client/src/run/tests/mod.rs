//! The loop with a fake trainer: the jobs that it is given, and reports that the test makes.

mod rehearsals;
mod shuffles;

use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::time::Duration;

use cloister_cluster::consortium::{consortium, next_epoch, sign};
use cloister_cluster::plan::{model, task, template};
use cloister_cluster::policy;
use cloister_experts::task::Task;
use cloister_experts::{
    BlockVectors, Device, ExpertRegion, LocalResult, ModelConfig, Precision, RecordScore, Windows,
};
use cloister_params::consortium::Role;
use cloister_params::id::PartyId;
use cloister_params::plan::{PrivateTrainingPlan, RoundSettings};
use cloister_privacy::ledger::History;
use cloister_testkit::world::World;
use cloister_transport::{ConnectError, Identity, StopSignal, TransportSettings, Validity};
use cloister_wire::message::Message;

use super::*;
use crate::config::{MemberPart, Participation};
use crate::jobs::{Accuracy, Counted, FinalResult, PlannedWork, TrainedRound};
use crate::training::TrainingConfig;
use cloister_params::id::Digest;
use cloister_params::limits::Date;
use cloister_params::plan::RoundPlan;

/// The hospital whose loop is tested.
const HOSPITAL: PartyId = PartyId(1);
/// Some evaluation.
const ACCURACY: Accuracy =
    Accuracy { correct: 1, total: 2, counted: Counted::Notes, loss: None, by_record: None };

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A consortium whose first round is trained for with DP-SGD, and hospital 1 of it beside the one in the world.
fn site(name: &str) -> (World, ClientConfig, Folder) {
    let folder = std::env::temp_dir().join(format!("cloister-run-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder of the test's own");
    let mut settings = template(3, 5, 1);
    settings.training.private = Some(PrivateTrainingPlan {
        clipping_norm_milli: 1000,
        noise_multiplier_milli: 2000,
        sampling_probability_micro: 50_000,
        minimum_records: 20,
    });
    let world = World::new(consortium(&[1; 7]), settings.clone(), 1);
    let config = site_config(&world, &settings, &folder);
    (world, config, Folder(folder))
}

fn charges(config: &ClientConfig) -> usize {
    History::read(&config.ledger()).expect("a sound ledger").charges.len()
}

/// Starts a round in which too few members announce.
fn start_round_without_the_floor(world: &mut World) {
    [2, 3, 4].map(PartyId).iter().for_each(|member| world.silence_member(*member));
    world.start_round();
}

/// Gives the client what the coordinator sends to its member, until the world stands still.
fn show(world: &mut World, client: &mut Client<'_>) {
    while let Some((from, to, frame)) =
        world.run_until(|_, to, frame| to == HOSPITAL && frame.is_for_members())
    {
        world.lose_next(from, to);
        client.handle_frame(&frame).expect("the journal can be written");
    }
}

/// Lets every deadline pass.
fn expire(world: &mut World, client: &mut Client<'_>) {
    for _ in 0..8 {
        world.expire();
        show(world, client);
    }
}

fn site_config(world: &World, settings: &RoundSettings, folder: &std::path::Path) -> ClientConfig {
    let training = TrainingConfig {
        task: Task::Classifier(ModelConfig::new(vec!["a".to_owned(), "b".to_owned()])),
        base_model: "minilm".into(),
        precision: Precision::Float32,
        recompute_layers: false,
        notes: "notes.jsonl".into(),
        held_out: "held-out.jsonl".into(),
        part: 0,
        parts: 1,
        windows: Windows::default(),
        threads: 1,
        device: Device::Cpu,
        compare_local: false,
        write_each_model: false,
        folder: folder.to_owned(),
        program: None,
    };
    ClientConfig {
        party: HOSPITAL,
        epoch: world.consortium.epoch.clone(),
        signing_key: world.consortium.keys[&HOSPITAL].clone(),
        identity: Identity::generate("hospital 1", Validity::unlimited()).expect("an identity"),
        policy: policy(&world.consortium),
        policy_updates: PolicyUpdates::never(),
        coordinator: std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(),
        transport: TransportSettings::default(),
        lifetime: ClientLifetime::UntilFinished { reach_within: Duration::ZERO },
        stop: StopSignal::never(),
        folder: folder.to_path_buf(),
        restored: false,
        participation: Participation::Member(Box::new(MemberPart {
            task: settings.task,
            model: model(settings),
            training,
        })),
    }
}

/// Opens the hospital's loop with a trainer of which the test has the other end.
fn client<'a>(
    config: &'a ClientConfig,
    settings: &RoundSettings,
    events: &'a mut (dyn FnMut(ClientEvent) + Send),
) -> (Client<'a>, blocking::Receiver<Job>) {
    let records = PartyRecords::open(config).expect("new files");
    let (jobs, given) = blocking::channel();
    (Client::new(config, records, (jobs, task(settings).blocks), events), given)
}

/// What a training yields that changed nothing.
fn trained(settings: &RoundSettings) -> Box<PlannedWork> {
    let blocks = task(settings).blocks;
    let values = blocks.iter().map(|shape| vec![0.0; shape.length as usize]).collect();
    let region = |expert| ExpertRegion { layer: 0, expert, mean_hidden: vec![1.0; 8], tokens: 40 };
    let trained = TrainedRound {
        result: LocalResult {
            updates: BlockVectors::new(blocks, values).expect("it fits its table"),
            regions: (0..3).map(region).collect(),
            margins: vec![vec![0.5; 3]],
            loss_first: 1.0,
            loss_last: 0.5,
            truncated: 0,
            notes: 10,
            by_record: None,
        },
        metrics: std::collections::BTreeMap::new(),
        private: None,
    };
    Box::new(PlannedWork { trained, score: Some(RecordScore { correct: 3.0, records: 4 }) })
}

fn train_job(given: &blocking::Receiver<Job>) -> (Digest, Box<RoundPlan>, LocalSeed) {
    match given.try_recv() {
        Ok(Job::Train { digest, plan, seed, .. }) => (digest, plan, seed),
        other => panic!("a training is asked for, not {other:?}"),
    }
}

fn announces(sent: &Outgoing) -> bool {
    sent.frames().any(|frame| matches!(frame, Frame::Message(Message::Announcement(_))))
}

/// How many refusals of the member wait to be sent.
fn member_refusals(sent: &Outgoing) -> usize {
    let refusals = sent
        .frames()
        .filter(|frame| matches!(frame, Frame::Message(Message::Refusal { role: Role::Member, .. })));
    refusals.count()
}

/// PRIV-14: a first plan asks for DP-SGD, and its round is aborted while the hospital trains. The second plan asks for none.
/// Nothing of the first training is charged or sent under it.
#[test]
fn what_one_plan_was_trained_for_is_not_charged_or_sent_under_another() {
    let (mut world, config, _folder) = site("another-plan");
    let settings = world.template_mut().clone();
    let mut reported = Vec::new();
    let mut events = |event| reported.push(event);
    let (mut client, given) = client(&config, &settings, &mut events);
    start_round_without_the_floor(&mut world);
    show(&mut world, &mut client);
    let (first, plan, _) = train_job(&given);
    assert!(plan.settings.training.private.is_some());
    expire(&mut world, &mut client);
    world.template_mut().training.private = None;
    // Whoever announced in the first round would refuse other settings after its abort (`ROUND-03`).
    for member in [5, 6, 7].map(PartyId) {
        world.restart(member);
        world.connect(member);
    }
    world.start_round();
    show(&mut world, &mut client);
    let (second, plan, _) = train_job(&given);
    assert!(plan.settings.training.private.is_none() && first != second);
    client.to_send.clear();

    client.handle_report(WorkerReport::Trained(first, trained(&settings))).expect("it is dropped");
    assert!(client.to_send.is_empty() && charges(&config) == 0, "nothing is sent or charged");
    client.handle_report(WorkerReport::NotTrained(first, "no space".to_owned())).expect("it is dropped");
    assert!(client.to_send.is_empty(), "the current round goes on");

    client
        .handle_report(WorkerReport::Trained(second, trained(&settings)))
        .expect("the journal can be written");
    assert!(announces(&client.to_send), "control: the present plan's result is announced");
    assert_eq!(charges(&config), 1);
    drop(client);
    assert_eq!(reported.iter().filter(|event| matches!(event, ClientEvent::Trained { .. })).count(), 1);
}

/// PRIV-14: a training that ends after its round is not charged, as nobody will sum it.
#[test]
fn what_comes_after_its_round_is_not_charged() {
    let (mut world, config, _folder) = site("after-its-round");
    world.template_mut().training.private = None;
    let settings = world.template_mut().clone();
    let mut events = |_| ();
    let (mut client, given) = client(&config, &settings, &mut events);
    start_round_without_the_floor(&mut world);
    show(&mut world, &mut client);
    let (plan, ..) = train_job(&given);
    expire(&mut world, &mut client);
    client.handle_report(WorkerReport::Trained(plan, trained(&settings))).expect("it is dropped");
    assert!(!announces(&client.to_send) && charges(&config) == 0);
}

/// An evaluation that ends after the next round has closed is reported for the round that it belongs to.
#[test]
fn an_evaluation_is_reported_for_its_round() {
    let (mut world, config, _folder) = site("evaluation");
    let settings = world.template_mut().clone();
    let mut reported = Vec::new();
    let mut events = |event| reported.push(event);
    let (mut client, _given) = client(&config, &settings, &mut events);
    for round in [Round(1), Round(2)] {
        client.handle_report(WorkerReport::Evaluated(round, ACCURACY)).expect("it is reported");
    }
    client
        .handle_report(WorkerReport::NotEvaluated(Round(3), "no space".to_owned()))
        .expect("it is reported");
    drop(client);
    let rounds = [Round(1), Round(2)].map(|round| ClientEvent::Evaluated(round, ACCURACY));
    let failed = ClientEvent::NotEvaluated(Round(3), "no space".to_owned());
    assert_eq!(reported, rounds.into_iter().chain([failed]).collect::<Vec<_>>());
}

/// An address to which nothing can be sent, as when this machine has no network for a moment.
#[tokio::test]
async fn a_network_that_is_down_is_tried_for_as_long_as_the_operator_says() {
    let (mut world, mut config, _folder) = site("no-network");
    let settings = world.template_mut().clone();
    config.coordinator = std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into();
    // Over TCP, port 0 refuses connections, which is an answer.
    config.transport.carriers = cloister_transport::Carriers::Quic;
    for reach_within in [RETRY_AFTER * 3, Duration::ZERO] {
        config.lifetime = ClientLifetime::UntilFinished { reach_within };
        let mut events = |_| ();
        let (mut client, _given) = client(&config, &settings, &mut events);
        let started = std::time::Instant::now();
        let error = client.reach_coordinator().await.expect_err("nobody is there");
        assert!(matches!(error, ClientError::Connect(ConnectError::Socket { .. })), "{error}");
        // The second is the control: it is tried once.
        assert_eq!(started.elapsed() >= RETRY_AFTER * 3, reach_within > Duration::ZERO);
    }
}

/// A frame without what it follows is no misbehaviour, and a plan that is refused is reported once.
#[test]
fn what_is_nobodys_fault_is_not_reported_as_one() {
    let (mut world, config, _folder) = site("nobodys-fault");
    let settings = world.template_mut().clone();
    let mut reported = Vec::new();
    let mut events = |event| reported.push(event);
    let (mut client, _given) = client(&config, &settings, &mut events);
    let early = Message::LateRequest { round: Round(1) };
    client.handle_frame(&Frame::Message(early)).expect("nothing is written");
    let blocks = &mut world.template_mut().blocks;
    let (first, second) = (blocks[0].shape.kind, blocks[1].shape.kind);
    (blocks[0].shape.kind, blocks[1].shape.kind) = (second, first);
    world.start_round();
    show(&mut world, &mut client);
    assert_eq!(
        member_refusals(&client.to_send),
        1,
        "PLAN-16: the experts are in another order than in the task"
    );
    drop(client);
    let [ClientEvent::Unexpected(_), ClientEvent::Refused(Round(1), reason)] = &reported[..] else {
        panic!("{reported:?}")
    };
    assert!(reason.contains("blocks are not those of this member's task"), "{reason}");
}

/// The training thread's last report is awaited after the last round only. Before that it changes nothing.
#[test]
fn a_final_result_is_reported_in_the_last_stage_only() {
    let (mut world, config, _folder) = site("final-result");
    let settings = world.template_mut().clone();
    let result = FinalResult { federated: ACCURACY, local: None };
    let (sender, mut reports) = mpsc::unbounded_channel();
    let mut reported = Vec::new();
    let mut events = |event| reported.push(event);
    let (mut client, jobs) = client(&config, &settings, &mut events);
    client.handle_report(WorkerReport::Finished(result)).expect("it is dropped");
    assert!(client.to_send.is_empty());
    sender.send(WorkerReport::Evaluated(Round(1), ACCURACY)).expect("the client listens");
    sender.send(WorkerReport::Finished(result)).expect("the client listens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(client.finish(&mut reports)).expect("all reports are there");
    assert!(matches!(jobs.try_recv(), Ok(Job::Finish { .. })));
    // The evaluation that was asked for earlier is still shown.
    assert_eq!(reported, [ClientEvent::Evaluated(Round(1), ACCURACY), ClientEvent::Finished(result)]);
}

/// CONS-12
#[test]
fn after_the_edition_s_last_day_nothing_is_answered() {
    let (mut world, mut config, _folder) = site("last-day");
    let settings = world.template_mut().clone();
    world.start_round();
    let to_hospital = world.run_until(|_, to, frame| to == HOSPITAL && frame.is_for_members());
    let (.., plan) = to_hospital.expect("a plan");
    for (until, is_ended) in [("2020-01-31", true), ("9999-12-31", false)] {
        let mut file = world.consortium.epoch.consortium().to_file();
        file.until = Some(Date::try_from(until.to_owned()).expect("a day"));
        config.epoch = sign(&file).epoch;
        let mut reported = Vec::new();
        let mut events = |event| reported.push(event);
        let (mut client, _jobs) = client(&config, &settings, &mut events);
        for _ in 0..2 {
            client.handle_bytes(&plan.encode()).expect("nothing is written");
        }
        drop(client);
        // The plan is of another epoch, so a party that acts at all rejects it.
        let warnings = reported.iter().filter(|event| matches!(event, ClientEvent::Warning(_))).count();
        assert_eq!((warnings, reported.len() > 1), (usize::from(is_ended), !is_ended), "{reported:?}");
        std::fs::remove_file(config.openings()).expect("it was written");
    }
}

/// CONS-11
#[test]
fn an_edition_counts_only_if_it_is_signed_and_later_and_lists_this_hospital() {
    let (mut world, config, _folder) = site("editions");
    let settings = world.template_mut().clone();
    let mut reported = Vec::new();
    let mut events = |event| reported.push(event);
    let (mut client, _jobs) = client(&config, &settings, &mut events);
    let next = next_epoch(&world.consortium, config.initial_model(), None);
    let mut sound = next.epoch.consortium().to_file();
    let entry = sound.parties.iter_mut().find(|party| party.id == HOSPITAL).expect("it is listed");
    entry.certificate.0 = config.identity.fingerprint().0;
    let (mut other, mut without) = (sound.clone(), sound.clone());
    other.name = "another consortium".to_owned();
    without.remove(HOSPITAL);
    let [sound, other, without] = [sound, other, without].map(|file| sign(&file).epoch);
    let mut show = |edition: &Epoch, signature: &[u8; 64]| {
        let begun = client.handle_edition(edition.text().as_bytes(), signature);
        begun.map(|epoch| epoch.map(|epoch| epoch.digest()))
    };
    let present = &world.consortium.epoch;
    assert!(matches!(show(present, present.signature()), Ok(None)), "it is in force");
    assert!(matches!(show(&sound, present.signature()), Ok(None)), "another file's signature");
    assert!(matches!(show(&other, other.signature()), Ok(None)), "another consortium's");
    let removed = show(&without, without.signature());
    assert!(matches!(removed, Err(ClientError::NotListed(_))), "the present edition has ended");
    let begun = show(&sound, sound.signature()).expect("nothing is wrong");
    assert_eq!(begun, Some(sound.digest()), "control");
    drop(client);
    assert_eq!(reported.len(), 2, "{reported:?}");
    let kept =
        std::fs::read_to_string(cloister_identity::edition_path(&config.folder)).expect("it is on disk");
    assert_eq!(kept, sound.text());
}
