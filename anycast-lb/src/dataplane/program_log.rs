//! What the programs themselves have to say, for an object that was built to say something
//! (`cargo xtask bpf --log`). The shipped one is silent: it counts.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The map through which a program logs.
const LOGS: &str = "AYA_LOGS";

/// Forwards the programs' log to ours, if there is one, until the process ends.
pub(super) fn forward(ebpf: &mut Ebpf) {
    if ebpf.map(LOGS).is_none() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let logger = match EbpfLogger::init(ebpf) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "the programs log, but their log cannot be read");
            return;
        }
    };
    let _guard = runtime.enter();
    // SAFETY: the logger owns the descriptor of its ring buffer, gives the same one each time, and
    // lives as long as the registration.
    let Ok(mut logger) = (unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }) else {
        return;
    };
    runtime.spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
}
