//! The cases, each with the proof that it is what its name says.

use std::net::IpAddr;
use std::time::Duration;

use anycast_lb_common::abi::Verdict;
use anyhow::{Context as _, Result, ensure};
use xtask::bench::Peer;

use crate::addresses::{BACKEND_VIP, CLIENT, ELSEWHERE, client, vip, vip_of_many};
use crate::frames::{self, Segment};
use crate::nodes::{MANY_VIPS, Node, OWN, SHARED, SOME_VIPS, Service, THOUSAND, open_program};
use crate::wrapper::{Shape, Variety, Wrapper};

/// What XDP programs return (`enum xdp_action`).
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// Flows of the cases `…-1`, `…-65k`, `…-1m`.
const FLOWS: [(&str, u32); 3] = [("1", 1), ("65k", 65_536), ("1m", 1_000_000)];
/// Packets that prove a case, at least.
const PROOF: u32 = 10_000;

/// References that take part whatever is asked for.
pub const REFERENCES: [&str; 5] = ["wrapper", "wrapper-backend", "xdp-tx", "floor-v4", "floor-v6"];

/// Something to measure.
pub struct Case {
    /// Its name in all output.
    pub name: String,
    /// The wrapper of the same shape, which is a case itself: what a case costs net of it is its own.
    pub wrapper: &'static str,
    run: Wrapper,
}

impl Case {
    /// Sends `packets` through; CPU time of all.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to run the program.
    pub fn run(&self, packets: u32) -> Result<Duration> {
        Ok(self.run.run(packets)?.took)
    }
}

/// Makes the cases.
pub struct Builder<'a> {
    object: &'a [u8],
    wanted: &'a [String],
    ingress: Option<Node>,
    backend: Option<Node>,
    cases: Vec<Case>,
}

/// What must come out, so that a case is what it says.
struct Proof {
    action: u32,
    /// By how many bytes a packet is longer afterwards.
    grows: i32,
    verdict: Verdict,
    destinations: u32,
}

impl<'a> Builder<'a> {
    /// Cases around the programs in `object`, as far as they are `wanted` (all, if nothing is said).
    pub fn new(object: &'a [u8], wanted: &'a [String]) -> Self {
        Builder { object, wanted, ingress: None, backend: None, cases: Vec::new() }
    }

    /// The cases.
    pub fn finish(self) -> Vec<Case> {
        self.cases
    }

    fn wants(&self, name: &str) -> bool {
        REFERENCES.contains(&name) || self.wanted.is_empty() || self.wanted.iter().any(|w| name.contains(w))
    }

    fn add(&mut self, name: &str, shape: Shape, run: Wrapper) {
        let wrapper = if shape == Shape::Backend { "wrapper-backend" } else { "wrapper" };
        self.cases.push(Case { name: name.to_owned(), wrapper, run });
    }

    /// What everything else is compared with.
    ///
    /// # Errors
    ///
    /// When one of them does not do what it is there for.
    pub fn references(&mut self) -> Result<()> {
        let v4 = frames::tcp(client(true, 0), vip(true, 1), Segment::Data)?;
        let v6 = frames::tcp(client(false, 0), vip(false, 1), Segment::Data)?;
        let gue = frames::established()?;
        let all = [
            ("wrapper", Shape::V4, &v4, None, 0),
            ("wrapper-backend", Shape::Backend, &gue, None, 0),
            ("xdp-tx", Shape::V4, &v4, Some("xdp_tx"), 0),
            ("floor-v4", Shape::V4, &v4, Some("floor_v4"), 20),
            ("floor-v6", Shape::V6, &v6, Some("floor_v6"), 40),
        ];
        for (name, shape, frame, program, grows) in all {
            let mut run = Wrapper::load(self.object, shape, frame.clone(), Variety::ONE)?;
            if let Some(program) = program {
                run.go_on_to_own(program)?;
            }
            let ran = run.run(PROOF)?;
            let grown = ran.length as i32 - run.frame_len() as i32;
            ensure!(
                ran.action == XDP_TX && grown == grows,
                "{name}: action {} and {grown} bytes more, where XDP_TX and {grows} were expected",
                ran.action
            );
            self.add(name, shape, run);
        }
        Ok(())
    }

