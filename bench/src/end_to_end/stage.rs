//! Where it is played: for each path a client, a middle and a backend, with the same three links.
//!
//! ```text
//! client ── edge ── middle ── fabric ── backend
//!    └───────────────── back ──────────────┘      answers of those who answer directly
//! ```

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use xtask::lab::daemons::{Daemon, Program, arguments, until};
use xtask::lab::netns::{Namespace, checked, ip_host};
use xtask::lab::state::RunDir;
use xtask::lab::tools::Tools;
use xtask::lab::topology::{ECHO_PORT, EDGE, FABRIC, HTTP_PORT, VIP_V4};
use xtask::lab::{Mode, READY_DEADLINE, SERVICE_DEADLINE};

use super::config::{self, BACK};
use super::plan::Path;

/// Room for datagrams that wait for the receiver: more than may be on their way at once.
const RECEIVE_BUFFER: usize = 32 << 20;
/// How long a connection to a proxy that has just been started may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);

/// A path that stands.
pub struct Stage {
    /// Which.
    pub path: Path,
    /// The client's namespace.
    pub client: Namespace,
    /// The backend's TCP service.
    pub listener: TcpListener,
    /// The backend's UDP service.
    pub datagrams: UdpSocket,
    middle: Namespace,
    backend: Namespace,
    daemons: Vec<Daemon>,
    tools: Tools,
    // Last: it removes what is left once everything above is gone.
    run: Arc<RunDir>,
}

/// Packets that two witnesses on the path have counted.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// In the middle: forwarded by our program, or by the kernel.
    pub middle: u64,
    /// At the backend: taken out of GUE; where there is none, received.
    pub backend: u64,
}

impl Stage {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// When something does not start; what there is already goes with `run`.
    pub fn build(run: &Arc<RunDir>, tools: &Tools, path: Path) -> Result<Self> {
        let word = path.word();
        let make = |node: &str| Namespace::create(run, &format!("{word}-{node}"));
        let (client, middle, backend) = (make("client")?, make("mid")?, make("be")?);
        ip_host(&config::links(client.name(), middle.name(), backend.name()))?;
        let ends = [(&client, [EDGE, BACK]), (&middle, [EDGE, FABRIC]), (&backend, [FABRIC, BACK])];
        for (namespace, interfaces) in ends {
            interfaces.into_iter().try_for_each(|interface| namespace.offloads_off(interface))?;
        }
        for namespace in [&client, &middle] {
            // Each connection of a run has a port of its own, also while those of earlier runs are in TIME_WAIT.
            namespace.sysctl(&[("net.ipv4.ip_local_port_range", "1024 65535")])?;
        }
        middle.sysctl(&[("net.ipv4.ip_forward", "1")])?;
        client.ip(&config::client())?;
        middle.ip(&config::middle(path))?;
        backend.ip(&config::backend(path))?;
        let (listener, datagrams) = backend.enter(services)??;
        let mut stage = Self {
            path,
            client,
            listener,
            datagrams,
            middle,
            backend,
            daemons: Vec::new(),
            tools: tools.clone(),
            run: Arc::clone(run),
        };
        stage.start().with_context(|| format!("the path `{word}`"))?;
        stage.check_programs().with_context(|| format!("the path `{word}`"))?;
        Ok(stage)
    }

    /// Packets counted so far; nothing where the client's connection ends in the middle.
    ///
    /// # Errors
    ///
    /// When a counter cannot be read.
    pub fn account(&self) -> Result<Option<Account>> {
        Ok(match self.path {
            Path::Plain => Some(Account {
                middle: snmp(&self.middle, "ForwDatagrams")?,
                backend: snmp(&self.backend, "InDelivers")?,
            }),
            Path::Balanced(_) => Some(Account {
                middle: self.verdict("ing", "forwarded_gue")?,
                backend: self.verdict("be", "decap_gue")?,
            }),
            Path::Haproxy | Path::Nginx => None,
        })
    }

    /// Numbers of the processes that stand in the middle and at the backend.
    pub fn processes(&self) -> Vec<i32> {
        self.daemons.iter().filter_map(Daemon::pid).collect()
    }

    fn start(&mut self) -> Result<()> {
        match self.path {
            Path::Plain => Ok(()),
            Path::Balanced(mode) => {
                let run = self.run.path().to_owned();
                let (ingress, backend) = (self.node("ing"), self.node("be"));
                let text = config::balancer_ingress(&run, &ingress, mode);
                self.balancer(&self.middle.clone(), &ingress, &text)?;
                let text = config::balancer_backend(&run, &backend, mode);
                self.balancer(&self.backend.clone(), &backend, &text)?;
                self.daemons.iter_mut().try_for_each(|daemon| daemon.wait_ready(READY_DEADLINE))
            }
            Path::Haproxy => self.proxy("haproxy", &["-db", "-f"], &config::haproxy()),
            Path::Nginx => {
                let text = config::nginx(self.run.path(), &self.node("nginx"));
                self.proxy("nginx", &["-e", "stderr", "-c"], &text)
            }
        }
    }

    /// Name of a node and its instance, within the lab.
    fn node(&self, role: &str) -> String {
        format!("{}-{role}", self.path.word())
    }

    fn balancer(&mut self, namespace: &Namespace, node: &str, text: &str) -> Result<()> {
        let file = self.write(node, "toml", text)?;
        let program = Program {
            name: node.to_owned(),
            program: self.tools.balancer.clone(),
            arguments: arguments(["run".as_ref(), "--config".as_ref(), file.as_os_str()]),
            notifies: true,
        };
        self.spawn(namespace, program)
    }

