//! The web server that a provider sends the user's browser back to (RFC 8252 §7.3): on 127.0.0.1, for one answer.

use super::authorization::{Answer, Authorization};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::Url;
use std::{
    io,
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    select,
    sync::oneshot,
    time::{sleep, timeout},
};

/// The one page there is.
pub(super) const PATH: &str = "/callback";
/// For a browser to say what it wants, and to hear the answer: some connect without a word, for later.
const PATIENCE: Duration = Duration::from_secs(10);
/// Browsers send less before the body.
const HEAD_LIMIT: usize = 16 * 1024;
const VISITORS: usize = 32;

/// Listens.
pub(super) struct Loopback(TcpListener);

/// Who waits for the answer, until it is there.
type Waiting = Mutex<Option<oneshot::Sender<Answer>>>;

impl Loopback {
    /// On this port; 0 is any.
    pub(super) async fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map(Self)
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        self.0.local_addr().map(|address| address.port())
    }

    /// Serves for as long as it is polled. The first answer that belongs to `authorization` is handed over.
    pub(super) async fn serve(
        &self,
        authorization: &Authorization,
        waiting: oneshot::Sender<Answer>,
    ) {
        let waiting = Mutex::new(Some(waiting));
        let mut visits = FuturesUnordered::new();
        loop {
            select! {
                accepted = self.0.accept(), if visits.len() < VISITORS => match accepted {
                    Ok((socket, _)) => visits.push(visit(socket, authorization, &waiting)),
                    // Out of file handles, say.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                Some(()) = visits.next() => {}
            }
        }
    }
}

async fn visit(mut socket: TcpStream, authorization: &Authorization, waiting: &Waiting) {
    let Ok(Ok(head)) = timeout(PATIENCE, read_head(&mut socket)).await else {
        return;
    };
    let mut handed_over = None;
    let page = match wanted(&head) {
        Ok(callback) => match authorization.judge(&callback) {
            Ok(answer) => match waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
            {
                Some(sender) => {
                    handed_over = Some((sender, answer));
                    THANKS
                }
                None => USED,
            },
            Err(reason) => {
                eprintln!(
                    "An answer that came to {PATH} was refused: {reason}. Still waiting for the right one…"
                );
                STRAY
            }
        },
        Err(page) => page,
    };
    // Who does not want to hear the answer has brought one all the same.
    let _ = timeout(PATIENCE, send(&mut socket, page)).await;
    if let Some((sender, answer)) = handed_over {
        let _ = sender.send(answer);
    }
}

/// What the browser asks for, when that is the callback.
fn wanted(head: &str) -> Result<Url, Page> {
    let mut words = head.split_ascii_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(MALFORMED);
    };
    let here = Url::parse("http://127.0.0.1").map_err(|_| MALFORMED)?;
    match here.join(target) {
        Ok(url) if url.path() == PATH && method == "GET" => Ok(url),
        Ok(url) if url.path() == PATH => Err(NOT_ALLOWED),
        Ok(_) => Err(NOT_FOUND),
        Err(_) => Err(MALFORMED),
    }
}

/// The request up to its body. Empty when there is no such thing in the first bytes.
async fn read_head(socket: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&buffer[..count]);
        if head.len() > HEAD_LIMIT {
            return Ok(String::new());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn send(socket: &mut TcpStream, (status, text): Page) -> io::Result<()> {
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>component login</title>\
         <p style=\"font:1.2em sans-serif;margin:3em\">{text}</p>\n"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
         Connection: close\r\n\r\n{html}",
        html.len()
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}

/// Status and text.
type Page = (&'static str, &'static str);

const THANKS: Page = (
    "200 OK",
    "The answer has arrived. What came of it is said in the terminal; this page can be closed.",
);
const STRAY: Page = (
    "400 Bad Request",
    "This is no answer to the login that waits here. The terminal says why.",
);
const MALFORMED: Page = (
    "400 Bad Request",
    "This is no request that is understood here.",
);
const NOT_FOUND: Page = ("404 Not Found", "There is nothing here.");
const NOT_ALLOWED: Page = ("405 Method Not Allowed", "Answers come with GET here.");
const USED: Page = ("410 Gone", "This login was answered already.");
