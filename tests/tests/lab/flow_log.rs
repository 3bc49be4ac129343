//! After an incident every node can say which server a connection went to, and the servers agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anycast_lb_flowlog::Story;
use anyhow::{Context, Result, ensure};
use xtask::lab::Node;
use xtask::lab::daemons::until;
use xtask::lab::pops::plan::{self, FRANKFURT, INGRESSES, MEMBERS, NAMES, SINGAPORE};
use xtask::lab::pops::{Change, Forwarding, PopLab, origin};
use xtask::lab::topology::HTTP_PORT;
use xtask::lab::traffic::{Flow, RunningTraffic, Spec};

use super::connected::{Authority, PORT, listen};
use super::stand::done;

/// Far longer than anything here takes; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(90);
/// Finished connections.
const FLOWS: usize = 1000;
/// Of which so many are asked about.
const PICKED: usize = 100;
/// Verified answers for each flow, on average, between two events.
const ANSWERS: u64 = 2;
/// Of nginx: who asked, for each request.
const ACCESS_LOG: &str = "log_format ports '$remote_addr $remote_port'; access_log";

#[test]
fn the_logs_of_all_nodes_name_the_server_of_every_connection() -> Result<()> {
    let mut lab = PopLab::build(Forwarding::Rescue)?;
    connect(&mut lab)?;
    let traffic = established(&lab)?;
    lab.at_once(FRANKFURT, &[Change::WithdrawAll])?;
    more_answers(&traffic)?;
    lab.at_once(FRANKFURT, &[Change::Join(MEMBERS), Change::Drain(1)])?;
    lab.wait_joined()?;
    more_answers(&traffic)?;
    // They end far from where they began.
    let outcome = traffic.finish()?;
    lab.at_once(FRANKFURT, &[Change::AnnounceAll])?;
    ensure!(outcome.broken() == 0, "{:?}", outcome.reasons());
    ensure!(outcome.flows.len() == FLOWS, "{} flows", outcome.flows.len());

    let served = access_logs(&mut lab)?;
    let picked: Vec<&Flow> = outcome.flows.iter().step_by(FLOWS / PICKED).collect();
    let stories = query(lab.ingress(FRANKFURT, 0), &picked)?;
    let (mut rerouted, mut hopped) = (0, 0);
    for flow in &picked {
        let local = flow.local.context("no address")?;
        let story = stories.get(&local).with_context(|| format!("nothing is known of {local}"))?;
        agrees(story, flow, &served).with_context(|| format!("{flow:?}: {story:#?}"))?;
        rerouted += usize::from(story.ingress.iter().any(|s| s.pop.as_deref() == Some(NAMES[SINGAPORE])));
        hopped += usize::from(!story.hops.is_empty());
    }
    // Those of Frankfurt's clients, a third, came by Singapore in the end, and were sent on from there.
    let from_frankfurt = picked.iter().filter(|flow| origin(flow) == Some(FRANKFURT)).count();
    let from_singapore = picked.iter().filter(|flow| origin(flow) == Some(SINGAPORE)).count();
    ensure!(rerouted == from_frankfurt + from_singapore, "{rerouted} came by Singapore");
    ensure!(hopped >= from_frankfurt, "{hopped} of {from_frankfurt} took a hop");
    println!("{PICKED} of {PICKED} agree; {hopped} took hops");
    silent_hosts_are_named(&mut lab, picked[0])
}

/// What is said of a flow is what its server says.
fn agrees(story: &Story, flow: &Flow, served: &BTreeMap<String, BTreeSet<SocketAddr>>) -> Result<()> {
    let local = flow.local.context("no address")?;
    let by: Vec<&str> = served
        .iter()
        .filter(|(_, clients)| clients.contains(&local))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(by == [flow.backend.as_deref().context("no backend")?], "the access logs say {by:?}");
    let told = story.served.as_ref().context("no backend is named")?;
    ensure!(told.node.as_deref() == Some(by[0]), "the name is wrong");
    ensure!(told.backend == address_of(by[0], local.is_ipv6()), "the address is wrong");
    let home = origin(flow).context("a flow from nowhere")?;
    ensure!(
        story.ingress.first().is_some_and(|sight| sight.pop.as_deref() == Some(NAMES[home])),
        "it came in elsewhere"
    );
    ensure!(story.begin.is_some() && story.end.is_some(), "beginning or end is missing");
    for hop in &story.hops {
        ensure!(hop.node != by[0] && hop.sender.is_some(), "a hop from nowhere, or from who has it");
    }
    // The last hop leads to who has it.
    let leads_there = story.hops.iter().any(|hop| Some(hop.next) == told.backend);
    ensure!(story.hops.is_empty() || leads_there, "the hops lead elsewhere");
    Ok(())
}

fn address_of(name: &str, v6: bool) -> Option<IpAddr> {
    let pop = NAMES.iter().position(|pop| name.starts_with(pop))?;
    let address = plan::backend(pop, name.split_once("be")?.1.parse().ok()?);
    Some(if v6 { address.v6.into() } else { address.v4.into() })
}

/// In one command, at any node.
fn query(node: &Node, flows: &[&Flow]) -> Result<BTreeMap<SocketAddr, Story>> {
    let specs =
        flows.iter().map(|flow| Ok(format!("tcp {} {}", flow.local.context("no address")?, flow.target)));
    let specs: Vec<String> = specs.collect::<Result<_>>()?;
    let limit = (2 * flows.len()).to_string();
    let mut words = vec!["log", "query", "--json", "--limit", &limit];
    words.extend(specs.iter().flat_map(|spec| ["--flow", spec]));
    // The ends have just been seen, or are about to be.
    until(DEADLINE, "all ends to be in the logs", || {
        let output = done(node, &words)?;
        let stories = output.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Story>, _>>()?;
        let ended =
            stories.len() == flows.len() && stories.iter().all(|s| s.end.is_some() && s.begin.is_some());
        Ok(ended.then(|| stories.into_iter().map(|story| (story.flow.source, story)).collect()))
    })
}

