//! The command line without a daemon: help, usage, nobody there.

use super::*;

/// All commands with words that are understood.
const COMMANDS: [&str; 19] = [
    "run",
    "check",
    "status",
    "stats",
    "vip list",
    "vip add 203.0.113.1:443/tcp --pool web",
    "vip remove 203.0.113.1:443/tcp",
    "pool list",
    "pool show web",
    "pool add web",
    "pool remove web",
    "backend list",
    "backend add 10.0.0.13 --pool web",
    "backend remove 10.0.0.13",
    "backend drain 10.0.0.13",
    "backend undrain 10.0.0.13",
    "backend weight 10.0.0.13 50",
    "reload",
    "trace tcp 192.0.2.7:51234 203.0.113.1:443",
];

#[test]
fn every_command_has_help_with_an_example() -> Result<()> {
    isolated(|place| {
        for command in COMMANDS.into_iter().chain(["", "vip", "pool", "backend", "detach", "completions"]) {
            let words = command.split(' ').filter(|word| !word.is_empty());
            let arguments: Vec<&str> = words.chain(["--help"]).collect();
            let answer = place.command(&[], &arguments)?;
            ensure!(answer.code == 0 && answer.stderr.is_empty(), "{command}: {answer:?}");
            ensure!(answer.stdout.contains("Example"), "{command} shows no example");
            ensure!(answer.stdout.contains("\n  anycast-lb "), "{command} shows no example");
            fits(command, &answer.stdout)?;
        }
        Ok(())
    })
}

#[test]
fn wrong_usage_leaves_with_2_and_touches_nothing() -> Result<()> {
    isolated(|place| {
        for words in [
            "",
            "frobnicate",
            "status extra",
            "status --frobnicate",
            "vip",
            "vip add",
            "vip add 203.0.113.1:443/tcp",
            "vip add 203.0.113.1:443 --pool web",
            "vip add 203.0.113.1:99999/tcp --pool web",
            "vip remove 2001:db8::1:443/tcp",
            "pool show",
            "pool add web --slots many",
            "pool add web --encapsulation gre",
            "backend add 10.0.0.300 --pool web",
            "backend weight 10.0.0.13 -1",
            "backend weight 10.0.0.13 65536",
            "reload now",
            "reload --expect-generation x",
            "trace tcp 192.0.2.7 203.0.113.1:443",
            "trace tcp 192.0.2.7:1 [2001:db8::1]:443",
            "run --socket /tmp/s",
        ] {
            let arguments: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
            let answer = place.command(&[], &arguments)?;
            ensure!(answer.code == 2, "{words}: {answer:?}");
            ensure!(answer.stdout.is_empty() && !answer.stderr.contains(ESCAPE), "{words}: {answer:?}");
            if !words.is_empty() && words != "vip" {
                ensure!(answer.stderr.starts_with("error: "), "{words}: {answer:?}");
                let answer = place.command(&[], &[&arguments[..], &["--json"]].concat())?;
                ensure!(answer.code == 2, "{words}: {answer:?}");
                ensure!(error_object(&answer)?["error"]["code"] == "usage", "{words}: {answer:?}");
            }
        }
        for empty in [&["pool", "show", ""][..], &["backend", "drain", "10.0.0.1", "--pool", ""]] {
            ensure!(place.command(&[], empty)?.code == 2, "{empty:?}");
        }
        place.is_untouched()
    })
}

#[test]
fn nobody_answers() -> Result<()> {
    isolated(|place| {
        let socket = place.path("socket").display().to_string();
        for command in COMMANDS.into_iter().filter(|c| !["run", "check"].contains(c)) {
            let answer = place.ask(command)?;
            ensure!(answer.code == 1 && answer.stdout.is_empty(), "{command}: {answer:?}");
            ensure!(
                answer.stderr.starts_with(&format!("error: no daemon answers at {socket}")),
                "{answer:?}"
            );
            ensure!(answer.stderr.contains("\nhint: "), "{answer:?}");
            let object = error_object(&place.ask(&format!("{command} --json"))?)?;
            ensure!(object["error"]["code"] == "no_daemon", "{object}");
        }
        let long = place.path(&"s".repeat(120)).display().to_string();
        let answer = place.command(&[], &["status", "--socket", &long])?;
        ensure!(answer.code == 1 && answer.stderr.contains("control.socket"), "{answer:?}");
        let answer = place.with_config(&["detach"])?;
        ensure!(answer.code == 0 && answer.stdout == "instance default is not attached\n", "{answer:?}");
        Ok(())
    })
}