    /// The balancer's cases.
    ///
    /// # Errors
    ///
    /// When one of them does not take the way that it is there for.
    pub fn ingress(&mut self, node: Node) -> Result<()> {
        self.ingress = Some(node);
        let elsewhere = Proof { action: XDP_PASS, grows: 0, verdict: Verdict::NotVip, destinations: 1 };
        self.forward("pass", ELSEWHERE.into(), Segment::Data, 1, &elsewhere)?;
        for v4 in [true, false] {
            let family = if v4 { "v4" } else { "v6" };
            for (flows_name, flows) in FLOWS {
                self.service(&format!("ingress-{family}-ipip-{flows_name}"), v4, Service::Ipip, flows)?;
            }
            self.service(&format!("ingress-{family}-gue0-1"), v4, Service::Gue0, 1)?;
            self.service(&format!("ingress-{family}-gue3-1"), v4, Service::Gue3, 1)?;
            if !v4 {
                self.service("ingress-v6-gue7-1", v4, Service::Gue7, 1)?;
            }
        }
        let syn = Proof {
            action: XDP_TX,
            grows: grows(true, Service::Gue3),
            verdict: Verdict::ForwardedGue,
            destinations: 1,
        };
        self.forward("ingress-v4-syn", vip(true, Service::Gue3.number()), Segment::Syn, 1, &syn)?;
        let groups = [
            ("vips64-shared-65k", SHARED, SOME_VIPS),
            ("vips64-own-65k", OWN, SOME_VIPS),
            ("vips1000-65k", THOUSAND, MANY_VIPS),
        ];
        for (name, group, destinations) in groups {
            let proof = Proof {
                action: XDP_TX,
                grows: grows(true, Service::Ipip),
                verdict: Verdict::ForwardedIpip,
                destinations,
            };
            self.forward(name, vip_of_many(group, 0), Segment::Data, 65_536, &proof)?;
        }
        Ok(())
    }

    /// The balancer, while somebody asks for packets.
    ///
    /// # Errors
    ///
    /// As [`Self::ingress`].
    pub fn observed(&mut self, name: &str, node: &Node) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let service = Service::Gue3;
        let proof = Proof {
            action: XDP_TX,
            grows: grows(true, service),
            verdict: Verdict::ForwardedGue,
            destinations: 1,
        };
        let frame = frames::tcp(client(true, 0), vip(true, service.number()), Segment::Data)?;
        let run = proved(self.object, name, node, Shape::V4, frame, Variety::ONE, &proof)?;
        self.add(name, Shape::V4, run);
        Ok(())
    }

    fn service(&mut self, name: &str, v4: bool, service: Service, flows: u32) -> Result<()> {
        let verdict = if service == Service::Ipip { Verdict::ForwardedIpip } else { Verdict::ForwardedGue };
        let proof = Proof { action: XDP_TX, grows: grows(v4, service), verdict, destinations: 1 };
        self.forward(name, vip(v4, service.number()), Segment::Data, flows, &proof)
    }

    fn forward(
        &mut self,
        name: &str,
        destination: IpAddr,
        segment: Segment,
        flows: u32,
        proof: &Proof,
    ) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let v4 = destination.is_ipv4();
        let shape = if v4 { Shape::V4 } else { Shape::V6 };
        let frame = frames::tcp(client(v4, 0), destination, segment)?;
        let node = self.ingress.as_ref().context("no ingress node")?;
        let variety = Variety { flows, destinations: proof.destinations };
        let run = proved(self.object, name, node, shape, frame, variety, proof)?;
        self.add(name, shape, run);
        Ok(())
    }

    /// The backend's cases.
    ///
    /// # Errors
    ///
    /// When one of them does not take the way that it is there for.
    pub fn backend(&mut self, node: Node) -> Result<()> {
        self.backend = Some(node);
        // GUE with three hops over IPv4, without Ethernet: 20 + 8 + 4 + 4 + 12.
        const OUTER: i32 = 48;
        let node = self.backend.as_ref().context("no backend")?;
        let cases = [
            ("backend-syn", Segment::Syn, ELSEWHERE, 0, Verdict::DecapGue, -OUTER),
            ("backend-established", Segment::Data, CLIENT, 0, Verdict::DecapGue, -OUTER),
            ("backend-hop", Segment::Data, ELSEWHERE, 0, Verdict::Hop, 0),
            ("backend-last", Segment::Data, ELSEWHERE, 3, Verdict::DecapLast, -OUTER),
        ];
        let mut made = Vec::new();
        for (name, segment, client, asked, verdict, grows) in cases {
            if !self.wants(name) {
                continue;
            }
            let frame = frames::tunnelled(client, segment, asked)?;
            let proof = Proof { action: XDP_PASS, grows, verdict, destinations: 1 };
            made.push((name, proved(self.object, name, node, Shape::Backend, frame, Variety::ONE, &proof)?));
        }
        for (name, run) in made {
            self.add(name, Shape::Backend, run);
        }
        Ok(())
    }

    /// Somebody else's program. Gives the names of cases that it did not transmit in, with what it
    /// returned instead.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be called, or transmits nothing at all.
    pub fn peer(&mut self, peer: &Peer) -> Result<Vec<String>> {
        let program = open_program(&peer.path)?;
        let (mut refused, before) = (Vec::new(), self.cases.len());
        for v4 in [true, false] {
            let (family, shape) = if v4 { ("v4", Shape::V4) } else { ("v6", Shape::V6) };
            for (flows_name, flows) in FLOWS {
                let name = format!("peer-{}-{family}-{flows_name}", peer.name);
                let frame = frames::tcp(client(v4, 0), vip(v4, 1), Segment::Data)?;
                let mut run = Wrapper::load(self.object, shape, frame, Variety { flows, destinations: 1 })?;
                run.go_on_to(program.fd()?).with_context(|| peer.path.display().to_string())?;
                let ran = run.run(flows.max(PROOF))?;
                if matches!(ran.action, XDP_TX | XDP_REDIRECT) {
                    self.add(&name, shape, run);
                } else {
                    refused.push(format!("{name} (it returned {})", ran.action));
                }
            }
        }
        ensure!(
            self.cases.len() > before,
            "the peer {} transmits nothing: {}\n  \
             configure it first for TCP to {}:443 and [{}]:443",
            peer.name,
            refused.join(", "),
            vip(true, 1),
            vip(false, 1),
        );
        Ok(refused)
    }
}

