//! Who answers: nodes of three PoPs say their names to those who ask by DNS, and nothing else of a name server's
//! business is theirs.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::Family;
use xtask::lab::capture::expect_clean;
use xtask::lab::daemons::{Daemon, until};
use xtask::lab::pops::plan::{self, FRANKFURT, INGRESSES, MEMBERS, NAMES, SINGAPORE};
use xtask::lab::pops::{Change, Forwarding, PopLab};
use xtask::lab::tools::Tools;
use xtask::lab::topology::{self, VIP_V4, VIP_V6};

use super::affinity::dns::{nsd, wait_for_zone};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Far longer than anything here takes; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// A client that is told of no backend.
const SAO_PAULO: usize = 2;
/// Questions that come at once, far beyond the limit.
const FLOOD: usize = 500;
/// What may be answered of them: a burst of a second's worth, and what the flood takes to be sent and read.
const ANSWERED_AT_MOST: usize = 150;

#[test]
fn a_service_says_who_answers_it() -> Result<()> {
    let mut lab = PopLab::build(Forwarding::Rescue)?;
    configure(&mut lab)?;
    let servers = name_servers(&mut lab)?;
    let wire = lab.capture_client(SAO_PAULO)?;
    three_clients_see_three_pops(&lab).context("by dig")?;
    others_questions_are_the_backends(&lab).context("other questions")?;
    the_option_is_there(&lab).context("NSID")?;
    backends_are_named_to_those_who_may_know(&mut lab).context("backends")?;
    whoami_draws_the_spread(&lab).context("whoami")?;
    a_flood_is_limited(&lab).context("a flood")?;
    expect_clean(&wire.finish()?)?;
    after_a_withdrawal_there_are_two(&mut lab).context("a withdrawal")?;
    drop(servers);
    Ok(())
}

fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => VIP_V4.into(),
        Family::V6 => VIP_V6.into(),
    }
}

fn pool(family: Family) -> &'static str {
    match family {
        Family::V4 => "web",
        Family::V6 => "web6",
    }
}

/// DNS on all nodes; the client near Frankfurt may know of backends.
fn configure(lab: &mut PopLab) -> Result<()> {
    let client = topology::client(FRANKFURT, false);
    let service = |family, more: &str| {
        format!("\n[[vip]]\naddress = \"{}\"\nport = 53\nprotocol = \"udp\"\n{more}", vip(family))
    };
    for pop in 0..NAMES.len() {
        for index in 0..INGRESSES {
            let file = lab.ingress(pop, index).config();
            let services = FAMILIES.map(|family| {
                service(family, &format!("pool = \"{}\"\nidentity = \"backend\"\n", pool(family)))
            });
            let clients = format!("identity_clients = [\"{}/32\", \"{}/128\"]\n", client.v4, client.v6);
            fs::write(&file, clients + &fs::read_to_string(&file)? + &services.concat())?;
        }
        for index in 0..plan::backends(pop) {
            let backend = lab.backend(pop, index);
            let file = backend.config();
            let services = FAMILIES.map(|family| service(family, "")).concat();
            fs::write(&file, fs::read_to_string(&file)? + &services)?;
            let output = backend.cli(&["reload"])?;
            ensure!(output.code == Some(0), "{output:?}");
        }
    }
    lab.command(&["reload"])
}

/// NSD on the backends in Frankfurt.
fn name_servers(lab: &mut PopLab) -> Result<Vec<Daemon>> {
    (0..MEMBERS)
        .map(|index| {
            let backend = lab.backend(FRANKFURT, index);
            let (name, namespace) = (backend.name().to_owned(), backend.namespace().clone());
            let mut daemon = lab.beside(&namespace, nsd(lab.directory(), &name)?);
            wait_for_zone(&mut daemon, &namespace)?;
            Ok(daemon)
        })
        .collect()
}

