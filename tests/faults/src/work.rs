//! What the messages ask for.

use crate::{
    broker::LARGEST_MESSAGE,
    queues::Order,
    stage::{Run, echo_after},
};
use emulator::platform::Platform;
use sailor::protocol::Encoding;
use sailor_bench::sample;
use serde_json::json;

/// More bytes than the broker takes.
pub const TOO_LARGE: usize = LARGEST_MESSAGE + (1 << 20);
/// What the messages ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// To wait so many milliseconds, and to emit the message.
    Echo(u64),
    /// To fetch the message's body from object storage, and to emit it.
    Objects,
    /// To save keys with the account over the platform's API, and to emit the message.
    Keys,
    /// To emit the message, and every tenth time one that is larger than the broker takes.
    Large,
    /// A request to an API with an access token that often expires.
    Requests,
}

impl Work {
    /// Whether a message takes less than a second.
    pub fn is_fast(self) -> bool {
        !matches!(self, Self::Echo(1_000..))
    }

    /// Puts so many messages into the queue.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn send(self, run: &mut Run<'_>, count: u64) -> anyhow::Result<()> {
        let platform = run.platform.clone();
        run.send(count, |number| self.order(&platform, number))
            .await
    }

    fn order(self, platform: &Platform, number: u64) -> Order {
        match self {
            Self::Echo(milliseconds) => Order::script(number, &echo_after(milliseconds)),
            Self::Large if number.is_multiple_of(10) => {
                Order::script(number, &json!([["big", TOO_LARGE]]))
            }
            Self::Large => Order::script(number, &echo_after(0)),
            Self::Keys => {
                let script = json!([["sleep", 10], ["updateKeys", { "latest": number }], ["echo"]]);
                Order::script(number, &script)
            }
            Self::Objects => {
                let id = format!("object-{number}");
                let plain = json!({ "number": number, "script": echo_after(10) }).to_string();
                let sealed = sample::cipher().encrypt(plain.into_bytes(), Encoding::of(2));
                platform.set_object(&id, sealed);
                Order {
                    object: Some(id),
                    ..Order::script(number, &json!([]))
                }
            }
            Self::Requests => {
                let contact = json!({ "number": number });
                let body = json!({ "method": "POST", "path": "/echo/contacts", "body": contact });
                Order {
                    number,
                    body,
                    object: None,
                }
            }
        }
    }
}
