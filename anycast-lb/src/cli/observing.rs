//! What `watch` and `capture` share: packets as they come from the daemon.

use anycast_lb_capture::{Sight, Wanted};

use super::context::Context;
use super::error::CliError;
use crate::control::api::{Observation, ObservationEnd, ObservationStart};
use crate::control::client::{ClientError, quote};
use crate::control::lines::Lines;

/// Who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observer {
    /// The daemon that is asked.
    Here,
    /// One of its peers.
    Node(String),
    /// One of its backends.
    Backend(std::net::IpAddr),
}

impl Observer {
    fn path(&self) -> String {
        match self {
            Observer::Here => "/v1/observe".to_owned(),
            Observer::Node(node) => format!("/v1/observe?node={}", quote(node)),
            Observer::Backend(backend) => format!("/v1/observe?backend={}", quote(&backend.to_string())),
        }
    }

    /// As it is called in messages.
    pub fn name(&self) -> String {
        match self {
            Observer::Here => "this node".to_owned(),
            Observer::Node(node) => node.clone(),
            Observer::Backend(backend) => backend.to_string(),
        }
    }
}

/// Packets of one observer.
pub(super) struct Observed {
    lines: Lines,
    /// Who it is.
    pub start: ObservationStart,
}

/// What comes of one.
#[derive(Debug)]
pub(super) enum Piece {
    Packet(Box<Sight>),
    /// The last; none if the daemon ended without a word.
    End(Option<ObservationEnd>),
}

impl Observed {
    /// Begins.
    pub async fn begin(context: &Context, observer: &Observer, wanted: &Wanted) -> Result<Self, CliError> {
        let mut lines = context.client.stream(&observer.path(), wanted).await?;
        match lines.next().await?.as_deref().map(read) {
            Some(Ok(Observation::Start(start))) => Ok(Observed { lines, start }),
            Some(Err(error)) => Err(error.into()),
            _ => Err(ClientError::Answer("packets without a beginning".to_owned()).into()),
        }
    }

    /// The next piece.
    pub async fn next(&mut self) -> Result<Piece, CliError> {
        match self.lines.next().await?.as_deref().map(read).transpose()? {
            Some(Observation::Packet(sight)) => Ok(Piece::Packet(sight)),
            Some(Observation::End(end)) => Ok(Piece::End(Some(end))),
            Some(Observation::Start(_)) => Err(ClientError::Answer("a second beginning".to_owned()).into()),
            None => Ok(Piece::End(None)),
        }
    }

    /// Whether more is here already.
    pub fn has_next(&self) -> bool {
        self.lines.has_next()
    }
}

fn read(line: &str) -> Result<Observation, ClientError> {
    serde_json::from_str(line).map_err(|e| ClientError::Answer(e.to_string()))
}
