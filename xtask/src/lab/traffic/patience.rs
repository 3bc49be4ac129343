//! Waiting for so long and no longer, in time in which this process ran.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// What is counted down at once. A slice counts as a slice however long it took: when a busy machine
/// lets nobody run for seconds, no flow has broken, and after that each has as long as before.
const SLICE: Duration = Duration::from_millis(100);

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over;

/// The output of `work`, unless it takes longer than `limit`.
pub(super) async fn within<F: Future>(limit: Duration, work: F) -> Result<F::Output, Over> {
    let mut work = pin!(work);
    let mut left = limit;
    loop {
        let slice = SLICE.min(left);
        if let Ok(output) = timeout(slice, work.as_mut()).await {
            return Ok(output);
        }
        left -= slice;
        if left.is_zero() {
            return Err(Over);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        assert_eq!(within(SLICE * 3, std::future::pending::<()>()).await, Err(Over));
        assert_eq!(within(SLICE * 3, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_process_that_could_not_run_has_not_waited() {
        let work = async {
            // Nobody runs for longer than the limit, then the answer is there soon.
            thread::sleep(SLICE * 5);
            sleep(SLICE / 2).await;
            7
        };
        assert_eq!(within(SLICE * 3, work).await, Ok(7));
    }
}
