//! How far this machine's clock is from the coordinator's. Dates of certificates and of editions depend on both.

use std::time::{Duration, SystemTime};

use cloister_transport::ProbeReport;

use super::outcome::CheckOutcome;
use crate::failure::FailureKind;

/// From here on a difference is worth a warning.
const WARN: Duration = Duration::from_secs(30);

/// From here on it is a fault.
const FAULT: Duration = Duration::from_mins(5);

/// The difference of two clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClockSkew {
    /// How far they are apart.
    difference: Duration,
    /// Whether the coordinator's is ahead of this machine's.
    is_ahead: bool,
    /// How much of the difference the way there and back may make.
    uncertainty: Duration,
}

/// The difference by an answer. The coordinator wrote it between the question and the answer's arrival, so that the middle
/// of both is at most half of the round trip away.
pub(super) fn skew(report: &ProbeReport) -> ClockSkew {
    let uncertainty = report.round_trip / 2;
    skew_between(report.asked_at + uncertainty, report.answer.time, uncertainty)
}

fn skew_between(here: SystemTime, there: SystemTime, uncertainty: Duration) -> ClockSkew {
    match there.duration_since(here) {
        Ok(difference) => ClockSkew { difference, is_ahead: true, uncertainty },
        Err(behind) => ClockSkew { difference: behind.duration(), is_ahead: false, uncertainty },
    }
}

pub(super) fn judge(skew: ClockSkew) -> CheckOutcome {
    let ClockSkew { difference, is_ahead, uncertainty } = skew;
    let side = if is_ahead { "ahead of" } else { "behind" };
    let found = format!(
        "the coordinator's clock is {:.2} s {side} this machine's (± {:.2} s)",
        difference.as_secs_f64(),
        uncertainty.as_secs_f64()
    );
    let advice = "compare both clocks with a time server, and correct the one that is wrong (NTP)";
    // What the way may have made is no evidence.
    match difference.saturating_sub(uncertainty) {
        certain if certain > FAULT => CheckOutcome::fault(FailureKind::Error, found, advice),
        certain if certain > WARN => CheckOutcome::warning(found, advice),
        _ => CheckOutcome::ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::outcome::CheckState;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_the_way_cannot_have_made() {
        let here = UNIX_EPOCH + Duration::from_hours(24 * 20_000);
        for (seconds, uncertainty, state) in [
            (0, 0, CheckState::Ok),
            (30, 0, CheckState::Ok),
            (31, 0, CheckState::Warning),
            (31, 2, CheckState::Ok),
            (300, 0, CheckState::Warning),
            (301, 0, CheckState::Fault),
            (301, 2, CheckState::Warning),
        ] {
            let by = Duration::from_secs(seconds);
            for (there, side) in [(here + by, "ahead of"), (here - by, "behind")] {
                let skew = skew_between(here, there, Duration::from_secs(uncertainty));
                assert_eq!((skew.difference, judge(skew).state()), (by, state), "{seconds} s {side}");
                let is_sided = seconds == 0 || format!("{:?}", judge(skew)).contains(side);
                assert!(is_sided, "{skew:?}");
            }
        }
    }
}
