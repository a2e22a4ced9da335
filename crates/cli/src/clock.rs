//! The day, from the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use cloister_params::limits::Date;

/// Today, in UTC.
pub(crate) fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Date::of_unix_time(since.map_or(0, |since| since.as_secs()))
}
