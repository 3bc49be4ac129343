//! Asks what [`super::machine`] wants asked.

use std::time::{Duration, Instant};

use hyper::Method;
use serde::de::DeserializeOwned;

use super::{Own, Peers, Question, Target};
use crate::control::client::typed;
use crate::control::remote_client::ask;
use crate::control::tls::Credentials;
use crate::control::view;
use crate::daemon::run::{Handle, View};

/// How often the machine is asked whether questions are due; answers are no older than this and
/// the interval of the machine.
const TICK: Duration = Duration::from_millis(500);

/// Asks the other hosts until the daemon stops. Without certificates nobody is asked.
pub async fn run(peers: Peers, credentials: Credentials, handle: Handle) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let own =
            |v: &mut View<'_>| view::node(v).map(|report| Own::new(v.core.config(), report, v.core.joins()));
        let look = handle.inspect(own).await;
        let own = match look {
            Ok(Ok(own)) => own,
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "this node cannot be compared with its peers");
                continue;
            }
            // The daemon leaves.
            Err(_) => return,
        };
        let (questions, listed) = {
            let mut machine = peers.lock();
            machine.configure(own);
            let ask = credentials.get().is_some();
            (if ask { machine.questions(Instant::now()) } else { Vec::new() }, machine.listed())
        };
        if !listed.is_empty() && handle.listed(listed).await.is_err() {
            return;
        }
        for question in questions {
            let (peers, credentials) = (peers.clone(), credentials.clone());
            tokio::spawn(async move { put(&peers, &credentials, question).await });
        }
    }
}

async fn put(peers: &Peers, credentials: &Credentials, question: Question) {
    match question.target {
        Target::Node(node) => {
            let answer = get(credentials, question.address, "/v1/node").await;
            peers.lock().node_answered(Instant::now(), &node, answer);
        }
        Target::Backend(backend) => {
            let answer = get(credentials, question.address, "/v1/flows").await;
            peers.lock().backend_answered(Instant::now(), backend, answer);
        }
    }
}

async fn get<T: DeserializeOwned>(
    credentials: &Credentials,
    address: std::net::SocketAddr,
    path: &str,
) -> Result<T, String> {
    let answer = ask::<()>(credentials, address, Method::GET, path, None).await.map_err(|e| e.to_string())?;
    typed(&answer).map_err(|e| e.to_string())
}
