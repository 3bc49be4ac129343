//! `capture`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anycast_lb_capture::pcapng::{PcapError, Writer};
use anycast_lb_capture::{Flow, MOST_PACKETS, MOST_SECONDS, Wanted};
use anycast_lb_common::abi::MAX_SNAP;
use clap::Args;

use super::context::{Context, print_line};
use super::error::CliError;
use super::observing::{Observed, Observer, Piece};
use super::table::counted;
use crate::model::VipKey;

/// Packets that are captured unless told otherwise.
const DEFAULT_COUNT: u64 = 10_000;
/// Seconds that it takes unless told otherwise.
const DEFAULT_SECONDS: u64 = 60;
/// Bytes of a packet that are kept unless told otherwise: all headers, of the tunnel, too.
const DEFAULT_SNAP: u32 = 256;

/// Captures packets before and after the decision.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb capture --vip 203.0.113.1:443/tcp -w web.pcapng\n  \
    anycast-lb capture --verdict no_neighbour --verdict empty_table -w drops.pcapng\n  \
    anycast-lb capture --flow 'tcp 192.0.2.7 203.0.113.1:443' --seconds 10 -w - | wireshark -k -i -\n  \
    anycast-lb capture --sample 1000 --snaplen 128 -w some.pcapng\n\n\
    Packets are in the file as they came and, on an interface of its own, as they\n\
    left; the comment of each says the verdict, the VIP and the backend. Those to a\n\
    VIP are, on an ingress node, fragments and ICMP errors for it, too. Names of\n\
    verdicts: anycast-lb stats --all. It ends after --count packets, after --seconds,\n\
    or on Ctrl-C, with a whole file in each case. While it runs, packets take longer\n\
    (see docs/PERFORMANCE.md); afterwards nothing of it is left in their way. At most\n\
    four watches and captures run on a node at once, two of them for other hosts.")]
