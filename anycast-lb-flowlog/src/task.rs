//! Takes records and never keeps who sends them waiting: lines go to a thread of their own, which a slow disk may
//! hold up, and what does not get there in time is counted.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::files::{Files, SET_BACK};
use crate::ipfix::Exporter;
use crate::record::Record;

/// Lines wait no longer than this to be written.
const FLUSH: Duration = Duration::from_secs(1);
/// Or until there are so many bytes of them.
const BATCH: usize = 64 * 1024;
/// Batches that may wait for the disk.
const BATCHES: usize = 64;
/// Records that are told to a collector at once.
const TOLD_AT_ONCE: usize = 64;
/// Records that are taken from the channel at once.
const TAKEN: usize = 512;

/// What is to be done with records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where files go.
    pub directory: PathBuf,
    /// Bytes of all files at most.
    pub max_bytes: u64,
    /// A collector of IPFIX that is told, too.
    pub ipfix: Option<SocketAddr>,
}

/// What became of records so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken from the channel while the log was on.
    pub taken: u64,
    /// Written to files.
    pub written: u64,
    /// Lost since the disk was too slow.
    pub dropped: u64,
    /// Lost since a file could not be written.
    pub failed: u64,
    /// Writes that failed.
    pub errors: u64,
    /// Handed to the network for the collector.
    pub exported: u64,
    /// Messages to the collector that could not be sent, and records for which there was no way to it.
    pub export_errors: u64,
}

#[derive(Debug, Default)]
struct Counters {
    taken: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    errors: AtomicU64,
    exported: AtomicU64,
    export_errors: AtomicU64,
}

/// The log of a node; off until it is given settings. Clones are the same log.
#[derive(Clone, Debug)]
pub struct FlowLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: watch::Sender<Option<Settings>>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    counters: Arc<Counters>,
}

impl Default for FlowLog {
    /// One that nobody sends records to.
    fn default() -> Self {
        FlowLog::new(None, Arc::default()).0
    }
}

impl FlowLog {
    /// Begins to take `records`. While the log is off they are thrown away. The task ends, with all written, some
    /// time after who sends records has gone. Needs a runtime of tokio.
    pub fn start(settings: Option<Settings>, records: mpsc::Receiver<Record>) -> (Self, JoinHandle<()>) {
        let counters = Arc::default();
        let (log, watched, asked) = FlowLog::new(settings, Arc::clone(&counters));
        let task = tokio::spawn(take(records, watched, asked, counters));
        (log, task)
    }

    fn new(settings: Option<Settings>, counters: Arc<Counters>) -> (Self, Watched, Asked) {
        let (settings, watched) = watch::channel(settings);
        let (flushes, asked) = mpsc::channel(8);
        (FlowLog(Arc::new(Shared { settings, flushes, counters })), watched, asked)
    }

    /// Other settings are in force; none = off.
    pub fn set(&self, settings: Option<Settings>) {
        self.0.settings.send_if_modified(|old| {
            let changes = *old != settings;
            *old = settings;
            changes
        });
    }

    /// Where the files are; none while the log is off.
    pub fn directory(&self) -> Option<PathBuf> {
        self.0.settings.borrow().as_ref().map(|settings| settings.directory.clone())
    }

    /// What became of records so far.
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        Counts {
            taken: of(&self.0.counters.taken),
            written: of(&self.0.counters.written),
            dropped: of(&self.0.counters.dropped),
            failed: of(&self.0.counters.failed),
            errors: of(&self.0.counters.errors),
            exported: of(&self.0.counters.exported),
            export_errors: of(&self.0.counters.export_errors),
        }
    }

    /// Returns when what has come by now is in the files, or when they take too long.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.flushes.try_send(done).is_ok() {
            // Its end is as good as its word: there is nothing left to be written then.
            let _ = tokio::time::timeout(FLUSH, is_done).await;
        }
    }
}

type Watched = watch::Receiver<Option<Settings>>;
type Asked = mpsc::Receiver<oneshot::Sender<()>>;

