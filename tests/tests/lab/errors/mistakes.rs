//! Mistakes in the configuration.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A mistake: what is written in place of what, the line where it is found (its text), the key, what is
/// said, and what to write instead.
struct Mistake {
    replace: &'static str,
    by: &'static str,
    line: &'static str,
    key: &'static str,
    message: &'static str,
    instead: &'static str,
}

/// Of one VIP, after which others can be written.
const LAST: &str = "port = 443\nprotocol = \"tcp\"\npool = \"web\"\n";

const MISTAKES: [Mistake; 8] = [
    Mistake {
        replace: "node = \"lb1\"",
        by: "node = \"lb1\"\nunmached = \"pass\"",
        line: "unmached = \"pass\"",
        key: "unmached",
        message: "unknown key",
        instead: "did you mean `unmatched`?",
    },
    Mistake {
        replace: "name = \"web\"",
        by: "name = \"web\"\nencapsulation = \"gre\"",
        line: "encapsulation = \"gre\"",
        key: "pool \"web\" encapsulation",
        message: "gre",
        instead: "gue",
    },
    Mistake {
        replace: LAST,
        by: "port = 443\nprotocol = \"tcp\"\npool = \"web\"\n[[vip]] # twice\naddress = \"203.0.113.1\"\n\
             port = 443\nprotocol = \"tcp\"\npool = \"web\"\n",
        line: "[[vip]] # twice",
        key: "vip 203.0.113.1:443/tcp",
        message: "stands already at",
        instead: "take one of the two out",
    },
    Mistake {
        replace: "address = \"203.0.113.1\"\nport = 443\nprotocol = \"tcp\"\npool = \"web\"\n",
        by: "address = \"2001:db8::1\" # in IPv4\nport = 443\nprotocol = \"tcp\"\npool = \"plain\"\n",
        line: "address = \"2001:db8::1\" # in IPv4",
        key: "vip [2001:db8::1]:443/tcp",
        message: "IPv6 cannot be carried to the IPv4 backends",
        instead: "encapsulation = \"gue\"",
    },
    Mistake {
        replace: "address = \"10.0.0.12\"",
        by: "address = \"fd00::12\"",
        line: "address = \"fd00::12\"",
        key: "pool \"web\" backend fd00::12",
        message: "is IPv6, the pool's first backend 10.0.0.11 is IPv4",
        instead: "make a pool for each family",
    },
    Mistake {
        replace: "pool = \"web\"\n",
        by: "pool = \"wed\"\n",
        line: "pool = \"wed\"",
        key: "vip 203.0.113.1:443/tcp pool",
        message: "there is no pool \"wed\"",
        instead: "did you mean \"web\"?",
    },
    Mistake {
        replace: "address = \"10.0.0.12\"",
        by: "address = \"10.0.0.12\"\nweight = 0",
        line: "weight = 0",
        key: "pool \"web\" backend 10.0.0.12 weight",
        message: "0",
        instead: "1",
    },
    Mistake {
        replace: "node = \"lb1\"",
        by: "node = \"lb 1\"",
        line: "node = \"lb 1\"",
        key: "node",
        message: "is not a plain word",
        instead: "letters, digits",
    },
];

/// The problem that is found at the line with this text (or at its neighbours, the entry it is in).
fn find<'a>(problems: &'a serde_json::Value, text: &str, mistake: &Mistake) -> Result<&'a serde_json::Value> {
    let line = text.lines().position(|l| l == mistake.line).context("the mistake is not in the text")? + 1;
    let of_key = |p: &&serde_json::Value| p["key"] == mistake.key;
    let found = problems.as_array().into_iter().flatten().find(of_key);
    let found = found.with_context(|| format!("{} is not named: {problems}", mistake.key))?;
    let at = found["line"].as_u64().context("line")?;
    ensure!(at.abs_diff(line as u64) <= 1, "line {line}: {found}");
    Ok(found)
}

