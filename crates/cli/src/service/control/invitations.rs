//! What the coordinator's operator asks about invitations, by the control socket.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cloister_identity::Fingerprint;
use cloister_identity::enrolment::EnrolmentRole;
use cloister_identity::online::{ENROLMENTS, EnrolmentDesk, Invitation, InvitationState, InvitationToken};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use serde_json::{Value, json};

use crate::utc_time::utc_minute;

/// The coordinator's invitations, and the certificate that they name.
#[derive(Debug)]
pub(crate) struct Invitations {
    desk: Arc<EnrolmentDesk>,
    certificate: Fingerprint,
}

impl Invitations {
    pub(crate) fn new(desk: Arc<EnrolmentDesk>, certificate: Fingerprint) -> Self {
        Self { desk, certificate }
    }

    /// Makes an invitation (`CONS-13`). Its text is in the answer, and nowhere else.
    pub(super) fn invite(
        &self,
        address: String,
        valid_hours: u32,
        roles: Vec<EnrolmentRole>,
    ) -> Result<Value, String> {
        let now = SystemTime::now();
        let expires = now + Duration::from_hours(u64::from(valid_hours));
        let mut bytes = [0; 16];
        UnwrapErr(SysRng).fill_bytes(&mut bytes);
        let token = InvitationToken::new(bytes);
        let invitation = Invitation::new(address, self.certificate, roles.clone(), expires, token)
            .map_err(|error| error.to_string())?;
        let number = self.desk.invite(invitation.token(), roles.clone(), expires, now);
        let number = number.map_err(|error| error.to_string())?;
        Ok(json!({
            "number": number,
            "invitation": *invitation.to_text(),
            "roles": roles,
            "expires": utc_minute(invitation.expires()),
        }))
    }

    /// All invitations, without their tokens.
    pub(super) fn list(&self) -> Value {
        let now = SystemTime::now();
        let entries = self.desk.invitations().into_iter().map(|entry| to_json(&entry, now));
        json!({"invitations": entries.collect::<Vec<_>>()})
    }

    pub(super) fn cancel(&self, number: u32) -> Result<Value, String> {
        self.desk.cancel(number).map_err(|error| error.to_string())?;
        Ok(json!({"cancelled": number}))
    }
}

fn to_json(entry: &InvitationState, now: SystemTime) -> Value {
    let state = match (&entry.used, entry.expires < now) {
        (Some(_), _) => "used",
        (None, true) => "expired",
        (None, false) => "open",
    };
    json!({
        "number": entry.number,
        "roles": entry.roles,
        "expires": utc_minute(entry.expires),
        "state": state,
        "party": entry.used.as_ref().map(|(name, _)| name),
        "file": entry.used.as_ref().map(|(_, file)| format!("{ENROLMENTS}/{file}")),
    })
}
