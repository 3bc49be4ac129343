//! Nodes that know of each other, with certificates and daemons as on real machines: a join takes no
//! longer than it must, a drain knows how many flows are left, a stranger learns nothing.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::Value;
use xtask::lab::daemons::until;
use xtask::lab::topology;
use xtask::lab::traffic::Spec;
use xtask::lab::{Lab, Node};

use super::stand::{DEADLINE, done, edit, refused, shape, start_all};

/// One port for all hosts.
pub(super) const PORT: u16 = 19524;
/// Ingress nodes that trust each other; one more is a stranger.
const NODES: usize = 2;
/// Backends that serve from the start; one more joins.
const MEMBERS: usize = 2;
const FLOWS: usize = 40;
/// Far longer than the test: what ends before has not ended by time.
const LONG_FILL: &str = "fill_time = \"1h\"\n";

#[test]
fn connected_nodes_wait_for_each_other_and_for_nothing_else() -> Result<()> {
    let builder = Lab::builder().shape(shape(NODES + 1, MEMBERS + 1)).members(MEMBERS);
    let mut lab = builder.without_balancers().build()?;
    connect(&mut lab)?;
    start_all(&mut lab)?;
    for (index, other) in [(0, "ing1"), (1, "ing0")] {
        let node = lab.ingress(index);
        until(DEADLINE, &format!("{} and {other} to agree", node.name()), || {
            let peer = peer(node)?;
            Ok((peer["node"] == other && peer["reachable"] == true && peer["agrees"] == true).then_some(()))
        })?;
    }
    let question = ["trace", "--node", "ing1", "tcp", "198.51.100.2:4711", "203.0.113.1:80", "--json"];
    let answer = done(lab.ingress(0), &question)?.json()?;
    ensure!(answer["traces"][0]["backend"].is_string(), "the other node did not trace: {answer}");

    // A TCP SYN to the VIP, as an IP packet.
    let packet = "45000028000000004006000 0c6336402cb007101 12670050000000010000000050020000 00000000";
    let question = ["trace", "--node", "ing1", "--hex", packet, "--json"];
    let answer = done(lab.ingress(0), &question)?.json()?;
    let row = &answer["packets"][0];
    ensure!(row["verdict"] == "forwarded_gue", "the other node did not explain: {answer}");
    let outer = topology::ingress(1).v4.to_string();
    ensure!(row["leaves"]["parsed"].as_str().is_some_and(|p| p.contains(&outer)), "not there: {answer}");

    join(&mut lab).context("a join")?;
    drain(&mut lab).context("a drain")
}

/// The backend is active once both have heard of it, whatever `fill_time` says; until then it is not.
fn join(lab: &mut Lab) -> Result<()> {
    let address = topology::backend(MEMBERS).v4.to_string();
    let words = ["backend", "add", &address, "--pool", "web"];
    done(lab.ingress(0), &words)?;
    // In the meantime, who else may look?
    stranger(lab.ingress(NODES)).context("a stranger")?;
    let state = backend(lab.ingress(0), &address)?["state"].clone();
    ensure!(state == "filling", "one node alone says {state}");
    done(lab.ingress(1), &words)?;
    (0..NODES).try_for_each(|index| {
        let node = lab.ingress(index);
        until(DEADLINE, "the join to end", || {
            Ok((backend(node, &address)?["state"] == "active").then_some(()))
        })
    })
}

/// It believes our authority, but ours has not signed what it shows.
fn stranger(node: &Node) -> Result<()> {
    // A busy machine may be late with its refusal: that is none.
    let (peer, reason) = until(DEADLINE, "the stranger to be refused", || {
        let peer = peer(node)?;
        let reason = peer["reason"].as_str().filter(|reason| !reason.starts_with("no answer"));
        let reason = reason.map(str::to_owned);
        Ok((!peer["reachable"].is_null()).then_some(peer).zip(reason))
    })?;
    ensure!(peer["reachable"] == false && peer["seen_seconds_ago"].is_null(), "it was answered: {peer}");
    // Its own check of the other side went well, so it is the other side that refused.
    ensure!(!reason.contains("invalid peer certificate") && !reason.contains("refused"), "{reason}");
    println!("the stranger is told: {reason}");
    Ok(())
}

