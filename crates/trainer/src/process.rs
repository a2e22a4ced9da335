//! Runs a program: reads its output while it runs, and kills it and everything that it started when its time is up.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use thiserror::Error;

/// Bytes of the end of the program's stderr that an error shows.
const LAST_WORDS: usize = 2_000;
/// How often to look whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long to wait for the rest of its output after it has ended. A process that it started and that left its group may
/// hold the streams open.
const WORDS_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of the longest line of stdout that is read as a report. Longer lines are passed over.
const LONGEST_REPORT: u64 = 4096;
/// Reports of progress that may wait to be shown. A program that prints faster waits for its pipe, and takes no memory.
const WAITING_LINES: usize = 64;
/// Environment variables that every program gets, if this process has them.
const PASSED_ON: &[&str] = &["PATH", "LANG", "LC_ALL", "TZ"];

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

/// A function that gets the progress of a training: how many steps are done, and how many there are.
pub type Steps<'a> = &'a mut dyn FnMut(usize, usize);

/// A training program that did not do its job.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It cannot be started.
    #[error("the training program {command} cannot be started: {source}; check the command and PATH")]
    Start {
        /// The command as it was given.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// It ended with a failure, or crashed.
    #[error("the training program {command} ended with {status}; the end of its stderr: {words}")]
    Failed {
        /// The command as it was given.
        command: String,
        /// Its exit code, or the signal.
        status: ExitStatus,
        /// The end of its stderr.
        words: String,
    },
    /// It took too long.
    #[error(
        "the training program {command} was stopped after {seconds} seconds; allow it more time if it was still \
         working; the end of its stderr: {words}"
    )]
    TooLong {
        /// The command as it was given.
        command: String,
        /// The limit.
        seconds: u64,
        /// The end of its stderr.
        words: String,
    },
    /// The system does not say whether it has ended.
    #[error(
        "whether the training program {command} has ended cannot be found out: {source}, so it was killed; do not start this \
         program with SIGCHLD ignored"
    )]
    Wait {
        /// The command as it was given.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// This program cannot make or fill the job's folder.
    #[error(
        "the folder of the training program's job, {path}: {source}; check free space and permissions there"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A line of the program's stdout that reports progress. Other lines are passed over.
#[derive(Deserialize)]
struct ReportedStep {
    /// Steps done. A program may report more than `steps`.
    step: usize,
    steps: usize,
}

/// What the threads that read the program's streams found.
enum ProgramOutput {
    Progress(ReportedStep),
    /// All of stderr has been read. This is its end.
    Stderr(String),
}

/// Runs the program on a job's folder with `threads` CPU threads, and waits for its end.
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
    let output = read_streams(&mut group.0);
    let mut words = String::new();
    let status = loop {
        // The clock is looked at between two lines, or a program that never stops printing would never be stopped.
        while started.elapsed() < program.timeout
            && let Ok(output) = output.recv_timeout(LOOK_EVERY)
        {
            take(output, &mut words, steps);
        }
        match group.0.try_wait() {
            // Needed although receiving waits too: when both streams are closed, it returns at once.
            Ok(None) if started.elapsed() < program.timeout => std::thread::sleep(LOOK_EVERY),
            ended => break ended,
        }
    };
    // After success too: what the program started must not outlive the job and its folder.
    group.kill();
    // A process that left the group may hold the streams and go on printing.
    let end = Instant::now() + WORDS_WITHIN;
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
        && let Ok(output) = output.recv_timeout(left)
    {
        take(output, &mut words, steps);
    }
    let words = if words.trim().is_empty() { "none".to_owned() } else { words.trim().to_owned() };
    outcome(status, command, program.timeout, words)
}

/// Whether a program did its job (`TRAIN-02`). It has no status if its time was up before it ended.
fn outcome(
    status: io::Result<Option<ExitStatus>>,
    command: String,
    timeout: Duration,
    words: String,
) -> Result<(), ProgramError> {
    match status {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(ProgramError::Failed { command, status, words }),
        Ok(None) => Err(ProgramError::TooLong { command, seconds: timeout.as_secs(), words }),
        Err(source) => Err(ProgramError::Wait { command, source }),
    }
}

fn take(output: ProgramOutput, words: &mut String, steps: Steps<'_>) {
    match output {
        // Cut, so that nobody sees 110 %.
        ProgramOutput::Progress(progress) => steps(progress.step.min(progress.steps), progress.steps),
        ProgramOutput::Stderr(last) => *words = last,
    }
}

