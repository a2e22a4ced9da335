//! What a hospital's policy says about privacy: the unit in which it counts, its budget, and its last day.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Whose data is protected: what neighbouring data sets differ in (`PRIV-01`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivacyUnit {
    /// One record of one hospital: a row of its file, or all rows with the same value in a column that the
    /// hospital names, such as all notes of a patient.
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

/// The most that everything released of a hospital's data may cost together. The hospital sets it in its
/// policy.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyLimits {
    /// Whose data is protected.
    pub unit: PrivacyUnit,
    /// The largest ε, above 0. A few units are a promise; above about 20 it is none.
    pub maximum_epsilon: f64,
    /// The δ at which ε is taken, between 0 and 1. It should be well below one over the number of records.
    pub maximum_delta: f64,
    /// The private training that the budget is for. All of it counts as spent from the beginning, and as
    /// tightly as it can be counted. If it is not given, no training is reserved, and any is counted more
    /// roughly, by Rényi divergences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingLimits>,
}

/// The private training that a budget is for, fixed before anything is charged (`PRIV-05`). `cloister privacy
/// plan` prints it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingLimits {
    /// The least noise multiplier: the standard deviation of the noise on a step's sum, divided by the
    /// clipping norm, in thousandths.
    pub noise_multiplier_milli: u32,
    /// The largest probability with which a record is in a step's batch, in millionths.
    pub sampling_probability_micro: u32,
    /// The most steps of all rounds together.
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
    /// The day of a time, in UTC. Times before 1970 give 1970-01-01.
    pub fn from_time(time: SystemTime) -> Self {
        Self::from_unix_time(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// The day of a time in seconds since 1970-01-01T00:00Z.
    ///
    /// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    fn from_unix_time(seconds: u64) -> Self {
        // Counted from 1 March of the year 0. With years from March on, a leap day is the last of its year.
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

    /// The year, from 1970.
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, from 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1 to 31.
    pub fn day(self) -> u8 {
        self.day
    }
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_date(&text).ok_or_else(|| format!("{text:?} is not a date; write it like 2027-06-30"))
    }
}

fn parse_date(text: &str) -> Option<Date> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    let date = Date { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? };
    // A day that its month does not have is accepted. It compares as later than all days of that month.
    let in_range = date.year >= 1970 && (1..=12).contains(&date.month) && (1..=31).contains(&date.day);
    // Numbers also parse with a sign, or with fewer or more digits; a date has one spelling only.
    (in_range && date.to_string() == text).then_some(date)
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
