//! Whose questions are answered, and how browsers are to treat the answers.
//!
//! The page asks for no password, so it must be read only by who may reach its address. A name that an attacker points
//! at this address (DNS rebinding) would let pages from elsewhere read it through somebody's browser: their requests
//! carry that name as Host, and are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What the page may load and do: its own files, its own API, nothing inline, in no frame. With trusted types text
/// can never become markup, whatever a script tries.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every answer.
const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It names no host, or none that can be read.
    #[error("the request names no host")]
    NoHost,
    /// It names another host.
    #[error(
        "this page answers to `localhost` and to the address that it is served at, not to other names: open it by its address"
    )]
    OtherHost,
    /// Another site asks.
    #[error("this page answers no questions of other sites")]
    OtherSite,
}

/// Whether a request with these headers, to the address `local` of this host, is answered. The port does not matter: a
/// tunnel (`ssh -L`) may have another one.
///
/// # Errors
/// It is not, and why.
pub fn admit(headers: &HeaderMap, local: IpAddr) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| Refusal::NoHost)?,
        _ => return Err(Refusal::NoHost),
    };
    if !is_own(host, local) {
        return Err(Refusal::OtherHost);
    }
    // Browsers say it themselves; `none` is the address bar.
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Refusal::OtherSite),
    }
}

fn is_own(host: &str, local: IpAddr) -> bool {
    let Some(name) = without_port(host) else { return false };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    address.is_ok_and(|a| {
        let a = a.to_canonical();
        a.is_loopback() || a == local.to_canonical()
    })
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` (RFC 9110 §7.2) without the port.
fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at(end);
    let port = rest.strip_prefix(':').unwrap_or(rest);
    (port.bytes().all(|b| b.is_ascii_digit())
        && port.len() <= 5
        && (rest.is_empty() || rest.starts_with(':')))
    .then_some(name)
}

/// Answers, or refuses; puts the headers on either.
pub async fn guard(State(local): State<IpAddr>, request: Request, next: Next) -> Response {
    let mut response = match admit(request.headers(), local) {
        Ok(()) => next.run(request).await,
        Err(refusal @ Refusal::OtherSite) => (StatusCode::FORBIDDEN, format!("{refusal}\n")).into_response(),
        Err(refusal) => (StatusCode::MISDIRECTED_REQUEST, format!("{refusal}\n")).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(host: &str, local: &str) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).expect("a header"));
        admit(&headers, local.parse().expect("an address"))
    }

    #[test]
    fn localhost_loopback_and_the_own_address_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:9525",
            "localhost:8080",
            "127.0.0.1:9525",
            "127.9.9.9",
            "[::1]",
            "[::1]:9525",
            "[::ffff:127.0.0.1]:9525",
            "10.0.0.2:9525",
            "10.0.0.2",
        ] {
            assert_eq!(admitted(host, "10.0.0.2"), Ok(()), "{host}");
        }
        assert_eq!(admitted("[fd00::2]:9525", "fd00::2"), Ok(()));
        assert_eq!(admitted("10.0.0.2", "::ffff:10.0.0.2"), Ok(()), "a socket for both families");
    }

    #[test]
    fn other_names_and_addresses_are_not() {
        for host in [
            "evil.example",
            "evil.example:9525",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.3",
            "[fd00::3]",
            "",
            ":9525",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "localhost:123456",
            "user@localhost",
            "0x7f.1",
            "::1",
        ] {
            assert_eq!(admitted(host, "10.0.0.2"), Err(Refusal::OtherHost), "{host}");
        }
        assert_eq!(admit(&HeaderMap::new(), IpAddr::from([10, 0, 0, 2])), Err(Refusal::NoHost));
    }

    #[test]
    fn two_hosts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert_eq!(admit(&headers, IpAddr::from([127, 0, 0, 1])), Err(Refusal::NoHost));
    }

    #[test]
    fn other_sites_are_not_answered_even_under_the_right_name() {
        let with = |site: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:9525"));
            headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            admit(&headers, IpAddr::from([127, 0, 0, 1]))
        };
        assert_eq!(with("same-origin"), Ok(()));
        assert_eq!(with("none"), Ok(()));
        assert_eq!(with("cross-site"), Err(Refusal::OtherSite));
        assert_eq!(with("same-site"), Err(Refusal::OtherSite));
    }

    #[test]
    fn nothing_inline_and_nothing_from_elsewhere_is_allowed() {
        assert!(!POLICY.contains("unsafe") && !POLICY.contains('*') && !POLICY.contains("http"));
    }
}
