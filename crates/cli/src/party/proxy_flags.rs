//! Flags of the proxy through which a party reaches the coordinator.

use std::path::PathBuf;

use clap::Args;
use cloister_storage::read_secret;
use cloister_transport::{HostPort, Proxy, ProxyPassword};

use crate::failure::Failure;

/// The hospital's HTTP proxy.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProxyFlags {
    /// The HTTP proxy to the outside, as in proxy.example.org:3128. The link then goes over TCP, unless --carrier is quic.
    #[arg(long, value_name = "HOST:PORT", env = "CLOISTER_PROXY")]
    proxy: Option<HostPort>,
    /// A file with one line `user:password` for the proxy, which only its owner can read.
    #[arg(long, value_name = "FILE", env = "CLOISTER_PROXY_PASSWORD_FILE", requires = "proxy")]
    proxy_password_file: Option<PathBuf>,
}

impl ProxyFlags {
    /// The proxy that they name, if any.
    pub(crate) fn proxy(self) -> Result<Option<Proxy>, Failure> {
        let Some(address) = self.proxy else { return Ok(None) };
        let Some(path) = self.proxy_password_file else { return Ok(Some(Proxy::new(address, None))) };
        let text = read_secret(&path)
            .map_err(|error| Failure::config(format!("cannot read {}: {error}", path.display())))?;
        let password = ProxyPassword::parse(&text)
            .map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
        Ok(Some(Proxy::new(address, Some(password))))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_file_that_is_wrong_or_open_to_others_is_named_without_what_it_holds() {
        let path = std::env::temp_dir().join(format!("cloister-proxy-password-{}", std::process::id()));
        let flags = ProxyFlags {
            proxy: Some("proxy.example.org:3128".parse().expect("an address")),
            proxy_password_file: Some(path.clone()),
        };
        for (text, mode, remedy) in [
            ("Aladdin:open sesame\n", 0o600, None),
            ("Aladdin:open sesame\n", 0o640, Some("chmod 600")),
            ("open sesame\n", 0o600, Some("user:password")),
        ] {
            fs::write(&path, text).expect("a writable folder");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("this user's file");
            let outcome = flags.clone().proxy().map(|proxy| proxy.is_some());
            match (outcome, remedy) {
                (Ok(is_some), None) => assert!(is_some),
                (Err(failure), Some(remedy)) => {
                    let text = failure.to_string();
                    assert!(text.contains(remedy) && text.contains(&path.display().to_string()), "{text}");
                    assert!(!text.contains("sesame"), "{text}");
                }
                (outcome, _) => panic!("{text:?} with mode {mode:o}: {outcome:?}"),
            }
        }
        fs::remove_file(&path).expect("this user's file");
    }
}
