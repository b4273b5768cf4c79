//! The counts that tell `emulator run` when it is complete and whether it succeeded.

use crate::event::{Event, EventKind};

/// The counts of a run.
#[derive(Default)]
pub(crate) struct RunProgress {
    pub(crate) sent: usize,
    /// Messages in the input queue or with the component.
    pub(crate) unsettled: usize,
    /// Rebounds that have not come back yet.
    pub(crate) coming_back: usize,
    pub(crate) delivered: usize,
    pub(crate) acked: usize,
    pub(crate) rejected: usize,
    pub(crate) errors: usize,
    /// Mistakes of the component: unreadable events, events that are returned.
    pub(crate) problems: usize,
    pub(crate) connections: usize,
}

impl RunProgress {
    pub(crate) fn count(&mut self, event: &Event) {
        match event.kind {
            EventKind::Connected => self.connections += 1,
            EventKind::Disconnected => self.connections = self.connections.saturating_sub(1),
            EventKind::Sent => {
                self.sent += 1;
                self.unsettled += 1;
            }
            EventKind::Delivered => self.delivered += 1,
            EventKind::Acked => {
                self.acked += 1;
                self.unsettled = self.unsettled.saturating_sub(1);
            }
            EventKind::Rejected => self.rejected += 1,
            // It follows every rejection: the message has left the input queue for good.
            EventKind::DeadLettered => self.unsettled = self.unsettled.saturating_sub(1),
            EventKind::Rebound => self.coming_back += 1,
            EventKind::CameBack => {
                self.coming_back = self.coming_back.saturating_sub(1);
                self.unsettled += 1;
            }
            EventKind::Error => self.errors += 1,
            EventKind::Lost => self.problems += 1,
            _ => {}
        }
        if event.problem.is_some() {
            self.problems += 1;
        }
    }

    pub(crate) fn settled(&self) -> bool {
        self.sent > 0 && self.unsettled == 0 && self.coming_back == 0
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.rejected == 0 && self.errors == 0 && self.problems == 0
    }

    pub(crate) fn summary(&self) -> String {
        let mut words = format!("{} sent, {} acknowledged", self.sent, self.acked);
        for (count, what) in [
            (self.rejected, "rejected"),
            (self.unsettled, "not settled"),
            (self.coming_back, "rebounded and not back yet"),
            (self.errors, "error events"),
            (self.problems, "faulty events"),
        ] {
            if count > 0 {
                words += &format!(", {count} {what}");
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventKind::{Acked, CameBack, DeadLettered, Error, Lost, Rebound, Rejected, Sent};

    #[test]
    fn events_of_one_message_decide_on_its_result() {
        for (kinds, settled, succeeded) in [
            (&[][..], false, true),
            (&[Acked], true, true),
            (&[Error, Rejected], false, false),
            (&[Error, Rejected, DeadLettered], true, false),
            (&[Rebound, Acked], false, true),
            (&[Acked, Rebound], false, true),
            (&[Rebound, Acked, CameBack], false, true),
            (&[Rebound, Acked, CameBack, Acked], true, true),
            (&[Acked, Lost], true, false),
        ] {
            let mut progress = RunProgress::default();
            progress.count(&Event::new(Sent, ""));
            kinds
                .iter()
                .for_each(|&kind| progress.count(&Event::new(kind, "")));
            assert_eq!(
                (progress.settled(), progress.succeeded()),
                (settled, succeeded),
                "{kinds:?}"
            );
        }
    }
}
