//! A daemon that runs, and what it refuses.

use std::process::Command;

use nix::mount::MsFlags;
use xtask::lab::daemons::until;

use super::*;

fn generation(place: &Place) -> Result<u64> {
    let status: serde_json::Value = serde_json::from_str(&place.ask("status --json")?.stdout)?;
    status["generation"].as_u64().context("generation")
}

#[test]
fn its_output_fits_and_is_plain_in_a_pipe() -> Result<()> {
    isolated(|place| {
        let _daemon = place.start()?;
        for command in [
            "status",
            "stats",
            "stats --all",
            "vip list",
            "pool list",
            "pool show web",
            "backend list",
            "reload",
            "trace tcp 192.0.2.7:51234 203.0.113.1:443",
        ] {
            let answer = place.ask(command)?;
            ensure!(answer.code == 0 && answer.stderr.is_empty(), "{command}: {answer:?}");
            // Paths and commands to be copied stay whole.
            let prose: Vec<&str> = answer
                .stdout
                .lines()
                .filter(|l| !l.starts_with("files ") && !l.contains("ip link"))
                .collect();
            fits(command, &prose.join("\n"))?;
            ensure!(answer.stdout.lines().all(|l| l == l.trim_end()), "lines have tails: {answer:?}");
            let answer = place.ask(&format!("{command} --json"))?;
            let object: serde_json::Value = serde_json::from_str(&answer.stdout)?;
            ensure!(answer.code == 0 && object["schema"] == 1, "{command}: {object}");
        }
        // On a terminal (`script` makes one) there is colour, unless NO_COLOR says no.
        let shown = |variable: &str| {
            let socket = place.path("socket");
            let command = format!(
                "{variable} TERM=xterm {} pool show web --socket {}",
                place.path("anycast-lb").display(),
                socket.display()
            );
            place::output(Command::new("script").args(["-qec", &command, "/dev/null"]).env_remove("NO_COLOR"))
        };
        ensure!(shown("")?.contains(ESCAPE), "no colour on a terminal");
        let plain = shown("NO_COLOR=1")?;
        ensure!(plain.contains("10.0.0.11") && !plain.contains(ESCAPE), "{plain}");
        Ok(())
    })
}

#[test]
fn what_it_refuses_changes_nothing() -> Result<()> {
    isolated(|place| {
        let _daemon = place.start()?;
        let before = fs::read_to_string(place.config())?;
        for (command, code, words) in [
            ("vip add 203.0.113.1:443/tcp --pool web", "exists", "exists already"),
            ("vip add 203.0.113.2:443/tcp --pool wbe", "not_found", "did you mean web"),
            ("vip add [2001:db8::1]:443/tcp --pool plain", "invalid_config", "cannot be carried"),
            ("vip remove 203.0.113.9:443/tcp", "not_found", "vip list"),
            ("pool add web", "exists", "pool show web"),
            ("pool add wörter", "invalid_config", "not a plain word"),
            ("pool add web2 --slots 1000", "invalid_config", "power of two"),
            ("pool show nope", "not_found", "known: web"),
            ("pool remove web", "pool_in_use", "vip remove 203.0.113.1:443/tcp"),
            ("backend add fd00::1 --pool web", "invalid_config", "pool for each family"),
            ("backend add 203.0.113.1 --pool web", "invalid_config", "is the address of a VIP"),
            ("backend drain 10.0.0.99", "not_found", "backend list"),
            ("backend weight 10.0.0.11 5 --pool nope", "not_found", "nope"),
            ("backend drain 10.0.0.11 --expect-generation 7", "generation_mismatch", "generation 1, not 7"),
        ] {
            let answer = place.ask(command)?;
            ensure!(answer.code == 1 && answer.stdout.is_empty(), "{command}: {answer:?}");
            ensure!(answer.stderr.contains(words), "{command}: \"{words}\" is not in {answer:?}");
            ensure!(answer.stderr.contains("\nhint: "), "{command}: {answer:?}");
            let object = error_object(&place.ask(&format!("{command} --json"))?)?;
            ensure!(object["error"]["code"] == code, "{command}: {object}");
        }
        // A file with mistakes, one that was edited, one that is gone.
        place.write(&before.replace("[[interface]]", "bogus = 1\n[[interface]]"))?;
        for command in ["reload", "reload --dry-run"] {
            let answer = place.ask(command)?;
            ensure!(answer.code == 1, "{answer:?}");
            ensure!(answer.stderr.contains("config.toml:10:"), "{answer:?}");
            ensure!(answer.stderr.contains("control.bogus: unknown key"), "{answer:?}");
        }
        let answer = place.ask("backend drain 10.0.0.11")?;
        ensure!(
            answer.code == 1 && answer.stderr.contains("hint: take the edited files in first"),
            "{answer:?}"
        );
        fs::rename(place.config(), place.path("away"))?;
        let answer = place.ask("backend drain 10.0.0.11")?;
        ensure!(answer.code == 1 && answer.stderr.contains("hint: put the file back"), "{answer:?}");
        ensure!(place.ask("reload")?.code == 1, "reloaded what is not there");
        place.write(&before)?;
        ensure!(generation(place)? == 1, "something was accepted");
        ensure!(place.ask("reload")?.stdout.contains("nothing changes"), "something has changed");
        ensure!(fs::read_to_string(place.config())? == before, "the file was written");
        Ok(())
    })
}

