//! The lab: a client, an ingress node with a VIP for every encapsulation, a backend of ours and one
//! with the kernel's own decapsulation.

use std::fs;
use std::io::Write;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::capture::{Capture, Carrier, Tunnel};
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, EDGE, FABRIC};
use xtask::lab::{Arms, Lab, Mode, Node, Shape};

use super::plan::{self, OURS, ROWS, Row, STOCK, like};

/// A lab that stands.
pub(super) struct Stage {
    pub(super) lab: Lab,
    mode: Mode,
    pub(super) arms: Arms,
    pub(super) paths: Vec<Path>,
}

/// A VIP and the tunnel that its packets must take.
pub(super) struct Path {
    pub(super) row: Row,
    pub(super) vip: IpAddr,
    pub(super) tunnel: Tunnel,
}

impl Stage {
    pub(super) fn build(mode: Mode, arms: Arms) -> Result<Self> {
        let shape = Shape { clients: 1, ingresses: 1, backends: 2 };
        let mut lab = Lab::builder().mode(mode).arms(arms).shape(shape).without_balancers().build()?;
        for server in [OURS, STOCK] {
            lab.backend(server).namespace().ip(&plan::loopback(server))?;
        }
        lab.backend(STOCK).namespace().ip(&plan::stock_decapsulation())?;
        lab.ingress(0).namespace().ip(&plan::route_to_segments())?;
        append(lab.ingress(0), &plan::pools_and_vips())?;
        append(lab.backend(OURS), &plan::vips(|_| String::new()))?;
        lab.backend(OURS).start()?;
        lab.ingress(0).start()?;
        lab.ingress(0).start_bird()?;
        lab.wait_next_hops(1)?;
        let paths = ROWS.iter().map(|&row| path(&mut lab, row)).collect::<Result<_>>()?;
        Ok(Self { lab, mode, arms, paths })
    }

    /// Both daemons and the kernel say that the programs run in the mode that was asked for.
    pub(super) fn expect_mode(&mut self) -> Result<()> {
        let (flag, reason) = match self.mode {
            Mode::Native => (1, Value::Null),
            Mode::Generic => (2, Value::from("configured")),
        };
        let interfaces = match self.arms {
            Arms::Two => &[EDGE, FABRIC][..],
            Arms::One => &[FABRIC],
        };
        let word = self.mode.word();
        expect_attached(self.lab.ingress(0), interfaces, word, flag, &reason)?;
        expect_attached(self.lab.backend(OURS), &[FABRIC], word, flag, &reason)
    }

    /// Where frames can be put on the wire to the ingress node.
    pub(super) fn towards_ingress(&self) -> (&Namespace, &'static str) {
        match self.arms {
            Arms::Two => (self.lab.router(), "ing0"),
            Arms::One => (self.lab.router(), FABRIC),
        }
    }

    /// MAC addresses of both ends of that wire: the router's, the ingress node's.
    pub(super) fn ends(&mut self) -> Result<([u8; 6], [u8; 6])> {
        let (namespace, interface) = self.towards_ingress();
        let router = mac(namespace, interface)?;
        let interface = if self.arms == Arms::Two { EDGE } else { FABRIC };
        Ok((router, mac(self.lab.ingress(0).namespace(), interface)?))
    }

    /// Captures what the ingress node is sent, at the far end of its wire.
    pub(super) fn capture_edge(&self) -> Result<Capture> {
        match self.arms {
            Arms::Two => Capture::start(self.lab.router(), "ing0"),
            Arms::One => self.lab.capture_underlay("ing0"),
        }
    }
}

fn path(lab: &mut Lab, row: Row) -> Result<Path> {
    let (vip, destination) = (row.vip()?, row.backend()?);
    let source = like(destination, topology::ingress(0));
    let carrier = match row.encapsulation {
        "gue" => Carrier::Gue { source, destination },
        "ipip" => Carrier::Ipip { source, destination },
        _ => Carrier::L2,
    };
    let tunnel = Tunnel {
        source_mac: mac(lab.ingress(0).namespace(), FABRIC)?,
        destination_mac: mac(lab.backend(row.server).namespace(), FABRIC)?,
        carrier,
    };
    Ok(Path { row, vip, tunnel })
}

fn append(node: &Node, text: &str) -> Result<()> {
    let path = node.config();
    let mut file = fs::OpenOptions::new().append(true).open(&path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn mac(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let links = namespace.ip_json(&["link", "show", "dev", interface])?;
    let text = links[0]["address"].as_str().context("a link without address")?;
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().with_context(|| text.to_owned())
}

fn expect_attached(node: &Node, interfaces: &[&str], word: &str, flag: u64, reason: &Value) -> Result<()> {
    let status = node.cli(&["status", "--json"])?.json()?;
    let rows = status["interfaces"].as_array().context("status without interfaces")?;
    let names: Vec<_> = rows.iter().filter_map(|row| row["interface"].as_str()).collect();
    ensure!(names == interfaces, "{}: {status:#}", node.name());
    for row in rows {
        ensure!(row["mode"] == word && row["reason"] == *reason, "{}: {row}", node.name());
        let name = row["interface"].as_str().unwrap_or_default();
        let link = node.namespace().ip_json(&["-details", "link", "show", "dev", name])?;
        let xdp = &link[0]["xdp"];
        ensure!(
            xdp["mode"] == flag && xdp["prog"]["id"] == row["program_id"],
            "{}: status says {row}, the kernel {xdp}",
            node.name()
        );
    }
    Ok(())
}
