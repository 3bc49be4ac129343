//! On which interfaces the program runs, and how.

use anycast_lb::dataplane::{Dataplane, DataplaneError, Mode, Start};
use anycast_lb::model::{Config, XdpMode};
use anyhow::{Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use super::*;

#[test]
fn a_foreign_program_is_left_alone() -> Result<()> {
    isolated(|place| {
        let (foreign, _) = attached(&Config { instance: "foreign".into(), ..place.config() })?;
        let theirs = foreign.attachments()[0].clone();
        let config = Config {
            interfaces: vec![interface("peer", XdpMode::Auto), interface("nic", XdpMode::Auto)],
            ..place.config()
        };
        let (mut dataplane, _) = Dataplane::open(&config)?;
        dataplane.apply(&config)?;
        match dataplane.attach(&config.interfaces) {
            Err(DataplaneError::ForeignProgram { interface, id, program }) => {
                assert_eq!((interface.as_str(), id, program.as_str()), ("nic", theirs.program_id, "ingress"));
            }
            other => bail!("not refused: {other:?}"),
        }
        assert_eq!(foreign.attachments()[0], theirs);
        ensure!(!link("peer")?.contains("prog/xdp"), "the other interface was attached all the same");
        Ok(())
    })
}

#[test]
fn a_missing_interface_is_named_with_those_there_are() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        let error = dataplane
            .attach(&[interface("nic", XdpMode::Auto), interface("eth9", XdpMode::Auto)])
            .expect_err("there is no eth9")
            .to_string();
        ensure!(error.contains("\"eth9\"") && error.contains("peer") && error.contains("lo"), "{error}");
        assert_eq!(dataplane.attachments()[0].mode, Some(Mode::Native), "what was attached stays");
        Ok(())
    })
}

#[test]
fn the_mode_falls_back_only_where_it_may() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = Dataplane::open(&config)?;
        // The loopback interface has no native XDP.
        dataplane.attach(&[interface("lo", XdpMode::Auto), interface("nic", XdpMode::Generic)])?;
        let on = dataplane.attachments();
        assert_eq!((on[0].mode, on[1].mode), (Some(Mode::Generic), Some(Mode::Generic)));
        ensure!(on[0].reason.as_deref().is_some_and(|r| r.contains("driver")), "{on:?}");

        let error =
            dataplane.attach(&[interface("lo", XdpMode::Native)]).expect_err("not native").to_string();
        ensure!(error.contains("native") && error.contains("generic"), "{error}");

        dataplane.attach(&[interface("nic", XdpMode::Native)])?;
        assert_eq!(dataplane.attachments()[0].mode, Some(Mode::Native));
        ensure!(!link("lo")?.contains("prog/xdp"), "lo is no longer configured");
        Ok(())
    })
}

#[test]
fn an_interface_that_was_made_anew_is_attached_anew() -> Result<()> {
    isolated(|place| {
        let config = Config { interfaces: vec![interface("nic.100", XdpMode::Auto)], ..place.config() };
        ip("link set nic down")?;
        ip("link set nic name nic.100")?;
        let (mut dataplane, _) = attached(&config)?;
        let before = dataplane.attachments()[0].clone();
        ip("link del nic.100")?;
        let gone = &dataplane.attachments()[0];
        assert_eq!(gone.mode, None);
        ip("link add nic.100 type veth peer name peer")?;
        dataplane.attach(&config.interfaces)?;
        let after = &dataplane.attachments()[0];
        assert_eq!(after.mode, Some(Mode::Native));
        assert_ne!(after.ifindex, before.ifindex);
        Ok(())
    })
}

#[test]
fn another_namespace_is_not_taken_for_ours() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        drop(attached(&config)?);
        // Keeps the namespace, and so the interface, alive.
        let _first = std::fs::File::open("/proc/thread-self/ns/net")?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        // The same names and, in a new namespace, the same indices.
        ip("link add nic type veth peer name peer")?;
        let (mut dataplane, start) = Dataplane::open(&config)?;
        assert_eq!(start, Start::Adopted);
        match dataplane.attach(&config.interfaces) {
            Err(DataplaneError::OtherNamespace { .. }) => Ok(()),
            other => bail!("not refused: {other:?}"),
        }
    })
}
