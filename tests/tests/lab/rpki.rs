//! The RPKI guard with real validators (StayRTR): what they say, what follows, and what is known without them.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xtask::lab::daemons::{Daemon, Program, arguments, until};
use xtask::lab::topology::{PREFIX_V4, PREFIX_V6};
use xtask::lab::{Lab, Node, SERVICE_DEADLINE};

use super::stand::{DEADLINE, done, edit, refused, shape, status};

const OURS: u32 = 64500;
const THEIRS: u32 = 64501;
/// Long enough to be seen, short enough to be waited for.
const HOLD: Duration = Duration::from_secs(5);
const PORT: u16 = 8282;

#[test]
fn prefixes_are_withheld_by_what_validators_agree_on() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 1)).without_balancers().build()?;
    let mut first = Validator::new(&mut lab, "first", PORT);
    first.says(OURS, OURS)?;
    first.start()?;
    let node = lab.ingress(0);
    let origin = format!("origin_as = {OURS}\nrpki = \"enforce\"\nrpki_hold = \"{}s\"\n", HOLD.as_secs());
    edit(node, &prefix_line(PREFIX_V4), &format!("{}{origin}", prefix_line(PREFIX_V4)))?;
    edit(node, &prefix_line(PREFIX_V6), &format!("{}origin_as = {OURS}\n", prefix_line(PREFIX_V6)))?;
    let rtr = |port: u16, name: &str| format!("[[rtr]]\naddress = \"127.0.0.1:{port}\"\nname = \"{name}\"\n");
    append(node, &rtr(PORT, "first"))?;
    node.start()?;

    verdicts(node, "valid", "valid")?;
    ensure!(status(node)?["alarms"] == json!([]), "{}", status(node)?);
    questions(node)?;

    // Another AS: seen at the validator's next refresh. Warn only says so, enforce withholds after the hold.
    first.says(THEIRS, THEIRS)?;
    verdicts(node, "invalid", "invalid")?;
    let invalid = Instant::now();
    alarm(node, &format!("{PREFIX_V4} from AS{OURS} is invalid"), "warning")?;
    alarm(node, &format!("{PREFIX_V6} from AS{OURS} is invalid"), "warning")?;
    permitted(node, PREFIX_V4, false)?;
    println!("withheld {:?} after it was seen to be invalid, hold {HOLD:?}", invalid.elapsed());
    let state = state(node)?;
    ensure!(row(&state, PREFIX_V6)["permitted"] == true, "warn withholds: {state}");
    alarm(node, "ROAs allow 203.0.113.0/24 AS64501 (first); it is withheld", "error")?;
    refused_check(node)?;

    // Nobody to be asked: what was said last holds, and that is said.
    first.daemon.kill9()?;
    alarm(node, "no validator answers (first: ", "warning")?;
    alarm(node, "the last answers hold until they expire", "warning")?;
    let lost = self::state(node)?;
    ensure!(row(&lost, PREFIX_V4)["permitted"] == false, "{lost}");
    ensure!(lost["validators"][0]["expires_in_seconds"].as_u64().is_some_and(|s| s > 0), "{lost}");
    refused_check(node)?;

    // Back, and with what is right.
    first.says(OURS, OURS)?;
    first.start()?;
    permitted(node, PREFIX_V4, true)?;
    verdicts(node, "valid", "valid")?;
    until(DEADLINE, "no alarm", || Ok((status(node)?["alarms"] == json!([])).then_some(())))?;

    // A second one that is wrong withholds nothing.
    let mut second = Validator::new(&mut lab, "second", PORT + 1);
    second.says(THEIRS, THEIRS)?;
    second.start()?;
    let node = lab.ingress(0);
    append(node, &rtr(PORT + 1, "second"))?;
    done(node, &["reload"])?;
    verdicts(node, "disagreement", "disagreement")?;
    alarm(node, "first says valid, second says invalid; nothing is withheld", "warning")?;
    let since = Instant::now();
    until(DEADLINE, "twice the hold", || {
        let state = self::state(node)?;
        ensure!(row(&state, PREFIX_V4)["permitted"] == true, "one of two withholds: {state}");
        Ok((since.elapsed() > 2 * HOLD).then_some(()))
    })?;

    // Both do.
    first.says(THEIRS, OURS)?;
    permitted(node, PREFIX_V4, false)?;
    verdicts(node, "invalid", "disagreement")?;
    // By another mode it is permitted at once.
    edit(node, "rpki = \"enforce\"", "rpki = \"warn\"")?;
    done(node, &["reload"])?;
    permitted(node, PREFIX_V4, true)?;

    let log = fs::read_to_string(node.balancer()?.log())?;
    let begun = |line: &&str| !line.contains("over: ");
    let count = |part: &str| log.lines().filter(begun).filter(|line| line.contains(part)).count();
    ensure!(count("AS64501 (first); it is withheld") == 1, "{log}");
    ensure!(count("no validator answers") == 1, "{log}");
    Ok(())
}

