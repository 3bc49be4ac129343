//! Ctrl-C, SIGTERM and SIGHUP: the labs are removed first, then the process ends.

use std::sync::Once;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};

use super::state;

/// Exit code of a process ended by SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

static INSTALLED: Once = Once::new();

/// From now on SIGINT, SIGTERM and SIGHUP remove the labs of this process before it ends.
pub fn install() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime for signals")?;
    INSTALLED.call_once(|| {
        std::thread::spawn(move || {
            // Whoever called us may have blocked them; one thread that takes them is enough.
            let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
            let _ = signals.thread_unblock();
            runtime.block_on(async {
                // Failing to register is possible only for signals that cannot be caught.
                let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
                    signal(SignalKind::interrupt()),
                    signal(SignalKind::terminate()),
                    signal(SignalKind::hangup()),
                ) else {
                    return;
                };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                anstream::eprintln!("\ninterrupted: removing the lab");
                state::remove_all_for_exit();
                std::process::exit(INTERRUPTED);
            });
        });
    });
    Ok(())
}