/// The backend says how many flows it has; when they end, the drain does, for both nodes have it: nobody
/// waits for `fill_time`. Until then it is not removed.
fn drain(lab: &mut Lab) -> Result<()> {
    let traffic = lab.traffic(&Spec { flows: FLOWS, udp_flows: 0, ..Spec::default() })?;
    let progress = traffic.wait_established(DEADLINE)?;
    ensure!(progress.broken == 0, "{progress:?} before anything happened");
    let address = topology::backend(0).v4.to_string();
    done(lab.ingress(1), &["backend", "drain", &address])?;

    let node = lab.ingress(0);
    let words = ["backend", "drain", &address, "--wait", "--timeout", "60s"];
    let (waited, remaining, outcome) = thread::scope(|scope| -> Result<_> {
        let waiting = scope.spawn(|| node.cli(&words));
        let remaining = until(DEADLINE, "the backend to say how many flows are left", || {
            Ok(backend(node, &address)?["remaining"].as_u64())
        })?;
        ensure!(!waiting.is_finished(), "it did not wait for the flows");
        let error = refused(node, &["backend", "remove", &address], "backend_active")?;
        let message = error["message"].as_str().unwrap_or_default();
        ensure!(message.contains(&format!("{remaining} flows left")), "{error}");
        let outcome = traffic.finish()?;
        let waited = waiting.join().map_err(|_| anyhow!("the thread of a command panicked"))??;
        Ok((waited, remaining, outcome))
    })?;
    ensure!(outcome.broken() == 0, "{:?}", outcome.reasons());
    let held = outcome.spread().get("be0").copied().unwrap_or(0);
    ensure!(held > 0 && remaining == held, "{remaining} flows are said to be left of {held}");
    ensure!(waited.code == Some(0), "{waited:?}");
    let error = refused(node, &["flows"], "invalid_request")?;
    ensure!(error["message"].as_str().is_some_and(|m| m.contains("ingress node")), "{error}");
    ensure!(waited.stderr.contains(&format!("web: {held} flows left")), "{waited:?}");
    (0..NODES).try_for_each(|index| {
        let node = lab.ingress(index);
        until(
            DEADLINE,
            "the drain to end",
            || Ok((backend(node, &address)?["state"] == "gone").then_some(())),
        )
    })
}

/// Certificates for all hosts, and who asks whom.
fn connect(lab: &mut Lab) -> Result<()> {
    let (authority, other) = (Authority::found()?, Authority::found()?);
    for index in 0..=MEMBERS {
        let address = topology::backend(index).v4.into();
        listen(lab.backend(index), address, &[address], &authority, &authority)?;
    }
    for index in 0..=NODES {
        let signer = if index < NODES { &authority } else { &other };
        let node = lab.ingress(index);
        let address = topology::ingress(index).v4.into();
        listen(node, address, &[address], signer, &authority)?;
        edit(node, "[[pool]]\n", &format!("[[pool]]\n{LONG_FILL}"))?;
        let peer = if index == 0 { 1 } else { 0 };
        let address = SocketAddr::from((topology::ingress(peer).v4, PORT));
        let mut file = OpenOptions::new().append(true).open(node.config())?;
        write!(file, "\n[[peer]]\nnode = \"ing{peer}\"\npop = \"lab\"\ncontrol = \"{address}\"\n")?;
    }
    Ok(())
}

/// The host listens at `at`, shows a certificate of `signer` for its `addresses` and takes those of `believed`.
pub(super) fn listen(
    node: &Node,
    at: IpAddr,
    addresses: &[IpAddr],
    signer: &Authority,
    believed: &Authority,
) -> Result<()> {
    let (cert, key) = signer.issue(addresses)?;
    let directory = node.config().parent().context("no directory")?.to_owned();
    let put = |kind: &str, text: &str, mode| -> Result<String> {
        let path = directory.join(format!("{}-{kind}.pem", node.name()));
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(path.display().to_string())
    };
    let tls = format!(
        "tls = {{ ca = \"{}\", cert = \"{}\", key = \"{}\" }}",
        put("ca", &believed.0.pem(), 0o644)?,
        put("cert", &cert, 0o644)?,
        put("key", &key, 0o600)?
    );
    let listen = format!("listen = \"{}\"", SocketAddr::from((at, PORT)));
    edit(node, "[control]\n", &format!("[control]\n{listen}\n{tls}\n"))
}

/// The one peer of a node.
fn peer(node: &Node) -> Result<Value> {
    let answer = done(node, &["peer", "list", "--json"])?.json()?;
    let peers = answer["peers"].as_array().context("no peers")?;
    ensure!(peers.len() == 1, "{answer}");
    Ok(peers[0].clone())
}

/// A backend as a node shows it.
fn backend(node: &Node, address: &str) -> Result<Value> {
    let answer = done(node, &["backend", "list", "--json"])?.json()?;
    let rows = answer["backends"].as_array().context("no backends")?;
    rows.iter().find(|row| row["address"] == address).cloned().with_context(|| format!("no {address}"))
}

/// An authority made for this test.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn found() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Certificate and key of a host, in PEM form.
    fn issue(&self, addresses: &[IpAddr]) -> Result<(String, String)> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test node");
        params.subject_alt_names = addresses.iter().map(|address| SanType::IpAddress(*address)).collect();
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.0)?.pem(), key.serialize_pem()))
    }
}
