//! The organisation's clock. Only tests move it.

use jiff::{
    SignedDuration,
    civil::{DateTime, date},
};

/// The time in UTC, in whole seconds. It starts at 2024-06-01T00:00:00Z.
#[derive(Clone, Copy)]
pub(super) struct Clock(DateTime);

impl Default for Clock {
    fn default() -> Self {
        Self(date(2024, 6, 1).at(0, 0, 0, 0))
    }
}

impl Clock {
    pub(super) fn pass(&mut self, seconds: u32) {
        self.0 += SignedDuration::from_secs(seconds.into());
    }

    /// The time in records. Salesforce stores whole seconds.
    pub(super) fn stamp(self) -> String {
        format!("{}.000+0000", self.0)
    }

    /// The time in the `Date` header.
    pub(super) fn http_date(self) -> String {
        self.0.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn the_clock_passes_the_end_of_a_month() {
        let mut clock = Clock::default();
        assert_eq!(clock.http_date(), "Sat, 01 Jun 2024 00:00:00 GMT");
        clock.pass(30 * 86_400 + 3_661);
        assert_eq!(clock.stamp(), "2024-07-01T01:01:01.000+0000");
        assert_eq!(clock.http_date(), "Mon, 01 Jul 2024 01:01:01 GMT");
    }
}
