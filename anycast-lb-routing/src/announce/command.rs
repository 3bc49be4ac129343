//! A command that announces for us: `ARGV… announce|drain|withdraw PREFIX`.

use std::process::Stdio;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::gate::Decision;

/// Bytes of what it says on standard error that are kept.
const LONGEST_WORDS: u64 = 1024;

/// Which command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments; not empty.
    pub argv: Vec<String>,
    /// How long it may take; it is killed after that.
    pub timeout: Duration,
}

/// Why it did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// It cannot be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Which program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{program} {verb} {prefix} took longer than {} s and was killed", .timeout.as_secs())]
    Late {
        /// Which program.
        program: String,
        /// What it was to do.
        verb: &'static str,
        /// With what.
        prefix: IpNet,
        /// The limit.
        timeout: Duration,
    },
    /// It failed.
    #[error("{program} {verb} {prefix}: {status}{words}")]
    Failed {
        /// Which program.
        program: String,
        /// What it was to do.
        verb: &'static str,
        /// With what.
        prefix: IpNet,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it said, after a colon.
        words: String,
    },
}

/// The word that a decision is told by.
pub const fn verb(decision: Decision) -> &'static str {
    match decision {
        Decision::Withdraw => "withdraw",
        Decision::Drain => "drain",
        Decision::Announce => "announce",
    }
}

impl Hook {
    /// Tells it a decision. The exit code 0 says that it was carried out.
    ///
    /// # Errors
    /// It cannot be started, fails, or takes too long.
    pub async fn tell(&self, prefix: IpNet, decision: Decision) -> Result<(), HookError> {
        let verb = verb(decision);
        let (program, arguments) = match self.argv.split_first() {
            Some((program, arguments)) => (program.clone(), arguments),
            None => (String::new(), &[][..]),
        };
        let start = |source| HookError::Start { program: program.clone(), source };
        let mut child = Command::new(&program)
            .args(arguments)
            .arg(verb)
            .arg(prefix.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let stderr = child.stderr.take();
        let run = async {
            let mut words = Vec::new();
            if let Some(mut stderr) = stderr {
                // What cannot be read is not told; the rest is read so that it does not block.
                let _ = (&mut stderr).take(LONGEST_WORDS).read_to_end(&mut words).await;
                let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
            (child.wait().await, words)
        };
        let timeout = self.timeout;
        let Ok((status, words)) = tokio::time::timeout(timeout, run).await else {
            return Err(HookError::Late { program, verb, prefix, timeout });
        };
        let status = status.map_err(start)?;
        if status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&words);
        let last = words.lines().last().unwrap_or_default();
        let last: String = last.chars().filter(|c| !c.is_control()).collect();
        let words = if last.is_empty() { last } else { format!(": {last}") };
        Err(HookError::Failed { program, verb, prefix, status, words })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn prefix() -> IpNet {
        "203.0.113.0/24".parse().expect("a prefix")
    }

    fn shell(script: &str) -> Hook {
        let argv = ["/bin/sh", "-c", script, "hook"].map(str::to_owned).to_vec();
        Hook { argv, timeout: Duration::from_secs(20) }
    }

    #[tokio::test]
    async fn it_is_told_what_and_with_which_prefix() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("told");
        let hook = shell(&format!("echo \"$@\" >> {}", file.display()));
        for decision in [Decision::Announce, Decision::Drain, Decision::Withdraw] {
            hook.tell(prefix(), decision).await.expect("done");
        }
        let told = std::fs::read_to_string(file).expect("written");
        assert_eq!(told, "announce 203.0.113.0/24\ndrain 203.0.113.0/24\nwithdraw 203.0.113.0/24\n");
    }

    #[tokio::test]
    async fn what_it_says_when_it_fails_is_told() {
        let failed = shell("echo 'no router' >&2; exit 3").tell(prefix(), Decision::Announce).await;
        let text = failed.expect_err("failed").to_string();
        assert!(text.contains("announce 203.0.113.0/24") && text.ends_with(": no router"), "{text}");
        let hook = Hook { argv: vec!["/nonexistent".to_owned()], timeout: Duration::from_secs(1) };
        assert!(matches!(hook.tell(prefix(), Decision::Announce).await, Err(HookError::Start { .. })));
    }

    #[tokio::test]
    async fn one_that_hangs_or_babbles_is_killed() {
        for script in ["exec sleep 600", "while :; do echo words words words >&2; done"] {
            let hook = Hook { timeout: Duration::from_millis(300), ..shell(script) };
            let began = Instant::now();
            let late = hook.tell(prefix(), Decision::Withdraw).await;
            assert!(matches!(late, Err(HookError::Late { .. })), "{late:?}");
            assert!(began.elapsed() < Duration::from_secs(60));
        }
    }
}
