//! A BIRD that announces for us: an include file that is replaced, and the control socket.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::driver::Wanted;
use super::gate::Decision;
use crate::bgp::route::{Community, DrainMarks, GRACEFUL_SHUTDOWN};

/// How long BIRD may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Which BIRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bird {
    /// The file that its configuration includes.
    pub file: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BirdError {
    /// The file.
    #[error("{}: {source}", .file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket.
    #[error("{}: {source}", .socket.display())]
    Socket {
        /// Which one.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// BIRD took the file for wrong, or would not take it.
    #[error("BIRD refused `{command}`: {answer}")]
    Refused {
        /// What it was told.
        command: &'static str,
        /// What it said.
        answer: String,
    },
}

/// The include file for these prefixes: two static protocols, `anycast_lb_v4` and `anycast_lb_v6`.
///
/// `local_as` is what a drain prepends; without it the path stays as it is.
pub fn render(wanted: &Wanted, marks: &DrainMarks, local_as: Option<u32>) -> String {
    let mut text = "# Written by anycast-lb; it is replaced whenever a prefix comes or goes.\n".to_owned();
    for (name, channel, is_v4) in [("anycast_lb_v4", "ipv4", true), ("anycast_lb_v6", "ipv6", false)] {
        let mut routes = String::new();
        for (prefix, decision) in wanted.iter().filter(|(p, _)| matches!(p, IpNet::V4(_)) == is_v4) {
            match decision {
                Decision::Withdraw => {}
                Decision::Announce => {
                    // Writing to a String cannot fail.
                    let _ = writeln!(routes, "  route {prefix} blackhole;");
                }
                Decision::Drain => {
                    let marks = rendered(marks, local_as);
                    let _ = writeln!(routes, "  route {prefix} blackhole {{{marks} }};");
                }
            }
        }
        if !routes.is_empty() {
            let _ = writeln!(text, "protocol static {name} {{\n  {channel};\n{routes}}}");
        }
    }
    text
}

fn rendered(marks: &DrainMarks, local_as: Option<u32>) -> String {
    let mut text = String::new();
    if marks.graceful_shutdown
        && let Community::Standard(a, b) = GRACEFUL_SHUTDOWN
    {
        let _ = write!(text, " bgp_community.add(({a},{b})); bgp_local_pref = 0;");
    }
    for asn in local_as.iter().cycle().take(marks.prepend.into()) {
        let _ = write!(text, " bgp_path.prepend({asn});");
    }
    if let Some(med) = marks.med {
        let _ = write!(text, " bgp_med = {med};");
    }
    text
}

impl Bird {
    /// Puts `text` in force: the file is replaced, and BIRD told to read it if it finds no mistake.
    ///
    /// # Errors
    /// The file cannot be written, BIRD is not there, or it finds a mistake: it then goes on with what it had.
    pub async fn apply(&self, text: &str) -> Result<(), BirdError> {
        replace(&self.file, text).map_err(|source| BirdError::File { file: self.file.clone(), source })?;
        let failed = |source| BirdError::Socket { socket: self.socket.clone(), source };
        let late = |_| failed(io::Error::new(io::ErrorKind::TimedOut, "BIRD does not answer"));
        let talk = async {
            let mut stream = BufReader::new(UnixStream::connect(&self.socket).await.map_err(failed)?);
            reply(&mut stream).await.map_err(failed)?;
            for command in ["configure check", "configure"] {
                stream.write_all(format!("{command}\n").as_bytes()).await.map_err(failed)?;
                let (code, answer) = reply(&mut stream).await.map_err(failed)?;
                if code >= 8000 {
                    return Err(BirdError::Refused { command, answer });
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, talk).await.map_err(late)?
    }
}

/// Replaces a file so that at every moment the old or the new one is there.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().ok_or_else(|| io::Error::other("no name of a file"))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".new");
    let beside = file.with_file_name(beside);
    if let Some(directory) = file.parent() {
        // BIRD reads it, perhaps as another user; nothing in it is secret, and this process may have a umask that
        // lets nobody else in.
        if !directory.exists() {
            std::fs::create_dir_all(directory)?;
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    let mut new = std::fs::File::create(&beside)?;
    new.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&beside, file)
}

/// The code and the text of an answer: a line with a space after its four digits ends it, one with `-` goes
/// on, and so does one that begins with a space.
async fn reply(stream: &mut BufReader<UnixStream>) -> io::Result<(u16, String)> {
    let mut texts: Vec<String> = Vec::new();
    let mut limited = stream.take(LONGEST_ANSWER);
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "BIRD ended within an answer"));
        }
        let line = line.trim_end();
        let coded = line.split_at_checked(4).and_then(|(code, rest)| Some((code.parse().ok()?, rest)));
        let Some((code, rest)) = coded else {
            texts.push(line.trim().to_owned());
            continue;
        };
        texts.push(rest.get(1..).unwrap_or_default().to_owned());
        if !rest.starts_with('-') {
            return Ok((code, texts.join(" ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    fn wanted(list: &[(&str, Decision)]) -> Wanted {
        list.iter().map(|(prefix, decision)| (prefix.parse().expect("a prefix"), *decision)).collect()
    }

    const MARKS: DrainMarks = DrainMarks { graceful_shutdown: true, prepend: 2, med: Some(50) };

    #[test]
    fn the_file_names_what_is_announced_and_nothing_else() {
        let all = wanted(&[
            ("203.0.113.0/24", Decision::Announce),
            ("198.51.100.0/24", Decision::Withdraw),
            ("2001:db8::/48", Decision::Drain),
        ]);
        let text = render(&all, &MARKS, Some(64500));
        assert!(
            text.contains("protocol static anycast_lb_v4 {\n  ipv4;\n  route 203.0.113.0/24 blackhole;\n}")
        );
        assert!(text.contains(
            "route 2001:db8::/48 blackhole { bgp_community.add((65535,0)); bgp_local_pref = 0; \
             bgp_path.prepend(64500); bgp_path.prepend(64500); bgp_med = 50; };"
        ));
        assert!(!text.contains("198.51.100"), "{text}");
        assert!(!render(&all, &MARKS, None).contains("prepend"));
        assert_eq!(render(&Wanted::new(), &MARKS, None).lines().count(), 1);
    }

    /// Plays a BIRD that gives these answers after its greeting, and returns what it was told.
    async fn told(answers: &[&'static str]) -> (Result<(), BirdError>, String, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let bird = Bird { file: directory.path().join("new/a.conf"), socket: directory.path().join("ctl") };
        let listener = UnixListener::bind(&bird.socket).expect("a socket");
        let answers: Vec<&'static str> = answers.to_vec();
        let played = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = BufReader::new(stream);
            stream.write_all(b"0001 BIRD 2.0.12 ready.\n").await.expect("said");
            let mut heard = String::new();
            for answer in answers {
                stream.read_line(&mut heard).await.expect("heard");
                stream.write_all(answer.as_bytes()).await.expect("said");
            }
            heard
        });
        let result = bird.apply("# text\n").await;
        let file = std::fs::read_to_string(&bird.file).expect("written");
        assert_eq!(
            std::fs::read_dir(directory.path().join("new")).expect("a directory").count(),
            1,
            "nothing is left"
        );
        (result, played.await.expect("played"), file)
    }

    #[tokio::test]
    async fn it_is_checked_and_then_put_in_force() {
        let (result, heard, file) = told(&[
            "0002-Reading configuration from x\n0020 Configuration OK\n",
            "0002-Reading\n0003 Reconfigured\n",
        ])
        .await;
        result.expect("done");
        assert_eq!(heard, "configure check\nconfigure\n");
        assert_eq!(file, "# text\n");
    }

    #[tokio::test]
    async fn a_mistake_is_told_and_nothing_is_put_in_force() {
        let (result, heard, _) = told(&["0002-Reading\n8002 /etc/bird.conf:3:1 syntax error\n"]).await;
        let error = result.expect_err("refused").to_string();
        assert!(error.contains("bird.conf:3:1 syntax error"), "{error}");
        assert_eq!(heard, "configure check\n");
        let (result, _, _) = told(&[]).await;
        assert!(matches!(result, Err(BirdError::Socket { .. })), "it hung up");
    }
}
