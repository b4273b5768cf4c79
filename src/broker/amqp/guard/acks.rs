//! Merges acknowledgements.
//!
//! The client writes a frame for each message that it acknowledges. The broker gets one frame for several (`multiple`), which
//! acknowledges every unsettled delivery up to its tag. So only the oldest unsettled deliveries of a channel can be merged,
//! without a gap.
//!
//! While many deliveries are unsettled, acknowledgements wait until there are more of them, for [`LONGEST_WAIT`](super::LONGEST_WAIT)
//! at most. Anything else that the client sends takes them along. They do not wait behind a delivery that takes long: then none of
//! them could be merged.
//!
//! RabbitMQ and the connection work less on one frame than on many, and the broker sends the next messages together: with 1 KB
//! at prefetch 100, FIGURES.

use super::frames::{Channel, END, METHOD, delivery_tag};
use std::collections::BTreeSet;

/// The ids of methods: of class and method.
const CHANNEL_OPEN: [u8; 4] = [0, 20, 0, 10];
const GET_OK: [u8; 4] = [0, 60, 0, 71];
const ACK: [u8; 4] = [0, 60, 0, 80];
const REJECT: [u8; 4] = [0, 60, 0, 90];
const NACK: [u8; 4] = [0, 60, 0, 120];
/// The bit `multiple` of an acknowledgement.
const MULTIPLE: u8 = 1;

/// Acknowledgements wait only if so many deliveries are unsettled.
const MANY: usize = 32;
/// They wait while they are less than this part of the unsettled deliveries.
const PART: usize = 4;

/// What was delivered on one connection and is not settled yet.
#[derive(Debug, Default)]
pub(crate) struct Unsettled(BTreeSet<(Channel, u64)>);

impl Unsettled {
    /// Records what a method of the broker delivers.
    pub(super) fn received(&mut self, channel: Channel, payload: &[u8]) {
        let fetched = payload.strip_prefix(&GET_OK);
        let fetched = || fetched?.first_chunk().map(|tag| u64::from_be_bytes(*tag));
        if let Some(tag) = delivery_tag(payload).or_else(fetched) {
            self.0.insert((channel, tag));
        }
    }

    /// Records what a method of the client settles.
    pub(super) fn sent(&mut self, channel: Channel, payload: &[u8]) {
        let Some((method, arguments)) = payload.split_first_chunk() else {
            return;
        };
        match *method {
            ACK | NACK | REJECT => {
                let Some((tag, [bits, ..])) = arguments.split_first_chunk() else {
                    return;
                };
                let tag = u64::from_be_bytes(*tag);
                if *method == REJECT || bits & MULTIPLE == 0 {
                    self.0.remove(&(channel, tag));
                } else {
                    // 0 stands for all.
                    let last = tag.checked_sub(1).map_or(u64::MAX, |_| tag);
                    self.remove_up_to(channel, last);
                }
            }
            // Its tags begin again.
            CHANNEL_OPEN => self.remove_up_to(channel, u64::MAX),
            _ => {}
        }
    }

    fn remove_up_to(&mut self, channel: Channel, last: u64) {
        self.0.retain(|(of, tag)| *of != channel || *tag > last);
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
    /// The oldest unsettled delivery was among the last ones.
    had_oldest: bool,
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

    /// Returns whether they can wait for more.
    pub(super) fn can_wait(&self, unsettled: &Unsettled) -> bool {
        let unsettled = unsettled.0.len();
        self.had_oldest && unsettled >= MANY && self.tags.len() < unsettled / PART
    }

    /// Takes out the frames to write.
    pub(super) fn take(&mut self, unsettled: &mut Unsettled) -> Vec<u8> {
        self.tags.sort_unstable();
        let oldest = unsettled.of(self.channel).zip(&self.tags);
        let merged = oldest.take_while(|(tag, acked)| tag == *acked).count();
        self.had_oldest = merged > 0;
        let mut frames = Vec::new();
        for (index, tag) in self.tags.drain(..).enumerate() {
            unsettled.0.remove(&(self.channel, tag));
            match merged {
                2.. if index + 1 < merged => {}
                2.. if index + 1 == merged => write(&mut frames, self.channel, tag, MULTIPLE),
                _ => write(&mut frames, self.channel, tag, 0),
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

fn write(frames: &mut Vec<u8>, channel: Channel, tag: u64, bits: u8) {
    let [one, two] = channel;
    let size = (ACK.len() + size_of::<u64>() + 1) as u32;
    frames.extend_from_slice(&[METHOD, one, two]);
    frames.extend_from_slice(&size.to_be_bytes());
    frames.extend_from_slice(&ACK);
    frames.extend_from_slice(&tag.to_be_bytes());
    frames.extend_from_slice(&[bits, END]);
}
