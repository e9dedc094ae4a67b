//! TLS towards clients, spoken to by curl, Python and rustls.

use super::support::authority::{Authority, Pair};
use super::support::wire::{LONG, RawUpstream, status};
use super::support::{World, python, wait_until};
use super::{GET, exchange, is_closed, listening, secure, world};
use rustls::ClientConfig;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const NAME: &str = "api.test";

struct Secured {
    world: World,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Secured {
    async fn start(tls: &str, sections: &str) -> Self {
        let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
        let pair = authority.issue(&[NAME]);
        let certificates = pair.section(folder.path(), "tls");
        let listen = format!(
            "address: \"127.0.0.1:0\", workers: 2, tls: {{ certificates: [{{ {certificates} }}], {tls} }}"
        );
        let world = listening(&listen, sections).await;
        Self { world, authority, folder }
    }

    fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.authority.client(None, &[]))
    }

    fn port(&self) -> &str {
        self.world.proxy.address().rsplit(':').next().unwrap()
    }

    /// What curl says: protocol, status and TLS version; or its exit code.
    fn curl(&self, options: &[&str]) -> Result<String, i32> {
        let ca = self.folder.path().join("ca.pem");
        std::fs::write(&ca, self.authority.pem()).unwrap();
        let address = format!("https://{NAME}:{}/open/x", self.port());
        let resolve = format!("{NAME}:{}:127.0.0.1", self.port());
        let output = Command::new("curl")
            .args(["--silent", "--noproxy", "*", "--output", "/dev/null", "--max-time", "30"])
            .args(["--write-out", "%{http_version} %{http_code}", "--resolve", &resolve])
            .arg("--cacert")
            .arg(&ca)
            .args(options)
            .arg(&address)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(output.status.code().unwrap())
        }
    }

    async fn refused(&self, reason: &str) -> f64 {
        let sample = format!("portvakt_connections_refused_total{{reason=\"{reason}\"}}");
        self.world.proxy.metric(&sample).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_served_over_both_versions_of_tls_and_of_http() {
    let secured = Secured::start("", "forwarded: { rfc7239: true }").await;
    assert_eq!(secured.curl(&[]).unwrap(), "2 200");
    assert_eq!(secured.curl(&["--http1.1", "--tlsv1.3"]).unwrap(), "1.1 200");
    assert_eq!(secured.curl(&["--http1.1", "--tls-max", "1.2"]).unwrap(), "1.1 200");
    assert_eq!(secured.curl(&["--tls-max", "1.2"]).unwrap(), "2 200");
    for received in secured.world.upstream.received() {
        assert_eq!(received.header("x-forwarded-proto"), ["https"]);
        assert!(received.header("forwarded")[0].ends_with(";proto=https"));
        assert_eq!(received.header("portvakt-client-subject"), [""; 0]);
    }
    assert!(secured.curl(&["--tls-max", "1.1"]).is_err(), "TLS 1.1 is not spoken");
    // No answer in plain HTTP on that port.
    let mut plain = TcpStream::connect(secured.world.proxy.address()).await.unwrap();
    plain.write_all(GET.as_bytes()).await.unwrap();
    assert!(is_closed(&mut plain).await);
    wait_until("both counted", async || secured.refused("tls_failed").await >= 2.0).await;
    assert_eq!(secured.world.upstream.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_newer_version_is_demanded_the_older_is_refused() {
    let secured = Secured::start("minimum_version: tls1.3", "").await;
    assert_eq!(secured.curl(&["--tlsv1.3"]).unwrap(), "2 200");
    assert!(secured.curl(&["--tls-max", "1.2"]).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_has_its_certificate_and_a_strange_one_gets_the_first() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let pairs = [authority.issue(&["one.test"]), authority.issue(&["two.test", "*.three.test"])];
    let list: Vec<String> = pairs
        .iter()
        .enumerate()
        .map(|(number, pair)| format!("{{ {} }}", pair.section(folder.path(), &number.to_string())))
        .collect();
    let listen =
        format!("address: \"[::1]:0\", workers: 1, tls: {{ certificates: [{}] }}", list.join(", "));
    let world = listening(&listen, "").await;
    let client = Arc::new(authority.client(None, &[]));
    for (name, pair) in [("one.test", 0), ("two.test", 1), ("a.three.test", 1)] {
        let stream = secure(world.proxy.address(), name, &client).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(shown, pairs[pair].chain(), "{name}");
    }
    let strange = secure(world.proxy.address(), "four.test", &client).await.unwrap_err();
    assert!(strange.to_string().contains("one.test"), "{strange}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_goes_through_tls() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let certificates = authority.issue(&[NAME]).section(folder.path(), "tls");
    let echo = RawUpstream::start(|mut wire, _, _| async move {
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        if wire.head().await.is_some() && wire.try_send(switch).await {
            while let Some(text) = wire.until(";").await {
                wire.try_send(text).await;
            }
        }
    })
    .await;
    let listen = format!(
        "listen: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ {certificates} }}] }} }}"
    );
    let upstream = super::Upstream::start().await;
    let world = world(upstream, &echo.section(""), &listen).await;
    let client = Arc::new(authority.client(None, &["http/1.1"]));
    let mut stream = secure(world.proxy.address(), NAME, &client).await.unwrap();
    let request =
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switched = exchange(&mut stream, request).await.unwrap();
    assert_eq!(status(&switched), 101);
    let sent = "a".repeat(100_000) + ";";
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut back = vec![0; sent.len()];
    let reading = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut back);
    tokio::time::timeout(LONG, reading).await.unwrap().unwrap();
    assert_eq!(back, sent.as_bytes());
}

/// Certificates of clients: one good, one of a stranger, one that has ended.
struct Clients {
    authority: Authority,
    good: Pair,
    strange: Pair,
    ended: Pair,
}

impl Clients {
    fn new() -> Self {
        let authority = Authority::new("clients");
        let good = authority.issue(&["client.test"]);
        let strange = Authority::new("clients").issue(&["client.test"]);
        let ended = authority.issue_until(&["client.test"], 2020);
        Self { authority, good, strange, ended }
    }

    fn file(&self, folder: &Path) -> String {
        let path = folder.join("clients.pem");
        std::fs::write(&path, self.authority.pem()).unwrap();
        path.display().to_string()
    }
}

const SUBJECT: &str = "CN=client\\, one,O=Nordlys \\C3\\85s";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_good_certificate_is_turned_away_where_one_is_required() {
    let (clients, files) = (Clients::new(), tempfile::tempdir().unwrap());
    let tls = format!("client_ca_file: \"{}\"", clients.file(files.path()));
    let secured = Secured::start(&tls, "").await;
    let bad = [None, Some(&clients.strange), Some(&clients.ended)];
    for own in bad {
        let client = Arc::new(secured.authority.client(own, &["http/1.1"]));
        // In TLS 1.3 the client is done before the server has looked.
        if let Ok(mut stream) = secure(secured.world.proxy.address(), NAME, &client).await {
            assert_eq!(exchange(&mut stream, GET).await, None);
        }
    }
    assert_eq!(secured.world.upstream.count(), 0);
    wait_until("all counted", async || secured.refused("tls_failed").await >= 3.0).await;

    let client = Arc::new(secured.authority.client(Some(&clients.good), &["http/1.1"]));
    let mut stream = secure(secured.world.proxy.address(), NAME, &client).await.unwrap();
    let forged = "GET /open/x HTTP/1.1\r\nHost: a\r\nPortvakt-Client-Subject: CN=root\r\nportvakt_client_subject: CN=root\r\n\r\n";
    assert_eq!(status(&exchange(&mut stream, forged).await.unwrap()), 200);
    let received = secured.world.upstream.last();
    assert_eq!(received.header("portvakt-client-subject"), [SUBJECT]);
    assert_eq!(received.header("portvakt_client_subject"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_shows_its_certificate_where_that_is_optional() {
    let Some(python) = python() else { return };
    let (clients, files) = (Clients::new(), tempfile::tempdir().unwrap());
    let tls =
        format!("client_ca_file: \"{}\", client_certificate: optional", clients.file(files.path()));
    let secured = Secured::start(&tls, "").await;
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, secured.authority.pem()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mtls.py");
    let call = |own: Option<&Pair>| {
        let mut command = Command::new(&python);
        command.arg(&script).arg(secured.port()).arg(NAME).arg(&ca);
        if let Some(own) = own {
            let (certificate, key) = own.write(files.path(), "own");
            command.arg(certificate).arg(key);
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(call(None), (true, "200\n".into()));
    assert_eq!(secured.world.upstream.last().header("portvakt-client-subject"), [""; 0]);
    assert_eq!(call(Some(&clients.good)), (true, "200\n".into()));
    assert_eq!(secured.world.upstream.last().header("portvakt-client-subject"), [SUBJECT]);
    // Optional is whether one is shown, not whether it is good.
    assert!(!call(Some(&clients.strange)).0);
    assert_eq!(secured.world.upstream.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_shown_and_a_broken_one_is_not() {
    let secured = Secured::start("", "").await;
    let (proxy, client) = (&secured.world.proxy, secured.client());
    let shown = async || {
        let stream = secure(proxy.address(), NAME, &client).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap().to_vec()
    };
    let reloads = async |result: &str| {
        proxy.metric(&format!("portvakt_tls_reloads_total{{result=\"{result}\"}}")).await
    };
    let file = secured.folder.path().join("tls.crt");
    let end = format!(
        "portvakt_tls_certificate_not_after_timestamp_seconds{{file=\"{}\"}}",
        file.display()
    );
    // 2096-01-01, by the calendar.
    assert!((proxy.metric(&end).await - 3_976_214_400.0).abs() < 1.0);
    let mut open = secure(proxy.address(), NAME, &client).await.unwrap();
    assert_eq!(status(&exchange(&mut open, GET).await.unwrap()), 200);
    let first = shown().await;

    // A key of another certificate; a certificate that has ended; one cut off.
    let other = secured.authority.issue(&[NAME]);
    std::fs::write(secured.folder.path().join("tls.key"), &other.key).unwrap();
    proxy.signal("HUP");
    wait_until("refused", async || reloads("refused").await >= 1.0).await;
    secured.authority.issue_until(&[NAME], 2020).write(secured.folder.path(), "tls");
    proxy.signal("HUP");
    wait_until("refused again", async || reloads("refused").await >= 2.0).await;
    let half = other.certificate.len() / 2;
    std::fs::write(&file, &other.certificate.as_bytes()[..half]).unwrap();
    proxy.signal("HUP");
    wait_until("refused a third time", async || reloads("refused").await >= 3.0).await;
    assert_eq!(shown().await, first);
    assert!(proxy.log().iter().any(|line| line.contains("changed certificates are not used")));
    assert!(!proxy.log().iter().any(|line| line.contains("PRIVATE KEY")));

    // A good one, found without a signal.
    let next = secured.authority.issue_until(&[NAME], 2095);
    next.write(secured.folder.path(), "tls");
    wait_until("taken", async || shown().await == next.chain()).await;
    wait_until("the new end", async || proxy.metric(&end).await < 3_950_000_000.0).await;
    // The connection that was there goes on.
    assert_eq!(status(&exchange(&mut open, GET).await.unwrap()), 200);
    // A proxy that is not there any more would not answer.
    assert_eq!(proxy.admin("/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_handshakes_are_ended_at_their_limit_and_good_requests_are_served_meanwhile() {
    const STALLED: usize = 1_000;
    let secured = Secured::start("handshake_timeout: 3s", "").await;
    let (address, client) = (secured.world.proxy.address(), secured.client());
    let begun = Instant::now();
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Half of them say a little.
        if number % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        }
        stalled.push(stream);
    }
    let mut good = 0;
    while secured.world.proxy.metric("portvakt_tls_handshakes_pending").await > 0.0 || good == 0 {
        let mut stream = secure(address, NAME, &client).await.unwrap();
        assert_eq!(status(&exchange(&mut stream, GET).await.unwrap()), 200);
        good += 1;
        assert!(begun.elapsed() < LONG * 2);
    }
    for stream in &mut stalled {
        assert!(is_closed(stream).await);
    }
    assert!(begun.elapsed() >= Duration::from_secs(3));
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a small number")]
    let expected = STALLED as f64;
    assert!((secured.refused("tls_timed_out").await - expected).abs() < 0.5);
    assert!((secured.world.proxy.metric("portvakt_connections").await) < expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_handshakes_go_on_at_once() {
    let secured = Secured::start("handshake_timeout: 60s, pending_handshakes: 3", "").await;
    let (address, client) = (secured.world.proxy.address(), secured.client());
    let mut open = secure(address, NAME, &client).await.unwrap();
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(TcpStream::connect(address).await.unwrap());
    }
    let pending = async || secured.world.proxy.metric("portvakt_tls_handshakes_pending").await;
    wait_until("all places taken", async || pending().await > 2.5).await;
    assert!(secure(address, NAME, &client).await.is_err(), "one too many");
    assert!(secured.refused("tls_too_many").await >= 1.0);
    // Whoever is in is served, and one that gives up makes room.
    assert_eq!(status(&exchange(&mut open, GET).await.unwrap()), 200);
    drop(stalled.pop());
    wait_until("room", async || secure(address, NAME, &client).await.is_ok()).await;
}
