//! BIRD's control socket: a line in, numbered lines out.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends one command and returns the lines of the reply, without their numbers.
pub fn command(socket: &Path, command: &str) -> Result<Vec<String>> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot reach BIRD at {}", socket.display()))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    reply(&mut lines).context("BIRD's greeting")?;
    writeln!(stream, "{command}")?;
    reply(&mut lines).with_context(|| format!("BIRD: {command}"))
}

/// A line with a space after its four-digit code ends the reply; codes from 8000 are errors.
fn reply(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for line in lines {
        let line = line?;
        // A line that begins with a space continues the code before it.
        let Some((code, rest)) = line.split_at_checked(4).filter(|(code, _)| code.parse::<u16>().is_ok())
        else {
            texts.push(line.trim().to_owned());
            continue;
        };
        let text = rest.get(1..).unwrap_or_default().to_owned();
        if code >= "8000" {
            bail!("{text}");
        }
        texts.push(text);
        if rest.starts_with(' ') {
            return Ok(texts);
        }
    }
    bail!("the connection ended within a reply")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>> {
        reply(&mut text.lines().map(|line| Ok(line.to_owned())))
    }

    #[test]
    fn a_reply_ends_at_the_line_with_a_space() {
        let lines = read("1002-a\n b\n1002-c\n0000 \n0001 next").unwrap_or_default();
        assert_eq!(lines, ["a", "b", "c", ""]);
    }

    #[test]
    fn an_error_is_an_error() {
        assert!(read("9001 syntax error\n").is_err());
        assert!(read("1002-cut").is_err());
    }
}