/// Bytes that a packet is longer afterwards: without Ethernet, which stays.
fn grows(v4: bool, service: Service) -> i32 {
    let (ip, hop) = if v4 { (20, 4) } else { (40, 16) };
    // UDP, GUE, private word.
    const GUE: i32 = 8 + 4 + 4;
    match service {
        Service::Ipip => ip,
        Service::Gue0 => ip + GUE,
        Service::Gue3 => ip + GUE + 3 * hop,
        Service::Gue7 => ip + GUE + 7 * hop,
    }
}

/// A wrapper around the program of `node`, if packets really take the way that `proof` says. The
/// packets also fill whatever tables the flows leave in caches.
fn proved(
    object: &[u8],
    name: &str,
    node: &Node,
    shape: Shape,
    frame: Vec<u8>,
    variety: Variety,
    proof: &Proof,
) -> Result<Wrapper> {
    let mut run = Wrapper::load(object, shape, frame, variety)?;
    run.go_on_to(node.program()?.fd()?)?;
    let packets = variety.flows.max(PROOF);
    let (before, spread_before) = (node.packets(proof.verdict), node.spread());
    let ran = run.run(packets)?;
    let counted = node.packets(proof.verdict) - before;
    let grown = ran.length as i32 - run.frame_len() as i32;
    ensure!(
        counted == u64::from(packets) && ran.action == proof.action && grown == proof.grows,
        "{name} is not what it says: {counted} of {packets} packets were counted as {}, the last one returned {} \
         and was {grown} bytes longer (expected: {} and {})",
        proof.verdict.name(),
        ran.action,
        proof.action,
        proof.grows,
    );
    // Neither a packet that passes nor one on a backend counts for a VIP.
    if proof.destinations > 1 {
        let spread = node.spread();
        let met = spread.iter().zip(&spread_before).filter(|(now, before)| now > before).count();
        ensure!(
            met == proof.destinations as usize,
            "{name} is not what it says: packets went to {met} VIPs instead of {}",
            proof.destinations
        );
    }
    Ok(run)
}

/// The destination that the backend's own frames go to is a VIP that peers are asked for, too.
const _: () = assert!(matches!(BACKEND_VIP.octets(), [203, 0, 113, 1]));
