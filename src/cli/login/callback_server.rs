//! The local web server to which the provider redirects the user's browser (RFC 8252, section 7.3). It listens on 127.0.0.1
//! and accepts one response.

use super::authorization::{Authorization, AuthorizationResponse};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::Url;
use std::{
    fmt, io,
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

/// The only path that the server serves.
const PATH: &str = "/callback";
/// The time limit for one request, and for one response. Browsers open connections that they do not use.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest request head that is read.
const HEAD_LIMIT: usize = 16 * 1024;
const MAX_CONNECTIONS: usize = 32;

/// A page: its status and text.
type Page = (&'static str, &'static str);

const PAGE_RECEIVED: Page = (
    "200 OK",
    "The response has arrived. See the terminal for the result; you can close this page.",
);
const PAGE_UNRELATED: Page = (
    "400 Bad Request",
    "This does not belong to the login in progress. See the terminal for the reason.",
);
const PAGE_MALFORMED: Page = ("400 Bad Request", "This request is not understood.");
const PAGE_NOT_FOUND: Page = ("404 Not Found", "There is nothing here.");
const PAGE_NOT_ALLOWED: Page = ("405 Method Not Allowed", "Only GET is allowed here.");
const PAGE_ALREADY_USED: Page = ("410 Gone", "This login has already been completed.");

pub(super) struct CallbackServer(TcpListener);

/// Receives the response. The first request that belongs to the login takes it.
type ResponseSender = Mutex<Option<oneshot::Sender<AuthorizationResponse>>>;

impl CallbackServer {
    /// Listens on this port of 127.0.0.1; 0 picks a free one.
    pub(super) async fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map(Self)
    }

    /// Returns the URL to which the provider redirects the browser.
    pub(super) fn redirect_uri(&self, host: impl fmt::Display) -> io::Result<String> {
        let port = self.0.local_addr()?.port();
        Ok(format!("http://{host}:{port}{PATH}"))
    }

    /// Serves until it is dropped. Sends the first response that belongs to `authorization` to `sender`.
    pub(super) async fn serve(
        &self,
        authorization: &Authorization,
        sender: oneshot::Sender<AuthorizationResponse>,
    ) {
        let sender = Mutex::new(Some(sender));
        let mut connections = FuturesUnordered::new();
        loop {
            select! {
                accepted = self.0.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((socket, _)) => connections.push(handle_connection(socket, authorization, &sender)),
                    // The process may be out of file handles for a moment.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                Some(()) = connections.next() => {}
            }
        }
    }
}

async fn handle_connection(
    mut socket: TcpStream,
    authorization: &Authorization,
    sender: &ResponseSender,
) {
    let Ok(Ok(head)) = timeout(IO_TIMEOUT, read_head(&mut socket)).await else {
        return;
    };
    let (page, received) = match callback_url(&head) {
        Ok(url) => receive(&url, authorization, sender),
        Err(page) => (page, None),
    };
    // The browser may close the connection early; its response still counts.
    let _ = timeout(IO_TIMEOUT, send(&mut socket, page)).await;
    if let Some((sender, response)) = received {
        let _ = sender.send(response);
    }
}

type Received = (
    oneshot::Sender<AuthorizationResponse>,
    AuthorizationResponse,
);

/// Decides what a callback means: the page for the browser, and the response if this is the first one of the login. The
/// caller sends the page first, because the process ends soon after it has the response.
fn receive(
    url: &Url,
    authorization: &Authorization,
    sender: &ResponseSender,
) -> (Page, Option<Received>) {
    let response = match authorization.read_callback(url) {
        Ok(response) => response,
        Err(reason) => {
            eprintln!("A request to {PATH} was ignored: {reason}. Still waiting for the response…");
            return (PAGE_UNRELATED, None);
        }
    };
    let sender = sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    match sender {
        Some(sender) => (PAGE_RECEIVED, Some((sender, response))),
        None => (PAGE_ALREADY_USED, None),
    }
}

/// Returns the URL of a callback, or the page for any other request.
fn callback_url(head: &str) -> Result<Url, Page> {
    let mut words = head.split_ascii_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(PAGE_MALFORMED);
    };
    let base = Url::parse("http://127.0.0.1").map_err(|_| PAGE_MALFORMED)?;
    match base.join(target) {
        Ok(url) if url.path() == PATH && method == "GET" => Ok(url),
        Ok(url) if url.path() == PATH => Err(PAGE_NOT_ALLOWED),
        Ok(_) => Err(PAGE_NOT_FOUND),
        Err(_) => Err(PAGE_MALFORMED),
    }
}

/// Reads a request up to its body. Returns the empty text if the head is too large.
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
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
         Connection: close\r\n\r\n{html}",
        html.len()
    );
    socket.write_all(response.as_bytes()).await?;
    socket.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth2::ClientRegistration;
    use std::collections::BTreeMap;
    use tokio::time::Instant;

    fn authorization() -> Authorization {
        let url = Url::parse("https://login.example.com").unwrap();
        let client = ClientRegistration {
            id: "id".into(),
            secret: None,
            token_url: url.clone(),
            refresh_url: url.clone(),
            auth_url: Some(url),
            revoke_url: None,
            scopes: vec![],
            authorize_params: BTreeMap::new(),
        };
        Authorization::new(&client, "http://127.0.0.1:5000/callback".into(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed_after_10_seconds() {
        let server = CallbackServer::bind(0).await.unwrap();
        let (sender, _response) = oneshot::channel();
        let (address, start) = (server.0.local_addr().unwrap(), Instant::now());
        let silent = async {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.read(&mut [0; 10]).await
        };
        let authorization = authorization();
        select! {
            () = server.serve(&authorization, sender) => panic!("it serves until it is dropped"),
            read = silent => assert_eq!(read.unwrap(), 0),
        }
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
