//! TCP flows: HTTP requests of which every answered byte is known beforehand.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::STALL_LIMIT;
use super::client::{Shared, stopped};
use super::outcome::{Break, Flow, Reason};
use super::patience::within;

/// Longest answer's head that is looked for.
const MAX_HEAD: usize = 4096;
/// One request in so many carries long padding: most requests of real users fit one segment.
const LONG_EVERY: u64 = 4;

/// A connection and what is known of it.
struct Connection {
    stream: TcpStream,
    /// Backend and connection number, from the first answer.
    identity: Option<(String, u64)>,
    sent: u64,
}

/// Runs one long-lived connection until it breaks or the client stops.
pub(super) async fn long_lived(shared: &Shared, target: SocketAddr) -> Flow {
    let mut flow = Flow {
        local: None,
        target,
        backend: None,
        requests: 0,
        connected_ms: shared.now_ms(),
        last_ms: 0,
        longest_stall_ms: 0,
        broken: None,
    };
    if let Err(reason) = exchange_until_stopped(shared, &mut flow).await {
        flow.broken = Some(Break { reason, at_ms: shared.now_ms() });
        shared.progress.broken.fetch_add(1, Ordering::Relaxed);
    }
    flow
}

async fn exchange_until_stopped(shared: &Shared, flow: &mut Flow) -> Result<(), Reason> {
    let mut connection = Connection::open(flow.target).await?;
    flow.local = connection.stream.local_addr().ok();
    flow.connected_ms = shared.now_ms();
    flow.last_ms = flow.connected_ms;
    let mut stop = shared.stop.clone();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / shared.spec.rate));
    // After a stall the flow catches up: what it should have sent meanwhile is due now.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            _ = ticks.tick() => {}
        }
        let began = Instant::now();
        let answered = within(STALL_LIMIT, connection.exchange(shared.spec.padding, true)).await;
        let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        flow.longest_stall_ms = flow.longest_stall_ms.max(waited);
        answered.map_err(|_| Reason::Stall)??;
        if flow.requests == 0 {
            flow.backend = connection.identity.as_ref().map(|(name, _)| name.clone());
            shared.progress.established.fetch_add(1, Ordering::Relaxed);
        }
        flow.requests += 1;
        flow.last_ms = shared.now_ms();
        shared.progress.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// One short connection: connect, one request, its answer, the end of the stream.
pub(super) async fn short(target: SocketAddr) -> Result<(), Reason> {
    let work = async {
        let mut connection = Connection::open(target).await?;
        connection.exchange(0, false).await?;
        match connection.stream.read(&mut [0; 1]).await {
            Ok(0) => Ok(()),
            Ok(_) => Err(Reason::WrongByte("bytes after the answer".into())),
            Err(error) => Err(Reason::Reset(error.to_string())),
        }
    };
    within(STALL_LIMIT, work).await.map_err(|_| Reason::Stall)?
}