#[test]
fn a_change_that_cannot_be_written_is_not_made() -> Result<()> {
    isolated(|place| {
        let full = place.mount("small", "tmpfs", MsFlags::empty(), Some("size=8k"))?;
        fs::copy(place.config(), full.join("config.toml"))?;
        fs::remove_file(place.config())?;
        std::os::unix::fs::symlink(full.join("config.toml"), place.config())?;
        let _daemon = place.start()?;
        let before = fs::read(place.config())?;
        // One page of eight KiB is the file's; the other one is taken now.
        fs::write(full.join("filler"), [0; 4096])?;
        let answer = place.ask("backend weight 10.0.0.11 7 --pool web")?;
        ensure!(answer.code == 1 && answer.stderr.contains("No space left on device"), "{answer:?}");
        ensure!(answer.stderr.contains("hint: make room"), "{answer:?}");
        ensure!(fs::read(place.config())? == before && generation(place)? == 1, "half of it was done");
        ensure!(!place.ask("pool show web")?.stdout.contains("      7  "), "it is in force");
        let left: Vec<_> = fs::read_dir(&full)?.collect();
        ensure!(left.len() == 2, "something was left: {left:?}");
        fs::remove_file(full.join("filler"))?;
        ensure!(place.ask("backend weight 10.0.0.11 7 --pool web")?.code == 0, "there is room now");
        ensure!(fs::symlink_metadata(place.config())?.is_symlink(), "the link was replaced");
        Ok(())
    })
}

#[test]
fn there_is_one_daemon_for_a_socket_and_one_for_the_pins() -> Result<()> {
    isolated(|place| {
        let mut daemon = Some(place.start()?);
        let answer = place.with_config(&["run"])?;
        ensure!(answer.code == 1 && answer.stderr.contains("another daemon answers here"), "{answer:?}");
        // Another socket and another state directory, but the same pins.
        let text = place.text();
        place.write(&text.replace("/socket\"", "/socket2\"").replace("/state\"", "/state2\""))?;
        let answer = place.with_config(&["run"])?;
        ensure!(
            answer.code == 1 && answer.stderr.contains("another daemon runs this instance"),
            "{answer:?}"
        );
        place.write(&text)?;
        ensure!(place.ask("status")?.stdout.contains("native"), "the first one was disturbed");

        // Taken off under a running daemon: said there, and by the daemon.
        let answer = place.with_config(&["detach"])?;
        ensure!(answer.code == 0 && answer.stderr.contains("the daemon still runs"), "{answer:?}");
        ensure!(place.ask("status")?.stdout.contains("detached"), "status does not say it");
        drop(daemon.take());
        let _again = place.start()?;
        ensure!(place.ask("status")?.stdout.contains("native"), "not attached again");
        Ok(())
    })
}

#[test]
fn callers_in_a_crowd_and_callers_that_hang() -> Result<()> {
    isolated(|place| {
        let _daemon = place.start()?;
        // More than the daemon serves at once, none of which says a whole sentence.
        let hanging: Result<Vec<_>, _> = (0..200)
            .map(|_| {
                let stream = std::os::unix::net::UnixStream::connect(place.path("socket"))?;
                std::io::Write::write_all(&mut &stream, b"GET /v1/st").map(|()| stream)
            })
            .collect();
        let hanging = hanging?;
        let ports = 1..=20;
        let added: Vec<_> = std::thread::scope(|scope| {
            let add = |port| place.ask(&format!("vip add 203.0.113.2:{port}/tcp --pool web"));
            let threads: Vec<_> = ports.clone().map(|port| scope.spawn(move || add(port))).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for answer in added {
            let answer = answer.map_err(|_| anyhow::anyhow!("panicked"))??;
            ensure!(answer.code == 0, "{answer:?}");
        }
        drop(hanging);
        ensure!(generation(place)? == 21, "generation {}", generation(place)?);
        let text = fs::read_to_string(place.config())?;
        ensure!(text.matches("203.0.113.2").count() == ports.count(), "{text}");
        until(std::time::Duration::from_secs(10), "the file to be valid", || {
            Ok((place.with_config(&["check"])?.code == 0).then_some(()))
        })
    })
}
