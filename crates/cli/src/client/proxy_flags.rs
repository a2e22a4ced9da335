//! Flags of the proxy through which a hospital reaches the coordinator.

use std::path::PathBuf;

use clap::Args;
use cloister_storage::read_secret;
use cloister_transport::{HostPort, Proxy, ProxyPassword};

use crate::failure::Failure;

/// The hospital's HTTP proxy.
#[derive(Clone, Debug, Args)]
pub(super) struct ProxyFlags {
    /// The HTTP proxy to the outside, as in proxy.example.org:3128. The link then goes over TCP, unless --carrier is quic.
    #[arg(long, value_name = "HOST:PORT", env = "CLOISTER_PROXY")]
    proxy: Option<HostPort>,
    /// A file with one line `user:password` for the proxy, which only its owner can read.
    #[arg(long, value_name = "FILE", env = "CLOISTER_PROXY_PASSWORD_FILE", requires = "proxy")]
    proxy_password_file: Option<PathBuf>,
}

impl ProxyFlags {
    /// The proxy that they name, if any.
    pub(super) fn proxy(self) -> Result<Option<Proxy>, Failure> {
        let Some(address) = self.proxy else { return Ok(None) };
        let Some(path) = self.proxy_password_file else { return Ok(Some(Proxy::new(address, None))) };
        let text = read_secret(&path)
            .map_err(|error| Failure::config(format!("cannot read {}: {error}", path.display())))?;
        let password = ProxyPassword::parse(&text)
            .map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
        Ok(Some(Proxy::new(address, Some(password))))
    }
}
