//! A program that runs in the background, and the file of its log.

use std::cell::RefCell;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks again and again, until the answer is there.
pub(crate) fn wait_until<T>(what: impl Fn() -> String, ask: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{}", what());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A running service.
pub(crate) struct Service {
    process: RefCell<Child>,
    log: PathBuf,
    /// How long the log was when this process began.
    begins_at: usize,
}

impl Service {
    /// Starts a service whose log is appended to a file.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let begins_at = file.metadata().unwrap().len() as usize;
        command.args(["--log-format", "json"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { process: command.spawn().unwrap().into(), log, begins_at }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()[self.begins_at..].to_owned()
    }

    /// The events in its log so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        // The last line may be half written.
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for an event, the first of its kind that also satisfies a condition.
    pub(crate) fn wait_for(&self, event: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let described = || format!("{event} does not come: {}", self.log());
        wait_until(described, || {
            self.events().into_iter().find(|found| found["event"] == event && is_it(found))
        })
    }

    /// Tells it to stop, as systemd does, and waits until it has ended in good order.
    pub(crate) fn stop(mut self) {
        let id = self.process.get_mut().id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        self.has_ended();
    }

    /// Waits until it has ended in good order.
    pub(crate) fn has_ended(&mut self) {
        assert_eq!(self.process.get_mut().wait().unwrap().code(), Some(0), "{}", self.log());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.get_mut().kill();
        let _ = self.process.get_mut().wait();
    }
}