pub struct Record {
    /// Write to this file (pcapng), or - for standard output
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// Packets to this VIP: ADDRESS:PORT/PROTOCOL
    #[arg(long, value_name = "VIP")]
    vip: Option<VipKey>,
    /// Packets with this verdict; may be given several times
    #[arg(long, value_name = "NAME")]
    verdict: Vec<String>,
    /// Packets of this flow, "PROTOCOL SOURCE DESTINATION"; ports may be left out, * is every end
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,
    /// Packets from this client, ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "END", conflicts_with = "flow")]
    source: Option<String>,
    /// Packets to this end, ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "END", conflicts_with = "flow")]
    destination: Option<String>,
    /// One of so many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Bytes to keep of a packet
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SNAP, value_parser = clap::value_parser!(u32).range(1..=MAX_SNAP as i64))]
    snaplen: u32,
    /// End after so many packets
    #[arg(long, value_name = "N", default_value_t = DEFAULT_COUNT, value_parser = clap::value_parser!(u64).range(1..=MOST_PACKETS))]
    count: u64,
    /// End after so many seconds
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SECONDS, value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    seconds: u64,
    /// Capture at this peer (see `peer list`): the first 128 bytes of packets
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Record {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        let wanted = self.wanted().map_err(|message| CliError::Usage { command: "capture", message })?;
        let to_stdout = self.write == Path::new("-");
        if to_stdout && io::stdout().is_terminal() {
            let message = "standard output is a terminal, which does not show packets: -w FILE".to_owned();
            return Err(CliError::Usage { command: "capture", message });
        }
        let observer = self.node.clone().map_or(Observer::Here, Observer::Node);
        let mut observed = Observed::begin(context, &observer, &wanted).await?;
        // After the daemon has agreed: a file that is there is not emptied for nothing.
        let out: Box<dyn Write> = match to_stdout {
            true => Box::new(io::stdout()),
            false => Box::new(File::create(&self.write).map_err(|e| self.unwritten(&e))?),
        };
        let filter = self.describe();
        let writer = Writer::new(BufWriter::new(out), wanted.snap, &filter).map_err(|e| self.failed(&e))?;
        let (packets, missed) = match self.write_all(writer, &mut observed).await {
            // Who reads has seen enough.
            Err(PcapError::IoError(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.map_err(|e| self.failed(&e))??,
        };
        self.report(context, to_stdout, packets, missed)
    }

    /// Writes until it is over; how many packets there were and were missed.
    async fn write_all(
        &self,
        mut writer: Writer<BufWriter<Box<dyn Write>>>,
        observed: &mut Observed,
    ) -> Result<Result<(u64, u64), CliError>, PcapError> {
        let mut missed = 0;
        let mut failure = None;
        loop {
            let piece = tokio::select! {
                piece = observed.next() => piece,
                _ = tokio::signal::ctrl_c() => break,
            };
            match piece {
                Ok(Piece::Packet(sight)) => writer.write(&sight)?,
                Ok(Piece::End(end)) => {
                    missed = end.map_or(0, |end| end.missed);
                    break;
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            if !observed.has_next() {
                writer.get_mut().flush().map_err(PcapError::IoError)?;
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let (mut out, packets) = writer.finish(now, missed)?;
        out.flush().map_err(PcapError::IoError)?;
        Ok(failure.map_or(Ok((packets, missed)), Err))
    }

    fn report(&self, context: &Context, to_stdout: bool, packets: u64, missed: u64) -> Result<(), CliError> {
        if context.json && !to_stdout {
            let file = self.write.display().to_string();
            let told = serde_json::json!({ "schema": 1, "packets": packets, "missed": missed, "file": file });
            return print_line(&told.to_string());
        }
        let packets = counted(usize::try_from(packets).unwrap_or(usize::MAX), "packet");
        let mut text = format!("{packets} captured\n");
        if missed > 0 {
            text.push_str(&format!(
                "{missed} more were missed: too many, or written too slowly; see --sample\n"
            ));
        }
        // Nothing is left to be said when this fails.
        let _ = anstream::stderr().write_all(text.as_bytes());
        Ok(())
    }

    fn unwritten(&self, error: &io::Error) -> CliError {
        CliError::failed("io", format!("{}: {error}", self.write.display()), None)
    }

    fn failed(&self, error: &PcapError) -> CliError {
        CliError::failed("io", format!("{}: {error}", self.write.display()), None)
    }

    fn wanted(&self) -> Result<Wanted, String> {
        let flow = match &self.flow {
            Some(flow) => Flow::parse(flow),
            None => {
                let end = |end: &Option<String>| end.clone().unwrap_or_else(|| "*".to_owned());
                Flow::parse(&format!("any {} {}", end(&self.source), end(&self.destination)))
            }
        };
        let wanted = Wanted {
            flow: flow.map_err(|e| e.to_string())?,
            vip: self.vip.map(|vip| vip.to_string()),
            verdicts: self.verdict.clone(),
            sample: self.sample,
            snap: self.snaplen,
            packets: self.count,
            seconds: self.seconds,
        };
        // What the daemon would refuse, with a word on how the command is used.
        wanted.filter(None).map_err(|e| e.to_string())?;
        Ok(wanted)
    }

    /// What is captured, for the file's comment.
    fn describe(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |name: &str, value: Option<String>| {
            parts.extend(value.map(|value| format!("{name} {value}")));
        };
        part("VIP", self.vip.map(|vip| vip.to_string()));
        part("flow", self.flow.clone());
        part("source", self.source.clone());
        part("destination", self.destination.clone());
        part("verdict", (!self.verdict.is_empty()).then(|| self.verdict.join(", ")));
        part("one of", (self.sample > 1).then(|| self.sample.to_string()));
        if parts.is_empty() { "all packets".to_owned() } else { parts.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        record: Record,
    }

    fn parsed(line: &str) -> Record {
        let words = std::iter::once("capture").chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}")).record
    }

    #[test]
    fn what_is_wanted_follows_from_the_command_line() {
        let record = parsed("-w x --vip 203.0.113.1:443/tcp --verdict hop --source 192.0.2.7 --sample 10");
        let wanted = record.wanted().expect("fine");
        assert_eq!((wanted.vip.as_deref(), wanted.sample), (Some("203.0.113.1:443/tcp"), 10));
        assert_eq!(wanted.flow, Flow { source: Some([192, 0, 2, 7].into()), ..Flow::default() });
        assert_eq!((wanted.packets, wanted.seconds, wanted.snap), (10_000, 60, 256), "bounded");
        assert_eq!(record.describe(), "VIP 203.0.113.1:443/tcp; source 192.0.2.7; verdict hop; one of 10");
        assert_eq!(parsed("-w x").describe(), "all packets");
    }

    #[test]
    fn mistakes_are_told_before_anybody_is_asked() {
        assert!(parsed("-w x --verdict accepted").wanted().is_err_and(|e| e.contains("accepted")));
        assert!(parsed("-w x --source nonsense").wanted().is_err());
    }
}
