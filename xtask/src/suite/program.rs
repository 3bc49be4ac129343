//! Test programs: where they are, running them, counting.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Options;
use super::libtest::{self, Counts};
use crate::process::{Guarded, query};
use crate::workspace::{HOST_PACKAGES, cargo, clean_environment};

/// Name of the one integration-test binary.
pub const INTEGRATION: &str = "integration";

/// A test program that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub struct TestProgram {
    path: PathBuf,
    /// What is tested: crate and kind.
    name: String,
    /// Directory of the package; tests expect to run there.
    directory: PathBuf,
    /// Whether it is the integration-test binary.
    pub integration: bool,
}

/// The part of cargo's JSON messages that says where a test program is.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Asks cargo for the programs of `build`, a `cargo test --no-run`.
///
/// # Errors
///
/// When cargo fails.
pub fn find(build: &mut Command) -> Result<Vec<TestProgram>> {
    let messages =
        query(build.arg("--message-format=json")).context("cargo does not say where the tests are")?;
    Ok(messages.lines().filter_map(parse_message).collect())
}

fn parse_message(line: &str) -> Option<TestProgram> {
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let target = message.target?;
    Some(TestProgram {
        path: message.executable?,
        name: format!("{} ({})", target.name, target.kind.join(", ")),
        directory: message.manifest_path?.parent()?.to_owned(),
        integration: target.name == INTEGRATION,
    })
}

impl TestProgram {
    /// Runs its tests, as many at a time as the machine has processors.
    pub fn run_unit(&self, options: &Options) -> Counts {
        self.run("", &[], options)
    }

    /// Runs the tests of a module, one after the other: they share the machine's network.
    pub fn run_module(&self, module: &str, options: &Options) -> Counts {
        self.run(module, &["--test-threads=1"], options)
    }

    /// Its tests that are in none of `modules`, so that no phase would run them.
    ///
    /// # Errors
    ///
    /// When the program does not list its tests.
    pub fn strays(&self, modules: &[String], options: &Options) -> Result<Vec<String>> {
        let list = query(self.command(options).args(["--list", "--format", "terse"]))
            .with_context(|| format!("{} does not list its tests", self.name))?;
        Ok(outside(libtest::listed(&list), modules))
    }

    fn run(&self, module: &str, arguments: &[&str], options: &Options) -> Counts {
        let Some(list) = query(self.command(options).args(["--list", "--format", "terse"])) else {
            eprintln!("error: {}: does not list its tests", self.name);
            return Counts::ONE_FAILED;
        };
        let all = libtest::listed(&list);
        let count = all.len();
        let wanted = select(all, module, options.filter.as_deref());
        if wanted.is_empty() {
            return Counts::default();
        }
        println!("{}", self.name);
        let mut command = self.command(options);
        command.args(arguments);
        // The harness takes one filter of its own and we have two, so the tests are named one by one.
        if wanted.len() < count {
            command.arg("--exact").args(wanted);
        }
        colour(&mut command);
        run_counted(&mut command, &self.name, libtest::summary)
    }

    fn command(&self, options: &Options) -> Command {
        let mut command = Command::new(&self.path);
        clean_environment(&mut command);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        long(&mut command, options);
        command
    }
}

/// Runs the tests in the documentation.
pub fn run_doc(options: &Options) -> Counts {
    let mut command = cargo();
    command.args(["test", "--quiet", "--locked", "--release", "--doc"]).args(HOST_PACKAGES).arg("--");
    command.args(&options.filter);
    colour(&mut command);
    long(&mut command, options);
    run_counted(&mut command, "tests in the documentation", libtest::all_summaries)
}

fn colour(command: &mut Command) {
    if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        command.arg("--color=always");
    }
}

fn long(command: &mut Command, options: &Options) {
    if options.long {
        command.env("ANYCAST_LB_LONG", "1");
    }
}

fn select(names: Vec<String>, module: &str, filter: Option<&str>) -> Vec<String> {
    let wanted =
        |name: &String| name.starts_with(module) && filter.is_none_or(|filter| name.contains(filter));
    names.into_iter().filter(wanted).collect()
}

fn outside(mut names: Vec<String>, modules: &[String]) -> Vec<String> {
    names.retain(|name| !modules.iter().any(|module| name.starts_with(module)));
    names
}

