//! `component health`: asks the health port of the step in the same container. Images have no shell and no curl that could.

use crate::settings;
use anyhow::{Context as _, bail, ensure};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long the connection, the request and the response may take, each. The server gives a request as long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than the server sends for either path.
const MAX_RESPONSE: u64 = 8 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct HealthArgs {
    /// Ask whether the step is ready (`/readyz`) rather than whether it is live (`/livez`).
    #[arg(long)]
    ready: bool,
    /// Succeed if `ELASTICIO_HEALTH_PORT` is not set: then there is nothing to ask.
    #[arg(long)]
    optional: bool,
}

/// Prints what the step says. Returns an error unless it says yes.
pub(super) fn health(args: &HealthArgs) -> anyhow::Result<()> {
    let Some(port) = settings::health_port(settings::environment)? else {
        ensure!(
            args.optional,
            "ELASTICIO_HEALTH_PORT is not set, so no health is served: set it for the step and for this command"
        );
        println!("not asked: ELASTICIO_HEALTH_PORT is not set");
        return Ok(());
    };
    let path = if args.ready { "/readyz" } else { "/livez" };
    let response = get(port, path).with_context(|| {
        format!("{path} does not answer on port {port}: the step has not started, or has ended")
    })?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    match head.split(' ').nth(1) {
        Some("200") => println!("{}", body.trim_end()),
        Some(status) => bail!("{path} on port {port} says {status}: {}", body.trim_end()),
        None => {
            bail!("{path} on port {port} answers, but not as HTTP: another program has the port")
        }
    }
    Ok(())
}

/// Sends one request without a client: it needs no TLS, must not take a proxy, and is made every few seconds.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    /// The result for a port whose server answers with this text.
    fn answered(path: &'static str, answer: &'static str) -> std::io::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let response = get(port, path);
        assert!(
            server
                .join()
                .unwrap()
                .starts_with(&format!("GET {path} HTTP/1.1\r\n"))
        );
        response
    }

    #[test]
    fn the_response_is_read_to_its_end() {
        let answer = "HTTP/1.1 200 OK\r\n\r\nlive\n";
        assert_eq!(answered("/livez", answer).unwrap(), answer);
    }

    #[test]
    fn a_port_without_a_server_is_an_error() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(get(port, "/livez").is_err());
    }
}
