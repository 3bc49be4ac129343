//! Hosts that cannot do what is asked of them.

use std::process::Command;

use aya::programs::{Xdp, xdp::XdpMode};
use nix::mount::MsFlags;
use xtask::lab::tools::Tools;

use super::*;

/// Runs what follows as the user nobody, without a capability.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn an_interface_that_is_missing_or_taken() -> Result<()> {
    isolated(|place| {
        place.write(&place.text().replace("name = \"nic\"", "name = \"nic9\""))?;
        refuses_to_run(place, &["there is no interface", "nic9", "there are: ", "peer"])?;

        place.write(&place.text())?;
        let mut foreign = aya::Ebpf::load_file(Tools::locate()?.pass)?;
        let program: &mut Xdp = foreign.program_mut("pass").context("no program \"pass\"")?.try_into()?;
        program.load()?;
        let link = program.attach("nic", XdpMode::Skb)?;
        let answer = place.with_config(&["run"])?;
        ensure!(answer.code == 1, "{answer:?}");
        for words in ["nic: the XDP program \\\"pass\\\"", "is not ours", "bpftool"] {
            let plain = words.replace('\\', "");
            ensure!(answer.stderr.contains(words) || answer.stderr.contains(&plain), "{words}: {answer:?}");
        }
        let shown = place::output(Command::new("ip").args(["-details", "link", "show", "nic"]))?;
        ensure!(shown.contains("xdpgeneric"), "the foreign program is gone: {shown}");
        program.detach(link)?;
        place.is_untouched()
    })
}

#[test]
fn places_that_cannot_be_used() -> Result<()> {
    isolated(|place| {
        // A bpffs cannot be mounted on a file.
        fs::write(place.path("bpf"), "")?;
        refuses_to_run(place, &["no bpffs there", "mount -t bpf bpf"])?;
        fs::remove_file(place.path("bpf"))?;

        let bpffs = place.mount("bpf", "bpf", MsFlags::empty(), None)?;
        let none = None::<&str>;
        nix::mount::mount(none, &bpffs, none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?;
        refuses_to_run(place, &["bpf/anycast-lb", "Read-only file system"])?;
        nix::mount::umount(&bpffs)?;

        place.mount("state", "tmpfs", MsFlags::MS_RDONLY, None)?;
        refuses_to_run(place, &["state/default.lock", "Read-only file system"])?;
        nix::mount::umount(&place.path("state"))?;

        fs::write(place.path("socket"), "precious")?;
        refuses_to_run(place, &["socket", "is not a socket", "control.socket"])?;
        ensure!(fs::read(place.path("socket"))? == b"precious", "the file is gone");
        fs::remove_file(place.path("socket"))?;

        let text = place.text().replace("/socket\"", &format!("/{}\"", "s".repeat(120)));
        place.write(&text)?;
        refuses_to_run(place, &["control.socket", "bytes at most"])
    })
}

#[test]
fn a_kernel_that_hides_its_types() -> Result<()> {
    isolated(|place| {
        // As on a kernel without CONFIG_DEBUG_INFO_BTF, as far as files go.
        let none = None::<&str>;
        nix::mount::mount(Some("tmpfs"), "/sys/kernel/btf", Some("tmpfs"), MsFlags::empty(), none)?;
        place.write(
            &place
                .text()
                .replace("\"ingress\"", "\"backend\"")
                .replace("node =", "allowed_senders = [\"10.0.0.0/24\"]\nnode ="),
        )?;
        let answer = place.with_config(&["check", "--host"])?;
        ensure!(answer.stdout.contains("BTF"), "{answer:?}");
        Ok(())
    })
}

#[test]
fn no_permission() -> Result<()> {
    isolated(|place| {
        place.write_seed(0o600)?;
        std::os::unix::fs::chown(place.path("seed"), Some(65534), None)?;
        let config = place.config();
        let config = config.to_str().context("path")?;
        let run = |arguments: &[&str]| place.command(&NOBODY, arguments);

        // Where nothing of its own can be made: at the socket.
        let answer = run(&["run", "--config", config])?;
        ensure!(answer.code == 1 && answer.stderr.contains("Permission denied"), "{answer:?}");
        ensure!(answer.stderr.contains("hint: run it as root"), "{answer:?}");
        let object = error_object(&run(&["run", "--json", "--config", config])?)?;
        ensure!(object["error"]["hint"].as_str().is_some_and(|h| h.contains("root")), "{object}");
        place.is_untouched()?;

        // Where its directories are its own: at the bpffs, and on one that is there at the first map.
        for name in ["", "state", "bpf"] {
            fs::create_dir_all(place.path(name))?;
            std::os::unix::fs::chown(place.path(name), Some(65534), None)?;
        }
        let answer = run(&["run", "--config", config])?;
        ensure!(answer.code == 1 && answer.stderr.contains("mount -t bpf bpf"), "{answer:?}");
        place.is_untouched()?;
        place.mount("bpf", "bpf", MsFlags::empty(), Some("mode=0777"))?;
        let answer = run(&["run", "--config", config])?;
        ensure!(answer.code == 1 && answer.stderr.contains("permission denied"), "{answer:?}");
        ensure!(answer.stderr.contains("CAP_BPF, CAP_NET_ADMIN"), "{answer:?}");
        place.is_untouched()?;

        // Nobody may neither ask a daemon nor take its data plane off, and is told so.
        std::os::unix::fs::chown(place.path(""), Some(0), None)?;
        let _daemon = place.start()?;
        let socket = place.path("socket");
        let answer = run(&["status", "--socket", socket.to_str().context("path")?])?;
        ensure!(answer.code == 1 && answer.stderr.contains("control.group"), "{answer:?}");
        let answer = run(&["detach", "--config", config])?;
        ensure!(answer.code == 1 && answer.stderr.contains("permission denied"), "{answer:?}");
        ensure!(place.ask("status")?.stdout.contains("native"), "detached by nobody");
        Ok(())
    })
}