/// The program gets no variable of this process's environment except those that are named. The environment holds paths of
/// keys, and may hold secrets (`TRAIN-01`).
fn command_of(program: &TrainerProgram, folder: &Path, threads: usize) -> Command {
    let mut command = Command::new(program.command.first().map_or("", String::as_str));
    command.args(program.command.iter().skip(1)).arg(folder).env_clear();
    // Caches and temporary files may hold notes. In the job's folder they are removed with it.
    command.env("HOME", folder).env("TMPDIR", folder).env("OMP_NUM_THREADS", threads.to_string());
    let named = PASSED_ON.iter().copied().chain(program.environment.iter().map(String::as_str));
    command.envs(named.filter_map(|name| Some((name, std::env::var_os(name)?))));
    // It leads a process group of its own, so that it can be killed together with what it started. Its stdin is a pipe that
    // the system closes when this process ends, also when it is killed, so the program can notice (`TRAIN-06`).
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Reads each stream on a thread of its own, because a program that fills one pipe would wait for ever.
fn read_streams(child: &mut Child) -> Receiver<ProgramOutput> {
    let (sender, receiver) = mpsc::sync_channel(WAITING_LINES);
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read_progress(stdout, &sender));
    }
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            let _ = sender.send(ProgramOutput::Stderr(last_words(stderr)));
        });
    }
    receiver
}

fn read_progress(stdout: impl Read, sender: &SyncSender<ProgramOutput>) {
    let mut reader = BufReader::new(stdout);
    let (mut line, mut is_rest) = (Vec::new(), false);
    // At most so many bytes at a time, so that a line without an end takes no memory.
    while let Ok(1..) = reader.by_ref().take(LONGEST_REPORT).read_until(b'\n', &mut line) {
        let is_cut = line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_REPORT;
        // The end of a line whose beginning was passed over is no report, whatever it says.
        if !is_rest
            && !is_cut
            && let Ok(progress) = serde_json::from_slice(&line)
        {
            let _ = sender.send(ProgramOutput::Progress(progress));
        }
        is_rest = is_cut;
        line.clear();
    }
}

/// Reads a stream to its end, and returns the last part of it.
fn last_words(mut stderr: impl Read) -> String {
    let (mut words, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        words.extend_from_slice(&buffer[..length]);
        // Cut while it is read, so that a program that writes for ever takes no memory.
        words.drain(..words.len().saturating_sub(LAST_WORDS));
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// A process with everything that it started. All of it is killed when this is dropped.
struct Group(Child);

impl Group {
    fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // This fails only if no process of the group is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
        // Waited for, or the process would stay in the system's table as a zombie.
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

    /// A stream of this many bytes without an end of line, and then a text.
    fn endless_line(bytes: u64, then: &str) -> impl Read + '_ {
        io::repeat(b' ').take(bytes).chain(then.as_bytes())
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory_and_is_no_report() {
        let report = "{\"step\": 1, \"steps\": 2}";
        let reports = |stream: &mut dyn Read| {
            let (sender, receiver) = mpsc::sync_channel(WAITING_LINES);
            read_progress(stream, &sender);
            drop(sender);
            receiver.iter().count()
        };
        let hidden = format!("{report}\n{report}\n{report}");
        for bytes in [LONGEST_REPORT, LONGEST_REPORT + 1, 64 << 20] {
            assert_eq!(reports(&mut endless_line(bytes, &hidden)), 2, "after {bytes} bytes");
        }
        assert_eq!(
            reports(&mut endless_line(LONGEST_REPORT / 2, &hidden)),
            3,
            "control: a line that is short enough"
        );
    }

    /// TRAIN-02
    #[test]
    fn what_the_system_does_not_say_is_not_called_too_long() {
        let said = |status| outcome(status, "train".to_owned(), Duration::from_secs(1), "none".to_owned());
        let failed = said(Err(io::Error::from_raw_os_error(10))).expect_err("no child process");
        assert!(
            matches!(failed, ProgramError::Wait { .. }) && failed.to_string().contains("SIGCHLD"),
            "{failed}"
        );
        assert!(matches!(said(Ok(None)), Err(ProgramError::TooLong { seconds: 1, .. })), "control");
    }

    /// TRAIN-02
    #[test]
    fn a_program_that_never_stops_printing_is_stopped() {
        let line = "while :; do echo '{\"step\": 1, \"steps\": 2}'; done";
        let program = TrainerProgram {
            command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(1),
            environment: vec![],
            folder: std::env::temp_dir(),
        };
        let started = Instant::now();
        let stopped = run(&program, &program.folder, 1, &mut |_, _| ());
        assert!(matches!(stopped, Err(ProgramError::TooLong { seconds: 1, .. })), "{stopped:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "it had a second, and its last words two more");
    }
}
