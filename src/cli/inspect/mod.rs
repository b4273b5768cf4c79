//! `component inspect`: tells what a captured message is, and decrypts its body with the step's password. It reads a file,
//! standard input, or the first messages of a queue, which it puts back.
//!
//! By default it shows names, types and sizes. The contents are the operator's own data, and are shown on request.

mod capture;
mod kind;
mod open;
mod print;
mod report;
mod shape;

use super::core_dumps;
use crate::{
    broker::amqp::{Diagnosis, QueueState},
    protocol::Cipher,
    settings::{self, CryptoSettings, QueueSettings},
};
use anyhow::Context as _;
use capture::Capture;
use report::{Problem, Report};
use secrecy::ExposeSecret;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// A captured body; - or nothing reads standard input.
    #[arg(value_name = "FILE", conflicts_with = "queue")]
    file: Option<PathBuf>,
    /// The captured headers, a JSON object. Without a body, only the headers are read.
    #[arg(long, value_name = "FILE", conflicts_with = "queue")]
    headers: Option<PathBuf>,
    /// The protocol version of the body: 1 is base64 text, 2 is raw bytes. The default is what it looks like.
    #[arg(long, value_name = "N", conflicts_with = "queue", value_parser = clap::value_parser!(i64).range(1..=2))]
    protocol: Option<i64>,
    /// Look at the first messages of the step's queue, or of another one, and put them back.
    ///
    /// They stay in their order as far as the broker can keep it. From then on the broker marks them as redelivered, and a
    /// quorum queue counts one more delivery of each. docs/inspect.md says when that matters.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    queue: Option<Option<String>>,
    /// How many messages of the queue to look at.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "queue", value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,
    /// Show the contents too: the decrypted body, and all values of headers.
    #[arg(long)]
    body: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Reads what the arguments name and prints what it is. Returns an error if any of it cannot be read.
pub(super) async fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    // The memory holds the password.
    core_dumps::turn_off();
    let (captures, queue) = captures(args).await?;
    // The password is needed only for what is encrypted.
    let cipher = cipher().map_err(|error| Problem::new(error, "set it as it is for the step"));
    let results: Vec<_> = captures
        .into_iter()
        .map(|capture| Report::of(capture, &cipher))
        .collect();
    if args.json {
        print::json(queue.as_ref(), &results, args.body);
    } else {
        print::text(queue.as_ref(), &results, args.body);
    }
    let unread = results
        .iter()
        .filter(|result| result.problem.is_some())
        .count();
    let all = results.len();
    anyhow::ensure!(unread == 0, "{unread} of {all} could not be read");
    Ok(())
}

/// A queue that was looked into, and its state before that.
struct Queue {
    name: String,
    state: QueueState,
}

async fn captures(args: &InspectArgs) -> anyhow::Result<(Vec<Capture>, Option<Queue>)> {
    let Some(name) = &args.queue else {
        let capture = Capture::read(args.file.as_deref(), args.headers.as_deref(), args.protocol)?;
        return Ok((vec![capture], None));
    };
    let settings = QueueSettings::read(name.as_deref(), settings::environment)?;
    let broker = Diagnosis::connect(&settings.uri).await?;
    let looking = async {
        let state = broker.queue(&settings.queue).await?;
        let peeked = broker.peek(&settings.queue, args.count.into()).await?;
        anyhow::Ok((state, peeked))
    };
    let looked = looking.await;
    broker.close().await;
    let (state, peeked) = looked.with_context(|| format!("queue {}", settings.queue))?;
    let captures = peeked.into_iter().enumerate();
    let captures = captures.map(|(index, message)| Capture::peeked(index + 1, message));
    let queue = Queue {
        name: settings.queue,
        state,
    };
    Ok((captures.collect(), Some(queue)))
}

fn cipher() -> Result<Cipher, String> {
    let settings = CryptoSettings::read(settings::environment).map_err(|e| e.to_string())?;
    Cipher::new(
        settings.password.expose_secret(),
        settings.iv.expose_secret(),
    )
    .map_err(|error| error.to_string())
}
