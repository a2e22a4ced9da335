//! The hosts of a test: network namespaces around a router, or this machine's loopback addresses where a test may not
//! make namespaces.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

const SETUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hosts/namespaces.sh");

/// Hosts that reach one another. The first one is the coordinator's.
pub(crate) struct Network {
    kind: Kind,
}

enum Kind {
    Namespaces {
        router: Child,
        // Everything ends when this is closed.
        _open: ChildStdin,
    },
    /// All hosts are this machine. The hosts without UDP reach the coordinator by a TCP relay.
    Loopback { without_udp: Vec<String> },
}

impl Network {
    /// Makes the hosts. `CLOISTER_TEST_NETWORK=loopback` does without namespaces.
    pub(crate) fn new(hosts: &[&str]) -> Self {
        let wants_loopback =
            std::env::var_os("CLOISTER_TEST_NETWORK").is_some_and(|value| value == "loopback");
        let kind = match if wants_loopback { Err("as asked for".to_owned()) } else { namespaces(hosts) } {
            Ok(kind) => kind,
            Err(why) => {
                println!("the hosts are loopback addresses and not network namespaces: {why}");
                Kind::Loopback { without_udp: Vec::new() }
            }
        };
        Self { kind }
    }

    /// A command that runs at a host, in a folder.
    pub(crate) fn command(&self, host: &str, folder: &Path, program: &str) -> Command {
        match &self.kind {
            Kind::Namespaces { router, .. } => {
                let mut command = in_namespaces(router);
                // Entering a mount namespace leaves the working directory.
                command.args(["ip", "netns", "exec", host, "env", "--chdir"]).arg(folder).arg(program);
                command
            }
            Kind::Loopback { .. } => {
                let mut command = Command::new(program);
                command.current_dir(folder);
                command
            }
        }
    }

    /// Whether the coordinator is found by its name.
    pub(crate) fn has_names(&self) -> bool {
        matches!(self.kind, Kind::Namespaces { .. })
    }

    /// Where the coordinator listens.
    pub(crate) fn listen_address(&self) -> &'static str {
        match self.kind {
            Kind::Namespaces { .. } => "0.0.0.0:443",
            Kind::Loopback { .. } => "127.0.0.1:0",
        }
    }

    /// From now on nothing that a host sends over UDP arrives, and nothing says so.
    pub(crate) fn drop_udp(&mut self, host: &str) {
        match &mut self.kind {
            Kind::Namespaces { router, .. } => {
                let rule = ["ip", "rule", "add", "iif", &format!("to-{host}"), "ipproto", "udp", "blackhole"];
                assert!(in_namespaces(router).args(rule).status().unwrap().success(), "UDP can be dropped");
            }
            Kind::Loopback { without_udp } => without_udp.push(host.to_owned()),
        }
    }

    /// The coordinator's address at a host, if it says that it listens at this one.
    pub(crate) fn coordinator_address(&self, host: &str, listening: SocketAddr) -> String {
        match &self.kind {
            Kind::Namespaces { .. } => format!("cloister.example.org:{}", listening.port()),
            Kind::Loopback { without_udp } if without_udp.iter().any(|name| name == host) => {
                relay_tcp(listening).to_string()
            }
            Kind::Loopback { .. } => listening.to_string(),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Kind::Namespaces { router, .. } = &mut self.kind {
            let _ = router.kill();
            let _ = router.wait();
        }
    }
}

fn namespaces(hosts: &[&str]) -> Result<Kind, String> {
    let mut router = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "bash", SETUP])
        .args(hosts)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    let mut line = String::new();
    BufReader::new(router.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.trim() != "ready" {
        let output = router.wait_with_output().unwrap();
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let open = router.stdin.take().unwrap();
    Ok(Kind::Namespaces { router, _open: open })
}

/// A command in the router's namespaces.
fn in_namespaces(router: &Child) -> Command {
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &router.id().to_string(),
        "--user",
        "--mount",
        "--net",
        "--preserve-credentials",
    ]);
    command
}

/// Relays TCP to an address. At the relay's own address nothing listens on UDP.
fn relay_tcp(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for accepted in listener.incoming().map_while(Result::ok) {
            // A connection that the coordinator does not accept is closed here, too.
            let Ok(onward) = TcpStream::connect(to) else { continue };
            for (from, into) in [(&accepted, &onward), (&onward, &accepted)] {
                let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}
