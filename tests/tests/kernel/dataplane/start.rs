//! Starting, stopping, starting again.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anycast_lb::dataplane::{Dataplane, DataplaneError, Mode, Start};
use anycast_lb_common::abi::{Encap, Verdict};
use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, MapData};

use super::*;

#[test]
fn a_fresh_start_pins_everything_and_serves() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, start) = attached(&config)?;
        assert_eq!(start, Start::Fresh);
        for name in ["maps/TABLES", "maps/COUNTERS", "prog", "link-nic"] {
            ensure!(place.pins().join(name).exists(), "{name} is not pinned");
        }
        let on = &dataplane.attachments()[0];
        assert_eq!((on.interface.as_str(), on.mode, &on.reason), ("nic", Some(Mode::Native), &None));
        ensure!(link("nic")?.contains("prog/xdp"), "{}", link("nic")?);

        assert_eq!(dataplane.trace(&flow(1, 1))?.verdict, Verdict::NoNeighbour);
        resolve_all(&mut dataplane, &config)?;
        let mut backends = BTreeSet::new();
        for answer in answers(&mut dataplane, 1)? {
            assert_eq!(answer.verdict, Verdict::ForwardedGue);
            assert_eq!((answer.vip, answer.pool.as_deref()), (Some(config.vips[0].key), Some("web")));
            assert_eq!(answer.encapsulation, Some(Encap::Gue4));
            let outer = answer.outer.context("no outer header")?;
            assert_eq!((Some(outer.destination), outer.source), (answer.backend, "10.0.0.2".parse()?));
            ensure!(outer.source_port.is_some_and(|port| port >= 0x8000), "{outer:?}");
            ensure!(answer.slot.is_some_and(|slot| slot < 1024), "{answer:?}");
            assert_eq!(answer.next_hop.map(|way| way.destination_mac), Some([2, 0, 0, 0, 0, 2]));
            backends.insert(answer.backend);
        }
        assert_eq!(backends.len(), 3);
        assert_eq!(dataplane.trace(&flow(2, 1))?.verdict, Verdict::UnmatchedPrefix);
        let mut other_port = flow(1, 1);
        other_port.destination.set_port(80);
        assert_eq!(dataplane.trace(&other_port)?.verdict, Verdict::UnmatchedService);
        Ok(())
    })
}

#[test]
fn a_restart_goes_on_where_the_last_one_ended() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let before = answers(&mut dataplane, 1)?;
        let first_program = dataplane.attachments()[0].program_id;
        drop(dataplane);
        ensure!(link("nic")?.contains("prog/xdp"), "the link went with the daemon");

        let (mut dataplane, start) = attached(&config)?;
        assert_eq!(start, Start::Adopted);
        let on = &dataplane.attachments()[0];
        assert_eq!(on.mode, Some(Mode::Native));
        assert_ne!(on.program_id, first_program, "the program was not replaced");
        // No way was reported to this daemon: those of the last one are still good.
        assert_eq!(answers(&mut dataplane, 1)?, before);
        Ok(())
    })
}

#[test]
fn a_second_daemon_is_refused_and_another_instance_is_not() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (_first, _) = Dataplane::open(&config)?;
        match Dataplane::open(&config) {
            Err(DataplaneError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
            other => bail!("not refused: {other:?}"),
        }
        let other = Config { instance: "edge.2".into(), ..config };
        assert_eq!(Dataplane::open(&other)?.1, Start::Fresh);
        Ok(())
    })
}

#[test]
fn pinned_maps_of_another_size_are_refused() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        drop(Dataplane::open(&config)?);
        let pin = place.pins().join("maps/VIPS");
        std::fs::remove_file(&pin)?;
        let map: Array<MapData, [u64; 16]> = Array::create(1, 1 << 10)?;
        map.pin(&pin)?;
        match Dataplane::open(&config) {
            Err(DataplaneError::PinMismatch { path, what, found, .. }) => {
                assert_eq!((path.as_path(), what, found.as_str()), (pin.as_path(), "the value size", "128"));
            }
            other => bail!("not refused: {other:?}"),
        }
        Dataplane::detach(&config.bpffs, &config.instance)?;
        assert_eq!(Dataplane::open(&config)?.1, Start::Fresh);
        Ok(())
    })
}

#[test]
fn another_abi_version_is_taken_over() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        drop(attached(&config)?);
        let older = place.pins().with_file_name("v0");
        std::fs::rename(place.pins(), &older)?;
        let (mut dataplane, start) = Dataplane::open(&config)?;
        assert_eq!(start, Start::Fresh);
        ensure!(older.exists());
        dataplane.apply(&config)?;
        dataplane.attach(&config.interfaces)?;
        ensure!(!older.exists(), "the older version is still pinned");
        let on = &dataplane.attachments()[0];
        assert_eq!((on.mode, on.reason.as_deref()), (Some(Mode::Native), None));
        ensure!(place.pins().join("link-nic").exists());
        Ok(())
    })
}

#[test]
fn detach_removes_all_there_is() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (dataplane, _) = attached(&config)?;
        let removed = Dataplane::detach(&config.bpffs, &config.instance)?;
        ensure!(removed.iter().any(|line| line.contains("link on nic")), "{removed:?}");
        assert_eq!(removed.iter().filter(|line| line.contains("/maps/")).count(), 11, "{removed:?}");
        ensure!(!place.bpffs().join("anycast-lb").exists(), "something is left");
        // Even while a daemon holds the link.
        ensure!(!link("nic")?.contains("prog/xdp"), "{}", link("nic")?);
        assert_eq!(dataplane.attachments()[0].mode, None);
        assert_eq!(Dataplane::detach(&config.bpffs, &config.instance)?, Vec::<String>::new());
        assert_eq!(Dataplane::detach(Path::new("/nonexistent"), "default")?, Vec::<String>::new());
        Ok(())
    })
}

/// Sets this thread's effective user; the C library's wrapper would change all threads.
fn become_user(user: libc::c_long) -> Result<()> {
    const KEEP: libc::c_long = -1;
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, KEEP, user, KEEP) };
    ensure!(result == 0, "setresuid: {}", std::io::Error::last_os_error());
    Ok(())
}

#[test]
fn without_privilege_it_says_what_it_needs() -> Result<()> {
    const NOBODY: libc::c_long = 65534;
    isolated(|place| {
        let config = place.config();
        // Once as it is on a host that was never set up, once with all directories there.
        for prepared in [false, true] {
            if prepared {
                drop(Dataplane::open(&config)?);
                std::fs::set_permissions(
                    config.state_dir.join("default.lock"),
                    Permissions::from_mode(0o666),
                )?;
            }
            become_user(NOBODY)?;
            let refused = Dataplane::open(&config);
            become_user(0)?;
            match refused {
                Err(error @ DataplaneError::Permission { .. }) => {
                    ensure!(error.to_string().contains("needs root, or CAP_BPF"), "{error}");
                }
                other => bail!("not refused: {other:?}"),
            }
        }
        Ok(())
    })
}
