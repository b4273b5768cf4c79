//! `component health`: asks the health port of the step in the same container. Images have no shell and no curl that could.

use crate::settings;
use anyhow::{Context as _, bail, ensure};
use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long the connection, the request and the response may take together. The server gives a request as long.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// More than the server sends for either path.
const MAX_RESPONSE: usize = 8 * 1024;

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
    let response = ask(port, path, HEALTH_TIMEOUT)?;
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

/// Returns the response of the step.
fn ask(port: u16, path: &str, limit: Duration) -> anyhow::Result<String> {
    get(port, path, limit).with_context(|| {
        format!("{path} does not answer on port {port}: the step has not started, or has ended")
    })
}

/// Sends one request without a client: it needs no TLS, must not take a proxy, and is made every few seconds.
fn get(port: u16, path: &str, limit: Duration) -> io::Result<String> {
    let deadline = Instant::now() + limit;
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut response, mut part) = (Vec::new(), [0; 1024]);
    while response.len() < MAX_RESPONSE {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => response.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&response).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    /// The result for a port whose server answers with this text.
    fn answered(path: &'static str, answer: &'static str) -> anyhow::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut part) = (String::new(), [0; 1024]);
            while !request.ends_with("\r\n\r\n") {
                let length = stream.read(&mut part).unwrap();
                request += str::from_utf8(&part[..length]).unwrap();
            }
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let response = ask(port, path, HEALTH_TIMEOUT);
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
        let error = ask(port, "/livez", HEALTH_TIMEOUT).unwrap_err();
        assert!(format!("{error:#}").contains("refused"), "{error:#}");
    }

    #[test]
    fn a_health_port_that_says_nothing_is_not_waited_for() {
        // The system connects, and nobody accepts.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = ask(port, "/livez", HEALTH_TIMEOUT / 100).unwrap_err();
        assert!(error.to_string().contains("does not answer on port"));
    }

    #[test]
    fn a_response_that_comes_byte_by_byte_is_not_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Until the other side gives up.
            while stream.write_all(b"H").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let error = ask(port, "/livez", HEALTH_TIMEOUT / 100).unwrap_err();
        assert!(error.to_string().contains("does not answer on port"));
        server.join().unwrap();
    }
}
