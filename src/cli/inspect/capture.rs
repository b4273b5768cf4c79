//! What is inspected: a body and headers, from files or from a queue.

use crate::{broker::amqp::Peeked, protocol::Headers};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// More than a broker accepts as one message: an endless input ends with an error.
const MAX_BYTES: u64 = 512 << 20;

/// A message as it was captured.
pub(super) struct Capture {
    /// Where it comes from, for the report.
    pub(super) source: String,
    pub(super) body: Option<Bytes>,
    pub(super) headers: Option<Headers>,
    /// The protocol version that the operator names.
    pub(super) protocol: Option<i64>,
    pub(super) delivery: Option<Delivery>,
}

/// What the broker says about a message of a queue.
pub(super) struct Delivery {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) redelivered: bool,
}

impl Capture {
    /// Reads a body, headers or both. Without any of them, the body is standard input.
    pub(super) fn read(
        body: Option<&Path>,
        headers: Option<&Path>,
        protocol: Option<i64>,
    ) -> anyhow::Result<Self> {
        let body = body.or_else(|| headers.is_none().then(|| Path::new("-")));
        if let Some(body) = body.filter(|body| headers == Some(body)) {
            bail!(
                "the body and the headers are both {}; name two inputs",
                name(body)
            );
        }
        let source = name(body.or(headers).unwrap_or_else(|| Path::new("-")));
        Ok(Self {
            source,
            body: body.map(read_file).transpose()?.map(Bytes::from),
            headers: headers.map(read_headers).transpose()?,
            protocol,
            delivery: None,
        })
    }

    /// A message of a queue, by its place there.
    pub(super) fn peeked(place: usize, message: Peeked) -> Self {
        let Peeked {
            exchange,
            routing_key,
            redelivered,
            headers,
            body,
        } = message;
        Self {
            source: format!("message {place}"),
            body: Some(body),
            headers: Some(headers),
            protocol: None,
            delivery: Some(Delivery {
                exchange,
                routing_key,
                redelivered,
            }),
        }
    }
}

fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    read(path).with_context(|| {
        let name = name(path);
        format!("{name} cannot be read; name a file, or - for standard input")
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_BYTES} bytes"
        )));
    }
    Ok(bytes)
}

/// Reads headers. The error contains none of them.
fn read_headers(path: &Path) -> anyhow::Result<Headers> {
    let text = read_file(path)?;
    serde_json::from_slice(&text).map_err(|error| {
        let (name, line, column) = (name(path), error.line(), error.column());
        let remedy = "write the header table as {\"name\": value}, as the management interface of RabbitMQ shows it";
        anyhow::anyhow!("{name} is not a JSON object, line {line}, column {column}; {remedy}")
    })
}
