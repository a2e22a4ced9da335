//! Times to the second, for files that people read.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::limits::Date;

const SECONDS_OF_A_DAY: u64 = 86_400;

/// A time in UTC, to the second, written as RFC 3339 has it: `2026-12-03T05:58:12Z`. It is whatever the clock of
/// the machine said, and nobody else confirms it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcTime {
    /// Since 1970-01-01T00:00:00Z.
    seconds: u64,
}

impl UtcTime {
    /// A time without its fraction of a second. Times before 1970 give 1970-01-01T00:00:00Z.
    pub fn from_time(time: SystemTime) -> Self {
        Self { seconds: time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) }
    }

    /// The time as the system counts it.
    pub fn to_time(self) -> SystemTime {
        // Years have four digits, and the system's clock goes further than that.
        UNIX_EPOCH.checked_add(Duration::from_secs(self.seconds)).unwrap_or(UNIX_EPOCH)
    }

    fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let days = Date::try_from(date.to_owned()).ok()?.days_since_1970();
        let parts: Vec<&str> = time.split(':').collect();
        let [hour, minute, second] = parts[..] else { return None };
        let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
        let second: u64 = second.parse().ok()?;
        let is_time = hour < 24 && minute < 60 && second < 60;
        let parsed = Self { seconds: days * SECONDS_OF_A_DAY + hour * 3600 + minute * 60 + second };
        // Numbers also parse with a sign, or with fewer or more digits; a time has one spelling only.
        (is_time && parsed.to_string() == text).then_some(parsed)
    }
}

impl TryFrom<String> for UtcTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
            .ok_or_else(|| format!("{text:?} is not a time in UTC; write it like 2027-06-30T05:58:12Z"))
    }
}

impl From<UtcTime> for String {
    fn from(time: UtcTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute) = (self.seconds / 3600 % 24, self.seconds / 60 % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{:02}Z", Date::from_time(self.to_time()), self.seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar_and_have_one_spelling() {
        // `date -u -d @SECONDS +%FT%TZ`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
        ] {
            let time = UtcTime::from_time(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(time.to_string(), text);
            assert_eq!(UtcTime::try_from(text.to_owned()), Ok(time));
            assert_eq!(UtcTime::from_time(time.to_time()), time);
        }
        for wrong in [
            "2026-09-21T14:13:20",
            "2026-09-21T14:13:20.5Z",
            "2026-09-21t14:13:20z",
            "2026-09-21 14:13:20Z",
            "2026-09-21T14:13:20+00:00",
            "2026-09-21T24:00:00Z",
            "2026-09-21T14:60:20Z",
            "2026-09-21T14:13:60Z",
            "2026-09-21T4:13:20Z",
            "2026-09-21T+4:13:20Z",
            "2026-02-30T14:13:20Z",
        ] {
            assert!(UtcTime::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
