//! The sockets: one to ask, one to listen.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::proto::Connection;
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Error, Handle, MulticastGroup};

use super::fact::{Answer, Link, Neighbour, NeighbourKey};
use super::message::{self, Request};

/// The kernel answers in microseconds; an answer that was lost (the socket's buffer was full, or it
/// could not be decoded) never comes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Lookups under way at once: enough to keep the socket busy, few enough for its buffer.
const LOOKUPS_AT_ONCE: usize = 32;
/// Bytes of events that may wait; the kernel grants no more than `net.core.rmem_max`.
const EVENT_BUFFER: libc::c_int = 1 << 20;

/// What may change the way to a backend. Nexthop objects are seen through the routes that use them.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// A complete view of the tables.
pub(super) struct Snapshot {
    pub(super) links: Vec<(u32, Link)>,
    pub(super) addresses: Vec<(u32, IpAddr)>,
    pub(super) neighbours: Vec<(NeighbourKey, Neighbour)>,
}

/// Asks the kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) handle: Handle,
}

/// Opens the socket for questions in the calling thread's network namespace.
pub(crate) fn open() -> io::Result<Kernel> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(Kernel { handle })
}

/// Subscribes to what the kernel reports in the calling thread's network namespace.
pub(super) fn subscribe() -> io::Result<impl Stream<Item = NetlinkPayload<RouteNetlinkMessage>> + Send + Unpin>
{
    let (mut connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
    enlarge_buffer(&mut connection);
    tokio::spawn(connection);
    Ok(messages.map(move |(message, _)| {
        // The connection ends with its last handle.
        let _keep = &handle;
        message.payload
    }))
}

fn enlarge_buffer(connection: &mut Connection<RouteNetlinkMessage>) {
    if let Err(error) = connection.socket_mut().socket_mut().set_rx_buf_sz(EVENT_BUFFER) {
        tracing::debug!(%error, "netlink keeps its default receive buffer");
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{0}")]
    Refused(io::Error),
    #[error("no answer in {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Other(Error),
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        match error {
            Error::NetlinkError(message) => RequestError::Refused(message.to_io()),
            other => RequestError::Other(other),
        }
    }
}

impl RequestError {
    /// The kernel's errno.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            RequestError::Refused(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl Kernel {
    /// Reads links, addresses and neighbours.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, RequestError> {
        let links = collect(self.handle.link().get().execute()).await?;
        let addresses = collect(self.handle.address().get().execute()).await?;
        let neighbours = collect(self.handle.neighbours().get().execute()).await?;
        Ok(Snapshot {
            links: links.iter().filter_map(message::link).collect(),
            addresses: addresses
                .iter()
                .filter_map(message::address)
                .filter(|(_, _, usable)| *usable)
                .map(|(index, address, _)| (index, address))
                .collect(),
            neighbours: neighbours.iter().filter_map(message::neighbour).collect(),
        })
    }

    /// Looks up the routes to the given targets, each with the source address to name. A lookup that
    /// fails for reasons of ours has no answer.
    pub(crate) async fn routes(&self, targets: Vec<(IpAddr, Option<IpAddr>)>) -> Vec<(IpAddr, Answer)> {
        stream::iter(targets)
            .map(|(target, source)| async move {
                match self.route(target, source).await {
                    Ok(answer) => Some((target, answer)),
                    Err(error) => {
                        tracing::warn!(%target, %error, "route lookup failed");
                        None
                    }
                }
            })
            .buffer_unordered(LOOKUPS_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    async fn route(&self, target: IpAddr, source: Option<IpAddr>) -> Result<Answer, RequestError> {
        let request = self.handle.route().get(message::route_request(target, source));
        match collect(request.execute()).await {
            Ok(messages) => Ok(match messages.first() {
                Some(message) => message::answer(message),
                None => Answer::Refused("the kernel gave no answer".to_owned()),
            }),
            Err(RequestError::Refused(error)) => Ok(Answer::Refused(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Has the kernel ask the neighbour now and keep its entry resolved. With `create` there must be
    /// no entry yet (`EEXIST`), without it there must be one (`ENOENT`): an entry made permanent in
    /// between would otherwise lose that.
    pub(super) async fn manage(&self, key: NeighbourKey, create: bool) -> Result<(), RequestError> {
        let flags = if create { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
        match self.new_neighbour(key, Request::Manage, flags).await {
            Err(error) if matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                self.new_neighbour(key, Request::Use, flags).await
            }
            result => result,
        }
    }

    /// Leaves the entry to the kernel as an ordinary one.
    pub(super) async fn unmanage(&self, key: NeighbourKey) -> Result<(), RequestError> {
        self.new_neighbour(key, Request::Use, 0).await
    }

    /// Removes the entry.
    pub(super) async fn delete(&self, key: NeighbourKey) -> Result<(), RequestError> {
        let message = message::neighbour_request(key, Request::Delete);
        within(async { Ok(self.handle.neighbours().del(message).execute().await?) }).await
    }

    async fn new_neighbour(
        &self,
        key: NeighbourKey,
        request: Request,
        flags: u16,
    ) -> Result<(), RequestError> {
        let message = message::neighbour_request(key, request);
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        within(async {
            let mut answers = self.handle.clone().request(message)?;
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload {
                    return Err(RequestError::from(Error::NetlinkError(error)));
                }
            }
            Ok(())
        })
        .await
    }
}

async fn collect<T>(answers: impl Stream<Item = Result<T, Error>>) -> Result<Vec<T>, RequestError> {
    within(async { Ok(answers.try_collect().await?) }).await
}

async fn within<T>(request: impl Future<Output = Result<T, RequestError>>) -> Result<T, RequestError> {
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or(Err(RequestError::Timeout))
}
