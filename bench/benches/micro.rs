//! How long the parts of the hot path take by themselves: `cargo bench -p sailor-bench`. docs/benchmarks.md says what each
//! figure is.

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use sailor::{
    protocol::{Encoding, Headers, IncomingHeaders, Object, StepIdentity},
    settings::Settings,
};
use sailor_bench::{
    broker::INPUT,
    contestant::{PROTOCOL, Setup, variables},
    platform::PLAIN_STEP,
    sample,
};
use serde_json::{Map, Value, json};
use std::{collections::HashMap, net::Ipv4Addr};

const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

fn main() {
    divan::main();
}

mod cipher {
    use super::*;

    /// The lengths of the plain text.
    const BYTES: [usize; 3] = [KB, 100 * KB, 5 * MB];

    #[divan::bench(args = BYTES)]
    fn encrypt_raw(bencher: Bencher, bytes: usize) {
        encrypt(bencher, bytes, Encoding::Raw);
    }

    #[divan::bench(args = BYTES)]
    fn encrypt_base64(bencher: Bencher, bytes: usize) {
        encrypt(bencher, bytes, Encoding::Base64);
    }

    #[divan::bench(args = BYTES)]
    fn decrypt_raw(bencher: Bencher, bytes: usize) {
        decrypt(bencher, bytes, Encoding::Raw);
    }

    #[divan::bench(args = BYTES)]
    fn decrypt_base64(bencher: Bencher, bytes: usize) {
        decrypt(bencher, bytes, Encoding::Base64);
    }

    fn encrypt(bencher: Bencher, bytes: usize, encoding: Encoding) {
        let cipher = sample::cipher();
        // With room for the padding, as the engine has it.
        let plain = || {
            let mut plain = Vec::with_capacity(bytes + 16);
            plain.resize(bytes, b'x');
            plain
        };
        bencher
            .counter(BytesCount::new(bytes))
            .with_inputs(plain)
            .bench_values(|plain| cipher.encrypt(plain, encoding));
    }

    fn decrypt(bencher: Bencher, bytes: usize, encoding: Encoding) {
        let cipher = sample::cipher();
        let body = cipher.encrypt(vec![b'x'; bytes], encoding);
        bencher
            .counter(BytesCount::new(bytes))
            .bench(|| cipher.decrypt(black_box(&body), encoding));
    }
}

/// The envelope: its members are found, and written again around the texts of their values.
mod envelope {
    use super::*;

    /// How many earlier steps are in the passthrough, each with a kilobyte.
    const STEPS: [usize; 3] = [0, 10, 100];

    fn text(steps: usize) -> Bytes {
        let entry = json!({ "headers": {}, "body": { "text": "x".repeat(KB) } });
        let passthrough: Map<String, Value> = (0..steps)
            .map(|step| (format!("step_{step}"), entry.clone()))
            .collect();
        let message = json!({
            "id": "message",
            "headers": {},
            "attachments": {},
            "body": { "text": "x".repeat(KB) },
            "passthrough": passthrough,
        });
        message.to_string().into()
    }

    #[divan::bench(args = STEPS)]
    fn read(bencher: Bencher, steps: usize) {
        let text = text(steps);
        bencher
            .counter(BytesCount::new(text.len()))
            .bench(|| Object::read(black_box(&text).clone()));
    }

    #[divan::bench(args = STEPS)]
    fn write(bencher: Bencher, steps: usize) {
        let text = text(steps);
        let message = Object::read(text.clone()).expect("the message is an object");
        bencher
            .counter(BytesCount::new(text.len()))
            .bench(|| black_box(&message).to_vec());
    }
}

mod headers {
    use super::*;

    /// How many `x-eio-meta-…` headers there are.
    const META: [usize; 2] = [0, 20];

    fn incoming(meta: usize) -> Headers {
        let mut headers = sample::headers(1, PROTOCOL);
        for number in 0..meta {
            headers.insert(format!("x-eio-meta-{number}"), "value".into());
        }
        headers
    }

    #[divan::bench(args = META)]
    fn read(bencher: Bencher, meta: usize) {
        let headers = incoming(meta);
        bencher.bench(|| IncomingHeaders::read(black_box(&headers)));
    }

    /// Those that all events of a message share.
    #[divan::bench(args = META)]
    fn of_events(bencher: Bencher, meta: usize) {
        let incoming = IncomingHeaders::read(&incoming(meta));
        let identity = StepIdentity {
            flow_id: "flow".to_owned(),
            exec_id: "execution".to_owned(),
            step_id: PLAIN_STEP.to_owned(),
            container_id: "container".to_owned(),
            workspace_id: "workspace".to_owned(),
            user_id: "user".to_owned(),
            comp_id: "component".to_owned(),
            function: "echo".to_owned(),
        };
        bencher.bench(|| black_box(&incoming).base_headers(&identity, &[], 0));
    }
}

/// The variables of a step, which are read once at its start.
#[divan::bench]
fn settings(bencher: Bencher) {
    let setup = Setup {
        uri: "amqp://guest:guest@localhost",
        platform: (Ipv4Addr::LOCALHOST, 1).into(),
        queue: INPUT,
        step: PLAIN_STEP,
        prefetch: 1,
        messages: 1,
        logs: false,
    };
    let mut variables: HashMap<_, _> = variables(&setup).into_iter().collect();
    variables.insert("ELASTICIO_FUNCTION", "echo".to_owned());
    let get = |name: &str| variables.get(name).cloned();
    Settings::read(get).expect("the variables are complete");
    bencher.bench(|| Settings::read(black_box(get)));
}
