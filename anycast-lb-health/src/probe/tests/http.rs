use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::*;

pub(super) fn check() -> HttpCheck {
    HttpCheck {
        method: "GET".to_owned(),
        path: "/healthz".to_owned(),
        host: Some("www.example".to_owned()),
        expect: vec![200],
        body: None,
        tls: None,
    }
}

/// A server that says `answer` to any request, and whether its request was as it should be.
async fn says(answer: &'static str) -> SocketAddr {
    server(move |stream| async move {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        let right =
            head.starts_with("get /healthz http/1.1\r\n") && head.contains("\r\nhost: www.example\r\n");
        let answer = if right { answer } else { "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n" };
        let _ = stream.write_all(answer.as_bytes()).await;
        // Until the probe has gone: what it judges is the answer, not the end of the connection.
        let _ = stream.read(&mut [0]).await;
    })
    .await
}

async fn ask(check: HttpCheck, answer: &'static str) -> Result<(), String> {
    probe(&Check::Http(check), &Target::direct(says(answer).await), LONG).await
}

#[tokio::test]
async fn status_and_body_decide() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall well\n";
    assert_eq!(ask(check(), ok).await, Ok(()));
    let wants = |body: &str| HttpCheck { body: Some(body.to_owned()), ..check() };
    assert_eq!(ask(wants("well"), ok).await, Ok(()));
    assert_eq!(ask(wants("ill"), ok).await, Err("the body (9 bytes) does not contain \"ill\"".to_owned()));
    let down = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(ask(check(), down).await, Err("status 503, expected [200]".to_owned()));
    assert_eq!(ask(HttpCheck { expect: vec![200, 503], ..check() }, down).await, Ok(()));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n0\r\n\r\n";
    assert_eq!(ask(wants("all well"), chunked).await, Ok(()));
}

#[tokio::test]
async fn what_is_no_http_is_a_failure() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncontent-length: nonsense\r\n\r\n",
    ] {
        let address = server(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        })
        .await;
        let failure = probe(&Check::Http(check()), &Target::direct(address), LONG).await.unwrap_err();
        assert!(failure.starts_with("HTTP with 127.0.0.1"), "{answer:?}: {failure}");
    }
}

#[tokio::test]
async fn hanging_and_dripping_servers_fail_in_time() {
    let mute = server(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    // A byte now and then, in the head or in the body: each is progress, and it is never enough.
    let dripping = |start: &'static str| {
        server(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(start.as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let head = dripping("HTTP/1.1 200 OK\r\nx-").await;
    let body = dripping("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n").await;
    for address in [mute, head, body] {
        let failure = probe(&Check::Http(check()), &Target::direct(address), SHORT).await.unwrap_err();
        assert!(failure.starts_with("no success within "), "{failure}");
    }
}

#[tokio::test]
async fn endless_heads_and_bodies_are_cut_off() {
    for (start, more, reason) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "x", "the body is longer than 65536 bytes"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n", "HTTP with"),
        ("HTTP/1.1 200 OK\r\n", "x-header: more\r\n", "HTTP with"),
        ("HTTP/1.1 200 OK\r\nx-header: ", "x", "HTTP with"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "x", "HTTP with"),
    ] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let address = server(move |mut stream| {
            let counter = Arc::clone(&counter);
            async move {
                let block = more.repeat(4096 / more.len());
                let _ = stream.read(&mut [0; 1000]).await;
                let _ = stream.write_all(start.as_bytes()).await;
                while stream.write_all(block.as_bytes()).await.is_ok() {
                    counter.fetch_add(block.len(), Ordering::Relaxed);
                }
            }
        })
        .await;
        let failure = probe(&Check::Http(check()), &Target::direct(address), LONG).await.unwrap_err();
        assert!(failure.starts_with(reason), "{start:?}: {failure}");
        // What the probe took is bounded by its stream; beyond that are only the kernel's own buffers.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 16 * 1024 * 1024, "{start:?}: {sent} bytes");
    }
}

#[test]
fn parts_of_a_request_are_looked_at() {
    assert!(is_method("GET") && is_method("PURGE") && !is_method("G T") && !is_method("CONNECT"));
    assert!(is_path("/") && is_path("/a?b=c") && !is_path("a") && !is_path("/a b") && !is_path("/a\r\nb"));
    assert!(is_host("www.example") && is_host("[2001:db8::1]:80"));
    assert!(!is_host("") && !is_host("a b") && !is_host("user@host") && !is_host("a/b"));
}
