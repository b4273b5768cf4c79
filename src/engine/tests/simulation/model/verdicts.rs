//! What a verdict needs: a message is settled only after it was worked on, and only as that work has ended.

use super::{ChannelId, Emission, End, Model, Run};
use crate::broker::amqp::simulated::Settlement;
use std::collections::BTreeSet;

impl Model {
    /// A delivery has arrived at a client.
    pub(super) fn received(&mut self, channel: ChannelId, delivery: u64) {
        self.note(&format!("delivery {delivery} arrives on {channel:?}"));
        let process = self.process_of(channel.0);
        if let Some(number) = self.deliveries.get(&(channel, delivery))
            && let Some(message) = self.messages.get_mut(number)
        {
            message.received_by.insert(process);
        }
    }

    /// A client sends a verdict.
    pub(super) fn settlement_sent(&mut self, channel: ChannelId, delivery: u64) {
        self.note(&format!("the verdict on {delivery} is sent on {channel:?}"));
        let process = self.process_of(channel.0);
        if self.has_stopped(process) {
            self.wrong(format!("process {process} sends a verdict after its end"));
        }
        if let Some(number) = self.deliveries.get(&(channel, delivery))
            && let Some(message) = self.messages.get_mut(number)
        {
            message
                .verdicts
                .entry(process)
                .or_default()
                .insert(channel.0);
        }
    }

    /// A verdict has arrived at the broker.
    pub(super) fn settled(&mut self, connection: u64, number: u64, settlement: Settlement) {
        let process = self.process_of(connection);
        self.note(&format!(
            "process {process} settles message {number}: {settlement:?}"
        ));
        let Some(message) = self.messages.get_mut(&number) else {
            return;
        };
        message.settled_on = Some(connection);
        let class = message.class;
        let is_reject = settlement == Settlement::Reject;
        let mut runs = self.runs.iter();
        let run = runs.position(|run| {
            (run.process, run.class, run.is_used) == (process, class, false)
                && self.allows(run, settlement)
        });
        let is_told = !is_reject || self.is_told(process, class);
        let is_worked_on = run.is_some() || (is_reject && self.contents.is_garbage(class));
        if !(is_told && is_worked_on) && self.may_be_taken_for_another(process, number, connection)
        {
            self.counts.unworked += 1;
            return self.note("without processing: it is equal to a settled message");
        }
        if is_reject {
            *self.rejects.entry((process, class)).or_default() += 1;
        }
        if !is_told {
            return self.wrong(format!(
                "process {process} rejects class {class}, and nobody is told why"
            ));
        }
        match run {
            Some(run) => {
                // A rejected one has no rebound: it has used up its attempts, or could not be published.
                if self.runs[run].end == Some(End::Rebounded) && !is_reject {
                    self.rebounds.entry((process, class)).or_default().1 += 1;
                }
                self.runs[run].is_used = true;
            }
            None if is_worked_on => {}
            None => self.wrong(format!(
                "process {process} settles a message of class {class} ({settlement:?}) that it has not worked on, or \
                 whose events are not confirmed"
            )),
        }
    }

    /// Whether a run may settle a message in this way.
    fn allows(&self, run: &Run, settlement: Settlement) -> bool {
        let Some(end) = run.end else { return false };
        let has_failed = run
            .emitted
            .iter()
            .any(|(_, emission)| *emission == Emission::Fails);
        if settlement == Settlement::Reject {
            // A late event fails the message too if it is emitted before the message is settled.
            let all_taken = run.emitted.iter().all(|(id, emission)| {
                !matches!(emission, Emission::Required | Emission::Late) || self.is_taken(*id)
            });
            return end != End::Done || has_failed || !all_taken;
        }
        let mut events = run.emitted.iter();
        let is_published = events.all(|(id, emission)| {
            *emission != Emission::Required || self.is_taken(*id) || self.ends_flow(*id)
        });
        let has_ended = match end {
            End::Done => true,
            End::Failed => false,
            End::Rebounded => self.is_rebound_published(run.process, run.class),
        };
        has_ended && !has_failed && is_published
    }

    pub(super) fn is_taken(&self, id: (usize, u32)) -> bool {
        self.events.get(&id).is_some_and(|event| event.taken > 0)
    }

    /// Whether the flow may have ended at an event: it was returned, and its key had carried no event.
    fn ends_flow(&self, id: (usize, u32)) -> bool {
        let event = self.events.get(&id);
        !self.unbound_is_error && event.is_some_and(|event| event.may_end_flow)
    }

    /// A rebound that has used up its attempts is an error event.
    fn is_rebound_published(&self, process: usize, class: u32) -> bool {
        let (taken, used) = self
            .rebounds
            .get(&(process, class))
            .copied()
            .unwrap_or_default();
        taken > used
            || self.told.contains_key(&(process, class))
            || self.logged.contains_key(&Some(class))
    }

    /// Whether one more rejected message of this class has its own error event, or its own error in the log.
    fn is_told(&self, process: usize, class: u32) -> bool {
        let events = self.told.get(&(process, class)).map_or(0, BTreeSet::len);
        let logged = |class| self.logged.get(&class).copied().unwrap_or_default() as usize;
        let mut of_class = self
            .messages
            .values()
            .filter(|message| message.class == class);
        let has_id = of_class.all(|message| message.has_id);
        let unnamed = if has_id { 0 } else { logged(None) };
        let rejected = self
            .rejects
            .get(&(process, class))
            .copied()
            .unwrap_or_default();
        rejected < events + logged(Some(class)) + unnamed
    }

    /// The exception in docs/guarantees.md: a message with an id that is equal to a settled one can be taken for it. The
    /// verdict on that one was sent on an earlier connection of this process, and this message was delivered before.
    fn may_be_taken_for_another(&self, process: usize, number: u64, connection: u64) -> bool {
        let message = &self.messages[&number];
        let equal = self.messages.iter().filter(|(other, equal)| {
            **other != number && equal.content == message.content && equal.is_settled()
        });
        let mut verdicts = equal
            .filter_map(|(_, equal)| equal.verdicts.get(&process))
            .flatten();
        message.has_id && message.is_redelivered && verdicts.any(|earlier| *earlier != connection)
    }

    /// What is left at the end, when nothing fails any more.
    pub(in super::super) fn check_end(&mut self) {
        let lost = self.messages.values().flat_map(|message| {
            let processes = message.verdicts.keys();
            processes.map(|process| message.lost_verdicts(*process) as u64)
        });
        self.counts.lost_verdicts = lost.sum();
        let left = self
            .messages
            .iter()
            .filter(|(_, message)| !message.is_settled());
        let left: Vec<u64> = left.map(|(number, _)| *number).collect();
        if !left.is_empty() {
            self.wrong(format!("messages {left:?} are never settled"));
        }
    }
}
