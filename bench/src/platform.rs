//! The part of the platform's REST API that a step needs to start.

use anyhow::Context as _;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// The id of a step with passthrough.
pub const PASSTHROUGH_STEP: &str = "step_passthrough";
/// The id of a step without passthrough.
pub const PLAIN_STEP: &str = "step_plain";

/// Responds to every request with a step's data, until the runtime ends.
///
/// # Errors
/// When there is no free port on the loopback address.
pub async fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.context("listening for the platform's API")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

/// A client that closes its connection is not an error.
async fn serve(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    while let Some(path) = request(&mut stream).await {
        let step = json!({
            "id": path.rsplit('/').next().unwrap_or_default(),
            "function": "echo",
            "config": {},
            "snapshot": {},
            "is_passthrough": path.ends_with(PASSTHROUGH_STEP),
        });
        let body = step.to_string();
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The path of the next request on this connection. None of them has a body.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let mut line = String::new();
    while stream.read_line(&mut line).await.ok()? > 2 {
        line.clear();
    }
    first.split(' ').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn one_connection_serves_several_requests() {
        let mut stream = TcpStream::connect(start().await.unwrap()).await.unwrap();
        let get = |step: &str| format!("GET /v1/tasks/f/steps/{step} HTTP/1.1\r\nhost: x\r\n\r\n");
        for (step, flag) in [(PLAIN_STEP, "false"), (PASSTHROUGH_STEP, "true")] {
            stream.write_all(get(step).as_bytes()).await.unwrap();
            let mut response = vec![0; 4096];
            let length = stream.read(&mut response).await.unwrap();
            let response = String::from_utf8_lossy(&response[..length]).into_owned();
            assert!(
                response.contains(&format!("\"is_passthrough\":{flag}")),
                "{response}"
            );
        }
    }
}
