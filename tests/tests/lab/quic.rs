//! QUIC: a client that changes its address keeps its backend, whichever node its packets enter at and
//! whatever happened to the tables. The servers learn their IDs as an operator would: from the balancer.

mod client;
mod forged;
mod server;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use quinn::Endpoint;
use tokio::runtime::{Builder, Runtime};
use xtask::lab::daemons::until;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, EDGE, VIP_V4, VIP_V6};
use xtask::lab::{Lab, Node};

use super::stand::{DEADLINE, done, edit, route_via, shape, start_all, verdict};
use client::Client;
use server::{CONFIG, Identity, Ids};

/// Connections, half of them of each family.
const CONNECTIONS: usize = 100;
/// Connections of the counter-check.
const SOME: usize = 20;
/// Backends that serve at first; one more joins.
const MEMBERS: usize = 3;
/// The ID of the server that joins.
const JOINING_ID: &str = "be57";
/// Chunks that show that a connection lives.
const CHUNKS: u64 = 5;
/// Other addresses of the client.
const ELSEWHERE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 51, 100, 9), Ipv6Addr::new(0x2001, 0xdb8, 0xc0, 0, 0, 0, 0, 9));

#[test]
fn a_client_that_moves_keeps_its_backend() -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _inside = runtime.enter();
    let mut stage = Stage::new()?;
    stage.forged_ids_lead_nowhere()?;
    stage.versions_are_negotiated()?;
    let clients = stage.connect(CONNECTIONS)?;
    let used: BTreeSet<u8> = clients.iter().filter_map(|c| Some(c.progress().last?.0)).collect();
    ensure!(used.len() == MEMBERS, "all are on {used:?}");

    // One half moves before the route does, and the other half after it.
    let (early, late) = clients.split_at(CONNECTIONS / 2);
    stage.migrate(early)?;
    stage.a_backend_joins_and_one_drains()?;
    route_via(&stage.lab, 1)?;
    stage.migrate(late)?;
    alive(&clients, "after it all")?;

    let moved = clients.iter().filter(|c| c.progress().moved).count();
    ensure!(moved == 0, "{moved} were answered by another backend");
    for index in [0, 1] {
        let by_id = verdict(stage.lab.ingress(index), "forwarded_quic")?;
        println!("ing{index}: {by_id} packets by connection ID");
        ensure!(by_id > CONNECTIONS as u64, "ing{index}: {by_id} packets by connection ID");
    }
    end(clients, &runtime);
    stage.without_the_key(&runtime)
}