    fn proxy(&mut self, program: &str, words: &[&str], text: &str) -> Result<()> {
        let node = self.node("proxy");
        let mut words = arguments(words);
        words.push(self.write(&node, "conf", text)?.into());
        let program = Program { name: node, program: program.into(), arguments: words, notifies: false };
        self.spawn(&self.middle.clone(), program)?;
        let client = self.client.clone();
        let service = SocketAddr::from((VIP_V4, HTTP_PORT));
        let connects =
            || matches!(client.enter(|| TcpStream::connect_timeout(&service, CONNECT_TIMEOUT)), Ok(Ok(_)));
        let proxy = self.daemons.last_mut().context("a proxy was started")?;
        proxy.wait_until(SERVICE_DEADLINE, "the listening socket", connects)?;
        // What only wanted to know whether somebody is there does not count as a client.
        self.listener.set_nonblocking(true)?;
        until(SERVICE_DEADLINE, "that connection", || Ok(self.listener.accept().ok()))?;
        self.listener.set_nonblocking(false)?;
        Ok(())
    }

    fn write(&self, node: &str, extension: &str, text: &str) -> Result<PathBuf> {
        let file = self.run.path().join(format!("{node}.{extension}"));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    fn spawn(&mut self, namespace: &Namespace, program: Program) -> Result<()> {
        let mut daemon = Daemon::new(&self.run, namespace, program, false);
        daemon.start()?;
        self.daemons.push(daemon);
        Ok(())
    }

    /// XDP programs are where they should be, in the mode they should have, and nowhere else.
    fn check_programs(&self) -> Result<()> {
        let ends = [
            (&self.client, EDGE, false),
            (&self.client, BACK, false),
            (&self.middle, EDGE, true),
            (&self.middle, FABRIC, true),
            (&self.backend, FABRIC, true),
            (&self.backend, BACK, false),
        ];
        for (namespace, interface, is_ours) in ends {
            let link = namespace.ip_json(&["-details", "link", "show", "dev", interface])?;
            let wanted = match self.path {
                Path::Balanced(mode) if is_ours => Some(mode),
                _ => None,
            };
            let found = attached(&link[0]["xdp"]).with_context(|| format!("{interface}: {link}"))?;
            ensure!(found == wanted, "{} {interface}: XDP {found:?}, not {wanted:?}", namespace.name());
        }
        Ok(())
    }

    fn verdict(&self, role: &str, name: &str) -> Result<u64> {
        let socket = self.run.path().join(format!("{}.sock", self.node(role)));
        let mut command = Command::new(&self.tools.balancer);
        command.args(["stats", "--json", "--socket"]).arg(socket);
        let output = checked(command.output(), "anycast-lb stats")?;
        let stats: Value = serde_json::from_slice(&output.stdout).context("stats are no JSON")?;
        let rows = stats["verdicts"].as_array().context("stats without verdicts")?;
        let row = rows.iter().find(|row| row["verdict"] == name).with_context(|| format!("no {name}"))?;
        row["packets"].as_u64().with_context(|| format!("{name} without a count"))
    }
}

/// The backend's services, in the namespace of the calling thread.
fn services() -> Result<(TcpListener, UdpSocket)> {
    let any = std::net::Ipv4Addr::UNSPECIFIED;
    let listener = TcpListener::bind((any, HTTP_PORT)).context("the backend's TCP service")?;
    let datagrams = UdpSocket::bind((any, ECHO_PORT)).context("the backend's UDP service")?;
    setsockopt(&datagrams, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("a larger receive buffer")?;
    Ok((listener, datagrams))
}

/// The mode in which one program is attached, from what `ip -json link` says; an error if it is another one.
fn attached(xdp: &Value) -> Result<Option<Mode>> {
    /// `XDP_ATTACHED_DRV` and `XDP_ATTACHED_SKB` of `linux/if_link.h`.
    const DRIVER: u64 = 1;
    const STACK: u64 = 2;
    if xdp.is_null() {
        return Ok(None);
    }
    match xdp["mode"].as_u64() {
        Some(DRIVER) => Ok(Some(Mode::Native)),
        Some(STACK) => Ok(Some(Mode::Generic)),
        _ => anyhow::bail!("XDP of an unknown kind: {xdp}"),
    }
}

/// A counter of the namespace's IPv4.
fn snmp(namespace: &Namespace, name: &str) -> Result<u64> {
    let text = namespace.enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))?.context("net/snmp")?;
    ip_counter(&text, name).with_context(|| format!("net/snmp has no {name}"))
}

fn ip_counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let index = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_counter_stands_below_its_name() {
        let text = "Ip: Forwarding ForwDatagrams\nIp: 1 77\nIcmp: InMsgs\nIcmp: 3\n";
        assert_eq!(ip_counter(text, "ForwDatagrams"), Some(77));
        assert_eq!(ip_counter(text, "InMsgs"), None);
    }

    #[test]
    fn the_mode_is_what_the_kernel_says() {
        assert_eq!(attached(&Value::Null).unwrap(), None);
        assert_eq!(attached(&json!({"mode": 1, "prog": {"id": 7}})).unwrap(), Some(Mode::Native));
        assert_eq!(attached(&json!({"mode": 2})).unwrap(), Some(Mode::Generic));
        assert!(attached(&json!({"mode": 4})).is_err());
    }
}