/// What `dig` prints, asked by the client near a PoP.
fn dig(lab: &PopLab, pop: usize, family: Family, words: &[&str]) -> Result<String> {
    let server = format!("@{}", vip(family));
    let words: Vec<&str> = ["+tries=2", "+time=5", server.as_str()].iter().chain(words).copied().collect();
    let output = lab.client(pop).run("dig", &words).with_context(|| format!("{words:?}"))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The PoP that answers the client near `pop`.
fn answering(lab: &PopLab, pop: usize, family: Family, name: &str) -> Result<String> {
    let text = dig(lab, pop, family, &["+short", "CH", "TXT", name])?;
    let answer = text.strip_prefix('"').and_then(|text| text.strip_suffix("\"\n"));
    let mut words = answer.with_context(|| format!("{text:?}"))?.split(' ');
    let node = words.next().unwrap_or_default();
    let site = words.next().and_then(|word| word.strip_prefix("pop=")).with_context(|| text.clone())?;
    ensure!(node.starts_with(&format!("{site}-ing")), "{text:?}");
    Ok(site.to_owned())
}

fn pops_that_answer(lab: &PopLab) -> Result<Vec<BTreeSet<String>>> {
    let seen_by = |family| (0..NAMES.len()).map(|pop| answering(lab, pop, family, "id.server")).collect();
    FAMILIES.into_iter().map(seen_by).collect()
}

fn three_clients_see_three_pops(lab: &PopLab) -> Result<()> {
    for seen in pops_that_answer(lab)? {
        ensure!(seen == NAMES.map(str::to_owned).into(), "{seen:?}");
    }
    for name in ["hostname.bind", "HOSTNAME.BIND", "Id.Server"] {
        ensure!(answering(lab, FRANKFURT, Family::V4, name)? == NAMES[FRANKFURT], "{name}");
    }
    Ok(())
}

fn after_a_withdrawal_there_are_two(lab: &mut PopLab) -> Result<()> {
    lab.at_once(FRANKFURT, &[Change::WithdrawAll])?;
    until(DEADLINE, "the client near Frankfurt to reach another PoP", || {
        Ok(answering(lab, FRANKFURT, Family::V6, "id.server").is_ok_and(|pop| pop != "fra").then_some(()))
    })?;
    for seen in pops_that_answer(lab)? {
        ensure!(seen == ["sin".to_owned(), "gru".to_owned()].into(), "{seen:?}");
    }
    ensure!(answering(lab, FRANKFURT, Family::V4, "id.server")? == NAMES[SINGAPORE]);
    lab.at_once(FRANKFURT, &[Change::AnnounceAll])
}

fn others_questions_are_the_backends(lab: &PopLab) -> Result<()> {
    for family in FAMILIES {
        let version = dig(lab, FRANKFURT, family, &["+short", "CH", "TXT", "version.bind"])?;
        ensure!(version.starts_with("\"NSD "), "{version:?}");
        let backend = dig(lab, FRANKFURT, family, &["+short", "IN", "TXT", "backend.example."])?;
        ensure!(backend.starts_with("\"fra-be"), "{backend:?}");
        // In the class of the Internet it is a name like all others, and not one of this server.
        let other = dig(lab, FRANKFURT, family, &["IN", "TXT", "id.server"])?;
        ensure!(other.contains("status: REFUSED"), "{other}");
    }
    Ok(())
}

fn the_option_is_there(lab: &PopLab) -> Result<()> {
    for family in FAMILIES {
        let text = dig(lab, SAO_PAULO, family, &["+nsid", "CH", "TXT", "id.server"])?;
        let nsid = text.lines().find(|line| line.contains("NSID:")).with_context(|| text.clone())?;
        ensure!(nsid.contains("(\"gru-ing") && nsid.contains(" pop=gru\")"), "{nsid}");
        ensure!(text.contains("flags: qr aa rd;") && text.contains("status: NOERROR"), "{text}");
        ensure!(text.lines().any(|line| line.starts_with("id.server.\t\t0\tCH\tTXT\t\"gru-ing")), "{text}");
        let without = dig(lab, SAO_PAULO, family, &["CH", "TXT", "id.server"])?;
        ensure!(!without.contains("NSID"), "{without}");
    }
    Ok(())
}

/// The one that is named is the one that gets the flow.
fn backends_are_named_to_those_who_may_know(lab: &mut PopLab) -> Result<()> {
    let mut named = BTreeSet::new();
    for family in FAMILIES {
        let client = topology::client(FRANKFURT, false);
        let from = |port: u16| match family {
            Family::V4 => format!("{}#{port}", client.v4),
            Family::V6 => format!("{}#{port}", client.v6),
        };
        for port in 20_000..20_006 {
            let from = from(port);
            // The node may be busy, and then says only its own name.
            let said = until(DEADLINE, "a backend to be named", || {
                let said = dig(lab, FRANKFURT, family, &["-b", &from, "+short", "CH", "TXT", "id.server"])?;
                Ok(said.contains(" backend=").then_some(said))
            })?;
            let backend = said.trim_end().trim_end_matches('"').split_once(" backend=");
            let (_, backend) = backend.with_context(|| said.clone())?;
            let serves = dig(lab, FRANKFURT, family, &["-b", &from, "+short", "TXT", "backend.example."])?;
            let index = (0..MEMBERS)
                .find(|index| serves.trim_end() == format!("\"fra-be{index}\""))
                .with_context(|| serves.clone())?;
            let address = plan::backend(FRANKFURT, index);
            let expected = match family {
                Family::V4 => address.v4.to_string(),
                Family::V6 => address.v6.to_string(),
            };
            ensure!(backend == expected, "{from}: {said:?} and {serves:?}");
            named.insert(index);
        }
        let elsewhere = dig(lab, SAO_PAULO, family, &["+short", "CH", "TXT", "id.server"])?;
        ensure!(!elsewhere.contains("backend"), "{elsewhere:?}");
    }
    ensure!(named.len() == MEMBERS, "all flows went to {named:?}");
    Ok(())
}

/// `whoami` as the client near a PoP runs it.
fn whoami(lab: &PopLab, pop: usize, words: &[&str]) -> Result<String> {
    let words: Vec<&str> = ["whoami"].iter().chain(words).copied().collect();
    let output = lab.client(pop).run(Tools::locate()?.balancer, &words)?;
    Ok(String::from_utf8(output.stdout)?)
}

fn whoami_draws_the_spread(lab: &PopLab) -> Result<()> {
    for family in FAMILIES {
        let vip = vip(family).to_string();
        // More than there are at once, so that the limit is met and waited for.
        let text = whoami(lab, FRANKFURT, &[&vip, "--count", "24"])?;
        println!("{text}");
        ensure!(text.contains("24 of 24 ports answered"), "{text}");
        ensure!(text.contains("ANSWERED BY") && text.contains("fra fra-ing"), "{text}");
        ensure!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let json: Value = serde_json::from_str(&whoami(lab, FRANKFURT, &[&vip, "--count", "4", "--json"])?)?;
        let answers = json["answers"].as_array().context("no answers")?;
        ensure!(answers.len() == 4, "{json}");
        for answer in answers {
            ensure!(answer["pop"] == "fra", "{json}");
        }
        let elsewhere = whoami(lab, SAO_PAULO, &[&vip, "--count", "2", "--json"])?;
        ensure!(
            elsewhere.contains("\"pop\":\"gru\"") && !elsewhere.contains("\"backend\":\""),
            "{elsewhere}"
        );
    }
    // Other servers answer as well: NSD itself, where no node is in the way.
    let own = format!("{VIP_V4}");
    let there = lab.backend_namespace(FRANKFURT, 0);
    let there = there.run(Tools::locate()?.balancer, &["whoami", &own, "--count", "2"])?;
    let there = String::from_utf8(there.stdout)?;
    ensure!(there.contains("2 of 2 ports answered"), "{there}");
    Ok(())
}

/// Most of a flood is not answered, whom it comes from is; others are answered all the same.
fn a_flood_is_limited(lab: &PopLab) -> Result<()> {
    for family in FAMILIES {
        let server = SocketAddr::new(vip(family), 53);
        let answered = lab.client(SAO_PAULO).enter(move || flood(server))??;
        ensure!((1..=ANSWERED_AT_MOST).contains(&answered), "{family:?}: {answered} of {FLOOD} answered");
        ensure!(answering(lab, SINGAPORE, family, "id.server")? == NAMES[SINGAPORE]);
    }
    let limited = limited(lab)?;
    ensure!(limited >= FLOOD as u64, "{limited} were limited");
    // A client that cannot be one is not answered: some server's port, that would answer the answer.
    let from = format!("{}#53", topology::client(SINGAPORE, false).v4);
    let words = ["-b", &from, "+short", "+tries=1", "+time=2", "CH", "TXT", "id.server"];
    ensure!(dig(lab, SINGAPORE, Family::V4, &words).is_err(), "a question from port 53 was answered");
    Ok(())
}

/// How many of many questions at once are answered.
fn flood(server: SocketAddr) -> Result<usize> {
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02id\x06server\0\0\x10\0\x03";
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    for _ in 0..FLOOD {
        socket.send(QUESTION)?;
    }
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let until = Instant::now() + DEADLINE;
    let mut answered = 0;
    let mut buffer = [0; 512];
    while Instant::now() < until
        && let Ok(length) = socket.recv(&mut buffer)
    {
        ensure!(length > QUESTION.len() && buffer[2] & 0x80 != 0, "no answer: {:?}", &buffer[..length]);
        answered += 1;
    }
    Ok(answered)
}

/// Questions beyond the limit, on all nodes.
fn limited(lab: &PopLab) -> Result<u64> {
    lab.ingresses().try_fold(0, |sum, node| {
        let stats = node.cli(&["stats", "--json"])?.json()?;
        let rows = stats["verdicts"].as_array().context("no verdicts")?;
        let row = rows.iter().find(|row| row["verdict"] == "identity_limited").context("no such verdict")?;
        Ok(sum + row["packets"].as_u64().context("no count")?)
    })
}
