//! `check`

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::ConfigArgs;
use super::context::{Context, print, print_line};
use super::error::CliError;
use super::status::render_finding;
use super::table::counted;
use crate::config::{self, Loaded, Notice, Problem, Problems};
use crate::control::api::{Answer, ErrorBody, HostFinding};
use crate::control::view::finding;
use crate::daemon::Code;
use crate::host;

/// Finds every mistake in the configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb check\n  \
    anycast-lb check --config lb.toml --node fra1-lb2\n  \
    anycast-lb check --host         (look at this host's settings too)\n\n\
    Exit code 1 if there is a mistake, or with --host something that keeps packets\n\
    from getting through.")]
pub struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look for settings of this host that will bite
    #[arg(long)]
    host: bool,
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
struct CheckAnswer<'a> {
    /// Whether the daemon would start with it.
    valid: bool,
    /// What every command says that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
    problems: &'a [Problem],
    notices: &'a [Notice],
    findings: Vec<HostFinding>,
}

impl Check {
    pub(super) fn execute(self, context: &Context) -> Result<(), CliError> {
        let loaded = match config::load(&self.config.file(), &self.config.overrides()) {
            Ok(loaded) => loaded,
            Err(problems) if context.json => {
                let error = ErrorBody {
                    code: Code::InvalidConfig.name().to_owned(),
                    message: format!("{} found", counted(problems.0.len(), "problem")),
                    hint: problems.0.first().map(|p| p.hint.clone()),
                };
                print_line(&json(CheckAnswer {
                    valid: false,
                    error: Some(error),
                    problems: &problems.0,
                    notices: &[],
                    findings: Vec::new(),
                }))?;
                return Err(CliError::Reported);
            }
            Err(problems) => return Err(print_problems(&problems)),
        };
        let findings: Vec<HostFinding> = if self.host {
            host::check(&loaded.config).into_iter().map(finding).collect()
        } else {
            Vec::new()
        };
        let broken = findings.iter().any(|f| f.severity == "error");
        if context.json {
            let notices = &loaded.notices;
            let answer = CheckAnswer { valid: true, error: None, problems: &[], notices, findings };
            print_line(&json(answer))?;
        } else {
            print(&render(&loaded, &findings))?;
        }
        if broken { Err(CliError::Reported) } else { Ok(()) }
    }
}

/// Loads the configuration, or prints all that is wrong with it.
pub(super) fn load(args: &ConfigArgs, json_wanted: bool) -> Result<Loaded, CliError> {
    config::load(&args.file(), &args.overrides()).map_err(|problems| {
        if json_wanted {
            let hint = Some("see it field by field: anycast-lb check --json");
            CliError::failed("invalid_config", problems.to_string(), hint)
        } else {
            print_problems(&problems)
        }
    })
}

fn print_problems(problems: &Problems) -> CliError {
    let count = problems.0.len();
    // Nothing is left to be said when this fails too.
    let _ = writeln!(anstream::stderr(), "{problems}\n{} found", counted(count, "problem"));
    CliError::Reported
}

fn render(loaded: &Loaded, findings: &[HostFinding]) -> String {
    let config = &loaded.config;
    let mut out = String::new();
    for notice in &loaded.notices {
        out.push_str(&format!("notice: {notice}\n"));
    }
    for finding in findings {
        out.push_str(&render_finding(finding));
    }
    let backends: usize = config.pools.iter().map(|p| p.backends.len()).sum();
    out.push_str(&format!(
        "valid: node {}, pop {}, {}, {}, {}\n",
        config.node,
        config.pop,
        counted(config.vips.len(), "VIP"),
        counted(config.pools.len(), "pool"),
        counted(backends, "backend"),
    ));
    out
}

fn json(answer: CheckAnswer<'_>) -> String {
    serde_json::to_string(&Answer::new(answer)).unwrap_or_default()
}
