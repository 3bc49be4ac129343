//! How long a connection may live.
//!
//! A bound for all would be too short for who watches packets, and too long for who only hangs: an answer that
//! goes on for longer says so.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::watch;
use tokio::time::Instant;

/// When a connection ends at the latest.
#[derive(Clone, Debug)]
pub(super) struct Lease(Arc<watch::Sender<Instant>>);

impl Lease {
    /// From now on.
    pub fn new(lifetime: Duration) -> Self {
        Lease(Arc::new(watch::Sender::new(Instant::now() + lifetime)))
    }

    /// Not before so long from now.
    pub fn extend(&self, time: Duration) {
        let until = Instant::now() + time;
        self.0.send_if_modified(|end| {
            let later = until > *end;
            *end = until.max(*end);
            later
        });
    }

    /// Waits for the end.
    pub async fn over(&self) {
        loop {
            let end = *self.0.borrow();
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// The lease of the connection that a request came by; none where there is no connection, as in tests.
pub(super) struct OfConnection(pub Option<Lease>);

impl<S: Send + Sync> FromRequestParts<S> for OfConnection {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(OfConnection(parts.extensions.get::<Lease>().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_when_it_is_over_and_not_before() {
        let lease = Lease::new(Duration::from_millis(20));
        lease.extend(Duration::from_secs(3600));
        lease.extend(Duration::ZERO);
        let early = tokio::time::timeout(Duration::from_millis(100), lease.over()).await;
        assert!(early.is_err());
        Lease::new(Duration::ZERO).over().await;
    }
}