/// Lines for the thread.
struct Batch {
    settings: Settings,
    first: SystemTime,
    newest: SystemTime,
    lines: Vec<u8>,
    records: u64,
}

enum Work {
    Write(Batch),
    /// All before is done.
    Tell(oneshot::Sender<()>),
}

async fn take(
    mut records: mpsc::Receiver<Record>,
    mut settings: Watched,
    mut flushes: Asked,
    counters: Arc<Counters>,
) {
    let (work, thread) = match Thread::start(counters.clone()) {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(%error, "there is no flow log: no thread can be made for it");
            while records.recv().await.is_some() {}
            return;
        }
    };
    let mut collector = Collector::new(counters.clone());
    let mut buffer = Buffer { work, counters, batch: None };
    let mut current = settings.borrow_and_update().clone();
    collector.set(current.as_ref().and_then(|settings| settings.ipfix)).await;
    let mut taken = Vec::with_capacity(TAKEN);
    let mut tick = tokio::time::interval(FLUSH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = tick.tick() => {
                buffer.send();
                collector.connect().await;
                collector.send();
            }
            Ok(()) = settings.changed() => {
                buffer.send();
                collector.send();
                current = settings.borrow_and_update().clone();
                collector.set(current.as_ref().and_then(|settings| settings.ipfix)).await;
            }
            Some(done) = flushes.recv() => {
                // What is in the channel came before.
                for _ in 0..records.len() {
                    let Ok(record) = records.try_recv() else { break };
                    if let Some(settings) = &current {
                        buffer.put(settings, &record);
                        collector.put(record);
                    }
                }
                buffer.send();
                collector.send();
                // Else it is dropped, which says the same.
                let _ = buffer.work.try_send(Work::Tell(done));
            }
            number = records.recv_many(&mut taken, TAKEN) => {
                if number == 0 {
                    break;
                }
                for record in taken.drain(..) {
                    if let Some(settings) = &current {
                        buffer.put(settings, &record);
                        collector.put(record);
                    }
                }
            }
        }
    }
    buffer.send();
    collector.send();
    drop(buffer);
    // The disk may take its time, which is not ours.
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}

struct Buffer {
    work: blocking::SyncSender<Work>,
    counters: Arc<Counters>,
    batch: Option<Batch>,
}

impl Buffer {
    fn put(&mut self, settings: &Settings, record: &Record) {
        self.counters.taken.fetch_add(1, Relaxed);
        // Files are of times that go on.
        if self.batch.as_ref().is_some_and(|batch| record.time + SET_BACK < batch.newest) {
            self.send();
        }
        let batch = self.batch.get_or_insert_with(|| Batch {
            settings: settings.clone(),
            first: record.time,
            newest: record.time,
            lines: Vec::with_capacity(BATCH),
            records: 0,
        });
        batch.newest = batch.newest.max(record.time);
        batch.lines.extend(record.line().bytes());
        batch.lines.push(b'\n');
        batch.records += 1;
        if batch.lines.len() >= BATCH {
            self.send();
        }
    }

    fn send(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        let records = batch.records;
        if self.work.try_send(Work::Write(batch)).is_err() {
            self.counters.dropped.fetch_add(records, Relaxed);
        }
    }
}

/// The collector. Nothing waits for it: what the kernel does not take at once is lost, and counted.
struct Collector {
    counters: Arc<Counters>,
    /// Who is to be told.
    wanted: Option<SocketAddr>,
    /// None while there is no way to it.
    socket: Option<UdpSocket>,
    exporter: Exporter,
    waiting: Vec<Record>,
    /// It has been said that nothing can be sent.
    fails: bool,
}

impl Collector {
    fn new(counters: Arc<Counters>) -> Self {
        Collector {
            counters,
            wanted: None,
            socket: None,
            exporter: Exporter::default(),
            waiting: Vec::new(),
            fails: false,
        }
    }

