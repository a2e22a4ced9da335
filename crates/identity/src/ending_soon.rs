//! Warnings before something ends.

use std::time::SystemTime;

use cloister_params::limits::Date;

use crate::validity::{Validity, WARN_DAYS};

/// A sentence for each of a party's certificate and its edition of the consortium file that ends within
/// [`WARN_DAYS`] days.
pub fn ending_soon(certificate: Validity, edition: Option<Date>, now: SystemTime) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(days) = certificate.ends_soon(now) {
        warnings.push(format!(
            "this party's certificate ends in {days} days ({}); make a new identity, and have the consortium list it",
            certificate.last_day()
        ));
    }
    let today = Date::from_time(now).days_since_1970();
    if let Some(until) = edition.filter(|until| until.days_since_1970() <= today + WARN_DAYS) {
        warnings.push(format!(
            "the consortium file is in force until {until}; the consortium needs a later edition before that"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_ends_within_a_month_is_told() {
        const DAY: Duration = Duration::from_hours(24);
        let now = UNIX_EPOCH + DAY * 20_000;
        let day = |days: u32| Some(Date::from_time(now + DAY * days));
        assert!(ending_soon(Validity::starting(now, 60), day(60), now).is_empty());
        assert!(ending_soon(Validity::unlimited(), None, now).is_empty());
        let warnings = ending_soon(Validity::starting(now, 12), day(30), now);
        assert_eq!(warnings.len(), 2);
        assert!(
            warnings[0].contains("in 12 days") && warnings[1].contains(&day(30).expect("given").to_string()),
            "{warnings:?}"
        );
    }
}
