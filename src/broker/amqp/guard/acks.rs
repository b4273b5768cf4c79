//! Merges acknowledgements.
//!
//! The client writes a frame for each message that it acknowledges. The broker gets one frame for several (`multiple`), which
//! acknowledges every unsettled delivery up to its tag. So only the oldest unsettled deliveries of a channel can be merged,
//! without a gap.
//!
//! Nothing waits for this: only frames that lie next to each other in one write are merged. RabbitMQ and the connection work
//! less on one frame than on many: with 1 KB at prefetch 100, that is 11 % more messages for 5 % less CPU time.

use super::frames::{Channel, METHOD, frame_of};
use std::collections::BTreeSet;

/// The ids of methods: of class and method.
const GET_OK: [u8; 4] = [0, 60, 0, 71];
const ACK: [u8; 4] = [0, 60, 0, 80];
const REJECT: [u8; 4] = [0, 60, 0, 90];
const NACK: [u8; 4] = [0, 60, 0, 120];
/// The bit `multiple` of an acknowledgement.
const MULTIPLE: u8 = 1;

/// The channels and tags of what was delivered on one connection and is not settled yet. It may have more, such as what a
/// closed channel had delivered: then less is merged.
#[derive(Debug, Default)]
pub(crate) struct Unsettled(BTreeSet<(Channel, u64)>);

impl Unsettled {
    pub(super) fn add(&mut self, channel: Channel, tag: u64) {
        self.0.insert((channel, tag));
    }

    /// Records what a method of the client settles.
    pub(super) fn sent(&mut self, channel: Channel, payload: &[u8]) {
        let Some((method @ &(ACK | NACK | REJECT), arguments)) = payload.split_first_chunk() else {
            return;
        };
        let Some((tag, [bits, ..])) = arguments.split_first_chunk() else {
            return;
        };
        let tag = u64::from_be_bytes(*tag);
        if *method == REJECT || bits & MULTIPLE == 0 {
            self.0.remove(&(channel, tag));
        } else {
            // 0 stands for all.
            let is_settled = |of: u64| of <= tag || tag == 0;
            self.0
                .retain(|(other, of)| *other != channel || !is_settled(*of));
        }
    }

    fn of(&self, channel: Channel) -> impl Iterator<Item = u64> {
        let all = (channel, 0)..=(channel, u64::MAX);
        self.0.range(all).map(|(_, tag)| *tag)
    }
}

/// Acknowledgements that lie next to each other, all of one channel.
#[derive(Debug, Default)]
pub(super) struct Acks {
    channel: Channel,
    tags: Vec<u64>,
}

impl Acks {
    /// Adds an acknowledgement. Returns false for anything else, and for one of another channel.
    pub(super) fn add(&mut self, channel: Channel, payload: &[u8]) -> bool {
        let Some(tag) = acknowledged(payload) else {
            return false;
        };
        if self.tags.is_empty() {
            self.channel = channel;
        }
        let is_added = self.channel == channel;
        if is_added {
            self.tags.push(tag);
        }
        is_added
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Takes out the frames to write.
    pub(super) fn take(&mut self, unsettled: &mut Unsettled) -> Vec<u8> {
        self.tags.sort_unstable();
        let oldest = unsettled.of(self.channel).zip(&self.tags);
        let merged = oldest.take_while(|(tag, acked)| tag == *acked).count();
        let mut frames = Vec::new();
        for (index, tag) in self.tags.drain(..).enumerate() {
            unsettled.0.remove(&(self.channel, tag));
            match merged {
                2.. if index + 1 < merged => {}
                2.. if index + 1 == merged => frames.extend(ack(self.channel, tag, MULTIPLE)),
                _ => frames.extend(ack(self.channel, tag, 0)),
            }
        }
        frames
    }
}

/// The tag of the only message that a method acknowledges.
fn acknowledged(payload: &[u8]) -> Option<u64> {
    let (tag, bits) = payload.strip_prefix(&ACK)?.split_first_chunk()?;
    (bits == [0]).then(|| u64::from_be_bytes(*tag))
}

/// The frame of an acknowledgement.
fn ack(channel: Channel, tag: u64, bits: u8) -> Vec<u8> {
    let payload = [ACK.as_slice(), &tag.to_be_bytes(), &[bits]].concat();
    frame_of(METHOD, channel, &payload)
}

/// Returns the tag of a message that the client has fetched (`basic.get-ok`).
pub(super) fn fetched_tag(payload: &[u8]) -> Option<u64> {
    let tag = payload.strip_prefix(&GET_OK)?.first_chunk()?;
    Some(u64::from_be_bytes(*tag))
}
