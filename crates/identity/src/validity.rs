//! From when and until when a certificate is valid.

use std::time::{Duration, SystemTime};

use cloister_params::limits::Date;
use rcgen::CertificateParams;
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate that ends within so many days is worth a warning: a new edition of the consortium file takes
/// an organisation some weeks.
pub const WARN_DAYS: u64 = 30;

/// The period in which a certificate is valid, both days included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a certificate is not valid now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ValidityError {
    /// It is not valid yet.
    #[error("the certificate is valid from {from}, and today is {today}; check this machine's clock")]
    NotYet {
        /// The certificate's first day.
        from: Date,
        /// Today, by this machine's clock.
        today: Date,
    },
    /// It is not valid any more.
    #[error(
        "the certificate ended on {until}, and today is {today}; if this machine's clock is right, the party needs a new \
         identity, and the consortium a new edition of its file"
    )]
    Ended {
        /// The certificate's last day.
        until: Date,
        /// Today, by this machine's clock.
        today: Date,
    },
}

/// The certificate cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the certificate cannot be read: {0}")]
pub struct UnreadableCertificate(pub(crate) String);

impl Validity {
    /// A period without an end in practice, from 1975 to 4096: for tests, and for certificates whose owner
    /// rotates them by the calendar.
    pub fn unlimited() -> Self {
        let from = rcgen::date_time_ymd(1975, 1, 1);
        let until = rcgen::date_time_ymd(4096, 1, 1);
        Self { not_before: from.into(), not_after: until.into() }
    }

    /// A period of so many days from a time. It starts a day early, because the clock of another party may be
    /// behind.
    pub fn starting(now: SystemTime, days: u32) -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self { not_before: now - DAY, not_after: now + DAY * days }
    }

    /// The period of a certificate in DER.
    ///
    /// # Errors
    /// [`UnreadableCertificate`] for bytes that are not an X.509 certificate.
    pub fn from_certificate(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let certificate =
            Certificate::from_der(der).map_err(|error| UnreadableCertificate(error.to_string()))?;
        let period = certificate.tbs_certificate.validity;
        Ok(Self {
            not_before: period.not_before.to_system_time(),
            not_after: period.not_after.to_system_time(),
        })
    }

    /// The last day, in UTC.
    pub fn last_day(&self) -> Date {
        Date::from_time(self.not_after)
    }

    /// Checks that a time is in the period.
    ///
    /// # Errors
    /// [`ValidityError`] with the days, in UTC.
    pub fn check(&self, now: SystemTime) -> Result<(), ValidityError> {
        let today = Date::from_time(now);
        if now < self.not_before {
            return Err(ValidityError::NotYet { from: Date::from_time(self.not_before), today });
        }
        if now > self.not_after {
            return Err(ValidityError::Ended { until: self.last_day(), today });
        }
        Ok(())
    }

    /// In how many days the period ends, if that is at most [`WARN_DAYS`]; 0 on its last day and afterwards.
    pub fn ends_soon(&self, now: SystemTime) -> Option<u64> {
        let days = self.not_after.duration_since(now).map_or(0, |left| left.as_secs() / 86_400);
        (days <= WARN_DAYS).then_some(days)
    }

    pub(crate) fn apply(&self, parameters: &mut CertificateParams) {
        parameters.not_before = self.not_before.into();
        parameters.not_after = self.not_after.into();
    }
}
