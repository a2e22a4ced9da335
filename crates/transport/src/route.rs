//! One way to a coordinator.

use std::fmt;

use crate::address::HostPort;
use crate::carrier::Carrier;

/// One way to a coordinator, for messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub(crate) target: HostPort,
    pub(crate) carrier: Carrier,
    pub(crate) proxy: Option<HostPort>,
}

impl Route {
    /// What carries it.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, carrier, proxy } = self;
        match proxy {
            None => write!(f, "{target} ({carrier})"),
            Some(proxy) => write!(f, "{target} ({carrier} through the proxy {proxy})"),
        }
    }
}
