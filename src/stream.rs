//! Connections of every kind, as one type: TCP or Unix socket, plain or within TLS.
//!
//! The kinds are few and known, so a match stands where a pointer to a trait object would. Whether the other
//! side takes anything is seen at the socket, below TLS, which holds what it was given.

use crate::paced::Paced;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Of TCP.
    Tcp(TcpStream),
    /// Of the file system.
    Unix(UnixStream),
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As it is.
    Plain(Paced<Socket>),
    /// Within TLS, after the handshake. Its state is a kilobyte, which plain connections need not carry.
    Tls(Box<TlsStream<Paced<Socket>>>),
}

impl Socket {
    /// Sends small writes at once. A failure only costs time.
    pub(crate) fn without_delay(self) -> Self {
        if let Self::Tcp(stream) = &self {
            let _ = stream.set_nodelay(true);
        }
        self
    }
}

/// Does the same with whatever kind it is.
macro_rules! every_kind {
    ($type:ident: $($kind:ident),+) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$kind(inner) => Pin::new(inner).poll_read(cx, buffer),)+
                }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$kind(inner) => Pin::new(inner).poll_write(cx, bytes),)+
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$kind(inner) => Pin::new(inner).poll_write_vectored(cx, slices),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$kind(inner) => inner.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$kind(inner) => Pin::new(inner).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$kind(inner) => Pin::new(inner).poll_shutdown(cx),)+
                }
            }
        }
    };
}

every_kind!(Socket: Tcp, Unix);
every_kind!(Stream: Plain, Tls);
