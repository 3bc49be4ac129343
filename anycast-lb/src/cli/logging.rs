//! Where the daemon's log goes and what it looks like.
//!
//! Lines hold what others have said: reasons of servers, messages of routers, names from requests. They are made
//! harmless here, once for all: nothing in a line ends it, or is a command to a terminal.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::config::LogFormat;

/// Names a filter (`debug`, `anycast_lb::daemon=debug`) in place of the default, `info`.
const FILTER_VARIABLE: &str = "ANYCAST_LB_LOG";

/// Sends the log to standard error: to a terminal for people, else (systemd's journal, a file, a pipe) as JSON,
/// unless `format` says which.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = io::stderr().is_terminal();
    // Fails only when a log has been started already; that one goes on.
    let _ = if is_human(format, terminal) {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        tracing::subscriber::set_global_default(human(filter, colours, io::stderr))
    } else {
        tracing::subscriber::set_global_default(json(filter, io::stderr))
    };
}

fn is_human(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    }
}

/// For people: time, level, what happened, and fields.
fn human<W>(filter: EnvFilter, colours: bool, writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        .fmt_fields(debug_fn(field).delimited(" "))
        .with_writer(writer)
        .finish()
}

/// For programs: an object a line.
fn json<W>(filter: EnvFilter, writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(Escaping(writer))
        .finish()
}

/// Writes a field; the message has no name.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaped(writer), "{value:?}")
}

/// Whether a terminal might take it for something else than text: control characters, ends of lines, and what
/// turns the direction of writing.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes as Rust does: `\n`, `\u{1b}`.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match is_harmful(c) {
            true => write!(self.0, "{}", c.escape_default()),
            false => self.0.write_char(c),
        })
    }
}

/// Escapes in JSON what JSON need not have escaped.
struct Escaping<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaping<W> {
    type Writer = EscapingWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        EscapingWriter(self.0.make_writer())
    }
}

struct EscapingWriter<W>(W);

impl<W: Write> Write for EscapingWriter<W> {
    /// A whole line, as the subscriber hands it over.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let mut out = String::with_capacity(line.len());
        for c in line.chars() {
            // The end of the line is the one control character that is not in a string.
            if is_harmful(c) && c != '\n' {
                // Fails never: it is memory.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            } else {
                out.push(c);
            }
        }
        self.0.write_all(out.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Memory;

        fn make_writer(&self) -> Memory {
            self.clone()
        }
    }

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("nobody panics").clone()).expect("text")
        }
    }

    const HOSTILE: &str =
        "no\n2026-11-30T00:00:00Z ERROR forged\r\x1b[2J\x1b]0;x\x07\u{9b}31m\u{202e}txt\u{2028}";

    fn log_hostile() {
        tracing::warn!(pool = HOSTILE, cause = %HOSTILE, "backend {HOSTILE} is down");
    }

    #[test]
    fn nobody_forges_a_line_or_moves_a_cursor() {
        let filter = || EnvFilter::new("info");
        let memory = Memory::default();
        tracing::subscriber::with_default(human(filter(), false, memory.clone()), log_hostile);
        let text = memory.text();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.trim_end_matches('\n').chars().any(is_harmful), "{text:?}");
        assert!(text.contains("WARN backend no\\n2026") && text.contains("cause=no\\n2026"), "{text}");
        assert!(text.contains("\\u{1b}[2J") && text.contains("\\u{202e}txt"), "{text}");

        let memory = Memory::default();
        tracing::subscriber::with_default(json(filter(), memory.clone()), log_hostile);
        let text = memory.text();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.trim_end_matches('\n').chars().any(is_harmful), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["pool"], HOSTILE, "programs get what was said");
        assert_eq!(read["cause"], HOSTILE);
        assert_eq!(read["level"], "WARN");
    }

    #[test]
    fn people_are_where_a_terminal_is() {
        for (format, on_terminal, elsewhere) in
            [(LogFormat::Auto, true, false), (LogFormat::Human, true, true), (LogFormat::Json, false, false)]
        {
            assert_eq!((is_human(format, true), is_human(format, false)), (on_terminal, elsewhere));
        }
    }
}
