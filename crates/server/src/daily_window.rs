//! The hours of a day in which rounds may start.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MINUTES_OF_A_DAY: u32 = 24 * 60;

/// A part of each day, in UTC, to the minute. It may go over midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DailyWindow {
    /// The first minute, below [`MINUTES_OF_A_DAY`].
    from: u32,
    /// The first minute after it, below [`MINUTES_OF_A_DAY`], and other than `from`.
    until: u32,
}

impl DailyWindow {
    /// How long it is until the window opens; `None` while it is open.
    pub fn opens_in(&self, now: SystemTime) -> Option<Duration> {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let of_day = u32::try_from(seconds % 86_400).unwrap_or(0);
        // Counted from the window's beginning, so that midnight is no special case.
        let since_opening = (of_day + 86_400 - 60 * self.from) % 86_400;
        let length = 60 * ((self.until + MINUTES_OF_A_DAY - self.from) % MINUTES_OF_A_DAY);
        (since_opening >= length).then(|| Duration::from_secs(u64::from(86_400 - since_opening)))
    }
}

impl FromStr for DailyWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minutes = text.split_once('-').and_then(|(from, until)| Some((minute(from)?, minute(until)?)));
        let (from, until) = minutes
            .ok_or_else(|| format!("{text:?} is no part of a day; write it as 20:00-06:00, in UTC"))?;
        if from == until {
            return Err(format!("{text:?} has no minutes; leave it out if rounds may start at any time"));
        }
        Ok(Self { from, until })
    }
}

/// The minute of the day that `HH:MM` names.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (hour < 24 && minute < 60).then_some(60 * hour + minute)
}

fn two_digits(text: &str) -> Option<u32> {
    // A sign would be parsed, too.
    let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

impl fmt::Display for DailyWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, until] = [self.from, self.until].map(|minute| (minute / 60, minute % 60));
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.0, from.1, until.0, until.1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(hour: u64, minute: u64, second: u64) -> SystemTime {
        // A day in 2026, so that the date does not matter.
        UNIX_EPOCH + Duration::from_secs(20_700 * 86_400 + 3600 * hour + 60 * minute + second)
    }

    #[test]
    fn a_window_over_midnight_and_one_within_a_day() {
        let night: DailyWindow = "20:00-06:30".parse().expect("a window");
        for open in [at(20, 0, 0), at(23, 59, 59), at(0, 0, 0), at(6, 29, 59)] {
            assert_eq!(night.opens_in(open), None);
        }
        assert_eq!(night.opens_in(at(6, 30, 0)), Some(Duration::from_mins(13 * 60 + 30)));
        assert_eq!(night.opens_in(at(19, 59, 59)), Some(Duration::from_secs(1)));
        let noon: DailyWindow = "11:00-13:00".parse().expect("a window");
        assert_eq!(noon.opens_in(at(12, 0, 0)), None);
        assert_eq!(noon.opens_in(at(13, 0, 0)), Some(Duration::from_hours(22)));
    }

    #[test]
    fn what_is_no_window_is_rejected() {
        for text in
            ["", "20:00", "20-06", "24:00-06:00", "20:60-06:00", "20:00-20:00", "+1:00-02:00", "20:00-6:00"]
        {
            assert!(text.parse::<DailyWindow>().is_err(), "{text}");
        }
    }

    proptest! {
        /// Whenever it is asked, the window is open after the time that it names, and closed a second before.
        #[test]
        fn it_opens_when_it_says(from in 0..1440u32, until in 0..1440u32, second in 0..86_400u64) {
            prop_assume!(from != until);
            let window = DailyWindow { from, until };
            prop_assert_eq!(window.to_string().parse(), Ok(window));
            let now = at(0, 0, second);
            if let Some(wait) = window.opens_in(now) {
                prop_assert_eq!(window.opens_in(now + wait), None);
                prop_assert!(window.opens_in(now + wait - Duration::from_secs(1)).is_some());
            }
        }
    }
}
