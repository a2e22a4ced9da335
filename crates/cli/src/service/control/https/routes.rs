//! Which path is which request, and whose token allows it (`CTRL-02`). What is not here cannot be asked over the network: tokens
//! are made and revoked at the coordinator's machine alone.

use cloister_identity::operator::OperatorRole;
use hyper::Method;

use super::super::socket::MOST_REQUEST_BYTES;

/// What a request needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Permission {
    /// Every role may.
    See,
    /// An operator may.
    Operate,
    /// A registrar may.
    Register,
}

impl Permission {
    pub(super) fn is_given_to(self, role: OperatorRole) -> bool {
        match self {
            Self::See => true,
            Self::Operate => role == OperatorRole::Operator,
            Self::Register => role == OperatorRole::Registrar,
        }
    }

    /// The role to ask for.
    pub(super) fn role(self) -> OperatorRole {
        match self {
            Self::See => OperatorRole::Viewer,
            Self::Operate => OperatorRole::Operator,
            Self::Register => OperatorRole::Registrar,
        }
    }
}

/// The longest body of a request that carries no files, in bytes.
const SMALL: usize = 16 << 10;
/// The longest body of one that does: what the control socket takes.
const LARGE: usize = MOST_REQUEST_BYTES as usize;

/// The beginning of all paths. A later version of the requests has another one.
const PREFIX: &str = "/v1/";

/// A request that can be made over the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestRoute {
    /// The end of the path, and the name of the command as the control socket has it.
    pub(super) command: &'static str,
    pub(super) method: Method,
    pub(super) permission: Permission,
    /// The longest body, in bytes.
    pub(super) most_bytes: usize,
}

impl RequestRoute {
    const fn read(command: &'static str, permission: Permission) -> Self {
        Self { command, method: Method::GET, permission, most_bytes: 0 }
    }

    const fn change(command: &'static str, permission: Permission, most_bytes: usize) -> Self {
        Self { command, method: Method::POST, permission, most_bytes }
    }

    /// Whether it changes something, and so is logged.
    pub(super) fn changes(&self) -> bool {
        self.method == Method::POST
    }
}

/// All routes.
pub(super) static ROUTES: [RequestRoute; 13] = [
    RequestRoute::read("status", Permission::See),
    RequestRoute::read("queue", Permission::See),
    RequestRoute::read("history", Permission::See),
    RequestRoute::read("watch", Permission::See),
    RequestRoute::change("start", Permission::Operate, LARGE),
    RequestRoute::change("cancel", Permission::Operate, SMALL),
    RequestRoute::change("pause", Permission::Operate, SMALL),
    RequestRoute::change("resume", Permission::Operate, SMALL),
    RequestRoute::change("stop", Permission::Operate, SMALL),
    RequestRoute::read("invitations", Permission::Register),
    RequestRoute::change("invite", Permission::Register, SMALL),
    RequestRoute::change("uninvite", Permission::Register, SMALL),
    RequestRoute::change("edition", Permission::Register, LARGE),
];

/// The route of a request.
pub(super) fn find(method: &Method, path: &str) -> Option<&'static RequestRoute> {
    let command = path.strip_prefix(PREFIX)?;
    ROUTES.iter().find(|route| route.command == command && route.method == *method)
}

/// The method and the path of a command, for the end that asks; `None` if it cannot be asked over the network.
pub(crate) fn path_of(command: &str) -> Option<(Method, String)> {
    let route = ROUTES.iter().find(|route| route.command == command)?;
    Some((route.method.clone(), format!("{PREFIX}{command}")))
}
