//! A node of the lab: its namespace and what runs in it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::daemons::Daemon;
use super::netns::Namespace;

/// How long a balancer may take from start to ready.
pub const READY_DEADLINE: Duration = Duration::from_secs(20);
/// How long BIRD, nginx and the echo service may take to listen.
pub const SERVICE_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to end after SIGTERM.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// An ingress node or a backend.
#[derive(Debug)]
pub struct Node {
    pub(super) name: String,
    pub(super) namespace: Namespace,
    pub(super) directory: PathBuf,
    pub(super) binary: PathBuf,
    pub(super) balancer: Option<Daemon>,
    pub(super) bird: Option<Daemon>,
    /// The services of a backend.
    pub(super) services: Vec<Daemon>,
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The balancer's configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join(format!("{}.toml", self.name))
    }

    /// The balancer's control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!("{}.sock", self.name))
    }

    /// BIRD's control socket.
    pub fn bird_socket(&self) -> PathBuf {
        bird_socket(&self.directory, &self.name)
    }

    /// The balancer; an error on a node without one.
    pub fn balancer(&mut self) -> Result<&mut Daemon> {
        let name = &self.name;
        self.balancer.as_mut().with_context(|| format!("{name} has no balancer"))
    }

    /// BIRD; an error on a node without one.
    pub fn bird(&mut self) -> Result<&mut Daemon> {
        let name = &self.name;
        self.bird.as_mut().with_context(|| format!("{name} has no BIRD"))
    }

    /// Service `index` of a backend: 0 is nginx, 1 the UDP echo.
    pub fn service(&mut self, index: usize) -> Result<&mut Daemon> {
        let name = &self.name;
        self.services.get_mut(index).with_context(|| format!("{name} has no service {index}"))
    }

    /// SIGKILL to the balancer.
    pub fn kill9(&mut self) -> Result<()> {
        self.balancer()?.kill9()
    }

    /// Starts the balancer and waits until it is ready; for one that was killed or stopped, or not
    /// started with the lab.
    pub fn start(&mut self) -> Result<()> {
        let balancer = self.balancer()?;
        balancer.start()?;
        balancer.wait_ready(READY_DEADLINE)
    }

    /// Starts BIRD and waits until it takes commands. It announces the service prefixes then.
    pub fn start_bird(&mut self) -> Result<()> {
        let socket = self.bird_socket();
        let bird = self.bird()?;
        // One that a killed BIRD left.
        let _ = fs::remove_file(&socket);
        bird.start()?;
        bird.wait_until(SERVICE_DEADLINE, "the control socket", || socket.exists())
    }

    /// SIGTERM to the balancer, and waits for its end; returns its exit code.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        self.balancer()?.terminate(END_DEADLINE)
    }

    /// Runs `anycast-lb WORDS --socket …` against the node's balancer.
    pub fn cli(&self, words: &[&str]) -> Result<CliOutput> {
        self.cli_with_input(words, "")
    }

    /// [`Node::cli`] with something on standard input.
    pub fn cli_with_input(&self, words: &[&str], input: &str) -> Result<CliOutput> {
        let mut command = Command::new(&self.binary);
        command.args(words);
        // A command that reads the configuration finds the socket there, and takes no other.
        if !words.contains(&"--config") {
            command.arg("--socket").arg(self.socket());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // Beside reading: a command that answers line by line would block on a full pipe. One
            // that takes no input, or ends early, is judged by its exit code.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            child.wait_with_output()
        })?;
        Ok(CliOutput {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Where BIRD of `node` listens for commands.
pub(super) fn bird_socket(directory: &Path, node: &str) -> PathBuf {
    directory.join(format!("{node}-bird.ctl"))
}

/// What a command line printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliOutput {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CliOutput {
    /// Standard output as JSON, if the command succeeded.
    pub fn json(&self) -> Result<serde_json::Value> {
        anyhow::ensure!(self.code == Some(0), "exit code {:?}: {}", self.code, self.stderr.trim());
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout.trim()))
    }
}