/// Runs tests and counts them. A program that fails without a failed test (it crashed, it did not
/// compile, it never came to its summary) counts as a failed test.
fn run_counted(command: &mut Command, name: &str, read: fn(&str) -> Option<Counts>) -> Counts {
    match stream(command) {
        Ok((status, output)) => {
            let (counts, complaint) = judge(status.success(), read(&output));
            if let Some(complaint) = complaint {
                eprintln!("error: {name}: {complaint} ({status})");
            }
            counts
        }
        Err(error) => {
            eprintln!("error: {name}: {error:#}");
            Counts::ONE_FAILED
        }
    }
}

fn judge(success: bool, counts: Option<Counts>) -> (Counts, Option<&'static str>) {
    match counts {
        Some(counts) if success || counts.failed > 0 => (counts, None),
        Some(mut counts) => {
            counts += Counts::ONE_FAILED;
            (counts, Some("all tests passed, and yet it failed"))
        }
        None => (Counts::ONE_FAILED, Some("ended without a summary of its tests")),
    }
}

/// Runs a command, passes its standard output on as it comes, and keeps it.
fn stream(command: &mut Command) -> Result<(ExitStatus, String)> {
    /// A process that a test left behind may hold the pipe open; we do not wait for it.
    const PATIENCE: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_millis(50);
    let mut guarded = Guarded::spawn(command.stdout(Stdio::piped()))?;
    let (sender, chunks) = mpsc::channel::<Vec<u8>>();
    if let Some(mut pipe) = guarded.child().stdout.take() {
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    let mut output = Vec::new();
    let mut ended = None;
    loop {
        match chunks.recv_timeout(TICK) {
            Ok(chunk) => {
                let mut stdout = io::stdout().lock();
                // Our own reader may be gone; the tests still count.
                let _ = stdout.write_all(&chunk).and_then(|()| stdout.flush());
                output.extend(chunk);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if ended.is_none() && guarded.child().try_wait()?.is_some() {
                    ended = Some(Instant::now());
                }
                if ended.is_some_and(|at| at.elapsed() > PATIENCE) {
                    eprintln!("note: a process that the tests started is still there");
                    break;
                }
            }
        }
    }
    Ok((guarded.wait()?, String::from_utf8_lossy(&output).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_a_test_program_is() {
        let line = r#"{"reason":"compiler-artifact","package_id":"x","manifest_path":"/w/tests/Cargo.toml",
            "target":{"kind":["test"],"name":"integration","src_path":"/w/x"},
            "profile":{"opt_level":"3","test":true},"features":[],"executable":"/w/target/integration-1","fresh":true}"#;
        let program = parse_message(line).unwrap();
        assert!(program.integration);
        assert_eq!(program.name, "integration (test)");
        assert_eq!(program.directory, PathBuf::from("/w/tests"));
        assert_eq!(parse_message(&line.replace("true}", "false}")), None);
        assert_eq!(parse_message(&line.replace("\"/w/target/integration-1\"", "null")), None);
        assert_eq!(parse_message(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(parse_message("   Compiling x"), None);
    }

    #[test]
    fn a_filter_works_inside_a_module() {
        let names = || ["kernel::hash", "kernel::decap", "lab::hash"].map(str::to_owned).to_vec();
        assert_eq!(select(names(), "kernel::", Some("hash")), ["kernel::hash"]);
        assert_eq!(select(names(), "kernel::", None).len(), 2);
        assert!(select(names(), "lab::", Some("decap")).is_empty());
    }

    #[test]
    fn a_test_outside_the_modules_is_found() {
        let names = ["kernel::hash", "lab::flow", "laboratory::x", "stray"].map(str::to_owned).to_vec();
        assert_eq!(outside(names, &["kernel::".to_owned(), "lab::".to_owned()]), ["laboratory::x", "stray"]);
    }

    #[test]
    fn a_crash_is_a_failure() {
        let passed = Counts { passed: 2, failed: 0, skipped: 0 };
        assert_eq!(judge(true, Some(passed)), (passed, None));
        assert_eq!(judge(false, Some(passed)).0, Counts { failed: 1, ..passed });
        assert_eq!(judge(true, None).0, Counts::ONE_FAILED);
        let failed = Counts { passed: 1, failed: 3, skipped: 0 };
        assert_eq!(judge(false, Some(failed)), (failed, None));
    }

    #[test]
    fn a_process_left_behind_does_not_hold_us_up() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 5 & echo 'test result: ok. 1 passed; 0 failed; 0 ignored'"]);
        let counts = run_counted(&mut command, "sh", libtest::summary);
        assert_eq!(counts, Counts::ONE_PASSED);
    }
}
