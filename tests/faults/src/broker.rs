//! Private RabbitMQ nodes on loopback: one, or a cluster of three. They end with their handle.

use anyhow::{Context as _, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long a node may take to start.
const START: Duration = Duration::from_secs(120);
/// How long a command of `rabbitmqctl` may take.
const COMMAND: Duration = Duration::from_secs(120);
/// How long a node may take to stop, before it is killed.
const STOP: Duration = Duration::from_secs(10);

/// The largest message that the nodes take, in bytes: what RabbitMQ 4 has by default. RabbitMQ 3.10 takes 128 MiB.
pub const LARGEST_MESSAGE: usize = 16 << 20;

/// The connection of this program, which faults must not hit. All other connections are those of the step.
pub const OWN_CONNECTION: &str = "faults-watch";

/// The nodes, and the port mapper by which they find each other.
pub struct Broker {
    server: PathBuf,
    port_of_mapper: u16,
    // Fields are dropped in this order: nodes end before their folder is removed.
    nodes: Vec<Node>,
    _mapper: Child,
    folder: TempDir,
}

struct Node {
    name: String,
    folder: PathBuf,
    port: u16,
    port_of_cluster: u16,
    process: Option<Child>,
}

impl Broker {
    /// Starts this many nodes as one cluster. `server` is the program `rabbitmq-server`, with `rabbitmqctl` beside it.
    ///
    /// # Errors
    /// When a node does not start.
    pub async fn start(server: &Path, nodes: usize) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("sailor-faults-")
            .tempdir()?;
        // All nodes share it. The file must be readable by its owner only.
        let cookie = folder.path().join(".erlang.cookie");
        fs::write(&cookie, "faults")?;
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        let port_of_mapper = free_port().await?;
        let mut broker = Self {
            server: std::path::absolute(server)?,
            port_of_mapper,
            nodes: Vec::new(),
            _mapper: port_mapper(port_of_mapper).await?,
            folder,
        };
        for number in 0..nodes {
            broker.add_node(number).await?;
            broker.start_node(number).await?;
            if number > 0 {
                let first = broker.nodes[0].name.clone();
                broker.control_node(number, &["stop_app"]).await?;
                broker
                    .control_node(number, &["join_cluster", &first])
                    .await?;
                broker.control_node(number, &["start_app"]).await?;
            }
        }
        Ok(broker)
    }

    async fn add_node(&mut self, number: usize) -> anyhow::Result<()> {
        let folder = self.folder.path().join(number.to_string());
        fs::create_dir(&folder)?;
        fs::write(folder.join("empty"), "")?;
        fs::write(folder.join("enabled_plugins"), "[].")?;
        // A machine for tests may have little space left.
        let settings =
            format!("disk_free_limit.absolute = 50MB\nmax_message_size = {LARGEST_MESSAGE}\n");
        fs::write(folder.join("node.conf"), settings)?;
        let port = free_port().await?;
        self.nodes.push(Node {
            name: format!("faults-{}-{number}@localhost", std::process::id()),
            folder,
            port,
            port_of_cluster: free_port().await?,
            process: None,
        });
        Ok(())
    }

    /// The ports of the nodes.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Starts a node that does not run, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it ends, or takes longer than two minutes.
    pub async fn start_node(&mut self, number: usize) -> anyhow::Result<()> {
        let mut command = self.command(number, &self.server);
        let node = &mut self.nodes[number];
        let output = fs::File::options()
            .create(true)
            .append(true)
            .open(node.folder.join("output"))?;
        command.stdout(output.try_clone()?).stderr(output);
        let process = command.process_group(0).spawn();
        let process = node
            .process
            .insert(process.context("starting rabbitmq-server")?);
        let start = Instant::now();
        // A node listens only after it has started completely.
        while TcpStream::connect(("127.0.0.1", node.port)).await.is_err() {
            let ended = process.try_wait()?;
            let waited = start.elapsed();
            ensure!(
                ended.is_none() && waited < START,
                "RabbitMQ does not start: {}",
                last_lines(&node.folder.join("output"))
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills a node with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill_node(&mut self, number: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[number];
        if let Some(mut process) = node.process.take() {
            kill(&process)?;
            timeout(STOP, process.wait())
                .await
                .context("the node does not end")??;
        }
        Ok(())
    }

    /// Runs `rabbitmqctl` on the first node, and returns what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub async fn control(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.control_node(0, arguments).await
    }

    /// Evaluates an Erlang expression on the first node.
    ///
    /// # Errors
    /// When it fails.
    pub async fn evaluate(&self, expression: &str) -> anyhow::Result<String> {
        self.control(&["eval", expression]).await
    }

    /// Whether the log of the first node has this text.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn has_logged(&self, text: &str) -> anyhow::Result<bool> {
        for file in fs::read_dir(self.nodes[0].folder.join("log"))? {
            let path = file?.path();
            if path.is_file() && String::from_utf8_lossy(&fs::read(&path)?).contains(text) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn control_node(&self, number: usize, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(number, &self.server.with_file_name("rabbitmqctl"));
        command.arg("--quiet").args(arguments).kill_on_drop(true);
        let output = timeout(
            COMMAND,
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .output(),
        );
        let output = output.await.context("rabbitmqctl does not end")??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// A program with the environment of a node.
    fn command(&self, number: usize, program: &Path) -> Command {
        let node = &self.nodes[number];
        let folder = |name: &str| node.folder.join(name).into_os_string();
        let text = |text: String| text.into();
        let mut command = Command::new(program);
        // A node that is killed can leave a dump of its database in the current folder.
        command.current_dir(&node.folder);
        command.stdin(Stdio::null()).env_clear().envs([
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("HOME", self.folder.path().into()),
            ("RABBITMQ_NODENAME", text(node.name.clone())),
            ("RABBITMQ_NODE_IP_ADDRESS", text("127.0.0.1".into())),
            ("RABBITMQ_NODE_PORT", text(node.port.to_string())),
            ("RABBITMQ_DIST_PORT", text(node.port_of_cluster.to_string())),
            ("ERL_EPMD_ADDRESS", text("127.0.0.1".into())),
            ("ERL_EPMD_PORT", text(self.port_of_mapper.to_string())),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                text("-kernel inet_dist_use_interface {127,0,0,1}".into()),
            ),
            ("RABBITMQ_MNESIA_BASE", folder("data")),
            ("RABBITMQ_LOG_BASE", folder("log")),
            ("RABBITMQ_PID_FILE", folder("pid")),
            ("RABBITMQ_CONF_ENV_FILE", folder("empty")),
            ("RABBITMQ_CONFIG_FILE", folder("node.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", folder("enabled_plugins")),
        ]);
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        // It has ended by itself if this fails.
        let _ = kill(process);
        // Its folder cannot be removed before it has ended.
        for _ in 0..100 {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Kills a node: the script that has started it, and the Erlang machine. They have a process group of their own.
fn kill(process: &Child) -> anyhow::Result<()> {
    let id = process.id().context("the node has ended")?;
    crate::signal::send_to_group(id, crate::signal::Signal::KILL)
}

/// The nodes' own port mapper, in the foreground. A node that finds none would start one that stays.
async fn port_mapper(port: u16) -> anyhow::Result<Child> {
    let mut command = Command::new("epmd");
    command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = command
        .kill_on_drop(true)
        .spawn()
        .context("starting epmd, which comes with Erlang")?;
    let answers = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(STOP, answers)
        .await
        .context("epmd does not start")?;
    Ok(process)
}

/// A port below the range from which the kernel gives ports to outgoing connections. Programs that run at the same time
/// begin at different places.
async fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 22_000 + (std::process::id() % 700) as u16 * 10;
    for _ in 0..1_000 {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

fn last_lines(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