/// A lab whose backends have QUIC servers.
struct Stage {
    lab: Lab,
    identity: Identity,
    servers: Vec<Endpoint>,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut lab =
            Lab::builder().members(MEMBERS).shape(shape(2, MEMBERS + 1)).without_balancers().build()?;
        for index in [0, 1] {
            let node = lab.ingress(index);
            let keys = format!("fill_time = \"1s\"\nquic = {{ config = {CONFIG}, server_id_length = 2 }}\n");
            edit(node, "[[pool]]\n", &format!("[[pool]]\n{keys}"))?;
        }
        start_all(&mut lab)?;
        for (index, vip) in [0, 1].into_iter().flat_map(|index| vips().map(|vip| (index, vip))) {
            done(lab.ingress(index), &["vip", "add", &vip, "--pool", "web", "--quic"])?;
        }
        let (v4, v6) = ELSEWHERE;
        lab.client(0).ip(&format!("addr add {v4}/28 dev {EDGE}\naddr add {v6}/64 dev {EDGE}\n"))?;
        let mut stage = Stage { lab, identity: Identity::new()?, servers: Vec::new() };
        (0..MEMBERS).try_for_each(|backend| stage.serve(backend))?;
        Ok(stage)
    }

    /// Starts the server of a backend that is in the pool.
    fn serve(&mut self, backend: usize) -> Result<()> {
        let ids = Ids::new(&server_id(self.lab.ingress(0), backend)?)?;
        let host = self.lab.topology().backends[backend].clone();
        let addresses = [VIP_V4.into(), VIP_V6.into()];
        self.servers.extend(server::start(&host, backend as u8, &addresses, &ids, &self.identity)?);
        Ok(())
    }

    /// Connects clients, half of them of each family, and waits until all of them exchange data.
    fn connect(&self, count: usize) -> Result<Vec<Client>> {
        let host = self.lab.client(0);
        let own = topology::client(0, false);
        let start = |n: usize| match n % 2 {
            0 => Client::start(host, own.v4.into(), VIP_V4.into(), &self.identity),
            _ => Client::start(host, own.v6.into(), VIP_V6.into(), &self.identity),
        };
        let clients: Vec<Client> = (0..count).map(start).collect::<Result<_>>()?;
        alive(&clients, "at the start")?;
        Ok(clients)
    }

    /// Every client goes on from another address, which its server sees.
    fn migrate(&self, clients: &[Client]) -> Result<()> {
        let host: &Namespace = self.lab.client(0);
        let mut wanted = Vec::new();
        for client in clients {
            wanted.push(client.migrate(host, elsewhere(client)?)?);
        }
        let arrived =
            |(client, wanted): (&Client, &_)| client.progress().last.map(|(_, seen)| seen) == Some(*wanted);
        let all = until(DEADLINE, "clients to be seen where they are now", || {
            let all = clients.iter().zip(&wanted).all(arrived);
            Ok((all || clients.iter().any(Client::is_broken)).then_some(()))
        });
        alive(clients, "after moving")?;
        all
    }

    fn a_backend_joins_and_one_drains(&mut self) -> Result<()> {
        let (joins, drains) = (address(MEMBERS), address(0));
        for index in [0, 1] {
            let node = self.lab.ingress(index);
            done(node, &["backend", "add", &joins, "--pool", "web", "--server-id", JOINING_ID])?;
            done(node, &["backend", "drain", &drains])?;
        }
        ensure!(server_id(self.lab.ingress(0), MEMBERS)? == JOINING_ID);
        self.serve(MEMBERS)?;
        until(DEADLINE, "the backend to have joined", || {
            let both = [0, 1].into_iter().all(|index| {
                let row = row(self.lab.ingress(index), MEMBERS);
                row.is_ok_and(|row| row["state"] == "active")
            });
            Ok(both.then_some(()))
        })
    }

    /// The same clients, and a VIP that is balanced by the 5-tuple alone.
    fn without_the_key(&mut self, runtime: &Runtime) -> Result<()> {
        for index in [0, 1] {
            let node = self.lab.ingress(index);
            for _ in 0..2 {
                edit(node, "quic = true\n", "")?;
            }
            done(node, &["reload"])?;
        }
        let clients = self.connect(SOME)?;
        let host = self.lab.client(0);
        for client in &clients {
            client.migrate(host, elsewhere(client)?)?;
        }
        until(DEADLINE, "a connection to break in the counter-check", || {
            Ok(clients.iter().any(Client::is_broken).then_some(()))
        })?;
        end(clients, runtime);
        Ok(())
    }
}

/// All connections live, and go on exchanging data.
fn alive(clients: &[Client], when: &str) -> Result<()> {
    let goals: Vec<u64> = clients.iter().map(|c| c.progress().chunks + CHUNKS).collect();
    let there = |(client, goal): (&Client, &u64)| client.progress().chunks >= *goal;
    let waited = until(DEADLINE, "all connections to go on", || {
        let all = clients.iter().zip(&goals).all(there);
        Ok((all || clients.iter().any(Client::is_broken)).then_some(()))
    });
    let broken = clients.iter().filter(|c| c.is_broken()).count();
    println!("{when}: {broken} of {} connections broken", clients.len());
    ensure!(broken == 0, "{when}: {broken} of {} connections are broken", clients.len());
    waited
}

fn end(clients: Vec<Client>, runtime: &Runtime) {
    for client in clients {
        match client.is_broken() {
            true => println!("broken: {}", runtime.block_on(client.failure())),
            false => client.stop(),
        }
    }
}

/// Where a client goes.
fn elsewhere(client: &Client) -> Result<IpAddr> {
    let (v4, v6) = ELSEWHERE;
    let (_, seen) = client.progress().last.context("no answer yet")?;
    Ok(if seen.is_ipv4() { v4.into() } else { v6.into() })
}

/// The VIPs of QUIC.
fn vips() -> [String; 2] {
    [format!("{VIP_V4}:{}/udp", server::PORT), format!("[{VIP_V6}]:{}/udp", server::PORT)]
}

/// Address of a backend as the pool knows it.
fn address(backend: usize) -> String {
    topology::backend(backend).v4.to_string()
}

/// A backend as `backend list` shows it.
fn row(node: &Node, backend: usize) -> Result<serde_json::Value> {
    let list = node.cli(&["backend", "list", "--json"])?.json()?;
    let rows = list["backends"].as_array().context("no backends")?;
    let row = rows.iter().find(|row| row["address"] == address(backend).as_str());
    row.cloned().with_context(|| format!("{} does not have be{backend}", node.name()))
}

/// The ID that the balancer knows a backend's server by.
fn server_id(node: &Node, backend: usize) -> Result<String> {
    Ok(row(node, backend)?["server_id"].as_str().context("no server ID")?.to_owned())
}
