//! Ctrl-C and SIGTERM: the labs are removed first, then the process ends.

use std::sync::Once;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::state;

/// Exit code of a process ended by SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

static INSTALLED: Once = Once::new();

/// From now on SIGINT and SIGTERM remove the labs of this process before it ends.
pub fn install() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime for signals")?;
    INSTALLED.call_once(|| {
        std::thread::spawn(move || {
            runtime.block_on(async {
                // Failing to register is possible only for signals that cannot be caught.
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                anstream::eprintln!("\ninterrupted: removing the lab");
                state::remove_all_for_exit();
                std::process::exit(INTERRUPTED);
            });
        });
    });
    Ok(())
}
