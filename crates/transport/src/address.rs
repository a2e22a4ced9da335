//! Where a coordinator is reached: a name or an address, with a port.

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::str::FromStr;

use thiserror::Error;

/// A host and a port. A name is looked up for every new link, so that the coordinator may move to another
/// address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    text: String,
}

/// Why a text is not a host with a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HostPortError {
    /// The host is none, or the port is missing or not a number from 1 to 65535.
    #[error(
        "a name or an address with a port is expected, like cloister.example.org:443 or [2001:db8::1]:443"
    )]
    Port,
    /// The text is a URL with a scheme or a path.
    #[error(
        "a name or an address with a port is expected, without a scheme or a path, like cloister.example.org:443"
    )]
    Link,
}

impl HostPort {
    /// The name or the address, without brackets.
    pub fn host(&self) -> &str {
        let (host, _) = self.split();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.split().1.parse().expect("checked when this was made")
    }

    /// At the last colon, because IPv6 addresses have colons of their own.
    fn split(&self) -> (&str, &str) {
        self.text.rsplit_once(':').expect("checked when this was made")
    }

    /// The addresses that the host has now; at least one.
    ///
    /// # Errors
    /// The system's error if it does not find the name.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host(&self.text).await?.collect();
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(found),
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { text: address.to_string() }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        if text.contains('/') {
            return Err(HostPortError::Link);
        }
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError::Port)?;
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_host = match host.contains([':', '[', ']']) {
            // An IPv6 address, which needs its brackets.
            true => text.parse::<SocketAddrV6>().is_ok(),
            // A space or a line's end would become part of what a proxy is sent.
            false => !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic()),
        };
        if !is_host || !is_port {
            return Err(HostPortError::Port);
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_have_a_port() {
        for text in ["coordinator:443", "cloister.example.org:8443", "10.0.0.1:1", "[2001:db8::1]:443"] {
            assert_eq!(text.parse::<HostPort>().expect(text).to_string(), text);
        }
        for text in [
            "coordinator",
            "443",
            ":443",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "2001:db8::1:443",
            "",
            "[]:443",
            "[coordinator]:443",
            "[2001:db8::1:443",
            "a b:443",
            "a\r\nb:443",
            "Zürich:443",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(HostPortError::Port), "{text}");
        }
        assert_eq!("https://coordinator:443".parse::<HostPort>(), Err(HostPortError::Link));
    }

    #[test]
    fn hosts_have_no_brackets() {
        for (text, host, port) in
            [("a.example:443", "a.example", 443), ("[2001:db8::1]:8443", "2001:db8::1", 8443)]
        {
            let parsed = text.parse::<HostPort>().expect(text);
            assert_eq!((parsed.host(), parsed.port()), (host, port));
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let here =
            "localhost:443".parse::<HostPort>().expect("a name").resolve().await.expect("every machine");
        assert!(!here.is_empty());
        assert!(here.iter().all(|address| address.ip().is_loopback() && address.port() == 443), "{here:?}");
        let nowhere = "no-such-host.invalid:443".parse::<HostPort>().expect("a name");
        assert!(nowhere.resolve().await.is_err(), "the domain invalid has no hosts");
    }
}
