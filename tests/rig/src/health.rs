//! Asks a process for its health and its metrics (`ELASTICIO_HEALTH_PORT`).

use crate::process::soon;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, TcpListener},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The values of one scrape, by series: name and labels, as they are written.
pub type Series = BTreeMap<String, f64>;

/// The server of one process, and what its metrics were.
#[derive(Debug)]
pub struct Health {
    port: u16,
    first: Series,
    moved: BTreeSet<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Takes a port that is free now.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        Self {
            port: listener.local_addr().expect("it is bound").port(),
            first: Series::new(),
            moved: BTreeSet::new(),
        }
    }

    /// The value of `ELASTICIO_HEALTH_PORT`.
    #[must_use]
    pub fn port(&self) -> String {
        self.port.to_string()
    }

    /// Sends a GET. Returns the status and the body, or nothing if nobody listens.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .await
            .ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await.ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Waits until the path has this status, and returns the body.
    ///
    /// # Panics
    /// When it does not have it in time.
    pub async fn until_status(&self, path: &str, expected: u16) -> String {
        let asking = async {
            loop {
                if let Some((status, body)) = self.get(path).await
                    && status == expected
                {
                    return body;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("status {expected} of {path}"), asking).await
    }

    /// Reads all series, and notes which are not as they were at first.
    ///
    /// # Panics
    /// When the process does not respond, or not with metrics.
    pub async fn scrape(&mut self) -> Series {
        let (_, text) = self.get("/metrics").await.expect("the process responds");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series: Series = lines
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("a series has a value");
                (name.to_owned(), value.parse().expect("a value is a number"))
            })
            .collect();
        if self.first.is_empty() {
            self.first.clone_from(&series);
        }
        let moved = series
            .iter()
            .filter(|(name, value)| self.first.get(*name) != Some(value));
        self.moved.extend(moved.map(|(name, _)| name.clone()));
        series
    }

    /// Waits until a series has such a value, and returns it. Names are without `elasticio_sailor_`.
    ///
    /// # Panics
    /// When it does not have it in time.
    pub async fn until(&mut self, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let full_name = format!("elasticio_sailor_{name}");
        let asking = async {
            loop {
                let value = self.scrape().await.get(&full_name).copied();
                if let Some(value) = value.filter(|value| wanted(*value)) {
                    return value;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(name, asking).await
    }

    /// The series of the first scrape that have had no other value in any later one.
    #[must_use]
    pub fn unmoved(&self) -> Vec<&str> {
        let series = self.first.keys().map(String::as_str);
        series.filter(|name| !self.moved.contains(*name)).collect()
    }
}
