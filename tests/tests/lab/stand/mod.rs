//! What the stories of running daemons share: a lab that serves without BGP, and looks at it.

pub(super) mod stream;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, PREFIX_V4, PREFIX_V6};
use xtask::lab::{CliOutput, Lab, LabBuilder, Node, Shape};

/// Far longer than anything here takes; a test that waits this long has failed.
pub(super) const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// A lab of one client.
pub(super) fn shape(ingresses: usize, backends: usize) -> Shape {
    Shape { clients: 1, ingresses, backends }
}

/// Builds the lab, starts all balancers, and leads the services to ingress 0.
pub(super) fn serving(builder: LabBuilder) -> Result<Lab> {
    let mut lab = builder.without_balancers().build()?;
    start_all(&mut lab)?;
    Ok(lab)
}

/// Starts all balancers, and leads the services to ingress 0.
pub(super) fn start_all(lab: &mut Lab) -> Result<()> {
    for index in 0..lab.topology().backends.len() {
        lab.backend(index).start()?;
    }
    for index in 0..lab.topology().ingresses.len() {
        lab.ingress(index).start()?;
    }
    route_via(lab, 0)
}

/// Leads the service prefixes to one ingress node, by routes of the router's own.
pub(super) fn route_via(lab: &Lab, index: usize) -> Result<()> {
    let hop = topology::edge(index, false);
    lab.router()
        .ip(&format!("route replace {PREFIX_V4} via {}\nroute replace {PREFIX_V6} via {}\n", hop.v4, hop.v6))
}

/// `status --json`.
pub(super) fn status(node: &Node) -> Result<Value> {
    node.cli(&["status", "--json"])?.json()
}

/// Fails unless the command was done.
pub(super) fn done(node: &Node, words: &[&str]) -> Result<CliOutput> {
    let output = node.cli(words)?;
    ensure!(output.code == Some(0), "{words:?}: {output:?}");
    Ok(output)
}

/// Fails unless the command fails with exit code 1 and an error of this code, which is returned.
pub(super) fn refused(node: &Node, words: &[&str], code: &str) -> Result<Value> {
    let people = node.cli(words)?;
    ensure!(people.code == Some(1) && people.stderr.starts_with("error: "), "{words:?}: {people:?}");
    let output = node.cli(&[words, &["--json"]].concat())?;
    ensure!(output.code == Some(1), "{words:?}: {output:?}");
    let answer: Value = serde_json::from_str(&output.stdout).context("no JSON")?;
    ensure!(answer["schema"] == 1 && answer["error"]["code"] == code, "{words:?}: {answer}");
    Ok(answer["error"].clone())
}

/// Packets of a verdict.
pub(super) fn verdict(node: &Node, name: &str) -> Result<u64> {
    let stats = node.cli(&["stats", "--json"])?.json()?;
    let rows = stats["verdicts"].as_array().context("no verdicts")?;
    let row = rows.iter().find(|row| row["verdict"] == name).with_context(|| format!("no {name}"))?;
    row["packets"].as_u64().context("no count")
}

/// Packets of these verdicts on all backends.
pub(super) fn on_backends(lab: &mut Lab, names: &[&str]) -> Result<u64> {
    let mut sum = 0;
    for index in 0..lab.topology().backends.len() {
        for name in names {
            sum += verdict(lab.backend(index), name)?;
        }
    }
    Ok(sum)
}

/// Packets that backends sent on.
pub(super) fn hops(lab: &mut Lab) -> Result<u64> {
    on_backends(lab, &["hop"])
}

/// A counter of TCP in a namespace, since it stands.
pub(super) fn netstat(namespace: &Namespace, name: &str) -> Result<u64> {
    let text = namespace.enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
    // Two lines a group: names, then values.
    let mut lines = text.lines().skip_while(|line| !line.split(' ').any(|word| word == name));
    let (names, values) = lines.next().zip(lines.next()).with_context(|| format!("no {name}"))?;
    let place = names.split(' ').position(|word| word == name).context("a name")?;
    values.split(' ').nth(place).and_then(|value| value.parse().ok()).with_context(|| format!("no {name}"))
}

/// Kernel id of the XDP program on an interface, if there is one.
pub(super) fn xdp_program(node: &Node, interface: &str) -> Result<Option<u64>> {
    let link = node.namespace().ip_json(&["link", "show", "dev", interface])?;
    Ok(link[0]["xdp"]["prog"]["id"].as_u64())
}

/// Where an instance of the lab pins what it has.
pub(super) fn pins(lab: &Lab, instance: &str) -> PathBuf {
    lab.directory().join("bpf/anycast-lb").join(instance)
}

/// Replaces a part of a node's configuration file, which must be there once or more.
pub(super) fn edit(node: &Node, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(node.config())?;
    ensure!(text.contains(from), "no {from:?} in {text}");
    Ok(fs::write(node.config(), text.replacen(from, to, 1))?)
}

/// Answers to flows, one a line, in their order.
pub(super) fn trace(node: &Node, flows: &[String]) -> Result<Vec<Value>> {
    let output = node.cli_with_input(&["trace", "-"], &format!("{}\n", flows.join("\n")))?;
    ensure!(output.code == Some(0), "trace: {output:?}");
    let answers = output.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    ensure!(answers.len() == flows.len(), "{} answers to {} questions", answers.len(), flows.len());
    Ok(answers)
}

/// A JSON value without the counters, which traffic changes.
pub(super) fn without_counters(mut value: Value) -> Value {
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("packets");
            map.remove("bytes");
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
