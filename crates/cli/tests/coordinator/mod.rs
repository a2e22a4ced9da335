//! A coordinator as a process, and what its operator asks.

#![allow(clippy::unwrap_used, dead_code)]

use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::site::Site;

/// Whether something becomes true within a minute.
pub(crate) fn comes_true(is_true: impl Fn() -> bool) -> bool {
    (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        is_true()
    })
}

/// A coordinator that waits for its members, which never come.
pub(crate) struct Coordinator {
    pub(crate) site: Site,
    process: Child,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Coordinator {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// Starts one with further flags.
    pub(crate) fn start_with(name: &str, flags: &[&str]) -> Self {
        let site = Site::new(name);
        site.write_consortium();
        let process = spawn(&site, flags);
        Self { site, process }
    }

    /// Kills the program, and starts it again in the same folder.
    pub(crate) fn restart(&mut self, flags: &[&str]) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.site, flags);
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command.arg("run").args(arguments).args(["--data", &self.site.path("data")]);
        command
    }

    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(arguments).output().unwrap();
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// What a command prints that is to fail with this status.
    pub(crate) fn refuses(&self, arguments: &[&str], code: i32) -> String {
        let Output { status, stderr, .. } = self.run(arguments).output().unwrap();
        let errors = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {errors}");
        errors
    }

    /// The answer of a command in JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Starts to watch. The result is the program and what it prints.
    pub(crate) fn watch(&self, flags: &[&str]) -> (Child, ChildStdout) {
        let mut command = self.run(&[&["watch"], flags].concat());
        let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = watch.stdout.take().unwrap();
        (watch, output)
    }
}

fn spawn(site: &Site, flags: &[&str]) -> Child {
    let mut command = site.server("127.0.0.1:0", 600);
    let process = command.arg("--events").args(flags).stdout(Stdio::null()).spawn().unwrap();
    let socket = site.path("data/control.sock");
    assert!(comes_true(|| UnixStream::connect(&socket).is_ok()), "the coordinator can be asked");
    process
}