/// A validator on the ingress node.
pub(super) struct Validator {
    daemon: Daemon,
    file: PathBuf,
    namespace: xtask::lab::netns::Namespace,
    port: u16,
}

impl Validator {
    pub(super) fn new(lab: &mut Lab, name: &str, port: u16) -> Self {
        let namespace = lab.ingress(0).namespace().clone();
        let file = lab.directory().join(format!("{name}-vrps.json"));
        let (bind, metrics) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1000));
        let words =
            ["-bind", &bind, "-metrics.addr", &metrics, "-slurm", "", "-checktime=false", "-refresh", "1"];
        let mut arguments = arguments(words);
        arguments.extend(["-cache".into(), file.clone().into_os_string()]);
        let program = Program {
            name: format!("stayrtr-{name}"),
            program: "stayrtr".into(),
            arguments,
            notifies: false,
        };
        Validator { daemon: lab.beside(&namespace, program), file, namespace, port }
    }

    pub(super) fn start(&mut self) -> Result<()> {
        self.daemon.start()?;
        let (namespace, port) = (&self.namespace, self.port);
        self.daemon.wait_until(SERVICE_DEADLINE, "its port", || {
            namespace.enter(|| TcpStream::connect(("127.0.0.1", port)).is_ok()).unwrap_or(false)
        })
    }

    /// Who may announce the two prefixes, from its next refresh on.
    pub(super) fn says(&self, v4: u32, v6: u32) -> Result<()> {
        let roa = |prefix: &str, length: u8, asn: u32| json!({"asn": format!("AS{asn}"), "prefix": prefix, "maxLength": length, "ta": "lab", "expires": 4_102_444_800_u64});
        let roas = [roa(PREFIX_V4, 24, v4), roa(PREFIX_V6, 48, v6)];
        let text = json!({"metadata": {}, "roas": roas}).to_string();
        // Whole, whenever it is read.
        let new = self.file.with_extension("new");
        fs::write(&new, text)?;
        Ok(fs::rename(&new, &self.file)?)
    }
}

fn prefix_line(prefix: &str) -> String {
    format!("prefix = \"{prefix}\"\n")
}

fn append(node: &Node, text: &str) -> Result<()> {
    let before = fs::read_to_string(node.config())?;
    Ok(fs::write(node.config(), format!("{before}\n{text}"))?)
}

fn state(node: &Node) -> Result<Value> {
    node.cli(&["rpki", "status", "--json"])?.json()
}

/// The entry of a prefix.
fn row<'a>(state: &'a Value, prefix: &str) -> &'a Value {
    let rows = state["prefixes"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().find(|row| row["prefix"] == prefix).unwrap_or(&Value::Null)
}