    /// This one from now on; one that stays keeps its numbers.
    async fn set(&mut self, address: Option<SocketAddr>) {
        if self.wanted == address {
            return;
        }
        self.waiting.clear();
        (self.socket, self.exporter, self.fails) = (None, Exporter::default(), false);
        self.wanted = address;
        self.connect().await;
    }

    /// Looks for a way to it, unless there is one: a host that begins may have none yet.
    async fn connect(&mut self) {
        let Some(address) = self.wanted.filter(|_| self.socket.is_none()) else { return };
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let connected = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            // It is at once, but tokio has to be told.
            socket.writable().await?;
            Ok::<_, std::io::Error>(socket)
        };
        match connected.await {
            Ok(socket) => (self.socket, self.fails) = (Some(socket), false),
            Err(error) => self.failed(address, &error),
        }
    }

    fn put(&mut self, record: Record) {
        if self.socket.is_some() {
            self.waiting.push(record);
            if self.waiting.len() >= TOLD_AT_ONCE {
                self.send();
            }
        } else if self.wanted.is_some() {
            self.counters.export_errors.fetch_add(1, Relaxed);
        }
    }

    /// Says so once.
    fn failed(&mut self, collector: SocketAddr, error: &std::io::Error) {
        if !std::mem::replace(&mut self.fails, true) {
            tracing::warn!(%collector, %error, "flows cannot be told to the collector: each second is a new attempt");
        }
    }

    fn send(&mut self) {
        let (Some(socket), Some(collector)) = (&self.socket, self.wanted) else { return };
        let records = std::mem::take(&mut self.waiting);
        let mut failure = None;
        for message in self.exporter.messages(Instant::now(), SystemTime::now(), &records) {
            match socket.try_send(&message.bytes) {
                Ok(_) => {
                    self.counters.exported.fetch_add(message.records, Relaxed);
                    failure = None;
                    self.fails = false;
                }
                Err(error) => {
                    self.counters.export_errors.fetch_add(1, Relaxed);
                    failure = Some(error);
                }
            }
        }
        if let Some(error) = failure {
            self.failed(collector, &error);
        }
    }
}

struct Thread {
    counters: Arc<Counters>,
    files: Option<(Settings, Files)>,
    /// It has been said that files cannot be written.
    fails: bool,
}

impl Thread {
    fn start(
        counters: Arc<Counters>,
    ) -> std::io::Result<(blocking::SyncSender<Work>, std::thread::JoinHandle<()>)> {
        let (sender, work) = blocking::sync_channel(BATCHES);
        let mut thread = Thread { counters, files: None, fails: false };
        let handle = std::thread::Builder::new().name("flow-log".to_owned()).spawn(move || {
            for work in work {
                match work {
                    Work::Write(batch) => thread.write(batch),
                    // Who asked may have gone.
                    Work::Tell(done) => drop(done.send(())),
                }
            }
        })?;
        Ok((sender, handle))
    }

    fn write(&mut self, batch: Batch) {
        if self.files.as_ref().is_none_or(|(settings, _)| *settings != batch.settings) {
            let files = Files::new(batch.settings.directory.clone(), batch.settings.max_bytes);
            self.files = Some((batch.settings.clone(), files));
        }
        let Some((settings, files)) = &mut self.files else { return };
        match files.write(batch.first, &batch.lines) {
            Ok(()) => {
                self.counters.written.fetch_add(batch.records, Relaxed);
                if std::mem::take(&mut self.fails) {
                    tracing::info!(directory = %settings.directory.display(), "the flow log is written again");
                }
            }
            Err(error) => {
                self.counters.failed.fetch_add(batch.records, Relaxed);
                self.counters.errors.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.fails, true) {
                    tell(&settings.directory, &error);
                }
            }
        }
    }
}

fn tell(directory: &Path, error: &std::io::Error) {
    tracing::warn!(
        directory = %directory.display(),
        %error,
        "the flow log cannot be written: what it should have had is counted, and each write is a new attempt"
    );
}

#[cfg(test)]
mod tests;
