//! The organisation's clock: seconds of June 2024. Only tests move it.

/// Seconds since 2024-06-01T00:00:00Z, a Saturday.
#[derive(Clone, Copy, Default)]
pub(super) struct Clock(u32);

const DAY: u32 = 86_400;
const WEEKDAYS: [&str; 7] = ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"];

impl Clock {
    pub(super) fn pass(&mut self, seconds: u32) {
        self.0 += seconds;
        assert!(
            self.0 < 30 * DAY,
            "the stand-in's clock knows June 2024 only"
        );
    }

    /// The time in records. Salesforce stores whole seconds.
    pub(super) fn stamp(self) -> String {
        format!("2024-06-{:02}T{}.000+0000", self.day(), self.time())
    }

    /// The time in the `Date` header.
    pub(super) fn http_date(self) -> String {
        let weekday = WEEKDAYS[(self.0 / DAY % 7) as usize];
        format!("{weekday}, {:02} Jun 2024 {} GMT", self.day(), self.time())
    }

    fn day(self) -> u32 {
        1 + self.0 / DAY
    }

    fn time(self) -> String {
        let second = self.0 % DAY;
        format!(
            "{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}