#[test]
fn each_is_named_with_its_place_and_what_to_write_instead() -> Result<()> {
    isolated(|place| {
        for mistake in &MISTAKES {
            let text = place.text().replacen(mistake.replace, mistake.by, 1);
            place.write(&text)?;
            let answer = place.with_config(&["check", "--json"])?;
            ensure!(answer.code == 1, "{}: {answer:?}", mistake.key);
            let object = error_object(&answer)?;
            ensure!(object["error"]["code"] == "invalid_config" && object["valid"] == false, "{object}");
            let problem = find(&object["problems"], &text, mistake)?;
            let (message, hint) = (problem["message"].to_string(), problem["hint"].to_string());
            let (message, hint) = (message.replace("\\\"", "\""), hint.replace("\\\"", "\""));
            ensure!(message.contains(mistake.message), "{problem}");
            ensure!(hint.contains(mistake.instead), "{problem}");

            // To people: file:line:column: key: message, and below it the way out.
            let answer = place.with_config(&["check"])?;
            ensure!(answer.code == 1 && answer.stdout.is_empty(), "{answer:?}");
            let head = format!(
                "{}:{}:{}: {}: ",
                place.config().display(),
                problem["line"],
                problem["column"],
                mistake.key
            );
            ensure!(answer.stderr.contains(&head), "\"{head}\" is not in {answer:?}");
            ensure!(!answer.stderr.contains(ESCAPE), "coloured in a pipe: {answer:?}");
            refuses_to_run(place, &[mistake.message.split('"').next().unwrap_or_default()])?;
        }
        Ok(())
    })
}

#[test]
fn all_are_reported_at_once() -> Result<()> {
    isolated(|place| {
        // Those that can stand side by side.
        let chosen = [0, 1, 2, 4, 7];
        let mut text = place.text();
        for n in chosen {
            text = text.replacen(MISTAKES[n].replace, MISTAKES[n].by, 1);
        }
        place.write(&text.replace("node = \"lb1\"", "node = \"lb 1\""))?;
        let answer = place.with_config(&["check"])?;
        ensure!(answer.code == 1, "{answer:?}");
        for n in chosen {
            ensure!(answer.stderr.contains(MISTAKES[n].key), "{} is missing: {answer:?}", MISTAKES[n].key);
        }
        Ok(())
    })
}

#[test]
fn a_secret_that_everybody_can_read_is_refused_with_the_chmod_that_mends_it() -> Result<()> {
    isolated(|place| {
        place.write_seed(0o644)?;
        let chmod = format!("chmod 600 {}", place.path("seed").display());
        refuses_to_run(place, &["seed", "everybody", &chmod])?;
        let answer = place.with_config(&["check"])?;
        ensure!(answer.code == 1 && answer.stderr.contains(&chmod), "{answer:?}");
        place::output(std::process::Command::new("sh").args(["-c", &chmod]))?;
        let answer = place.with_config(&["check"])?;
        ensure!(answer.code == 0, "the command does not mend it: {answer:?}");

        let secret = "f0e1d2c3b4a5968778695a4b3c2d1e0f";
        place.write(
            &place.text().replace("hash_seed_file = \"seed\"", &format!("hash_seed = \"{secret}\"")),
        )?;
        fs::set_permissions(place.config(), Permissions::from_mode(0o644))?;
        let chmod = format!("chmod 600 {}", place.config().display());
        refuses_to_run(place, &["hash_seed", &chmod])?;
        let answer = place.with_config(&["check", "--json"])?;
        ensure!(!answer.stdout.contains(secret) && !answer.stderr.contains(secret), "the secret is shown");
        place::output(std::process::Command::new("sh").args(["-c", &chmod]))?;
        let answer = place.with_config(&["check"])?;
        ensure!(answer.code == 0, "the command does not mend it: {answer:?}");
        Ok(())
    })
}

#[test]
fn what_is_not_there_is_named() -> Result<()> {
    isolated(|place| {
        place.write(&place.text().replace("\"seed\"", "\"no-seed\""))?;
        refuses_to_run(place, &["no-seed", "No such file", "umask 077"])?;
        place.write(&format!("include = [\"{}\"]\n{}", place.path("x.toml").display(), place.text()))?;
        refuses_to_run(place, &["x.toml"])?;
        place.write("role = [")?;
        refuses_to_run(place, &["config.toml:1:"])?;
        Ok(())
    })
}
