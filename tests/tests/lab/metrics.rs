//! Metrics: the real Prometheus scrapes the nodes, and what it answers is what the command line says. What is
//! shipped for it (alert rules, dashboard) is taken by its own tools.

mod sums;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::daemons::{Daemon, Program, arguments, until};
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, ROUTER_UNDERLAY};
use xtask::lab::{Families, Lab, Node};
use xtask::workspace::{find_program, root};

use super::stand::stream::Stream;
use super::stand::{DEADLINE, done, edit, route_via, shape, status};

/// Where nodes serve metrics in the underlay.
const PORT: u16 = 9524;
/// Where Prometheus answers, on the router.
const PROMETHEUS: &str = "127.0.0.1:9090";
/// Answers that are enough to be counted.
const SOME: u64 = 300;

#[test]
fn prometheus_tells_what_the_command_line_tells() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(2, 2)).without_balancers().build()?;
    let (ingresses, backends) = (
        [addr(topology::ingress(0)), addr(topology::ingress(1))],
        [addr(topology::backend(0)), addr(topology::backend(1))],
    );
    for (index, listen) in ingresses.into_iter().enumerate() {
        serve_metrics(lab.ingress(index), listen)?;
        lab.ingress(index).start()?;
    }
    for (index, listen) in backends.into_iter().enumerate() {
        serve_metrics(lab.backend(index), listen)?;
        lab.backend(index).start()?;
    }
    let prometheus = Prometheus::start(&lab, &[ingresses, backends].concat())?;
    prometheus.becomes("count(up == 1)", &[("", 4.0)])?;

    // Counters, when nobody sends any more.
    route_via(&lab, 0)?;
    let stream = Stream::start(lab.client(0), Families::Both)?;
    stream.more(SOME)?;
    stream.finish()?;
    let (sent, sums) = counters(lab.ingress(0))?;
    ensure!(sums.values().sum::<u64>() > SOME && sums.len() >= 4, "{sums:?}");
    let mine = format!("instance=\"{}\"", ingresses[0]);
    prometheus.tells("vip", &format!("anycast_lb_vip_packets_total{{{mine}}}"), &sums)?;
    prometheus.tells(
        "backend",
        &format!("sum by (backend) (anycast_lb_backend_packets_total{{{mine}}})"),
        &sums,
    )?;
    let forwarded = format!("sum(anycast_lb_verdict_packets_total{{{mine}, kind=\"transmit\"}})");
    prometheus.becomes(&forwarded, &[("", sent as f64)])?;
    let mut taken = 0;
    for index in 0..2 {
        let stats = lab.backend(index).cli(&["stats", "--json"])?.json()?;
        let rows = stats["verdicts"].as_array().context("no verdicts")?;
        let gue = rows.iter().find(|row| row["verdict"] == "decap_gue").context("no decap_gue")?;
        taken += gue["packets"].as_u64().context("no count")?;
    }
    prometheus.becomes(
        "sum(anycast_lb_verdict_packets_total{program=\"backend\", verdict=\"decap_gue\"})",
        &[("", taken as f64)],
    )?;

    agreement(&mut lab, &prometheus, ingresses)?;
    shipped_things_are_taken(&prometheus)?;
    a_reload_moves_the_listener(&mut lab, ingresses[1])?;
    an_address_that_is_taken_is_named(&mut lab, backends[1])
}

