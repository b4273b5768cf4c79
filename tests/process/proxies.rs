//! Proxies: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` apply to the platform's API, object storage and the component.

use super::*;
use std::sync::Mutex;
use tls::{TlsFront, server_tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// A proxy that forwards everything to one server, whatever host a request names.
struct Proxy {
    url: String,
    /// The first line of each connection.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, target.clone(), seen.clone()));
            }
        });
        Self {
            url: format!("http://user:pr0xy@127.0.0.1:{port}"),
            requests,
        }
    }

    /// Returns whether there was a request that begins like this.
    fn saw(&self, start: &str) -> bool {
        let requests = self.requests.lock().unwrap();
        requests.iter().any(|request| request.starts_with(start))
    }
}

async fn forward(mut client: TcpStream, target: String, requests: Arc<Mutex<Vec<String>>>) {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    assert!(text.to_lowercase().contains("proxy-authorization: basic "));
    let request = text.lines().next().unwrap().to_owned();
    requests.lock().unwrap().push(request.clone());
    let mut server = TcpStream::connect(target).await.unwrap();
    if request.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        server.write_all(&head).await.unwrap();
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// The address of the emulator's platform, without the scheme.
fn platform(rig: &Rig) -> String {
    let url = rig.emulator.platform().url();
    url.strip_prefix("http://").unwrap().to_owned()
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    let rig = scripted_with(EmulatorConfig {
        step: Step {
            is_passthrough: false,
            ..Step::default()
        },
        ..EmulatorConfig::default()
    })
    .await;
    let proxy = Proxy::start(platform(&rig)).await;
    let rig = rig
        .variable("ELASTICIO_API_URI", "http://platform.invalid")
        .variable("ELASTICIO_OBJECT_STORAGE_URI", "http://storage.invalid")
        .variable("ELASTICIO_EMIT_LIGHTWEIGHT_MESSAGE", "true")
        .variable("HTTP_PROXY", &proxy.url);
    let mut component = rig.start();
    component.says("Fully initialized").await;
    assert!(proxy.saw("GET http://platform.invalid/v1/"));
    rig.send(json!([["get", "http://component.invalid/sample"]]));
    rig.events(EventKind::Data, 1).await;
    assert!(proxy.saw("GET http://component.invalid/sample"));
    rig.send(json!([["big", 1_100_000]]));
    rig.events(EventKind::Data, 2).await;
    assert!(proxy.saw("POST http://storage.invalid/objects"));
    rig.settled().await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    assert!(!log.iter().any(|line| line.to_string().contains("pr0xy")));
}

#[tokio::test]
async fn https_goes_through_a_tunnel_unless_excluded() {
    for excluded in ["", "localhost"] {
        let rig = scripted(1).await;
        let (acceptor, authority) = server_tls("localhost");
        let front = TlsFront::start(platform(&rig), acceptor).await;
        let proxy = Proxy::start(format!("127.0.0.1:{}", front.port)).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, authority).unwrap();
        let address = format!("localhost:{}", front.port);
        let rig = rig
            .variable("ELASTICIO_API_URI", format!("https://{address}"))
            .variable("ELASTICIO_CA_CERTS", file.to_str().unwrap())
            .variable("HTTPS_PROXY", &proxy.url)
            .variable("NO_PROXY", excluded);
        let mut component = rig.start();
        component.says("Fully initialized").await;
        assert_eq!(
            proxy.saw(&format!("CONNECT {address}")),
            excluded.is_empty()
        );
        assert_eq!(component.stop().await.0, 0);
    }
}

#[tokio::test]
async fn a_wrong_proxy_is_a_warning_that_names_it() {
    let rig = scripted(1)
        .await
        .variable("HTTPS_PROXY", "socks5://s3cret@proxy");
    let mut component = rig.start();
    component
        .says("HTTPS_PROXY is not the URL of a proxy")
        .await;
    component.says("Fully initialized").await;
    let (_, log) = component.stop().await;
    assert!(!log.iter().any(|line| line.to_string().contains("s3cret")));
}
