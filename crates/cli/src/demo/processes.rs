//! Starts, reads and kills the demo's processes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::DemoArguments;
use super::consortium::DemoConsortium;
use crate::failure::{Failure, FailureKind};

/// Bytes per second that a hospital uploads if it is to be killed: slow enough to be caught in the middle of
/// its upload.
const VICTIMS_UPLINK: u32 = 200_000;
/// Seconds of silence after which the coordinator treats a link as lost: short, so that a killed hospital
/// does not hold up the demo.
const IDLE_TIMEOUT: &str = "4";

/// An event that a process reported, or its end.
#[derive(Debug)]
pub(super) enum ProcessEvent {
    /// An event of the coordinator.
    Coordinator(Value),
    /// An event of a hospital.
    Hospital(u32, Value),
    /// A process ended, with its exit code and what it wrote to stderr.
    Ended(Option<u32>, Option<i32>, String),
}

/// All processes. The running ones are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Processes {
    events: mpsc::UnboundedReceiver<ProcessEvent>,
    /// None when no further process will be started. Each process has a clone, so the events end with the
    /// last process.
    sender: Option<mpsc::UnboundedSender<ProcessEvent>>,
    kill: watch::Sender<BTreeSet<u32>>,
    address: String,
}

/// The coordinator's number among the processes.
const COORDINATOR: u32 = 0;

impl Processes {
    /// Starts the coordinator, and the hospitals once it listens.
    pub(super) async fn start(arguments: &DemoArguments, demo: &DemoConsortium) -> Result<Self, Failure> {
        let (sender, events) = mpsc::unbounded_channel();
        let (kill, _) = watch::channel(BTreeSet::new());
        let mut processes = Self { events, sender: Some(sender), kill, address: String::new() };
        let listen = format!("127.0.0.1:{}", arguments.port);
        processes.spawn(None, coordinator_command(arguments, demo, &listen)?)?;
        // With port 0 the system chooses one, which only the coordinator's first event tells.
        processes.address = processes.wait_for_address().await?;
        for party in 1..=arguments.members {
            let command = hospital_command(arguments, demo, party, &processes.address)?;
            processes.spawn(Some(party), command)?;
        }
        // The sender is kept only if the coordinator will be started again; otherwise the stream of events
        // could not end.
        if arguments.kill_coordinator.is_none() {
            processes.sender = None;
        }
        Ok(processes)
    }

    /// Starts the coordinator again, at the same address with the same files; once.
    pub(super) fn restart_coordinator(
        &mut self,
        arguments: &DemoArguments,
        demo: &DemoConsortium,
    ) -> Result<(), Failure> {
        self.kill.send_modify(|called| {
            // Or the new process would be killed at once.
            called.remove(&COORDINATOR);
        });
        self.spawn(None, coordinator_command(arguments, demo, &self.address)?)?;
        self.sender = None;
        Ok(())
    }

    /// Kills the coordinator with SIGKILL.
    pub(super) fn kill_coordinator(&mut self) {
        self.kill(COORDINATOR);
    }

    /// The next event. None when every process has ended.
    pub(super) async fn next(&mut self) -> Option<ProcessEvent> {
        self.events.recv().await
    }

    /// Kills a hospital with SIGKILL, as a power cut would.
    pub(super) fn kill(&mut self, party: u32) {
        self.kill.send_modify(|called| {
            called.insert(party);
        });
    }

    async fn wait_for_address(&mut self) -> Result<String, Failure> {
        match self.events.recv().await {
            Some(ProcessEvent::Coordinator(event)) if event["event"] == "listening" => {
                Ok(event["address"].as_str().unwrap_or_default().to_owned())
            }
            Some(ProcessEvent::Ended(_, _, words)) => {
                Err(Failure::new(FailureKind::Unavailable, words.trim()))
            }
            other => Err(Failure::error(format!("the coordinator did not start: {other:?}"))),
        }
    }