/// Nodes that differ are seen, as long as they do.
fn agreement(lab: &mut Lab, prometheus: &Prometheus, ingresses: [SocketAddr; 2]) -> Result<()> {
    let document = fs::read_to_string(root().join("docs/METRICS.md"))?;
    let expression = "count by (pop, pool) (count by (pop, pool, owners) (anycast_lb_pool_owners_info)) > 1";
    ensure!(document.contains(expression), "the document has another expression");
    let pool = status(lab.ingress(0))?["pools"][0].clone();
    let (name, owners) =
        (pool["pool"].as_str().context("a name")?, pool["owners"].as_str().context("owners")?);
    let of =
        |listen: SocketAddr| format!("anycast_lb_pool_owners_info{{instance=\"{listen}\", pool=\"{name}\"}}");
    for listen in ingresses {
        ensure!(prometheus.label(&of(listen), "owners")? == owners);
    }
    prometheus.becomes(expression, &[])?;
    let alert = "ALERTS{alertname=\"AnycastLbOwnersDisagree\"}";
    prometheus.becomes(alert, &[])?;

    let address = topology::backend(0).v4.to_string();
    done(lab.ingress(1), &["backend", "weight", &address, "50"])?;
    until(DEADLINE, "the difference to be seen", || {
        let fires = prometheus.query(expression)?;
        Ok((fires.len() == 1 && fires[0].0["pool"] == name && fires[0].1 == 2.0).then_some(()))
    })?;
    until(DEADLINE, "the alert", || {
        let alerts = prometheus.query(alert)?;
        Ok(alerts.iter().any(|(labels, _)| labels["pool"] == name).then_some(()))
    })?;
    done(lab.ingress(0), &["backend", "weight", &address, "50"])?;
    prometheus.becomes(expression, &[])?;
    prometheus.becomes(alert, &[])
}

