//! A real browser inside a namespace: Chromium without a window, driven through its driver (W3C WebDriver).

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xtask::lab::Lab;
use xtask::lab::daemons::{Daemon, Program, arguments};
use xtask::lab::netns::Namespace;

use super::super::stand::DEADLINE;

const PORT: u16 = 9515;
/// A page, a script or a picture may take long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser; it ends with its driver.
pub(super) struct Browser {
    driver: Daemon,
    namespace: Namespace,
    session: String,
}

impl Browser {
    /// Starts it in a namespace.
    pub(super) fn start(lab: &Lab, namespace: &Namespace) -> Result<Self> {
        let program = Program {
            name: "chromedriver".to_owned(),
            program: "chromedriver".into(),
            arguments: arguments([format!("--port={PORT}")]),
            notifies: false,
        };
        let mut driver = lab.daemon(namespace, program);
        driver.start()?;
        let open =
            || namespace.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))).is_ok_and(|c| c.is_ok());
        driver.wait_until(DEADLINE, "the port", open)?;
        let mut browser = Browser { driver, namespace: namespace.clone(), session: String::new() };
        let profile = lab.directory().join("chromium");
        // No sandbox: it is root, in a namespace of its own, and sees this one page.
        let words = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-first-run".to_owned(),
            format!("--user-data-dir={}", profile.display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": {"args": words},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "unhandledPromptBehavior": "ignore",
        });
        let body = json!({"capabilities": {"alwaysMatch": capabilities}});
        let answer = browser.ask("POST", "/session", &body)?;
        browser.session = answer["sessionId"].as_str().context("no session")?.to_owned();
        Ok(browser)
    }

    /// Goes to an address.
    pub(super) fn open(&self, url: &str) -> Result<()> {
        self.command("url", &json!({"url": url})).map(drop)
    }

    /// What a function's body returns in the page.
    pub(super) fn script(&self, body: &str) -> Result<Value> {
        self.command("execute/sync", &json!({"script": body, "args": []}))
    }

    /// A number that an expression gives in the page.
    pub(super) fn number(&self, expression: &str) -> Result<f64> {
        self.script(&format!("return {expression};"))?.as_f64().with_context(|| expression.to_owned())
    }

    /// A text that an expression gives in the page.
    pub(super) fn text(&self, expression: &str) -> Result<String> {
        let value = self.script(&format!("return {expression};"))?;
        Ok(value.as_str().with_context(|| format!("{expression}: {value}"))?.to_owned())
    }

    /// Shows the page as on a screen of this width, light or dark.
    pub(super) fn screen(&self, width: u32, height: u32, dark: bool) -> Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// A picture of the whole page.
    pub(super) fn screenshot(&self, file: &Path) -> Result<()> {
        let options = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.devtools("Page.captureScreenshot", &options)?;
        let bytes = base64(answer["data"].as_str().context("no picture")?).context("no base64")?;
        ensure!(bytes.starts_with(b"\x89PNG"), "no PNG");
        fs::write(file, bytes).with_context(|| file.display().to_string())
    }

    /// Whether a script has opened a dialog.
    pub(super) fn has_dialog(&self) -> bool {
        self.ask("GET", &format!("/session/{}/alert/text", self.session), &Value::Null).is_ok()
    }

    /// What the page has said to the console since it was last asked: level and text.
    pub(super) fn console(&self) -> Result<Vec<(String, String)>> {
        let entries = self.command("se/log", &json!({"type": "browser"}))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = entries.as_array().context("no log")?;
        Ok(entries.iter().map(|e| (text(&e["level"]), text(&e["message"]))).collect())
    }

    /// The addresses that were asked since it was last asked, by whatever part of the page.
    pub(super) fn requested(&self) -> Result<Vec<String>> {
        let entries = self.command("se/log", &json!({"type": "performance"}))?;
        let messages = entries.as_array().context("no log")?.iter().filter_map(|e| e["message"].as_str());
        let messages = messages.map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let sent = messages.iter().filter(|m| m["message"]["method"] == "Network.requestWillBeSent");
        Ok(sent.filter_map(|m| Some(m["message"]["params"]["request"]["url"].as_str()?.to_owned())).collect())
    }

    fn devtools(&self, method: &str, parameters: &Value) -> Result<Value> {
        self.command("goog/cdp/execute", &json!({"cmd": method, "params": parameters}))
    }

    fn command(&self, name: &str, body: &Value) -> Result<Value> {
        self.ask("POST", &format!("/session/{}/{name}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{PORT}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let (status, answer) = exchange(&self.namespace, (Ipv4Addr::LOCALHOST, PORT).into(), &request)
            .with_context(|| self.driver.log_tail())?;
        let value: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        ensure!(status == 200, "{path}: {}", value["value"]["message"]);
        Ok(value["value"].clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser; should that fail, the lab ends the namespace's processes.
        let _ = self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
    }
}

/// Sends a request; returns status and body.
pub(super) fn exchange(namespace: &Namespace, to: SocketAddr, request: &str) -> Result<(u16, String)> {
    let mut stream = namespace.enter(|| TcpStream::connect(to))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let (mut received, mut buffer) = (Vec::new(), [0; 65_536]);
    // Not all servers close when they have answered.
    loop {
        let head = received.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&received[..head]).to_lowercase();
            let length = text.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok());
            if length.is_some_and(|length: usize| received.len() >= head + length) {
                break;
            }
        }
        match stream.read(&mut buffer)? {
            0 => break,
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8(received)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

/// The bytes that base64 (RFC 4648 §4) stands for.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits = text.trim_end_matches('=').bytes().map(digit).collect::<Option<Vec<u8>>>()?;
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let word = group.iter().fold(0_u32, |word, d| word << 6 | u32::from(*d)) << (6 * (4 - group.len()));
        out.extend_from_slice(&word.to_be_bytes()[1..group.len()]);
    }
    Some(out)
}

#[test]
fn pictures_are_read() {
    assert_eq!(base64("iVBORw==").as_deref(), Some(b"\x89PNG".as_slice()));
    assert_eq!(base64("aGVsbG8h").as_deref(), Some(b"hello!".as_slice()));
    assert_eq!(base64("<"), None);
}
