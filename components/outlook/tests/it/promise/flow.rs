//! One flow: a mailbox, its trouble, and polls until everything has been read.

use super::mailbox::Mailbox;
use crate::rig::Rig;
use fastrand::Rng;
use graph_standin::{EmptyList, Encoding, RandomTrouble, Trouble};
use sailor::testing::Event;
use serde_json::{Value, json};

/// How often the mailbox grows.
const ROUNDS: u32 = 3;
/// The polls after it has grown for the last time.
const TROUBLED_POLLS: u32 = 3;
/// The most polls after the random trouble has ended.
const MAX_POLLS: u32 = 20;

pub struct Flow {
    rng: Rng,
    rig: Rig,
    trigger: &'static str,
    fields: Value,
    mailbox: Mailbox,
    trouble: Trouble,
    snapshot: Value,
}

impl Flow {
    pub async fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let trigger = ["getContacts", "readMail"][rng.usize(..2)];
        let emit = ["emitIndividually", "emitAll"][rng.usize(..2)];
        let rig = Rig::new().await;
        if rng.bool() {
            rig.graph.limit_pages(rng.usize(1..8));
        }
        Self {
            trouble: trouble(&mut rng, seed),
            mailbox: Mailbox::new(trigger == "readMail", rng.bool()),
            rig,
            rng,
            trigger,
            fields: json!({ "folderId": "inbox", "getAttachment": "on", "emitBehavior": emit }),
            snapshot: json!({}),
        }
    }

    pub async fn run(mut self) {
        for _ in 0..ROUNDS {
            self.mailbox.grow(&mut self.rng, &self.rig.graph);
            self.set_trouble();
            for _ in 0..self.rng.usize(1..3) {
                self.poll().await;
                if self.mailbox.is_listed && self.rng.bool() {
                    self.mailbox.change(&mut self.rng, &self.rig.graph);
                }
            }
        }
        for _ in 0..TROUBLED_POLLS {
            self.poll().await;
        }
        self.trouble.random = None;
        self.set_trouble();
        let mut last = None;
        for _ in 0..MAX_POLLS {
            let (failure, is_new) = self.poll().await;
            if failure.is_none() && !is_new && last == Some((None, false)) {
                return self.mailbox.assert_complete();
            }
            last = Some((failure, is_new));
        }
        panic!("it does not come to an end: {last:?}, {:?}", self.trouble);
    }

    fn set_trouble(&mut self) {
        if !self.mailbox.is_listed {
            self.trouble.failing_ids = self.mailbox.bad_ids();
        }
        self.rig.graph.set_trouble(self.trouble.clone());
    }

    /// Polls once. Returns why it failed, and whether it emitted something.
    async fn poll(&mut self) -> (Option<String>, bool) {
        let poll = self
            .rig
            .poll(self.trigger, self.fields.clone(), &mut self.snapshot);
        let emitted = poll.await;
        let mut failure = None;
        for event in &emitted.events {
            assert_eq!(failure, None, "then came {event:?}");
            failure = self.mailbox.take(event);
        }
        let is_data = |event: &Event| matches!(event, Event::Data(_));
        (failure, emitted.events.iter().any(is_data))
    }
}

fn trouble(rng: &mut Rng, seed: u64) -> Trouble {
    let encodings = [
        Encoding::Utf8Bom,
        Encoding::Utf16Le,
        Encoding::Utf16BeBom,
        Encoding::Latin1,
    ];
    let empty = [
        EmptyList::NoContent,
        EmptyList::EmptyBody,
        EmptyList::Missing,
    ];
    Trouble {
        calls: "GET .*/(contacts|messages)".to_owned(),
        // What the client does not send again by itself: that takes seconds.
        failing_status: Some(501),
        encoding: rng.bool().then(|| encodings[rng.usize(..4)]),
        empty_list: rng.bool().then(|| empty[rng.usize(..3)]),
        repeat_pages: u32::from(rng.u8(..4) == 0),
        last_page_names_itself: rng.bool(),
        chunked: rng.bool(),
        random: rng.bool().then_some(RandomTrouble {
            seed,
            server_error: 0.03,
            limit: 0.03,
            broken_body: 0.05,
            empty_body: 0.5,
            max_in_a_row: 2,
        }),
        ..Trouble::default()
    }
}