/// Prometheus takes every expression of the dashboard, and loaded the rules.
fn shipped_things_are_taken(prometheus: &Prometheus) -> Result<()> {
    let text = fs::read_to_string(root().join("packaging/grafana/anycast-lb.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().flat_map(|p| p["targets"].as_array().into_iter().flatten());
    let (mut taken, mut told) = (0, 0);
    for target in targets {
        let expression = target["expr"].as_str().context("no expression")?;
        let expression = [("$job", "anycast-lb"), ("$instance", ".+"), ("$pool", ".+")]
            .iter()
            .fold(expression.to_owned(), |text, (from, to)| text.replace(from, to))
            .replace("$__rate_interval", "1m");
        told += usize::from(!prometheus.query(&expression)?.is_empty());
        taken += 1;
    }
    println!("{taken} expressions of the dashboard, {told} of them with an answer here");
    ensure!(taken > 30 && told >= 15, "{taken} {told}");
    let rules = prometheus.get("/api/v1/rules?type=alert")?;
    let loaded = rules["data"]["groups"][0]["rules"].as_array().context("no rules")?;
    ensure!(loaded.len() > 20 && loaded.iter().all(|rule| rule["health"] != "err"), "{rules}");
    Ok(())
}

fn a_reload_moves_the_listener(lab: &mut Lab, listen: SocketAddr) -> Result<()> {
    let node = lab.ingress(1);
    let moved = SocketAddr::new(listen.ip(), PORT + 1);
    edit(node, &listen.to_string(), &moved.to_string())?;
    done(node, &["reload"])?;
    let namespace = node.namespace().clone();
    until(DEADLINE, "metrics at the new address", || Ok(scrape(&namespace, moved).ok().map(drop)))?;
    ensure!(scrape(&namespace, listen).is_err(), "the old address still answers");
    // Somebody else has the next one: that is said, and the old one stays.
    let taken = SocketAddr::new(listen.ip(), PORT + 2);
    let holder = namespace.enter(|| TcpListener::bind(taken))??;
    edit(node, &moved.to_string(), &taken.to_string())?;
    done(node, &["reload"])?;
    let alarm =
        format!("metrics are served at {moved} still: metrics.listen = \"{taken}\": Address already in use");
    until(DEADLINE, "the alarm", || {
        Ok(status(node)?["alarms"].to_string().contains(&alarm.replace('"', "\\\"")).then_some(()))
    })?;
    scrape(&namespace, moved)?;
    drop(holder);
    done(node, &["reload"])?;
    until(DEADLINE, "metrics at the third address", || Ok(scrape(&namespace, taken).ok().map(drop)))?;
    until(DEADLINE, "no alarm", || Ok((status(node)?["alarms"] == Value::Array(Vec::new())).then_some(())))?;
    // And off.
    edit(node, &format!("[metrics]\nlisten = \"{taken}\"\n"), "")?;
    done(node, &["reload"])?;
    until(DEADLINE, "nobody to answer", || Ok(scrape(&namespace, taken).is_err().then_some(())))
}

/// A start says what is wrong with the address, where it stands and what to do.
fn an_address_that_is_taken_is_named(lab: &mut Lab, listen: SocketAddr) -> Result<()> {
    let node = lab.backend(1);
    node.stop()?;
    let _holder = node.namespace().enter(|| TcpListener::bind(listen))??;
    ensure!(node.start().is_err(), "it starts");
    let log = fs::read_to_string(node.balancer()?.log())?;
    let said = format!("metrics.listen = \"{listen}\": Address already in use");
    ensure!(log.contains(&said) && log.contains("a port that nobody else listens on"), "{log}");
    Ok(())
}

#[test]
fn its_own_tool_takes_rules_and_text() -> Result<()> {
    let rules = root().join("packaging/prometheus");
    promtool(&["check", "rules", "anycast-lb.rules.yml"], &rules, "")?;
    promtool(&["test", "rules", "anycast-lb.rules.test.yml"], &rules, "")?;
    let mut lab = Lab::builder().shape(shape(1, 1)).without_balancers().build()?;
    let local: SocketAddr = format!("[::1]:{PORT}").parse()?;
    for ingress in [true, false] {
        let node = if ingress { lab.ingress(0) } else { lab.backend(0) };
        serve_metrics(node, local)?;
        node.start()?;
        let (head, text) = scrape(node.namespace(), local)?;
        ensure!(head.contains("text/plain; version=0.0.4"), "{head}");
        promtool(&["check", "metrics"], root(), &text)?;
    }
    Ok(())
}

fn promtool(words: &[&str], directory: &std::path::Path, input: &str) -> Result<()> {
    let mut command = Command::new(program("promtool")?);
    command.args(words).current_dir(directory);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "promtool {words:?}: {output:?}");
    Ok(())
}

fn program(name: &str) -> Result<std::path::PathBuf> {
    find_program(name).with_context(|| format!("{name} is not installed: cargo xtask setup"))
}

/// IPv4 in the underlay.
fn addr(addresses: topology::Addresses) -> SocketAddr {
    SocketAddr::new(addresses.v4.into(), PORT)
}

fn serve_metrics(node: &Node, listen: SocketAddr) -> Result<()> {
    let text = fs::read_to_string(node.config())?;
    Ok(fs::write(node.config(), format!("{text}\n[metrics]\nlisten = \"{listen}\"\n"))?)
}

/// Head and body of what is served in a namespace.
fn scrape(namespace: &Namespace, at: SocketAddr) -> Result<(String, String)> {
    let (head, body) = http(namespace, at, "/metrics")?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok((head, body))
}

fn http(namespace: &Namespace, at: SocketAddr, path: &str) -> Result<(String, String)> {
    let answer = namespace.enter(|| -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        // 1.0: the answer is in one piece, and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// Packets sent on in all, and packets by VIP and by backend, in all pools together.
fn counters(node: &Node) -> Result<(u64, BTreeMap<String, u64>)> {
    let stats = node.cli(&["stats", "--json"])?.json()?;
    let rows = |key: &str| stats[key].as_array().cloned().with_context(|| format!("no {key}"));
    let packets = |row: &Value| row["packets"].as_u64().context("no count");
    let mut sums = BTreeMap::new();
    for (list, key) in [("vips", "vip"), ("backends", "address")] {
        for row in rows(list)? {
            *sums.entry(row[key].as_str().context("a name")?.to_owned()).or_default() += packets(&row)?;
        }
    }
    let sent =
        rows("verdicts")?.iter().filter(|row| row["kind"] == "transmit").map(packets).sum::<Result<u64>>()?;
    Ok((sent, sums))
}

/// The real one, on the router.
struct Prometheus {
    namespace: Namespace,
    _daemon: Daemon,
}

type Sample = (Value, f64);

impl Prometheus {
    fn start(lab: &Lab, targets: &[SocketAddr]) -> Result<Self> {
        ensure!(ROUTER_UNDERLAY.v4.is_private(), "the router has a leg in the underlay");
        let directory = lab.directory().join("prometheus");
        fs::create_dir(&directory)?;
        let targets: Vec<String> = targets.iter().map(|t| format!("\"{t}\"")).collect();
        let rules = root().join("packaging/prometheus/anycast-lb.rules.yml");
        let config = directory.join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
                 rule_files: [{:?}]\nscrape_configs:\n  - job_name: anycast-lb\n    static_configs:\n      \
                 - targets: [{}]\n",
                rules,
                targets.join(", ")
            ),
        )?;
        let program = Program {
            name: "prometheus".to_owned(),
            program: program("prometheus")?,
            arguments: arguments([
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", directory.join("data").display()),
                format!("--web.listen-address={PROMETHEUS}"),
            ]),
            notifies: false,
        };
        let namespace = lab.router().clone();
        let mut daemon = lab.daemon(&namespace, program);
        daemon.start()?;
        let at: SocketAddr = PROMETHEUS.parse()?;
        let ready = || http(&namespace, at, "/-/ready").is_ok_and(|(head, _)| head.contains(" 200 "));
        daemon.wait_until(DEADLINE, "an answer", ready)?;
        Ok(Prometheus { namespace, _daemon: daemon })
    }

    fn get(&self, path: &str) -> Result<Value> {
        let (head, body) = http(&self.namespace, PROMETHEUS.parse()?, path)?;
        let answer: Value = serde_json::from_str(&body).with_context(|| format!("{path}: {head} {body}"))?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer)
    }

    /// What an expression gives now: labels and values.
    fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"))?;
        let rows = answer["data"]["result"].as_array().context("no result")?;
        let sample = |row: &Value| {
            let value = row["value"][1].as_str().and_then(|v| v.parse().ok()).context("no value")?;
            Ok((row["metric"].clone(), value))
        };
        rows.iter().map(sample).collect()
    }

    /// A label of the one series that an expression gives.
    fn label(&self, expression: &str, label: &str) -> Result<String> {
        let rows = self.query(expression)?;
        ensure!(rows.len() == 1, "{expression}: {rows:?}");
        Ok(rows[0].0[label].as_str().with_context(|| format!("no {label}"))?.to_owned())
    }

    /// Waits until an expression gives these values: no series, or one.
    fn becomes(&self, expression: &str, expected: &[(&str, f64)]) -> Result<()> {
        let mut last = Vec::new();
        let waited = until(DEADLINE, &format!("{expression} to be {expected:?}"), || {
            last = self.query(expression)?;
            let values: Vec<f64> = last.iter().map(|(_, value)| *value).collect();
            let wanted: Vec<f64> = expected.iter().map(|(_, value)| *value).collect();
            Ok((values == wanted).then_some(()))
        });
        waited.with_context(|| format!("last: {last:?}"))
    }

    /// Waits until every series of an expression has the value that the command line tells for its label.
    fn tells(&self, label: &str, expression: &str, expected: &BTreeMap<String, u64>) -> Result<()> {
        let mut last = Vec::new();
        let waited = until(DEADLINE, &format!("{expression} to be as stats says"), || {
            last = self.query(expression)?;
            let right = |(labels, value): &Sample| {
                let name = labels[label].as_str().unwrap_or_default();
                expected.get(name).is_some_and(|expected| *expected as f64 == *value)
            };
            Ok((last.len() >= 2 && last.iter().all(right)).then_some(()))
        });
        waited.with_context(|| format!("last: {last:?}, expected: {expected:?}"))
    }
}
