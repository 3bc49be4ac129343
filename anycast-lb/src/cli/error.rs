//! How a command fails.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use anycast_lb_capture::printable;

use crate::control::api::{Answer, ErrorAnswer, ErrorBody};
use crate::control::client::ClientError;
use crate::control::server::error_answer;
use crate::daemon::Failure;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub enum CliError {
    /// It makes no sense: exit code 2.
    Usage {
        /// Which command.
        command: &'static str,
        /// What is wrong.
        message: String,
    },
    /// It failed: exit code 1.
    Failed(ErrorBody),
    /// It failed and has said so in its own form.
    Reported,
}

impl CliError {
    /// A failure with what to do about it.
    pub fn failed(code: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        CliError::Failed(ErrorBody {
            code: code.to_owned(),
            message: message.into(),
            hint: hint.map(str::to_owned),
        })
    }

    /// Says it: to people on standard error, to programs as one object on standard output.
    pub fn print(&self, json: bool) {
        let CliError::Failed(body) = self else { return };
        if json {
            // Nothing is left to be said when this fails too.
            let _ = writeln!(anstream::stdout(), "{}", error_json(body));
        } else {
            let _ = write!(anstream::stderr(), "{}", error_text(body));
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        CliError::Failed(error_answer(&failure).body.error)
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        CliError::Failed(error.body())
    }
}

fn error_json(body: &ErrorBody) -> String {
    serde_json::to_string(&Answer::new(ErrorAnswer { error: body.clone() })).unwrap_or_default()
}

fn error_text(body: &ErrorBody) -> String {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let cyan = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
    // It may be what another host says.
    let shown = |text: &str| text.lines().map(printable).collect::<Vec<_>>().join("\n");
    let mut out = format!("{red}error:{red:#} {}\n", shown(&body.message));
    if let Some(hint) = &body.hint {
        out.push_str(&format!("{cyan}hint:{cyan:#} {}\n", shown(hint)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> ErrorBody {
        ErrorBody {
            code: "not_found".into(),
            message: "no pool \"x\"".into(),
            hint: Some("known: web".into()),
        }
    }

    #[test]
    fn programs_get_one_object() {
        assert_eq!(
            error_json(&body()),
            r#"{"schema":1,"error":{"code":"not_found","message":"no pool \"x\"","hint":"known: web"}}"#
        );
    }

    #[test]
    fn what_others_say_moves_no_cursor() {
        let body = ErrorBody { message: "first\n\x1b[2Jsecond".into(), ..body() };
        let text = error_text(&body);
        assert!(text.contains("first\n\\u{1b}[2Jsecond\n"), "{text:?}");
    }

    #[test]
    fn people_get_the_error_and_the_way_out() {
        let text = anstream::adapter::strip_str(&error_text(&body())).to_string();
        assert_eq!(text, "error: no pool \"x\"\nhint: known: web\n");
    }
}
