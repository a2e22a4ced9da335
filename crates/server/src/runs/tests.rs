use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use cloister_cluster::plan::template;

use super::*;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-runs-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn time(seconds: u64) -> UtcTime {
    UtcTime::from_time(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn rounds(rounds: u64) -> NewRun {
    NewRun { rounds, ..NewRun::default() }
}

/// RUN-01
#[test]
fn the_queue_survives_a_restart_as_it_was() {
    let folder = scratch("restart");
    let open = || RunQueue::open(&folder, 2, true, time(0)).expect("a sound folder");
    let mut queue = open();
    let settings = template(2, 4, 1).to_toml().expect("TOML");
    let named = NewRun {
        name: Some("night".into()),
        settings: Some(settings),
        not_before: Some(time(90)),
        ..rounds(3)
    };
    assert_eq!(queue.add(named).expect("room").number, 2);
    queue.end(1, RunEnd::Finished, 2, time(10)).expect("writable");
    assert_eq!(open().runs(), queue.runs());
    assert_eq!(open().due(time(89)), Due::At(2, time(90)));
    let mut queue = open();
    assert_eq!(queue.due(time(90)), Due::Now(2));
    queue.begin(2, 2, time(90)).expect("writable");
    queue.cancel_present().expect("writable");
    let queue = open();
    let run = queue.present().expect("in progress").clone();
    let begun = RunState::InProgress { begun: time(90), closed_before: 2, cancelled: true };
    assert_eq!((&run.state, run.closed(4), queue.remaining(4)), (&begun, 2, 1));
    assert!(queue.settings(&run).expect("its file").is_some());
    for name in ["runs.json", "run-0002.settings.toml"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    fs::remove_dir_all(folder).expect("there");
}

#[test]
fn a_run_whose_time_has_come_is_not_kept_waiting_by_one_whose_time_has_not() {
    let folder = scratch("order");
    let mut queue = RunQueue::open(&folder, 1, false, time(0)).expect("a new folder");
    for not_before in [Some(time(500)), Some(time(400)), None, None] {
        queue.add(NewRun { not_before, ..rounds(1) }).expect("room");
    }
    let mut order = Vec::new();
    for now in [0, 1, 2, 450, 500] {
        let Due::Now(number) = queue.due(time(now)) else { panic!("{:?}", queue.due(time(now))) };
        queue.begin(number, 0, time(now)).expect("writable");
        queue.end(number, RunEnd::Finished, 1, time(now)).expect("writable");
        order.push(number);
        if now == 2 {
            assert_eq!(queue.due(time(3)), Due::At(3, time(400)), "the soonest");
        }
    }
    assert_eq!((order, queue.due(time(999))), (vec![1, 4, 5, 3, 2], Due::Never));
    fs::remove_dir_all(folder).expect("there");
}

/// RUN-04
#[test]
fn the_configuration_has_its_own_run_which_more_rounds_make_longer_or_follow() {
    let folder = scratch("configured");
    let open = |configured| RunQueue::open(&folder, configured, false, time(0)).expect("a sound folder");
    let lengths = |queue: &RunQueue| queue.runs().iter().map(|run| run.rounds).collect::<Vec<_>>();
    let mut queue = open(10);
    queue.add(rounds(5)).expect("room");
    assert_eq!(lengths(&open(10)), [10, 5], "the same configuration");
    assert_eq!(lengths(&open(12)), [12, 5], "longer");
    assert_eq!(lengths(&open(4)), [4, 5], "shorter");
    let mut queue = open(10);
    queue.begin(1, 0, time(1)).expect("writable");
    assert_eq!(lengths(&open(11)), [11, 5], "longer in progress");
    queue = open(10);
    queue.end(1, RunEnd::Cancelled, 3, time(2)).expect("writable");
    assert_eq!(lengths(&open(10)), [10, 5], "a cancelled run does not come back");
    assert_eq!(lengths(&open(8)), [10, 5], "nor does a smaller number change it");
    assert_eq!(lengths(&open(14)), [10, 5, 4], "the difference");
    assert_eq!(lengths(&open(14)), [10, 5, 4], "once");
    fs::remove_dir_all(&folder).expect("there");
    // The list is lost, and 7 rounds are in the journal.
    let queue = RunQueue::open(&folder, 10, true, time(3)).expect("a new list");
    assert_eq!(queue.remaining(7), 3);
    fs::remove_dir_all(folder).expect("there");
}

/// RUN-01, FILE-01
#[test]
fn a_list_of_a_later_version_or_a_damaged_one_is_left_as_it_is() {
    let folder = scratch("versions");
    drop(RunQueue::open(&folder, 1, false, time(0)).expect("a new folder"));
    let path = folder.join("runs.json");
    let sound = fs::read_to_string(&path).expect("written");
    for (text, says) in [
        (sound.replace("runs/v1", "runs/v2").replace("\"next\"", "\"more\""), "install that version"),
        (sound.replace("\"next\"", "\"nest\""), "is not a list of runs"),
        (sound[..sound.len() / 2].to_owned(), "is not a list of runs"),
        (sound.replace("\"next\": 2", "\"next\": 4294967295"), "is too large"),
        (sound.replace("\"next\": 2", "\"next\": 1"), "not above those of all runs"),
    ] {
        fs::write(&path, &text).expect("writable");
        let refused = RunQueue::open(&folder, 1, false, time(0)).expect_err("unreadable").to_string();
        assert!(refused.contains(says) && refused.contains("runs.json"), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), text);
    }
    fs::remove_dir_all(folder).expect("there");
}

#[test]
fn waiting_runs_are_few_their_names_short_and_those_that_ended_are_forgotten_at_last() {
    let folder = scratch("bounds");
    let mut queue = RunQueue::open(&folder, 1, false, time(0)).expect("a new folder");
    let early_stop = Some(EarlyStop { patience: 2, least_gain_milli: 5 });
    for (run, says) in [
        (rounds(0), "at least one round"),
        (NewRun { name: Some("x".repeat(61)), ..rounds(1) }, "1 to 60 characters"),
        (NewRun { name: Some("a\u{1b}[2J".into()), ..rounds(1) }, "no control characters"),
        (NewRun { rehearsal: true, early_stop, ..rounds(1) }, "a rehearsal has none"),
    ] {
        let refused = queue.add(run).expect_err(says);
        assert!(refused.contains(says), "{refused}");
    }
    for _ in 0..31 {
        queue.add(rounds(1)).expect("room");
    }
    let refused = queue.add(rounds(1)).expect_err("33 in all");
    assert!(refused.contains("32 runs wait already"), "{refused}");
    for number in 1..=140 {
        queue.begin(number, 0, time(0)).expect("writable");
        queue.end(number, RunEnd::Finished, 1, time(0)).expect("writable");
        queue.add(rounds(1)).expect("room again");
    }
    let numbers: Vec<u32> = queue.runs().iter().map(|run| run.number).collect();
    assert_eq!(numbers, (41..=172).collect::<Vec<_>>(), "the last 100 that ended, and 32 that wait");
    fs::remove_dir_all(folder).expect("there");
}

#[test]
fn settings_that_were_changed_on_disk_are_not_used() {
    let folder = scratch("settings");
    let mut queue = RunQueue::open(&folder, 1, false, time(0)).expect("a new folder");
    let text = template(2, 4, 1).to_toml().expect("TOML");
    let run = queue.add(NewRun { settings: Some(text.clone()), ..rounds(1) }).expect("room");
    let path = folder.join("run-0002.settings.toml");
    assert_eq!(queue.settings(&run), Ok(Some(template(2, 4, 1))));
    fs::write(&path, text + "\n").expect("writable");
    let refused = queue.settings(&run).expect_err("changed");
    assert!(refused.contains("was changed after the run was queued"), "{refused}");
    fs::remove_file(&path).expect("there");
    let refused = queue.settings(&run).expect_err("gone");
    assert!(refused.contains("cannot read"), "{refused}");
    fs::remove_dir_all(folder).expect("there");
}
