//! Unix sockets, IPv6, the PROXY protocol, bounds on connections, and names that move.

use super::support::authority::Authority;
use super::support::upstream::Upstream;
use super::support::wire::{LONG, OK, RawUpstream, status};
use super::support::{Proxy, World, config, own_key, skipped, wait_until};
use super::{GET, OPEN, exchange, is_closed, listening, secure, world};
use portvakt_sandbox::{Sandbox, SandboxOptions};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixStream};

async fn refused(world: &World, reason: &str) -> f64 {
    let sample = format!("portvakt_connections_refused_total{{reason=\"{reason}\"}}");
    world.proxy.metric(&sample).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_from_one_unix_socket_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let (front, back) = (folder.path().join("front.sock"), folder.path().join("back.sock"));
    // One that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&front).unwrap());
    assert!(front.exists());
    let section = format!("upstream: {{ url: \"unix:{}\" }}", back.display());
    let listen = format!("listen: {{ address: \"unix:{}\", workers: 2 }}", front.display());
    let mut world = world(Upstream::start_unix(&back), &section, &listen).await;
    assert_eq!(world.proxy.address(), format!("unix:{}", front.display()));
    for _ in 0..4 {
        let mut stream = UnixStream::connect(&front).await.unwrap();
        assert_eq!(status(&exchange(&mut stream, GET).await.unwrap()), 200);
    }
    let received = world.upstream.last();
    assert_eq!(received.header("host"), ["api.test"]);
    assert_eq!(received.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(world.proxy.audit_records(4).await[0]["peer"], "127.0.0.1");

    // Another program is not let on it while the first listens.
    let path = world.proxy.config_path();
    let second = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(["run", "--config"])
        .arg(path)
        .env("PROXY_JWK", own_key(&world.sandbox).await)
        .output()
        .unwrap();
    assert!(!second.status.success());
    let cure =
        "cannot be listened on; something is there already: end it, or write another address";
    assert!(String::from_utf8_lossy(&second.stderr).contains(cure));
    let mut stream = UnixStream::connect(&front).await.unwrap();
    assert_eq!(status(&exchange(&mut stream, GET).await.unwrap()), 200);

    world.proxy.signal("TERM");
    assert_eq!(world.proxy.wait(), Some(0));
    assert!(!front.exists(), "the socket is taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let front = folder.path().join("front.sock");
    std::fs::write(&front, "mine").unwrap();
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let sections = format!("listen: {{ address: \"unix:{}\" }}\n{OPEN}", front.display());
    let text = config(&sandbox, "upstream: { url: \"http://127.0.0.1:9\" }", &sections);
    let path = folder.path().join("portvakt.yaml");
    std::fs::write(&path, text).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(["run", "--config"])
        .arg(path)
        .env("PROXY_JWK", own_key(&sandbox).await)
        .output()
        .unwrap();
    assert!(!run.status.success());
    assert_eq!(std::fs::read_to_string(&front).unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_comes_in_and_goes_out_over_ipv6() {
    let upstream = Upstream::start_on("[::1]:0").await;
    let section = format!("upstream: {{ url: \"{}\", preserve_host: false }}", upstream.url());
    let address = upstream.address().to_string();
    let world = world(upstream, &section, "listen: { address: \"[::1]:0\", workers: 2 }").await;
    assert!(world.proxy.address().starts_with("[::1]:"));
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 200);
    let received = world.upstream.last();
    assert_eq!(received.header("host"), [address.as_str()]);
    assert_eq!(received.header("x-forwarded-for"), ["::1"]);
    assert_eq!(world.proxy.audit_records(1).await[0]["peer"], "::1");
}

/// A PROXY protocol header (version 2): TCP over IPv4, from 192.0.2.7.
fn told() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_tells_who_the_client_is() {
    let listen = "address: \"127.0.0.1:0\", proxy_protocol: { trusted_peers: [\"127.0.0.1/32\"] }";
    let world = listening(listen, "").await;
    let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
    // In pieces, as a network may bring it.
    let header = told();
    stream.write_all(&header[..5]).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(&header[5..]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(status(&exchange(&mut stream, GET).await.unwrap()), 200);
    }
    assert_eq!(world.upstream.last().header("x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(world.proxy.audit_records(2).await[0]["peer"], "192.0.2.7");

    let mut version_one = b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec();
    version_one.extend_from_slice(GET.as_bytes());
    let mut cut = told();
    cut[1] = b'x';
    cut.extend_from_slice(GET.as_bytes());
    for bytes in [GET.as_bytes().to_vec(), version_one, cut] {
        let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    assert_eq!(world.upstream.count(), 2);
    wait_until("counted", async || refused(&world, "proxy_protocol").await >= 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_no_load_balancer_is_turned_away_with_or_without_a_header() {
    let listen = "address: \"127.0.0.1:0\", proxy_protocol: { trusted_peers: [\"10.0.0.0/8\"] }";
    let world = listening(listen, "").await;
    for header in [told(), Vec::new()] {
        let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
        // It may be closed already.
        let _ = stream.write_all(&[&header[..], GET.as_bytes()].concat()).await;
        assert!(is_closed(&mut stream).await);
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_behind_the_load_balancers_header() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let pair = authority.issue(&["api.test"]).section(folder.path(), "tls");
    let listen = format!(
        "address: \"127.0.0.1:0\", tls: {{ certificates: [{{ {pair} }}] }}, \
         proxy_protocol: {{ trusted_peers: [\"127.0.0.0/8\"] }}"
    );
    let world = listening(&listen, "").await;
    let client = Arc::new(authority.client(None, &[]));
    let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
    stream.write_all(&told()).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("api.test").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&client));
    let mut stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(status(&exchange(&mut stream, GET).await.unwrap()), 200);
    assert_eq!(world.upstream.last().header("x-forwarded-for"), ["192.0.2.7"]);
    assert!(secure(world.proxy.address(), "api.test", &client).await.is_err(), "without it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_cannot_take_the_places_of_all() {
    let listen = "address: \"127.0.0.1:0\", proxy_protocol: { trusted_peers: [\"127.0.0.0/8\"] }";
    let world = listening(listen, "limits: { connections: 100, connections_per_peer: 2 }").await;
    let open = async |last: u8| {
        let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
        let mut header = told();
        header[19] = last;
        stream.write_all(&header).await.unwrap();
        let answered = exchange(&mut stream, GET).await.is_some();
        answered.then_some(stream)
    };
    let (one, _two) = (open(1).await.unwrap(), open(1).await.unwrap());
    assert!(open(1).await.is_none(), "one too many");
    assert!(open(2).await.is_some(), "another peer");
    assert!(refused(&world, "too_many_of_peer").await >= 1.0);
    drop(one);
    wait_until("room again", async || open(1).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_keeps_the_places_of_its_connection_until_it_ends() {
    for (bound, reason) in [
        ("connections: 1", "too_many"),
        ("connections: 9, connections_per_peer: 1", "too_many_of_peer"),
    ] {
        let echo = RawUpstream::start(|mut wire, _, _| async move {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            if wire.head().await.is_some() && wire.try_send(switch).await {
                while let Some(text) = wire.until(";").await {
                    wire.try_send(text).await;
                }
            }
        })
        .await;
        let limits = format!("limits: {{ {bound} }}");
        let world = world(Upstream::start().await, &echo.section(""), &limits).await;
        let mut tunnel = TcpStream::connect(world.proxy.address()).await.unwrap();
        let request =
            "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(status(&exchange(&mut tunnel, request).await.unwrap()), 101);
        let mut echoed = [0; 6];
        tunnel.write_all(b"hello;").await.unwrap();
        let reading = tokio::io::AsyncReadExt::read_exact(&mut tunnel, &mut echoed);
        tokio::time::timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(&echoed, b"hello;");

        let mut other = TcpStream::connect(world.proxy.address()).await.unwrap();
        // It may be closed already.
        let _ = other.write_all(request.as_bytes()).await;
        assert!(is_closed(&mut other).await, "{bound}");
        assert!(refused(&world, reason).await >= 1.0, "{bound}");
        let open = async || world.proxy.metric("portvakt_connections").await;
        wait_until("the tunnel alone", async || (0.5..1.5).contains(&open().await)).await;

        drop(tunnel);
        wait_until("room again", async || {
            let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
            exchange(&mut stream, request).await.is_some_and(|answer| status(&answer) == 101)
        })
        .await;
        wait_until("all left", async || open().await < 0.5).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_never_ends_does_not_hold_up_the_end_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    // A pipe that nobody writes to: the system waits in it for ever.
    assert!(Command::new("mkfifo").arg(&hosts).status().unwrap().success());
    let upstream = "upstream: { url: \"http://api.test:9\", connect_timeout: 500ms }";
    let Some(mut world) = under_hosts(&hosts, upstream).await else { return };
    assert_eq!(world.request("GET", "/open/x").send().await.unwrap().status(), 502);
    let failed = "portvakt_upstream_lookups_total{result=\"failed\",upstream=\"default\"}";
    assert!(world.proxy.metric(failed).await < 0.5, "it has not ended");
    world.proxy.signal("TERM");
    wait_until("the end", async || {
        world.proxy.log().iter().any(|line| line.contains("\"stopped\""))
    })
    .await;
    assert_eq!(world.proxy.wait(), Some(0));
    assert_eq!(world.proxy.audit_records(1).await[0]["code"], "upstream_unavailable");
}

/// Starts the program where a file of the test is its hosts file, and nothing else is asked for names.
pub(crate) async fn under_hosts(hosts: &Path, upstream: &str) -> Option<World> {
    let able = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    if !able.is_ok_and(|status| status.success()) {
        skipped("this system gives no mount namespace, so names cannot be made to move");
        return None;
    }
    let switch = hosts.with_file_name("nsswitch.conf");
    std::fs::write(&switch, "hosts: files\n").unwrap();
    let script = format!(
        "mount --bind {} /etc/hosts && mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
        hosts.display(),
        switch.display()
    );
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let text = config(&sandbox, upstream, OPEN);
    let key = own_key(&sandbox).await;
    let under = ["unshare", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let proxy = Proxy::start_under(&under, &text, &[("PROXY_JWK", &key)]);
    proxy.wait_until_ready().await;
    let upstream = Upstream::start().await;
    Some(World { sandbox, upstream, proxy, http: reqwest::Client::new() })
}

pub(crate) fn answering_on(listener: TcpListener) -> RawUpstream {
    RawUpstream::on(listener, |mut wire, _, seen| async move {
        while let Some((head, _)) = wire.message().await {
            seen.note(head);
            if !wire.try_send(OK).await {
                break;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_moves_is_followed_and_one_whose_name_is_gone_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 api.test\n").unwrap();
    let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = one.local_addr().unwrap().port();
    let two = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let (one, two) = (answering_on(one), answering_on(two));
    let section =
        format!("upstream: {{ url: \"http://api.test:{port}\", lookup_interval: 200ms }}");
    let Some(world) = under_hosts(&hosts, &section).await else { return };
    let ask = async || world.request("GET", "/open/x").send().await.unwrap().status().as_u16();
    assert_eq!(ask().await, 200);
    assert_eq!((one.seen.heads().len(), two.seen.heads().len()), (1, 0));

    // The name moves: kept connections are not a reason to stay.
    std::fs::write(&hosts, "127.0.0.2 api.test\n").unwrap();
    wait_until("the new address", async || {
        assert_eq!(ask().await, 200);
        !two.seen.heads().is_empty()
    })
    .await;
    let left = one.seen.heads().len();

    // No look-up works: the last good address goes on, also for new connections.
    std::fs::write(&hosts, "127.0.0.9 other.test\n").unwrap();
    let failed = "portvakt_upstream_lookups_total{result=\"failed\",upstream=\"default\"}";
    wait_until("a look-up that failed", async || {
        assert_eq!(ask().await, 200);
        world.proxy.metric(failed).await >= 2.0
    })
    .await;
    assert_eq!(one.seen.heads().len(), left, "the old address gets nothing any more");
}