fn verdicts(node: &Node, v4: &str, v6: &str) -> Result<()> {
    let wanted = (json!(v4), json!(v6));
    let mut last = Value::Null;
    until(DEADLINE, &format!("{v4} and {v6}"), || {
        last = state(node)?;
        let said = (&row(&last, PREFIX_V4)["verdict"], &row(&last, PREFIX_V6)["verdict"]);
        Ok((said == (&wanted.0, &wanted.1)).then_some(()))
    })
    .with_context(|| last.to_string())
}

fn permitted(node: &Node, prefix: &str, wanted: bool) -> Result<()> {
    until(DEADLINE, &format!("{prefix} permitted: {wanted}"), || {
        Ok((row(&state(node)?, prefix)["permitted"] == wanted).then_some(()))
    })
}

/// Waits until `status` shows an alarm, to programs and to people.
fn alarm(node: &Node, text: &str, severity: &str) -> Result<()> {
    until(DEADLINE, &format!("{severity}: {text}"), || {
        let status = status(node)?;
        let alarms = status["alarms"].as_array().context("no alarms")?;
        let is_it = |alarm: &&Value| {
            alarm["kind"] == "rpki"
                && alarm["severity"] == severity
                && alarm["text"].as_str().is_some_and(|t| t.contains(text))
        };
        Ok(alarms.iter().any(|alarm| is_it(&alarm)).then_some(()))
    })?;
    let people = done(node, &["status"])?.stdout;
    ensure!(people.contains(&format!("{severity}: rpki")), "{people}");
    Ok(())
}

/// `rpki check` by the daemon and by the validator itself.
fn questions(node: &Node) -> Result<()> {
    let validator = format!("127.0.0.1:{PORT}");
    for rtr in [&[][..], &["--rtr", &validator]] {
        let check = |prefix: &str, asn: &str| {
            let words = [&["rpki", "check"][..], rtr, &[prefix, asn]].concat();
            if rtr.is_empty() {
                return node.cli(&words);
            }
            // The validator listens on the node's loopback.
            let output = node
                .namespace()
                .command(xtask::lab::tools::Tools::locate()?.balancer)?
                .args(&words)
                .output()?;
            Ok(xtask::lab::CliOutput {
                code: output.status.code(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        };
        for (prefix, asn, code, word) in [
            (PREFIX_V4, "64500", 0, "valid"),
            (PREFIX_V6, "AS64500", 0, "valid"),
            ("192.0.2.0/24", "64500", 0, "not found"),
            (PREFIX_V4, "AS64501", 1, "invalid"),
            ("203.0.113.0/25", "64500", 1, "invalid"),
        ] {
            let output = check(prefix, asn)?;
            let said = output.stdout.lines().next().is_some_and(|line| line.ends_with(&format!(": {word}")));
            ensure!(output.code == Some(code) && said, "{prefix} {asn} {rtr:?}: {output:?}");
        }
        let output = check("203.0.113.1/24", "64500")?;
        ensure!(output.code == Some(2), "{output:?}");
    }
    let json = node.cli(&["rpki", "check", PREFIX_V4, "64501", "--json"])?;
    ensure!(json.code == Some(1), "{json:?}");
    let json: Value = serde_json::from_str(&json.stdout)?;
    ensure!(
        json["verdict"] == "invalid" && json["answers"][0]["covering"] == json!(["203.0.113.0/24 AS64500"]),
        "{json}"
    );
    // Where nobody speaks RTR.
    refused(node, &["rpki", "check", "--rtr", "127.0.0.1:1", PREFIX_V4, "64500"], "validator").map(drop)
}

/// The daemon's answer while ours is invalid.
fn refused_check(node: &Node) -> Result<()> {
    let output = node.cli(&["rpki", "check", PREFIX_V4, "64500"])?;
    let expected = "203.0.113.0/24 from AS64500: invalid\n    first: invalid (203.0.113.0/24 AS64501)\n";
    ensure!(output.code == Some(1) && output.stdout == expected, "{output:?}");
    Ok(())
}
