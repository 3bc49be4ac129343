//! Live packets, here or at another host.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anycast_lb_capture::{Names, Sight, Wanted, WantedError};
use anycast_lb_common::abi::{MemberNumber, VipNumber};
use anycast_lb_common::wire::transport::{TCP, UDP};
use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, stream};
use tokio::time::Instant;

use super::{Api, Body, Query, answer};
use crate::control::api::{
    Answer, ErrorAnswer, Observation, ObservationEnd, ObservationStart, Observer, SCHEMA,
};
use crate::control::lease::OfConnection;
use crate::control::remote_client;
use crate::daemon::run::Handle;
use crate::daemon::{Code, Failure};
use crate::model::{Protocol, Role, VipKey};
use crate::observe::book::Book;
use crate::observe::reader::wall_clock;
use crate::observe::{From, Sighting, Subscription};

/// Packets that are put into one piece of the answer when they come faster than they are read.
const BATCH: usize = 64;
/// Bytes of a packet that another host is given: headers, and next to nothing of what is in it.
const SNAP_ELSEWHERE: u32 = 128;
/// For the last line to be read, after the time that was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// For another host. It is given the first bytes of a packet, which hold the headers, whatever it asks for.
pub(super) async fn observe_for_others(
    State(api): State<Api>,
    lease: OfConnection,
    Body(mut wanted): Body<Wanted>,
) -> Response {
    wanted.snap = wanted.snap.min(SNAP_ELSEWHERE);
    observe_from(From::Elsewhere, &api, lease, wanted).await
}

async fn observe_from(from: From, api: &Api, OfConnection(lease): OfConnection, wanted: Wanted) -> Response {
    match begin(api, wanted, from).await {
        Ok(watching) => {
            if let Some(lease) = lease {
                lease.extend(Duration::from_secs(watching.wanted.seconds) + GRACE);
            }
            let lines = stream::unfold(Some(watching), |watching| async {
                let mut watching = watching?;
                let (lines, more) = watching.lines().await;
                Some((Ok::<_, std::convert::Infallible>(Bytes::from(lines)), more.then_some(watching)))
            });
            streamed(HttpBody::from_stream(lines))
        }
        Err(failure) => answer::<()>(Err(failure)),
    }
}

/// Here, or at the host that the query names.
pub(super) async fn observe(
    State(api): State<Api>,
    Query(observer): Query<Observer>,
    lease: OfConnection,
    Body(wanted): Body<Wanted>,
) -> Response {
    match host(&api, &observer).await {
        Ok(None) => observe_from(From::Here, &api, lease, wanted).await,
        Ok(Some((name, address))) => {
            if let Some(lease) = &lease.0 {
                lease.extend(
                    Duration::from_secs(wanted.seconds.min(anycast_lb_capture::MOST_SECONDS)) + GRACE,
                );
            }
            match remote_client::stream(&api.credentials, address, "/v1/observe", &wanted).await {
                Ok(body) => streamed(body),
                Err(error) => {
                    let body = Answer::new(ErrorAnswer { error: error.body(&name) });
                    (StatusCode::BAD_GATEWAY, Json(body)).into_response()
                }
            }
        }
        Err(failure) => answer::<()>(Err(failure)),
    }
}

fn streamed(body: HttpBody) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// Name and address of the host that is meant, if it is not this one. Nobody is asked who is not configured.
async fn host(api: &Api, observer: &Observer) -> Result<Option<(String, SocketAddr)>, Failure> {
    match (&observer.node, observer.backend) {
        (Some(_), Some(_)) => Err(Failure::new(Code::InvalidRequest, "a node or a backend, not both")),
        (Some(node), None) => {
            let own = api.daemon.inspect(|v| v.core.config().node.clone()).await?;
            if *node == own {
                return Ok(None);
            }
            let address = api.peers.lock().address(node).ok_or_else(|| {
                Failure::new(Code::NotFound, format!("there is no peer \"{node}\""))
                    .hint("anycast-lb peer list shows those of the configuration")
            })?;
            Ok(Some((node.clone(), address)))
        }
        (None, Some(backend)) => {
            let port = api.daemon.inspect(move |v| {
                let config = v.core.config();
                let known = config.pools.iter().flat_map(|p| &p.backends).any(|b| b.address == backend);
                known.then(|| config.control.port())
            });
            let port = port.await?.ok_or_else(|| {
                Failure::new(Code::NotFound, format!("{backend} is no backend here"))
                    .hint("anycast-lb backend list shows all of them")
            })?;
            Ok(Some((backend.to_string(), SocketAddr::new(backend, port))))
        }
        (None, None) => Ok(None),
    }
}

