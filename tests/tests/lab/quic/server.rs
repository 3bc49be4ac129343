//! A QUIC server that makes connection IDs as the draft of QUIC-LB says, and echoes what streams bring.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, Result};
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream,
    ServerConfig, TokioRuntime,
};
use xtask::lab::netns::Namespace;

/// Port of the service.
pub const PORT: u16 = 443;
/// Name in the certificate.
pub const NAME: &str = "quic.example";
/// Bytes that a client sends and gets back.
pub const CHUNK: usize = 1024;
/// Bytes in front of an answer: who answers, and the client's port and address as it sees them.
pub const SEEN: usize = 1 + 2 + 16;
/// Octets of the nonce: the fewest that the draft allows (§5.3).
const NONCE: usize = 4;
/// Configuration in the first three bits of an ID (§3.1 of draft-ietf-quic-load-balancers-21).
pub const CONFIG: u8 = 5;

/// A certificate for [`NAME`] and its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("a certificate")?;
        Ok(Identity { certificate: made.cert.der().clone(), key: made.signing_key.serialize_der() })
    }
}

/// Makes IDs of one server: the first octet tells configuration and length, then the server, then a nonce.
#[derive(Clone)]
pub struct Ids {
    server: Vec<u8>,
}

impl Ids {
    /// IDs of the server with this ID, in hexadecimal digits.
    pub fn new(server: &str) -> Result<Self> {
        let octet = |at: usize| {
            let digits = server.get(at..at + 2).context("two digits")?;
            u8::from_str_radix(digits, 16).with_context(|| format!("server ID {server}"))
        };
        Ok(Ids { server: (0..server.len()).step_by(2).map(octet).collect::<Result<_>>()? })
    }

    /// A new one.
    pub fn octets(&self) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).unwrap_or_else(|error| panic!("no random bytes: {error}"));
        let first = CONFIG << 5 | (self.server.len() + NONCE) as u8;
        [&[first], &self.server[..], &nonce].concat()
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.octets())
    }

    fn cid_len(&self) -> usize {
        1 + self.server.len() + NONCE
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Starts server `index` in `host`, at `addresses`.
pub fn start(
    host: &Namespace,
    index: u8,
    addresses: &[IpAddr],
    ids: &Ids,
    identity: &Identity,
) -> Result<Vec<Endpoint>> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let config = ServerConfig::with_single_cert(vec![identity.certificate.clone()], key)?;
    let start = |address: &IpAddr| {
        let socket = host.enter(|| UdpSocket::bind((*address, PORT)))??;
        let mut endpoint = EndpointConfig::default();
        let ids = ids.clone();
        endpoint.cid_generator(move || Box::new(ids.clone()));
        let endpoint = Endpoint::new(endpoint, Some(config.clone()), socket, Arc::new(TokioRuntime))?;
        tokio::spawn(accept(endpoint.clone(), index));
        Ok(endpoint)
    };
    addresses.iter().map(start).collect()
}

async fn accept(endpoint: Endpoint, index: u8) {
    while let Some(incoming) = endpoint.accept().await {
        // Every other client has to show first that it is where it says.
        if incoming.remote_address().port() % 2 == 1 && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        tokio::spawn(async move {
            // What ends it is the client's to judge.
            let _ = serve(incoming, index).await;
        });
    }
}

async fn serve(incoming: Incoming, index: u8) -> Result<()> {
    let connection = incoming.await?;
    loop {
        let (send, receive) = connection.accept_bi().await?;
        let seen = connection.clone();
        tokio::spawn(async move { echo(send, receive, index, || seen.remote_address()).await });
    }
}

async fn echo(
    mut send: SendStream,
    mut receive: RecvStream,
    index: u8,
    client: impl Fn() -> SocketAddr,
) -> Result<()> {
    let mut answer = [0; SEEN + CHUNK];
    loop {
        receive.read_exact(&mut answer[SEEN..]).await?;
        answer[..SEEN].copy_from_slice(&seen(index, client()));
        send.write_all(&answer).await?;
    }
}

/// What a server that sees a client at `client` says.
fn seen(index: u8, client: SocketAddr) -> [u8; SEEN] {
    let mut seen = [index; SEEN];
    seen[1..3].copy_from_slice(&client.port().to_be_bytes());
    let address = match client.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    seen[3..].copy_from_slice(&address.octets());
    seen
}

/// Who answered, and where it saw the client.
pub fn read_seen(answer: &[u8; SEEN]) -> (u8, SocketAddr) {
    let [index, high, low, address @ ..] = *answer;
    let address = IpAddr::from(address).to_canonical();
    (index, SocketAddr::new(address, u16::from_be_bytes([high, low])))
}
