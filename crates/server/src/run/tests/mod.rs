mod limits;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cloister_cluster::consortium::{TestConsortium, party, sign, with_parties};
use cloister_cluster::plan::{model, template};
use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_identity::enrolment::{Applicant, Enrolment, EnrolmentRole};
use cloister_identity::online::{
    EnrolmentAnswer, EnrolmentDesk, EnrolmentRefusal, EnrolmentRequest, InvitationToken,
};
use cloister_params::consortium::{ConsortiumFile, EpochStart, PublicBytes};
use cloister_params::id::Digest;
use cloister_transport::{
    FrameReceiver, FrameSender, Identity, LinkError, StopSignal, TransportSettings, Validity, connect,
    hand_in,
};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;

use super::*;
use crate::config::ServerLifetime;
use crate::runs::{NewRun, Run, RunState};

const FLOODER: PartyId = PartyId(1);
const OTHER: PartyId = PartyId(2);
/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(60);

/// A coordinator's configuration in a folder of its own, and its parties' identities.
struct Site {
    config: ServerConfig,
    identities: Vec<Identity>,
}

impl Site {
    fn new(name: &str) -> Self {
        let identity = |number: u32| {
            Identity::generate(&format!("party {number}"), Validity::unlimited()).expect("randomness")
        };
        let identities: Vec<Identity> = (0..=5).map(identity).collect();
        let enrolled = |number: u32| {
            let mut party = party(number, 1);
            party.certificate.0 = identities[number as usize].fingerprint().0;
            party
        };
        let folder = scratch(name);
        let TestConsortium { epoch, keys, governance } = with_parties((1..=5).map(enrolled).collect());
        let settings = template(2, 4, 1);
        let config = ServerConfig {
            epoch,
            signing_key: keys[&PartyId::COORDINATOR].clone(),
            identity: identities[0].clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            model: model(&settings),
            settings,
            num_rounds: 1,
            min_available_nodes: Some(5),
            rounds_between: None,
            lifetime: ServerLifetime::UntilFinished { start_within: LONG },
            stop: StopSignal::never(),
            reconnect_within: LONG,
            transport: TransportSettings::default(),
            desk: Arc::new(EnrolmentDesk::open(&folder, governance).expect("a new folder")),
            folder,
            keep_models: 3,
            keep_sums: None,
        };
        Self { config, identities }
    }

