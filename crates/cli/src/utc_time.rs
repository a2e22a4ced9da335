//! Times for people.

use std::time::{SystemTime, UNIX_EPOCH};

use cloister_params::limits::Date;

/// A time to the minute, as in `2026-12-03 05:58 UTC`.
pub(crate) fn utc_minute(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{} {hour:02}:{minute:02} UTC", Date::from_time(time))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_that_of_the_calendar() {
        // `date -u -d @1790000000`
        let time = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        assert_eq!(utc_minute(time), "2026-09-21 14:13 UTC");
    }
}
