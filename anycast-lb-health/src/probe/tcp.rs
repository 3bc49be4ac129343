//! A TCP connection is accepted.

use super::{Target, socket};
use crate::Reason;

pub(super) async fn run(target: &Target) -> Result<(), Reason> {
    socket::connect_tcp(target).await.map(drop)
}
