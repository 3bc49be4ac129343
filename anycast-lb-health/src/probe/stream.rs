//! A stream that stops taking bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Passes on at most so many bytes that the peer sends, whatever layer they are of; then reading fails.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    inner: S,
    left: usize,
    limit: usize,
}

impl<S> Bounded<S> {
    pub fn new(inner: S, limit: usize) -> Self {
        Bounded { inner, left: limit, limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left == 0 {
            let message = format!("it sent more than {} bytes", this.limit);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        let mut part = buf.take(this.left);
        let before = part.filled().len();
        std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        let (read, initialized) = (part.filled().len() - before, part.initialized().len());
        // SAFETY: `part` is the beginning of what `buf` has unfilled, and says that so many bytes of it are
        // initialized.
        unsafe { buf.assume_init(initialized) };
        buf.advance(read);
        this.left -= read;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn bytes_beyond_the_limit_are_refused_and_not_read() {
        let mut endless = Bounded::new(tokio::io::repeat(7), 100_000);
        let mut all = Vec::new();
        let error = endless.read_to_end(&mut all).await.unwrap_err();
        assert_eq!((all.len(), error.to_string().as_str()), (100_000, "it sent more than 100000 bytes"));
        assert!(all.iter().all(|b| *b == 7));
        let mut short = Bounded::new(&b"hello"[..], 100);
        let mut text = String::new();
        short.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }
}
