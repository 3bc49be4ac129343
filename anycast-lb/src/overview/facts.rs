//! What a daemon says of itself at one moment.

use std::time::Instant;

use crate::control::api::{
    BackendRow, Backends, Bgp, Hijacks, HostFinding, PeerRow, Peers, PoolRow, Pools, RpkiState, Stats,
    Status, VerdictCount, VipRow, Vips,
};
use crate::control::client::{Client, ClientError, typed};

/// Answers of the API, taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How it is.
    pub status: Status,
    /// Counters of the ways out.
    pub verdicts: Vec<VerdictCount>,
    /// Its VIPs.
    pub vips: Vec<VipRow>,
    /// Its pools.
    pub pools: Vec<PoolRow>,
    /// Its backends.
    pub backends: Vec<BackendRow>,
    /// What it announces.
    pub bgp: Bgp,
    /// What validators say.
    pub rpki: RpkiState,
    /// The other nodes.
    pub peers: Vec<PeerRow>,
    /// What routers see.
    pub hijacks: Hijacks,
}

impl Facts {
    /// Asks the daemon behind `client`; the moment is that of the counters. What is `known` of the host is not asked
    /// again: that takes longer than all else, and changes rarely.
    ///
    /// # Errors
    /// It gives no answer, or one that is not understood.
    pub async fn ask(
        client: &Client,
        known: Option<Vec<HostFinding>>,
    ) -> Result<(Instant, Self), ClientError> {
        let stats: Stats = typed(&client.get("/v1/stats").await?)?;
        let at = Instant::now();
        let vips: Vips = typed(&client.get("/v1/vips").await?)?;
        let backends: Backends = typed(&client.get("/v1/backends").await?)?;
        let pools: Pools = typed(&client.get("/v1/pools").await?)?;
        let path = if known.is_some() { "/v1/status?findings=false" } else { "/v1/status" };
        let mut status: Status = typed(&client.get(path).await?)?;
        if let Some(known) = known {
            status.findings = known;
        }
        let bgp: Bgp = typed(&client.get("/v1/bgp").await?)?;
        let rpki: RpkiState = typed(&client.get("/v1/rpki").await?)?;
        let peers: Peers = typed(&client.get("/v1/peers").await?)?;
        let hijacks: Hijacks = typed(&client.get("/v1/hijacks").await?)?;
        let facts = Facts {
            status,
            verdicts: stats.verdicts,
            vips: vips.vips,
            pools: pools.pools,
            backends: backends.backends,
            bgp,
            rpki,
            peers: peers.peers,
            hijacks,
        };
        Ok((at, facts))
    }
}
