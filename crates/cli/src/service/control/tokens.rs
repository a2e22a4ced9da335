//! What the coordinator's operator asks about tokens, by the control socket alone.

use std::time::{Duration, SystemTime};

use cloister_identity::operator::{OperatorRole, OperatorToken, TokenDesk, TokenState};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Makes a token (`CTRL-03`). Its text is in the answer, and nowhere else.
pub(super) fn add(
    desk: &TokenDesk,
    role: OperatorRole,
    name: &str,
    valid_days: u32,
) -> Result<Value, String> {
    let now = SystemTime::now();
    let expires = now + Duration::from_hours(24 * u64::from(valid_days));
    let mut bytes = Zeroizing::new([0; 32]);
    UnwrapErr(SysRng).fill_bytes(&mut *bytes);
    let token = OperatorToken::new(role, *bytes);
    let number = desk.add(&token, name, expires, now).map_err(|error| error.to_string())?;
    let added = desk.tokens().into_iter().find(|state| state.number == number);
    Ok(json!({"token": *token.to_text(), "added": added}))
}

/// All tokens, without their texts.
pub(super) fn list(desk: &TokenDesk) -> Value {
    let now = SystemTime::now();
    let tokens = desk.tokens().into_iter().map(|state| to_json(&state, now));
    json!({"tokens": tokens.collect::<Vec<_>>()})
}

pub(super) fn revoke(desk: &TokenDesk, number: u32) -> Result<Value, String> {
    desk.revoke(number).map_err(|error| error.to_string())?;
    Ok(json!({"revoked": number}))
}

fn to_json(state: &TokenState, now: SystemTime) -> Value {
    json!({
        "number": state.number,
        "name": state.name,
        "role": state.role,
        "expires": state.expires,
        "last_used": state.last_used,
        "state": if state.has_expired(now) { "expired" } else { "valid" },
    })
}