    fn spawn(&mut self, party: Option<u32>, mut command: Command) -> Result<(), Failure> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A demo that fails leaves no process behind.
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::error(format!("cannot start a process: {error}")))?;
        let Some(sender) = self.sender.clone() else {
            return Ok(());
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let kill = self.kill.subscribe();
        tokio::spawn(async move {
            // Read at the same time as stdout: a process that fills one pipe while the other is read would
            // wait for ever.
            let words = tokio::spawn(async move {
                let mut words = String::new();
                if let Some(mut stderr) = stderr {
                    let _ = tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut words).await;
                }
                words
            });
            let reading = async {
                let Some(stdout) = stdout else { return };
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    // A line that is not JSON matches no event, and is ignored.
                    let event = serde_json::from_str(&line).unwrap_or(Value::Null);
                    let event = match party {
                        None => ProcessEvent::Coordinator(event),
                        Some(party) => ProcessEvent::Hospital(party, event),
                    };
                    let _ = sender.send(event);
                }
            };
            // The end is reported after the last line was read, so no event of a process follows its end.
            let ((), status) = tokio::join!(reading, wait_or_kill(&mut child, party, kill));
            let code = status.ok().and_then(|status| status.code());
            let _ = sender.send(ProcessEvent::Ended(party, code, words.await.unwrap_or_default()));
        });
        Ok(())
    }
}

/// Waits for a process, and kills it when `kill` contains its number.
async fn wait_or_kill(
    child: &mut Child,
    party: Option<u32>,
    mut kill: watch::Receiver<BTreeSet<u32>>,
) -> std::io::Result<std::process::ExitStatus> {
    let number = party.unwrap_or(COORDINATOR);
    let called = async { kill.wait_for(|called| called.contains(&number)).await.is_ok() };
    tokio::select! {
        status = child.wait() => return status,
        // A sender that is gone yields false, and the process is waited for.
        true = called => {}
        else => {}
    }
    // SIGKILL: the process must not get a chance to finish a write or to close its link.
    child.start_kill()?;
    child.wait().await
}

fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::error(format!("cannot find this program: {error}")))
}

fn coordinator_command(
    arguments: &DemoArguments,
    demo: &DemoConsortium,
    listen: &str,
) -> Result<Command, Failure> {
    let mut command = Command::new(program()?);
    command
        .arg("server")
        .arg("--consortium")
        .arg(demo.consortium())
        .arg("--identity")
        .arg(demo.coordinator())
        .arg("--settings")
        .arg(demo.settings_file())
        .arg("--model")
        .arg(demo.model())
        .arg("--data")
        .arg(demo.coordinator().join("data"))
        .args(["--listen", listen])
        .args(["--num-rounds", &arguments.rounds.to_string()])
        .args([
            "--idle-timeout-s",
            IDLE_TIMEOUT,
            "--reconnect-within-s",
            "1",
            "--until-finished",
            "--events",
        ]);
    Ok(command)
}

fn hospital_command(
    arguments: &DemoArguments,
    demo: &DemoConsortium,
    party: u32,
    address: &str,
) -> Result<Command, Failure> {
    let folder = demo.hospital(party);
    let mut command = Command::new(program()?);
    command
        .arg("client")
        .arg("--consortium")
        .arg(demo.consortium())
        .arg("--identity")
        .arg(&folder)
        .arg("--task")
        .arg(demo.task())
        .arg("--model")
        .arg(demo.model())
        .arg("--base-model")
        .arg(arguments.base())
        .arg("--notes")
        .arg(folder.join("notes.jsonl"))
        .arg("--held-out")
        .arg(demo.held_out())
        .arg("--data")
        .arg(folder.join("data"))
        .args(["--coordinator", address])
        // Each hospital evaluates a part of the held-out notes; the parts together are all of them, at a
        // fraction of the time.
        .args(["--evaluate", &format!("{}/{}", party - 1, arguments.members)])
        .args(["--idle-timeout-s", "30", "--compare-local", "--until-finished", "--events"]);
    for trainer in arguments.trainer.iter().filter(|trainer| trainer.party == party) {
        command.args(["--trainer-cmd", &trainer.command]);
        // Python finds its packages by the first variable, and their libraries by the second.
        command.args(["--trainer-env", "PYTHONPATH", "--trainer-env", "LD_LIBRARY_PATH"]);
    }
    if arguments.kill.iter().any(|kill| kill.party == party) {
        command.args(["--uplink-bytes-per-second", &VICTIMS_UPLINK.to_string()]);
    }
    Ok(command)
}
