//! What a hospital's policy says about privacy: the unit that it counts in, its budget, and the day it ends.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Whose data one release may say little about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivacyUnit {
    /// One record of one hospital: a row of its file, or all rows with the same value in a column that the hospital names, such as
    /// all notes of a patient (`PRIV-01`).
    Record,
    /// Everything that one hospital contributes.
    Member,
}

impl fmt::Display for PrivacyUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Record => "record",
            Self::Member => "member",
        })
    }
}

/// The most that everything released of a hospital's data may cost together.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyLimits {
    /// Whose data is protected.
    pub unit: PrivacyUnit,
    /// The largest ε.
    pub maximum_epsilon: f64,
    /// The δ at which ε is taken.
    pub maximum_delta: f64,
    /// The private training that the budget is for; if not given, none is reserved, and any is counted by Rényi divergences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingLimits>,
}

/// The private training that a budget is for, fixed before anything of it is charged (`PRIV-05`).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingLimits {
    /// The least standard deviation of the noise on a step's sum over the clipping norm, in thousandths.
    pub noise_multiplier_milli: u32,
    /// The largest probability with which a record is in a step's batch, in millionths.
    pub sampling_probability_micro: u32,
    /// Steps of all rounds together.
    pub steps: u64,
}

/// A day of the Gregorian calendar, in UTC; written `2027-06-30`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day of a time; times before 1970 are its first day.
    pub fn from_time(time: SystemTime) -> Self {
        Self::from_unix_time(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// The day of a time in seconds since 1970-01-01T00:00Z.
    ///
    /// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    fn from_unix_time(seconds: u64) -> Self {
        let days = seconds / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self { year: year as u16, month: month as u8, day: day as u8 }
    }

    /// Days since 1970-01-01.
    ///
    /// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
    pub fn days_since_1970(self) -> u64 {
        let year = u64::from(self.year) - u64::from(self.month <= 2);
        let (era, year_of_era) = (year / 400, year % 400);
        let from_march = (u64::from(self.month) + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + u64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
    }

    /// Its year.
    pub fn year(self) -> u16 {
        self.year
    }

    /// Its month, from 1.
    pub fn month(self) -> u8 {
        self.month
    }

    /// Its day of the month, from 1.
    pub fn day(self) -> u8 {
        self.day
    }
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parts: Vec<&str> = text.split('-').collect();
        let wrong = || format!("{text:?} is no day; write it like 2027-06-30");
        let [year, month, day] = parts[..] else { return Err(wrong()) };
        let parsed = (year.parse().ok(), month.parse().ok(), day.parse().ok());
        let (Some(year), Some(month), Some(day)) = parsed else { return Err(wrong()) };
        let date = Self { year, month, day };
        let holds =
            [year >= 1970, (1..=12).contains(&month), (1..=31).contains(&day), date.to_string() == text];
        if holds.contains(&false) { Err(wrong()) } else { Ok(date) }
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let days = [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_795_391_999, "2026-11-22")];
        for (seconds, text) in days {
            assert_eq!(Date::from_unix_time(seconds).to_string(), text);
            assert_eq!(Date::try_from(text.to_owned()), Ok(Date::from_unix_time(seconds)));
            assert_eq!(Date::from_unix_time(seconds).days_since_1970(), seconds / 86_400);
        }
        assert_eq!(Date::from_time(UNIX_EPOCH), Date::from_unix_time(0));
        assert!(Date::from_unix_time(1_795_392_000) > Date::from_unix_time(1_795_391_999));
        for wrong in ["2027-6-30", "2027-13-01", "30.06.2027", "2027-06-30T00:00", "10131-2-31", "+027-06-30"]
        {
            assert!(Date::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
