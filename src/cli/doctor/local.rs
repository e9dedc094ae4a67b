//! What lies on this machine: keys, certificates, where the program writes, and its own addresses.

use super::finding::{Code, Report, Step, Trouble};
use crate::clock::{Clock, SystemClock};
use crate::config::{AuditOutput, CertificateFiles, Config, ListenAddress};
use crate::maskinporten::grant::SigningKey;
use crate::maskinporten::http::{self, Chain};
use crate::tls;
use crate::tls::certificate::Facts;
use crate::trace::Calling;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

/// A certificate that ends within this time is told of, seconds: the bound of the alert.
const SOON: i64 = 14 * 86_400;
/// Room that a snapshot or an audit file is to have at the least, bytes.
const ROOM: usize = 1 << 20;

/// Keys, certificates, and where the program writes.
pub(super) fn files(report: &mut Report, config: &Config) {
    if let Some(client) = &config.maskinporten.client {
        let read = SigningKey::parse(&client.key, client.key_id.as_deref());
        let went = read.map(|key| format!("key `{}` can sign", key.key_id()));
        let went = went.map_err(|error| Trouble::new(Code::OwnKey, Chain(&error).to_string()));
        report.note(Step::Files, "our Maskinporten client's key", went);
    }
    let client = config.maskinporten.client.iter().flat_map(|client| &client.files);
    let secrets: BTreeSet<_> = client.chain(&config.secret_files).collect();
    for path in secrets {
        exposed(report, path);
    }
    for files in certificates(config) {
        report.note(Step::Files, shown(&files.certificate), certificate(files));
        exposed(report, &files.key);
    }
    for path in authorities(config) {
        let read = tls::authorities(path).map(|roots| format!("{} authorities", roots.len()));
        let went = read.map_err(|error| Trouble::new(Code::Certificate, Chain(&error).to_string()));
        report.note(Step::Files, shown(path), went);
    }
    let snapshot = config.register.as_ref().and_then(|register| register.snapshot.as_ref());
    if let Some(snapshot) = snapshot {
        let went = writable(&snapshot.file).map(|()| "the register can be saved there".into());
        report.note(Step::Files, shown(&snapshot.file), went);
    }
    match &config.audit.output {
        AuditOutput::Stdout => {
            report.note(Step::Files, "audit", Ok("goes to standard output".into()));
        }
        AuditOutput::File(path) => {
            let went = writable(path).and_then(|()| appendable(path));
            report.note(Step::Files, shown(path), went);
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn certificates(config: &Config) -> Vec<&CertificateFiles> {
    let listen = config.listen.tls.iter().flat_map(|tls| &tls.certificates);
    let upstreams = config.upstreams.values().filter_map(|upstream| upstream.tls.as_ref());
    listen.chain(upstreams.filter_map(|tls| tls.own.as_ref())).collect()
}

fn authorities(config: &Config) -> Vec<&Path> {
    let clients = config.listen.tls.iter().filter_map(|tls| tls.clients.as_ref());
    let upstreams = config.upstreams.values().filter_map(|upstream| upstream.tls.as_ref());
    let upstreams = upstreams.filter_map(|tls| tls.authorities.as_deref());
    clients.map(|clients| clients.authorities.as_path()).chain(upstreams).collect()
}

fn certificate(files: &CertificateFiles) -> Result<String, Trouble> {
    let unusable = |error| Trouble::new(Code::Certificate, Chain(&error).to_string());
    let pair = tls::pair(files).map_err(unusable)?;
    let facts = pair.cert.first().and_then(|leaf| Facts::read(leaf));
    let facts = facts.ok_or_else(|| unusable(tls::TlsError::BadCertificate))?;
    let now = SystemClock.now().seconds();
    let days = (facts.not_after - now) / 86_400;
    if now < facts.not_before {
        Err(Trouble::new(Code::CertificateTime, "it is not valid yet"))
    } else if now > facts.not_after {
        Err(Trouble::new(Code::CertificateTime, format!("it ended {} days ago", -days)))
    } else if facts.not_after - now < SOON {
        Err(Trouble::new(Code::CertificateEnds, format!("it ends in {days} days")))
    } else {
        Ok(format!("it fits its key and holds for {days} days"))
    }
}

/// Tells of a secret that others than its owner may change; or read, where it is the program's own and no platform's.
fn exposed(report: &mut Report, path: &Path) {
    let Ok(found) = fs::metadata(path) else { return };
    let ours = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == found.uid());
    let (write, read) = (found.mode() & 0o022 != 0, ours && found.mode() & 0o004 != 0);
    if write || read {
        let may = if write { "change" } else { "read" };
        let message =
            format!("others than its owner may {may} it (mode {:o})", found.mode() & 0o777);
        report.note(Step::Files, shown(path), Err(Trouble::new(Code::Exposed, message)));
    }
}

/// Whether there can be a file at `path`, and room for it. What is there is not touched.
fn writable(path: &Path) -> Result<(), Trouble> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // A log may go to a pipe or to a device; it is for `appendable` to tell.
        let special = fs::metadata(path).is_ok_and(|found| !found.is_dir());
        let trouble = || Trouble::new(Code::NoFile, "a folder stands in its place");
        return if special { Ok(()) } else { Err(trouble()) };
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let trial = folder.join(format!(".portvakt-doctor-{}", std::process::id()));
    let tried = write_trial(&trial);
    // It may never have been made.
    let _ = fs::remove_file(&trial);
    tried.map_err(|error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Trouble::new(Code::DiskFull, "there is no room for a megabyte")
        }
        kind => Trouble::new(Code::Folder, format!("nothing can be written in its folder: {kind}")),
    })
}