/// A host that cannot be asked is named, the others' answers come all the same, and the exit code says so.
fn silent_hosts_are_named(lab: &mut PopLab, flow: &Flow) -> Result<()> {
    let spec = format!("tcp {} {}", flow.local.context("no address")?, flow.target);
    lab.backend(SINGAPORE, 0).stop()?;
    let node = lab.ingress(FRANKFURT, 1);
    let output = node.cli(&["log", "query", "--flow", &spec])?;
    ensure!(output.code == Some(1), "{output:?}");
    let address = plan::backend(SINGAPORE, 0).v4.to_string();
    ensure!(output.stderr.contains(&address), "{output:?}");
    ensure!(output.stdout.contains(&flow.local.context("no address")?.to_string()), "{output:?}");
    // Its files are there all the same.
    let directory = node.config().parent().context("no directory")?.join("state").join(node.name());
    let logs = directory.join(format!("{}.flows", node.name()));
    let files = fs::read_dir(&logs)?.map(|entry| Ok(entry?.path().display().to_string()));
    let files: Vec<String> = files.collect::<Result<_>>()?;
    let mut words = vec!["log", "query", "--source", "198.51.100.0", "--files"];
    words.extend(files.iter().map(String::as_str));
    let output = done(node, &words)?;
    ensure!(output.stdout.contains("no such flow"), "{output:?}");
    Ok(())
}

/// Who asked whom, by the access logs of all servers.
fn access_logs(lab: &mut PopLab) -> Result<BTreeMap<String, BTreeSet<SocketAddr>>> {
    let mut served = BTreeMap::new();
    for pop in 0..NAMES.len() {
        for index in 0..plan::backends(pop) {
            let node = lab.backend(pop, index);
            let text = fs::read_to_string(access_log(node)?)?;
            let client = |line: &str| -> Result<SocketAddr> {
                let (address, port) = line.split_once(' ').with_context(|| format!("no client: {line}"))?;
                Ok(SocketAddr::new(address.parse()?, port.parse()?))
            };
            served.insert(node.name().to_owned(), text.lines().map(client).collect::<Result<_>>()?);
        }
    }
    Ok(served)
}

fn access_log(node: &Node) -> Result<std::path::PathBuf> {
    let directory = node.config().parent().context("no directory")?.to_owned();
    Ok(directory.join(format!("{}-access.log", node.name())))
}

fn established(lab: &PopLab) -> Result<RunningTraffic> {
    let spec = Spec { flows: FLOWS, rate: 1.0, padding: 0, ..Spec::default() };
    let traffic = lab.traffic(&spec)?;
    let progress = traffic.wait_established(DEADLINE)?;
    ensure!(progress.broken == 0, "{progress:?} before anything happened");
    Ok(traffic)
}

fn more_answers(traffic: &RunningTraffic) -> Result<()> {
    let progress = traffic.progress();
    traffic.wait_requests(ANSWERS * (progress.established - progress.broken), DEADLINE)
}

/// All nodes keep logs and can ask each other; all servers write down who asks.
fn connect(lab: &mut PopLab) -> Result<()> {
    let authority = Authority::found()?;
    let nodes = |pop: usize| (0..INGRESSES).map(move |index| (pop, index));
    let ingresses: Vec<(usize, usize)> = (0..NAMES.len()).flat_map(nodes).collect();
    for &(pop, index) in &ingresses {
        let peers = ingresses.iter().filter(|other| **other != (pop, index)).map(|&(pop, index)| {
            let address = SocketAddr::from((plan::ingress(pop, index).v4, PORT));
            let name = NAMES[pop];
            format!("\n[[peer]]\nnode = \"{name}-ing{index}\"\npop = \"{name}\"\ncontrol = \"{address}\"\n")
        });
        let peers: String = peers.collect();
        restart(lab.ingress(pop, index), plan::ingress(pop, index), &peers, &authority)?;
    }
    for pop in 0..NAMES.len() {
        for index in 0..plan::backends(pop) {
            let node = lab.backend(pop, index);
            restart(node, plan::backend(pop, index), "", &authority)?;
            restart_nginx(node)?;
        }
    }
    Ok(())
}

fn restart(
    node: &mut Node,
    at: xtask::lab::topology::Addresses,
    more: &str,
    authority: &Authority,
) -> Result<()> {
    listen(node, Ipv6Addr::UNSPECIFIED.into(), &[at.v4.into(), at.v6.into()], authority, authority)?;
    let mut file = OpenOptions::new().append(true).open(node.config())?;
    write!(file, "\n[flow_log]\nper_second = 100000\n{more}")?;
    ensure!(node.stop()? == Some(0), "the daemon did not end well");
    node.start()
}

fn restart_nginx(node: &mut Node) -> Result<()> {
    let file = node.config().with_file_name(format!("{}-nginx.conf", node.name()));
    let text = fs::read_to_string(&file)?;
    let log = access_log(node)?;
    let with = text.replacen("access_log off;", &format!("{ACCESS_LOG} {} ports;", log.display()), 1);
    ensure!(with != text, "no access log in {text}");
    fs::write(&file, with)?;
    let nginx = node.service(0)?;
    nginx.terminate(DEADLINE)?;
    nginx.start()?;
    let namespace = node.namespace();
    until(DEADLINE, "nginx to listen", || {
        let there = namespace.enter(|| TcpStream::connect((Ipv6Addr::LOCALHOST, HTTP_PORT)));
        Ok(there.is_ok().then_some(()))
    })
}