async fn begin(api: &Api, wanted: Wanted, from: From) -> Result<Watching, Failure> {
    let vip = wanted.vip.as_deref().map(parse_vip).transpose()?;
    let looked = api.daemon.inspect(move |view| {
        let config = view.core.config();
        let is_there = vip.is_none_or(|vip| config.vips.iter().any(|v| v.key == vip));
        let missed = view.dataplane.observed().map(|o| o.packets.limited + o.packets.lost);
        let number = vip.and_then(|vip| view.dataplane.vip_number(&vip));
        let number = number.filter(|_| config.role == Role::Ingress);
        (config.node.clone(), config.pop.clone(), is_there, number, missed)
    });
    let (node, pop, is_there, number, missed_before) = looked.await?;
    if let Some(vip) = vip.filter(|_| !is_there) {
        return Err(Failure::new(Code::NotFound, format!("there is no VIP {vip}"))
            .hint("anycast-lb vip list shows all of them"));
    }
    // An ingress node knows of fragments and of ICMP errors, too, which VIP they are for.
    let narrowed = narrowed(&wanted, vip)?;
    let filter = if number.is_some() { &wanted } else { &narrowed };
    let filter =
        filter.filter(number).map_err(|e: WantedError| Failure::new(Code::InvalidRequest, e.to_string()))?;
    let subscription = api.hub.observe(&api.daemon, filter, wanted.snap, from).await?;
    let until = Instant::now() + Duration::from_secs(wanted.seconds);
    Ok(Watching {
        daemon: api.daemon.clone(),
        books: api.hub.books.clone(),
        subscription,
        wanted,
        vip: vip.map(|vip| vip.to_string()),
        node,
        pop,
        until,
        missed_before: missed_before?,
        told: None,
        interfaces: HashMap::new(),
    })
}

fn parse_vip(text: &str) -> Result<VipKey, Failure> {
    text.parse().map_err(|e| {
        Failure::new(Code::InvalidRequest, format!("\"{text}\": {e}"))
            .hint("a VIP looks like 203.0.113.1:443/tcp")
    })
}

/// With the VIP as part of the flow, as backends know it, too: they have no numbers for VIPs.
fn narrowed(wanted: &Wanted, vip: Option<VipKey>) -> Result<Wanted, Failure> {
    let mut wanted = wanted.clone();
    let Some(vip) = vip else { return Ok(wanted) };
    let protocol = match vip.protocol {
        Protocol::Tcp => Some(TCP),
        Protocol::Udp => Some(UDP),
        Protocol::Any => None,
    };
    let other = || {
        Failure::new(Code::InvalidRequest, format!("no packet of that flow is for VIP {vip}"))
            .hint("leave the VIP out, or the destination of the flow")
    };
    let flow = &mut wanted.flow;
    flow.destination = both(flow.destination, Some(vip.address)).ok_or_else(other)?;
    flow.destination_port = both(flow.destination_port, vip.port).ok_or_else(other)?;
    flow.protocol = both(flow.protocol, protocol).ok_or_else(other)?;
    Ok(wanted)
}

/// What satisfies both, where none is satisfied by all; none if nothing does.
fn both<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) => (a == b).then_some(Some(a)),
        (a, b) => Some(a.or(b)),
    }
}

/// One who looks.
struct Watching {
    daemon: Handle,
    books: crate::observe::book::Books,
    subscription: Subscription,
    wanted: Wanted,
    vip: Option<String>,
    node: String,
    pop: String,
    until: Instant,
    /// By the programs, before this began.
    missed_before: u64,
    /// Packets so far; none before the first line.
    told: Option<u64>,
    interfaces: HashMap<u32, Option<String>>,
}

