//! Where connections come in: TCP ports and Unix sockets.

use crate::config::ListenAddress;
use crate::stream::Socket;
use listenfd::ListenFd;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Connections that may wait to be accepted.
const BACKLOG: usize = 4096;

/// Who else may listen on the same port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// Nobody.
    Alone,
    /// The other workers: the kernel spreads connections, and none is handed from thread to thread.
    Workers,
}

/// Listens on a TCP port. An IPv6 address takes IPv4 too where the system does (`[::]:8080`).
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(sharing == Sharing::Workers)?;
    socket.bind(address)?;
    socket.listen(u32::try_from(BACKLOG).unwrap_or(u32::MAX))
}

/// A listener of one worker.
#[derive(Debug)]
pub enum Listener {
    /// Of TCP.
    Tcp(TcpListener),
    /// Of the file system.
    Unix(UnixListener),
}

/// A listener that no runtime holds yet.
#[derive(Debug)]
pub enum Bound {
    /// Of TCP.
    Tcp(std::net::TcpListener),
    /// Of the file system.
    Unix(unix::UnixListener),
}

impl Bound {
    /// The listener that a service manager opened for this process (`sd_listen_fds(3)`), if it did. Changes the
    /// environment, so it must be called before there is a second thread.
    ///
    /// # Errors
    /// When there are several, or what is given is no listener of TCP or of the file system.
    pub fn given() -> io::Result<Option<Self>> {
        let mut all = ListenFd::from_env();
        if all.len() > 1 {
            let problem = "more than one socket was given, and one is listened on";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        // What is of the other kind is left in its place.
        if let Ok(Some(listener)) = all.take_unix_listener(0) {
            return Ok(Some(Self::Unix(listener)));
        }
        all.take_tcp_listener(0).map(|found| found.map(Self::Tcp))
    }

    /// One for each of `workers`, all of the socket that was given.
    ///
    /// # Errors
    /// When it is not at `address`, as the configuration has it, where port 0 is any port.
    pub fn shared(self, address: &ListenAddress, workers: usize) -> io::Result<Vec<Self>> {
        let there = self.address();
        let as_meant = match (address, &there) {
            (ListenAddress::Tcp(meant), Some(ListenAddress::Tcp(there))) => {
                meant == there || (meant.port() == 0 && meant.ip() == there.ip())
            }
            (meant, there) => there.as_ref() == Some(meant),
        };
        if !as_meant {
            let there = there.map_or("nowhere".to_owned(), |there| there.to_string());
            let problem = format!("the socket that was given listens on {there}");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, problem));
        }
        self.set_nonblocking()?;
        let mut all = Vec::with_capacity(workers);
        for _ in 1..workers {
            all.push(match &self {
                Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
                Self::Unix(listener) => Self::Unix(listener.try_clone()?),
            });
        }
        all.push(self);
        Ok(all)
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// One for each of `workers`, all on the same port or socket. To be called within a runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn all(address: &ListenAddress, workers: usize) -> io::Result<Vec<Self>> {
        match address {
            ListenAddress::Tcp(address) => tcp(*address, workers),
            ListenAddress::Unix(path) => {
                let listener = bind_path(path)?;
                listener.set_nonblocking(true)?;
                let more =
                    (1..workers).map(|_| listener.try_clone()).collect::<Result<Vec<_>, _>>();
                Ok([listener].into_iter().chain(more?).map(Self::Unix).collect())
            }
        }
    }

    /// The address, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> Option<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(ListenAddress::Tcp),
            Self::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                address.as_pathname().map(|path| ListenAddress::Unix(path.to_owned()))
            }
        }
    }

    /// For the runtime of the caller.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn into_listener(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => TcpListener::from_std(listener).map(Listener::Tcp),
            Self::Unix(listener) => UnixListener::from_std(listener).map(Listener::Unix),
        }
    }
}

fn tcp(mut address: SocketAddr, workers: usize) -> io::Result<Vec<Bound>> {
    // A worker that is alone keeps the port to itself, so that a second program on it is noticed.
    let sharing = if workers > 1 { Sharing::Workers } else { Sharing::Alone };
    let mut all = Vec::new();
    for _ in 0..workers {
        let listener = listen(address, sharing)?;
        address = listener.local_addr()?;
        all.push(Bound::Tcp(listener.into_std()?));
    }
    Ok(all)
}

/// Binds a path. A socket that nobody listens on any more is put out of the way; anything else stays.
fn bind_path(path: &Path) -> io::Result<unix::UnixListener> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        match unix::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
            }
            Err(error) => return Err(error),
        }
    }
    unix::UnixListener::bind(path)
}

/// Takes the path of a Unix socket away when it is dropped, if it is still the same: a successor puts its own
/// there once nobody listens on this one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    bound: Identity,
}

/// One file among all. The number of one that is gone is given again, so when it was made belongs to it; not
/// every file system tells that.
type Identity = (u64, u64, Option<SystemTime>);

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.created().ok()))
}

impl SocketFile {
    /// For a listener that has been bound; `None` for TCP.
    #[must_use]
    pub fn of(address: &ListenAddress) -> Option<Self> {
        match address {
            ListenAddress::Unix(path) => {
                let bound = identity(path)?;
                Some(Self { path: path.clone(), bound })
            }
            ListenAddress::Tcp(_) => None,
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.bound) {
            // The next start puts away what is left.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Takes what is in the queue, and closes: the system resets what is still in it then. What comes in between, in
    /// microseconds, is lost; another listener on the same port gets it where `net.ipv4.tcp_migrate_req` is set.
    pub(super) fn drain(self, mut take: impl FnMut(Socket, IpAddr)) {
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return };
                for (stream, peer) in queued(|| listener.accept()) {
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = TcpStream::from_std(stream)
                    {
                        take(Socket::Tcp(stream).without_delay(), peer.ip());
                    }
                }
            }
            Self::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return };
                for (stream, _) in queued(|| listener.accept()) {
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = UnixStream::from_std(stream)
                    {
                        take(Socket::Unix(stream), Ipv4Addr::LOCALHOST.into());
                    }
                }
            }
        }
    }

    /// The next connection, and whom it is from. A Unix socket has no address: its peer is this machine.
    ///
    /// # Errors
    /// When the system gives none, as without free descriptors.
    pub(super) async fn accept(&self) -> io::Result<(Socket, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream).without_delay(), peer.ip()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Ipv4Addr::LOCALHOST.into()))
            }
        }
    }
}

/// What `accept` gives without waiting; no more than fits into a queue, for another may fill it.
fn queued<T>(mut accept: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        loop {
            match accept() {
                Ok(accepted) => return Some(accepted),
                // It left while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return None,
            }
        }
    })
    .take(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_socket_is_taken_away_and_that_of_a_successor_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("front.sock");
        let address = ListenAddress::Unix(path.clone());
        let own = bind_path(&path).unwrap();
        let file = SocketFile::of(&address).unwrap();
        drop(own);
        drop(file);
        assert!(!path.exists(), "nobody else's");

        let own = bind_path(&path).unwrap();
        let file = SocketFile::of(&address).unwrap();
        assert!(bind_path(&path).is_err(), "while this one listens");
        drop(own);
        let successor = bind_path(&path).unwrap();
        drop(file);
        assert!(path.exists());
        unix::UnixStream::connect(&path).unwrap();
        drop(successor);
    }
}