fn write_trial(path: &PathBuf) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(&vec![0; ROOM])?;
    file.sync_all()
}

/// Opened as the program opens it, and nothing written.
fn appendable(path: &Path) -> Result<String, Trouble> {
    match fs::metadata(path) {
        Err(_) => return Ok("the audit log can be begun there".into()),
        // To open a pipe would wait for its reader.
        Ok(found) if !found.is_file() => return Ok("no ordinary file; not opened".into()),
        Ok(_) => {}
    }
    let opened = OpenOptions::new().append(true).open(path);
    let refused = |error: std::io::Error| {
        Trouble::new(Code::Folder, format!("it cannot be appended to: {}", error.kind()))
    };
    opened.map(|_| "the audit log can be appended to".into()).map_err(refused)
}

/// Whether our own addresses are free, or ours already.
pub(super) async fn listen(report: &mut Report, config: &Config) {
    let admin = config.admin.address;
    let runs = is_portvakt(admin).await;
    let data = match &config.listen.address {
        ListenAddress::Tcp(address) => bind(*address),
        ListenAddress::Unix(path) => socket(path).await,
    };
    for (address, went) in
        [(config.listen.address.to_string(), data), (admin.to_string(), bind(admin))]
    {
        let went = match went {
            Err(trouble) if trouble.code == Code::AddressTaken && runs => {
                Ok("in use by the Portvakt that runs".into())
            }
            went => went,
        };
        report.note(Step::Listen, address, went);
    }
}

/// Binds and lets go; it is never listened, so no connection gets lost.
fn bind(address: SocketAddr) -> Result<String, Trouble> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let bound = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    });
    bound.map(|()| "free".into()).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Trouble::new(Code::AddressTaken, "in use by another program"),
        kind => Trouble::new(Code::AddressUnusable, format!("cannot be listened on: {kind}")),
    })
}

async fn socket(path: &Path) -> Result<String, Trouble> {
    match timeout(Duration::from_secs(1), UnixStream::connect(path)).await {
        Ok(Ok(_)) | Err(_) => {
            Err(Trouble::new(Code::AddressTaken, "another program listens there"))
        }
        Ok(Err(_)) => writable(path).map(|()| "free".into()),
    }
}

/// Whether the admin listener there is that of a Portvakt.
async fn is_portvakt(address: SocketAddr) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    const MOST: usize = 8 << 20;
    let loopback = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(loopback, address.port());
    let Ok(url) = reqwest::Url::parse(&format!("http://{address}/metrics")) else { return false };
    let Ok(client) = http::client(&url, PATIENCE) else { return false };
    let told = http::send(client.get(url), MOST, Calling::default()).await;
    told.is_ok_and(|reply| {
        String::from_utf8_lossy(&reply.body)
            .lines()
            .any(|it| it.starts_with("portvakt_build_info{"))
    })
}