    async fn connect(&self, address: std::net::SocketAddr, party: PartyId) -> (FrameSender, FrameReceiver) {
        let coordinator = self.identities[0].fingerprint();
        let identity = &self.identities[party.0 as usize];
        let link = connect(address, identity, coordinator, party, &self.config.transport).await;
        link.expect("its certificate is in the roster").split()
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-server-run-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn request() -> Vec<u8> {
    Frame::Message(Message::ModelRequest { model: Digest([3; 32]), missing: vec![] }).encode()
}

/// Why the coordinator ended a party's link.
async fn reason(receiver: &mut FrameReceiver) -> String {
    match tokio::time::timeout(LONG, receiver.recv()).await.expect("it is cut") {
        Err(LinkError::ClosedByPeer { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The events of a coordinator.
type Reported = Arc<Mutex<Vec<ServerEvent>>>;

/// What a coordinator calls for each event.
fn noting(reported: &Reported) -> impl FnMut(ServerEvent) + Send + use<> {
    let reported = reported.clone();
    move |event| reported.lock().expect("no panic").push(event)
}

/// Follows a coordinator whose rounds need nobody. Closing a round is counting it.
struct Queue<'a> {
    server: Server<'a>,
    reported: Reported,
}

impl<'a> Queue<'a> {
    fn start(
        config: &'a ServerConfig,
        events: &'a mut (dyn FnMut(ServerEvent) + Send),
        reported: &Reported,
    ) -> Self {
        let (links, _reports) = Links::new(LinkLimits::new(config));
        let server = Server::start(config, links, events).expect("a folder");
        Self { server, reported: reported.clone() }
    }

    fn command(&mut self, command: ControlCommand) -> Result<ServerStatus, String> {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        assert!(self.server.answer(ControlRequest { command, reply }).is_none());
        answer.try_recv().expect("answered")
    }

    fn queue(&mut self, run: NewRun) -> Result<ServerStatus, String> {
        self.command(ControlCommand::QueueRun(run))
    }

    /// Closes rounds until none starts. The result is the run and the cohort floor of each of them.
    fn close_rounds(&mut self) -> Vec<(u32, u16)> {
        let mut rounds = Vec::new();
        while let NextTask::StartRound = self.server.next_task().expect("it goes on") {
            let run = self.server.runs.present().expect("each round has a run").number;
            rounds.push((run, self.server.settings.cohort_floor));
            self.server.closed_rounds += 1;
        }
        rounds
    }

    /// The run events since the last call.
    fn events(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut *self.reported.lock().expect("no panic"));
        let line = |event: ServerEvent| match event {
            ServerEvent::RunQueued(run) => Some(format!("queued {}", run.number)),
            ServerEvent::RunBegun(run) => Some(format!("begun {}", run.number)),
            ServerEvent::RunWaits { number, .. } => Some(format!("waits {number}")),
            ServerEvent::RunEnded(Run { number, state: RunState::Ended { closed, how, .. }, .. }) => {
                Some(format!("ended {number} after {closed}: {how:?}"))
            }
            _ => None,
        };
        events.into_iter().filter_map(line).collect()
    }
}

fn settings_text(floor: usize) -> String {
    template(2, floor, 1).to_toml().expect("TOML")
}

/// RUN-01, RUN-02
#[tokio::test]
async fn runs_go_one_after_another_each_with_its_settings() {
    let mut site = Site::new("queue");
    site.config.min_available_nodes = Some(0);
    let reported = Reported::default();
    let mut events = noting(&reported);
    let mut queue = Queue::start(&site.config, &mut events, &reported);
    let run = |rounds, settings: Option<String>| NewRun { rounds, settings, ..NewRun::default() };
    queue.queue(run(2, Some(settings_text(5)))).expect("it fits");
    let later = UtcTime::from_time(SystemTime::now() + LONG);
    let status = queue.queue(NewRun { not_before: Some(later), ..run(1, None) }).expect("it fits");
    assert_eq!((status.num_rounds, status.runs.len()), (4, 3));
    assert_eq!(queue.close_rounds(), [(1, 4), (2, 5), (2, 5)]);
    assert!(matches!(queue.server.next_task(), Ok(NextTask::Serve { until: Some(_) })));
    assert_eq!(
        queue.events(),
        [
            "queued 2",
            "queued 3",
            "begun 1",
            "ended 1 after 1: Finished",
            "begun 2",
            "ended 2 after 2: Finished",
            "waits 3"
        ]
    );
    queue.command(ControlCommand::CancelRun(3)).expect("it waits");
    assert!(matches!(queue.server.next_task(), Ok(NextTask::Finish)), "the queue is empty");
    for (text, says) in [
        ("floor = 3".to_owned(), "unknown field"),
        (settings_text(3), "do not fit the consortium in force"),
        (settings_text(4).replace("length = ", "length = 1"), "do not fit the model in force"),
    ] {
        let refused = queue.queue(run(1, Some(text))).expect_err(says);
        assert!(refused.contains(says), "{refused}");
    }
    // Settings may ask for a rehearsal, and then the run is one.
    let mut rehearsing = template(2, 5, 1);
    rehearsing.rehearsal = true;
    let rehearsing = rehearsing.to_toml().expect("TOML");
    let status = queue.queue(run(1, Some(rehearsing))).expect("it fits");
    assert!(status.runs.last().is_some_and(|run| run.rehearsal));
    for (number, says) in [(9, "there is no run 9"), (2, "has ended already")] {
        let refused = queue.command(ControlCommand::CancelRun(number)).expect_err(says);
        assert!(refused.contains(says), "{refused}");
    }
    drop(queue);
    std::fs::remove_dir_all(&site.config.folder).expect("it was written");
}

/// The next edition of a site's consortium, with more custodians and so a higher floor.
fn larger_edition(site: &Site) -> Arc<Epoch> {
    let start = EpochStart {
        epoch: PublicBytes(site.config.epoch.digest().0),
        model: PublicBytes(site.config.model.digest().0),
        replaced: false,
        back_to: None,
        ending: None,
    };
    let consortium = site.config.epoch.consortium();
    let file = ConsortiumFile {
        name: consortium.name().to_owned(),
        epoch: 2,
        start: Some(start),
        until: None,
        retired: Vec::new(),
        coordinator: consortium.coordinator().clone(),
        parties: (1..=9).map(|number| party(number, 1)).collect(),
    };
    sign(&file).epoch
}

/// RUN-03
#[tokio::test]
async fn a_run_whose_settings_no_longer_fit_ends_with_the_reason_and_the_next_one_starts() {
    let mut site = Site::new("unfit");
    site.config.min_available_nodes = Some(0);
    let reported = Reported::default();
    let mut events = noting(&reported);
    let mut queue = Queue::start(&site.config, &mut events, &reported);
    queue.command(ControlCommand::CancelRun(1)).expect("it waits");
    for floor in [4, 4, 6] {
        let settings = Some(settings_text(floor));
        queue.queue(NewRun { rounds: 2, settings, ..NewRun::default() }).expect("it fits");
    }
    assert!(matches!(queue.server.next_task(), Ok(NextTask::StartRound)), "the second run is in progress");
    // Settings for another model would end the program when the edition begins.
    let settings = Box::new(template(3, 6, 1));
    let begin = ControlCommand::BeginEdition { epoch: larger_edition(&site), settings };
    let refused = queue.command(begin).expect_err("the model has fewer blocks");
    assert!(refused.contains("the round settings do not fit the edition"), "{refused}");
    let (reply, _answer) = tokio::sync::oneshot::channel();
    let settings = Box::new(template(2, 6, 1));
    let command = ControlCommand::BeginEdition { epoch: larger_edition(&site), settings };
    let next = queue.server.answer(ControlRequest { command, reply }).expect("it continues from here");
    drop(queue);
    keep_next(&site.config.folder, &next.epoch, &next.settings).expect("writable");
    let config = ServerConfig { epoch: next.epoch, settings: *next.settings, ..site.config };
    let mut queue = Queue::start(&config, &mut events, &reported);
    queue.events();
    assert_eq!(queue.close_rounds(), [(4, 6), (4, 6)]);
    let events = queue.events();
    let unfit = |number: u32| {
        format!("ended {number} after 0: Unfit {{ why: \"the round settings do not fit the consortium")
    };
    for (event, starts) in events.iter().zip([unfit(2), "begun 3".into(), unfit(3), "begun 4".into()]) {
        assert!(event.starts_with(&starts), "{events:?}");
    }
    drop(queue);
    std::fs::remove_dir_all(&config.folder).expect("it was written");
}

/// CONS-13, WIRE-10
#[tokio::test]
async fn an_enrolment_leaves_the_rounds_as_they_are_and_a_strangers_leaves_no_trace() {
    let site = Site::new("enrolment");
    let (folder, desk) = (site.config.folder.clone(), site.config.desk.clone());
    let coordinator = site.identities[0].fingerprint();
    let hospital = Identity::generate("north", Validity::unlimited()).expect("randomness");
    let applicant = Applicant {
        name: "north".into(),
        organisation: "North".into(),
        roles: vec![EnrolmentRole::Member, EnrolmentRole::Custodian],
    };
    let enrolment =
        Enrolment::write(&applicant, &hospital, &SigningKey::from_seed(&[77; 32])).expect("sound");
    let (reported, listening) = (Reported::default(), Arc::<Mutex<_>>::default());
    let (shown, bound) = (reported.clone(), listening.clone());
    let mut events = move |event: ServerEvent| match event {
        ServerEvent::Listening(address) => *bound.lock().expect("no panic") = Some(address),
        event => shown.lock().expect("no panic").push(event),
    };
    let (_operator, control) = mpsc::channel(1);
    let mut running = Box::pin(run(site.config, control, &mut events));
    let ask = async |token: [u8; 16]| {
        while listening.lock().expect("no panic").is_none() {
            tokio::task::yield_now().await;
        }
        let address = listening.lock().expect("no panic").expect("bound");
        let request = EnrolmentRequest { token: InvitationToken::new(token), enrolment: enrolment.clone() };
        let request = request.encode().expect("it fits");
        let settings = TransportSettings::default();
        let answer = hand_in(address, &hospital, coordinator, &request, &settings);
        EnrolmentAnswer::decode(&answer.await.expect("an answer")).expect("this version's")
    };
    let journal = || std::fs::read(folder.join("journal")).expect("it is there");
    let asking = async {
        let refused = ask([1; 16]).await;
        assert_eq!(refused, EnrolmentAnswer::Refused(EnrolmentRefusal::Unknown));
        assert!(!folder.join("enrolments").exists() && !folder.join("invitations.toml").exists());
        let (before, now) = (journal(), SystemTime::now());
        let expires = now + LONG;
        desk.invite(&InvitationToken::new([1; 16]), applicant.roles.clone(), expires, now).expect("room");
        assert!(matches!(ask([1; 16]).await, EnrolmentAnswer::Kept(_)));
        assert_eq!(journal(), before);
    };
    tokio::select! {
        () = asking => {}
        ended = &mut running => panic!("{ended:?}"),
    }
    let reported = reported.lock().expect("no panic");
    let is_strangers =
        |event: &&ServerEvent| matches!(event, ServerEvent::EnrolmentRefused { is_strangers: true, .. });
    let is_kept =
        |event: &&ServerEvent| matches!(event, ServerEvent::EnrolmentKept(kept) if kept.name == "north");
    let counts = (reported.iter().filter(is_strangers).count(), reported.iter().filter(is_kept).count());
    assert_eq!(counts, (1, 1), "{reported:?}");
    std::fs::remove_dir_all(&folder).expect("it was written");
}

#[test]
fn the_members_to_wait_for_follow_the_edition() {
    let mut config = Site::new("wanted").config;
    config.min_available_nodes = None;
    assert_eq!(config.wanted_members(), 5, "with an end, all members");
    config.lifetime = ServerLifetime::UntilStopped;
    assert_eq!(config.wanted_members(), 4, "as a service, the smallest cohort");
    config.epoch = with_parties((1..=3).map(|number| party(number, 1)).collect()).epoch;
    assert_eq!(config.wanted_members(), 3);
    config.min_available_nodes = Some(5);
    assert_eq!(config.wanted_members(), 3, "an edition with fewer members than were asked for");
}
