//! A TCP service of the test's own on every backend, and transfers from and to it.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::Lab;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{VIP_V4, VIP_V6};

/// Port of the service.
pub(in crate::lab) const PORT: u16 = 9000;
/// Bytes of a transfer: some tens of full segments.
const LENGTH: usize = 64 << 10;
/// A transfer that makes no progress for so long has stalled.
const PATIENCE: Duration = Duration::from_secs(10);

/// The servers, until they are dropped.
pub(in crate::lab) struct Servers(Vec<TcpListener>);

impl Servers {
    /// Listens on the VIPs in every backend's namespace.
    pub(in crate::lab) fn start(lab: &Lab) -> Result<Self> {
        let mut all = Self(Vec::new());
        for (index, backend) in lab.topology().backends.iter().enumerate() {
            for address in [IpAddr::from(VIP_V4), VIP_V6.into()] {
                let listener = backend.enter(|| TcpListener::bind((address, PORT)))??;
                all.0.push(listener.try_clone()?);
                thread::spawn(move || {
                    while let Ok((stream, _)) = listener.accept() {
                        thread::spawn(move || serve(stream, index as u8));
                    }
                });
            }
        }
        Ok(all)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for listener in &self.0 {
            // Nobody accepts any more; what goes wrong here leaves a thread until the test ends.
            let _ = nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        }
    }
}

/// Says who it is; then for each byte a download, or at the end of the upload what it sums up to.
fn serve(mut stream: TcpStream, name: u8) -> Result<()> {
    stream.write_all(&[name])?;
    let mut order = [0];
    stream.read_exact(&mut order)?;
    if order == [DOWNLOAD] {
        stream.write_all(&content())?;
        return Ok(());
    }
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent)?;
    stream.write_all(&[u8::from(sent == content())])?;
    Ok(())
}

const DOWNLOAD: u8 = b'd';
const UPLOAD: u8 = b'u';

fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| (at % 251) as u8).collect()
}

/// A connection.
pub(in crate::lab) struct Transfer {
    stream: TcpStream,
    server: u8,
}

impl Transfer {
    /// Connects, and hears who serves.
    pub(in crate::lab) fn begin(client: &Namespace, vip: IpAddr) -> Result<Self> {
        let mut stream = client.enter(|| TcpStream::connect((vip, PORT)))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut name = [0];
        stream.read_exact(&mut name).context("no greeting")?;
        Ok(Self { stream, server: name[0] })
    }

    /// Which backend serves.
    pub(in crate::lab) fn server(&self) -> usize {
        self.server.into()
    }

    /// Asks for the content and reads all of it.
    pub(in crate::lab) fn download(&mut self) -> Result<()> {
        self.stream.write_all(&[DOWNLOAD])?;
        let mut got = vec![0; LENGTH];
        self.stream.read_exact(&mut got).context("the download stalled")?;
        ensure!(got == content(), "not what was sent");
        Ok(())
    }

    /// Sends the content and hears that it came whole.
    pub(in crate::lab) fn upload(&mut self) -> Result<()> {
        self.stream.write_all(&[&[UPLOAD], content().as_slice()].concat()).context("the upload stalled")?;
        self.stream.shutdown(Shutdown::Write)?;
        let mut whole = [0];
        self.stream.read_exact(&mut whole).context("the upload stalled")?;
        ensure!(whole == [1], "not what was sent");
        Ok(())
    }
}

/// Uploads so many times at once; how many arrived whole. The first that did not is the error.
pub(super) fn upload_at_once(client: &Namespace, vip: IpAddr, count: usize) -> Result<usize> {
    // Connected first: all meet the narrow way before any of them knows of it.
    let mut all = (0..count).map(|_| Transfer::begin(client, vip)).collect::<Result<Vec<_>>>()?;
    let whole = AtomicUsize::new(0);
    thread::scope(|scope| {
        let running: Vec<_> = all
            .iter_mut()
            .map(|transfer| scope.spawn(|| transfer.upload().map(|()| whole.fetch_add(1, Ordering::Relaxed))))
            .collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result.map(drop),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(whole.into_inner())
}
