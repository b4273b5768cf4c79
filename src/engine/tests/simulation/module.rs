//! The module of the simulated step. It does what the message says, and tells the model what it does.

use super::{
    super::acts,
    model::{Emission, End, SharedModel},
    plan::Op,
};
use crate::{
    component::{Component, context::Context, emitter::Emitter, error::Rebound, message::Message},
    protocol::headers::ROUTING_KEY_HEADER,
};
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Larger than the broker's largest message.
const BIG: usize = 128 * 1024;

/// The component of one process.
pub(super) fn component(model: &SharedModel, process: usize) -> Component {
    let model = model.clone();
    acts(move |message: Message<Value>, cx: Context| {
        let model = model.clone();
        async move {
            let class = message.body["class"].as_u64().unwrap_or_default();
            let class = u32::try_from(class)?;
            let ops: Vec<Op> = serde_json::from_value(message.body["ops"].clone())?;
            let number = model.lock().started(process, class);
            let run = Run {
                model,
                number,
                class,
                emitted: 0,
            };
            run.perform(&ops, &cx.emitter()).await
        }
    })
}

/// One call of the module.
struct Run {
    model: SharedModel,
    number: usize,
    class: u32,
    emitted: u32,
}

impl Run {
    async fn perform(mut self, ops: &[Op], emitter: &Emitter) -> anyhow::Result<()> {
        for op in ops {
            if let Err(error) = self.perform_one(op, emitter).await {
                let end = if error.is::<Rebound>() {
                    End::Rebounded
                } else {
                    End::Failed
                };
                self.model.lock().ended(self.number, end);
                return Err(error);
            }
        }
        self.model.lock().ended(self.number, End::Done);
        Ok(())
    }

    async fn perform_one(&mut self, op: &Op, emitter: &Emitter) -> anyhow::Result<()> {
        match op {
            Op::Emit => {
                let body = self.event("data", Emission::Required);
                emitter.data(&body).await?;
            }
            Op::Fire => self.fire(emitter),
            Op::Custom => {
                let body = self.event("custom", Emission::Required);
                let message = Message::new(body).with_header(ROUTING_KEY_HEADER, "custom");
                emitter.message(message).await?;
            }
            Op::Big => {
                let mut body = self.event("data", Emission::Fails);
                body["text"] = "x".repeat(BIG).into();
                // The runtime reports the error.
                let _ = emitter.data(&body).await;
            }
            Op::Snapshot => {
                let body = self.event("snapshot", Emission::Required);
                emitter.snapshot(&body).await?;
            }
            Op::Keys => {
                let body = self.event("keys", Emission::Awaited);
                emitter.update_keys(&body).await?;
            }
            Op::Warn => {
                self.event("error", Emission::Fails);
                emitter
                    .error(anyhow::anyhow!("class {} warns", self.class))
                    .await?;
            }
            Op::Sleep(millis) => sleep(Duration::from_millis(*millis)).await,
            Op::Late(millis) => self.emit_late(emitter, Duration::from_millis(*millis)),
            Op::Fail => anyhow::bail!("class {} fails", self.class),
            Op::Panic => {
                self.model.lock().ended(self.number, End::Failed);
                // Unlike `panic!`, this prints nothing.
                std::panic::resume_unwind(Box::new(format!("class {} panics", self.class)));
            }
            Op::Rebound => return Err(Rebound::because("busy").into()),
        }
        Ok(())
    }

    fn fire(&mut self, emitter: &Emitter) {
        let body = self.event("data", Emission::Required);
        let emitter = emitter.clone();
        let mut emitting = Box::pin(async move { emitter.data(&body).await });
        // The first poll emits it while the message is processed.
        if (&mut emitting).now_or_never().is_none() {
            tokio::spawn(emitting);
        }
    }

    fn emit_late(&mut self, emitter: &Emitter, pause: Duration) {
        let body = self.event("data", Emission::Late);
        let emitter = emitter.clone();
        tokio::spawn(async move {
            sleep(pause).await;
            let _ = emitter.data(&body).await;
        });
    }

    /// The body of the next event.
    fn event(&mut self, key: &'static str, emission: Emission) -> Value {
        let index = self.emitted;
        self.emitted += 1;
        let id = (self.number, index);
        self.model.lock().emits(id, key, emission);
        json!({ "run": self.number, "index": index })
    }
}
