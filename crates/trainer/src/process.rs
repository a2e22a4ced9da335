//! Runs a program: what it says is read while it runs, and it is killed, with what it started, when its time is up.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use thiserror::Error;

/// Bytes of its last words that are kept.
const LAST_WORDS: usize = 2_000;
/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long after its end what it said is waited for.
const WORDS_WITHIN: Duration = Duration::from_secs(2);
/// Variables that every program gets, where this one has them.
const KEPT: &[&str] = &["PATH", "LANG", "LC_ALL", "TZ"];

/// A training program of the hospital's own, as `protocols/trainer.md` specifies it.
#[derive(Clone, Debug)]
pub struct TrainerProgram {
    /// The program and its first arguments; the path of the job's folder is appended.
    pub command: Vec<String>,
    /// How long one job may take.
    pub timeout: Duration,
    /// Names of variables of this process's environment that the program gets, beyond the few that every program needs.
    pub environment: Vec<String>,
    /// The folder of a job. It is made for each job and removed after it.
    pub folder: PathBuf,
}

/// A function that is told of a training's steps: how many are done, and how many there are.
pub type Steps<'a> = &'a mut dyn FnMut(usize, usize);

/// A training program that did not do its job.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It cannot be started.
    #[error("the training program {command} cannot be started: {source}; check --trainer-cmd and PATH")]
    Start {
        /// As it was given.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// It said itself that it failed, or crashed.
    #[error("the training program {command} ended with {status}; its last words: {words}")]
    Failed {
        /// As it was given.
        command: String,
        /// Its exit code, or the signal.
        status: ExitStatus,
        /// The end of its stderr.
        words: String,
    },
    /// It took too long.
    #[error(
        "the training program {command} was stopped after {seconds} seconds; raise --trainer-timeout-s if it was at \
         work; its last words: {words}"
    )]
    TooLong {
        /// As it was given.
        command: String,
        /// The limit.
        seconds: u64,
        /// The end of its stderr.
        words: String,
    },
    /// This program cannot make or fill the job's folder.
    #[error(
        "the folder of the training program's job, {path}: {source}; check the space and the permissions there"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A line of a program's stdout that says how far it is.
#[derive(Deserialize)]
struct Progress {
    step: usize,
    steps: usize,
}

enum Said {
    Progress(Progress),
    /// All of stderr has been read; its end.
    Words(String),
}

/// Runs the program on a job's folder, with so many threads.
pub(crate) fn run(
    program: &TrainerProgram,
    folder: &Path,
    threads: usize,
    steps: Steps<'_>,
) -> Result<(), ProgramError> {
    let command = program.command.join(" ");
    let started = Instant::now();
    let mut group = Group(
        command_of(program, folder, threads)
            .spawn()
            .map_err(|source| ProgramError::Start { command: command.clone(), source })?,
    );
    let said = listen(&mut group.0);
    let mut words = String::new();
    let status = loop {
        while let Ok(said) = said.recv_timeout(LOOK_EVERY) {
            hear(said, &mut words, steps);
        }
        match group.0.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if started.elapsed() < program.timeout => std::thread::sleep(LOOK_EVERY),
            _ => break None,
        }
    };
    group.kill();
    while let Ok(said) = said.recv_timeout(WORDS_WITHIN) {
        hear(said, &mut words, steps);
    }
    let words = if words.trim().is_empty() { "none".to_owned() } else { words.trim().to_owned() };
    // TRAIN-02
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(ProgramError::Failed { command, status, words }),
        None => Err(ProgramError::TooLong { command, seconds: program.timeout.as_secs(), words }),
    }
}

fn hear(said: Said, words: &mut String, steps: Steps<'_>) {
    match said {
        Said::Progress(progress) => steps(progress.step.min(progress.steps), progress.steps),
        Said::Words(last) => *words = last,
    }
}

/// Nothing of this program's environment reaches it but what is named: it holds paths of keys, and may hold secrets
/// (`TRAIN-01`).
fn command_of(program: &TrainerProgram, folder: &Path, threads: usize) -> Command {
    let mut command = Command::new(program.command.first().map_or("", String::as_str));
    command.args(program.command.iter().skip(1)).arg(folder).env_clear();
    command.env("HOME", folder).env("TMPDIR", folder).env("OMP_NUM_THREADS", threads.to_string());
    let named = KEPT.iter().copied().chain(program.environment.iter().map(String::as_str));
    command.envs(named.filter_map(|name| Some((name, std::env::var_os(name)?))));
    // A process group of its own, so that it is killed with what it started. Its stdin ends when this program does, however
    // it ends (`TRAIN-06`).
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Reads both streams on threads of their own, so that a program that says much is not held up.
fn listen(child: &mut Child) -> Receiver<Said> {
    let (sender, said) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read_progress(stdout, &sender));
    }
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            let _ = sender.send(Said::Words(last_words(stderr)));
        });
    }
    said
}

fn read_progress(stdout: impl Read, sender: &Sender<Said>) {
    for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
        if let Ok(progress) = serde_json::from_slice(&line) {
            let _ = sender.send(Said::Progress(progress));
        }
    }
}

/// The end of a stream, once it has ended.
fn last_words(mut stderr: impl Read) -> String {
    let (mut words, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        words.extend_from_slice(&buffer[..length]);
        words.drain(..words.len().saturating_sub(LAST_WORDS));
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// A process with everything that it started; killed when this is dropped.
struct Group(Child);

impl Group {
    fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // Nothing is left of the group when this fails.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TRAIN-06: what the system does to the pipe when the client is killed.
    #[test]
    fn a_program_ends_when_its_client_is_gone() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/until_client_ends.py");
        let program = TrainerProgram {
            command: vec!["python3".to_owned(), script.display().to_string()],
            timeout: Duration::from_secs(60),
            environment: vec![],
            folder: std::env::temp_dir(),
        };
        let mut child = command_of(&program, &program.folder, 1).spawn().expect("Python is there");
        let stdin = child.stdin.take().expect("it has a pipe");
        let mut ready = [0; 6];
        child.stdout.take().expect("it has a pipe").read_exact(&mut ready).expect("it says that it waits");
        assert_eq!((&ready, child.try_wait().expect("it is our child")), (b"ready\n", None));
        drop(stdin);
        assert_eq!(child.wait().expect("it is our child").code(), Some(1));
    }
}