impl Connection {
    async fn open(target: SocketAddr) -> Result<Self, Reason> {
        let stream = within(STALL_LIMIT, TcpStream::connect(target))
            .await
            .map_err(|_| Reason::Connect("timed out".into()))?
            .map_err(|error| Reason::Connect(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| Reason::Connect(error.to_string()))?;
        Ok(Self { stream, identity: None, sent: 0 })
    }

    async fn exchange(&mut self, most_padding: usize, keep: bool) -> Result<(), Reason> {
        let reset = |error: std::io::Error| Reason::Reset(error.to_string());
        self.sent += 1;
        let number = self.sent;
        let padding = padding(number, most_padding);
        let close = if keep { "" } else { "Connection: close\r\n" };
        let request = format!("GET /?n={number} HTTP/1.1\r\nHost: lab\r\n{close}X-Pad: {padding}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.map_err(reset)?;

        let mut answer = Vec::with_capacity(512 + padding.len());
        let head = loop {
            if let Some(end) = find_head(&answer) {
                break end;
            }
            if answer.len() > MAX_HEAD + most_padding {
                return Err(Reason::WrongByte("an answer without an end of its head".into()));
            }
            self.more(&mut answer).await?;
        };
        let length = content_length(&answer[..head]).map_err(Reason::WrongByte)?;
        while answer.len() < head + length {
            self.more(&mut answer).await?;
        }
        self.verify(&answer[head..], number, &padding).map_err(Reason::WrongByte)
    }

    async fn more(&mut self, answer: &mut Vec<u8>) -> Result<(), Reason> {
        match self.stream.read_buf(answer).await {
            Ok(0) => Err(Reason::Reset("closed by the server".into())),
            Ok(_) => Ok(()),
            Err(error) => Err(Reason::Reset(error.to_string())),
        }
    }

    /// The first answer tells backend and connection; from then on every byte is known.
    fn verify(&mut self, body: &[u8], number: u64, padding: &str) -> Result<(), String> {
        if self.identity.is_none() {
            let text = std::str::from_utf8(body).map_err(|_| "an answer that is no text".to_owned())?;
            let mut words = text.split(' ');
            let name = words.next().filter(|word| !word.is_empty()).ok_or("an empty answer")?;
            let connection = words.next().and_then(|word| word.parse().ok()).ok_or("no connection number")?;
            self.identity = Some((name.to_owned(), connection));
        }
        let Some((name, connection)) = &self.identity else { return Ok(()) };
        let expected = format!("{name} {connection} {number} {number} {padding}\n");
        if body != expected.as_bytes() {
            return Err(difference(&expected, body));
        }
        Ok(())
    }
}

fn difference(expected: &str, body: &[u8]) -> String {
    let at = expected.bytes().zip(body).position(|(a, &b)| a != b).unwrap_or(expected.len().min(body.len()));
    let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
    format!("byte {at}: expected {:?}…, got {:?}…", show(expected.as_bytes()), show(body))
}

/// Padding of request `number`: its length and its characters follow from the number.
fn padding(number: u64, most: usize) -> String {
    /// A prime, so that lengths do not repeat soon.
    const STEP: u64 = 7919;
    let most = most as u64 + 1;
    let length = if number.is_multiple_of(LONG_EVERY) { (number * STEP) % most } else { number % 32 % most };
    (0..length).map(|index| char::from(b'a' + ((number + index) % 26) as u8)).collect()
}

/// Where the body begins.
fn find_head(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &[u8]) -> Result<usize, String> {
    let text = std::str::from_utf8(head).map_err(|_| "a head that is no text".to_owned())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status != "HTTP/1.1 200 OK" {
        return Err(format!("status {status:?}"));
    }
    lines
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| "no Content-Length".to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one connection with `answers` and then closes it.
    async fn against(answers: Vec<String>) -> Result<Result<(), Reason>, std::io::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?;
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            for body in answers {
                stream.read_buf(&mut Vec::with_capacity(8192)).await?;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let client = async {
            let mut connection = Connection::open(target).await?;
            connection.exchange(0, true).await?;
            connection.exchange(0, true).await
        };
        let (served, result) = tokio::join!(server, client);
        served.map(|()| result)
    }

    #[tokio::test]
    async fn the_right_bytes_are_right() -> std::io::Result<()> {
        assert_eq!(against(vec!["be0 5 1 1 \n".into(), "be0 5 2 2 \n".into()]).await?, Ok(()));
        Ok(())
    }

    #[tokio::test]
    async fn another_backend_connection_or_count_is_a_wrong_byte() -> std::io::Result<()> {
        for second in ["be1 5 2 2 \n", "be0 6 2 2 \n", "be0 5 1 2 \n", "be0 5 2 3 \n", "be0 5 2 2 x\n"] {
            let result = against(vec!["be0 5 1 1 \n".into(), second.into()]).await?;
            assert!(matches!(result, Err(Reason::WrongByte(_))), "{second:?}: {result:?}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_closed_connection_is_a_reset() -> std::io::Result<()> {
        let result = against(vec!["be0 5 1 1 \n".into()]).await?;
        assert!(matches!(result, Err(Reason::Reset(_))), "{result:?}");
        Ok(())
    }

    #[test]
    fn padding_fits_and_varies() {
        let lengths: Vec<_> = (1..400).map(|number| padding(number, 3000).len()).collect();
        assert!(lengths.iter().all(|&length| length <= 3000));
        assert!(lengths.iter().any(|&length| length > 2500));
        assert!((1..100).all(|number| padding(number, 0).is_empty()));
    }
}