impl Watching {
    /// The next lines, and whether more follow.
    async fn lines(&mut self) -> (String, bool) {
        let Some(told) = self.told else {
            self.told = Some(0);
            let (node, pop) = (self.node.clone(), self.pop.clone());
            return (line(&Observation::Start(ObservationStart { schema: SCHEMA, node, pop })), true);
        };
        let mut out = String::new();
        let (mut told, mut reason) = (told, None);
        let mut taken = 0;
        while reason.is_none() && taken < BATCH {
            let next = match taken {
                0 => tokio::time::timeout_at(self.until, self.subscription.next()).await.ok(),
                // More of what is there already, and no waiting for it.
                _ => match self.subscription.next().now_or_never() {
                    Some(next) => Some(next),
                    None => break,
                },
            };
            taken += 1;
            match next {
                None => reason = Some("seconds"),
                Some(None) => reason = Some("stopping"),
                Some(Some(sighting)) => {
                    if let Some(sight) = self.read(sighting) {
                        told += 1;
                        out.push_str(&line(&Observation::Packet(Box::new(sight))));
                    }
                    if told >= self.wanted.packets {
                        reason = Some("packets");
                    } else if Instant::now() >= self.until {
                        reason = Some("seconds");
                    }
                }
            }
        }
        self.told = Some(told);
        if let Some(reason) = reason {
            let missed = self.missed().await;
            let end = ObservationEnd { packets: told, missed, reason: reason.to_owned() };
            out.push_str(&line(&Observation::End(end)));
        }
        (out, reason.is_none())
    }

    async fn missed(&self) -> u64 {
        let counted = self.daemon.inspect(|view| view.dataplane.observed()).await;
        let by_programs = counted.and_then(|counted| counted).map(|o| o.packets.limited + o.packets.lost);
        let by_programs = by_programs.unwrap_or(self.missed_before).saturating_sub(self.missed_before);
        by_programs + self.subscription.lost()
    }

    /// A packet with names; none if it is for another VIP than the one that is wanted.
    fn read(&mut self, sighting: Sighting) -> Option<Sight> {
        let Sighting { event, before, after } = sighting;
        let interface = self
            .interfaces
            .entry(event.ifindex)
            .or_insert_with(|| nix::net::if_::if_indextoname(event.ifindex).ok()?.into_string().ok())
            .clone();
        let names = Named { book: self.books.of(event.version), interface };
        let time = wall_clock(event.time).duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let keep = self.wanted.snap as usize;
        let cut = |mut bytes: Vec<u8>| {
            // Another who looks may have asked for more.
            bytes.truncate(keep);
            bytes
        };
        let sight = Sight::read((&event, cut(before), cut(after)), time, (&self.node, &self.pop), &names);
        let is_ours = self.vip.is_none() || sight.vip.is_none() || sight.vip == self.vip;
        is_ours.then_some(sight)
    }
}

struct Named {
    book: Option<Arc<Book>>,
    interface: Option<String>,
}

impl Names for Named {
    fn vip(&self, number: VipNumber) -> Option<String> {
        Some(self.book.as_ref()?.vips.get(&number)?.key.to_string())
    }

    fn member(&self, number: MemberNumber) -> Option<(String, IpAddr)> {
        let (pool, address) = self.book.as_ref()?.members.get(&number)?;
        Some((pool.to_string(), *address))
    }

    fn interface(&self, _: u32) -> Option<String> {
        self.interface.clone()
    }
}

fn line(observation: &Observation) -> String {
    let mut line = serde_json::to_string(observation).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anycast_lb_capture::Flow;

    #[test]
    fn a_vip_narrows_the_flow_and_may_not_contradict_it() {
        let vip: VipKey = "203.0.113.1:443/tcp".parse().expect("a VIP");
        let wanted = |flow: &str| Wanted {
            flow: Flow::parse(flow).expect("a flow"),
            vip: None,
            verdicts: Vec::new(),
            sample: 1,
            snap: 0,
            packets: 1,
            seconds: 1,
        };
        let narrow = |flow| narrowed(&wanted(flow), Some(vip)).map(|wanted| wanted.flow);
        assert_eq!(
            narrow("any 192.0.2.7 *"),
            Ok(Flow::parse("tcp 192.0.2.7 203.0.113.1:443").expect("a flow"))
        );
        assert!(narrow("tcp * 203.0.113.1").is_ok());
        for other in ["udp * *", "tcp * 203.0.113.2", "tcp * *:80"] {
            assert!(narrow(other).is_err(), "{other}");
        }
    }
}
