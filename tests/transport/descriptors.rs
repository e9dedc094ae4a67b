//! Few file descriptors, and many upstreams: connections kept idle leave enough for new ones.

use super::support::upstream::Upstream;
use super::support::wire::{OK, RawUpstream};
use super::support::{Proxy, World, config, own_key, wait_until};
use portvakt_sandbox::{Sandbox, SandboxOptions};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Requests at once, each on a connection of its own towards the upstream; below what 256 descriptors let in.
const AT_ONCE: usize = 60;

/// Answers when so many have come.
async fn crowded() -> RawUpstream {
    let all = Arc::new(Barrier::new(AT_ONCE));
    RawUpstream::start(move |mut wire, _, _| {
        let all = Arc::clone(&all);
        async move {
            while wire.message().await.is_some() {
                all.wait().await;
                if !wire.try_send(OK.as_bytes()).await {
                    break;
                }
            }
        }
    })
    .await
}

fn section(upstreams: &[RawUpstream]) -> (String, String) {
    let (mut section, mut routes) = ("upstreams:\n".to_owned(), "routes:\n".to_owned());
    for (n, upstream) in upstreams.iter().enumerate() {
        writeln!(section, "  u{n}: {{ url: \"http://{}\" }}", upstream.address()).unwrap();
        writeln!(
            routes,
            "  - {{ id: r{n}, match: {{ methods: [GET], path: /u{n} }}, access: anonymous, upstream: u{n} }}"
        )
        .unwrap();
    }
    (section, routes)
}

async fn ask(address: String, n: usize) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = format!("GET /u{n} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    told.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_many_upstreams_leave_descriptors_for_new_ones() {
    for reloaded in [false, true] {
        let upstreams = [crowded().await, crowded().await, crowded().await, crowded().await];
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let whole = section(&upstreams);
        let first = if reloaded { section(&upstreams[..1]) } else { whole.clone() };
        let text = |(section, routes): (String, String)| config(&sandbox, &section, &routes);
        let (first, whole) = (text(first), text(whole));
        let jwk = own_key(&sandbox).await;
        let under = ["prlimit", "--nofile=256:256"];
        let proxy = Proxy::start_under(&under, &first, &[("PROXY_JWK", &jwk)]);
        let http = reqwest::Client::new();
        let world = World { sandbox, upstream: Upstream::start().await, proxy, http };
        world.proxy.wait_until_ready().await;
        if reloaded {
            std::fs::write(world.proxy.config_path(), whole).unwrap();
            world.proxy.signal("HUP");
            wait_until("taken", async || {
                world.proxy.metric("portvakt_config_reloads_total{result=\"taken\"}").await > 0.5
            })
            .await;
        }
        for n in 0..upstreams.len() {
            wait_until("room", async || world.proxy.metric("portvakt_connections").await < 0.5)
                .await;
            let mut asked = JoinSet::new();
            for _ in 0..AT_ONCE {
                asked.spawn(ask(world.proxy.address().to_owned(), n));
            }
            let all = tokio::time::timeout(Duration::from_secs(20), asked.join_all()).await;
            let all = all.unwrap_or_else(|_| panic!("upstream {n}: not all came through"));
            assert!(all.iter().all(|told| told == "HTTP/1.1 200 OK"), "upstream {n}: {all:?}");
        }
        // The kept ones, at the most a third of what is free, beside the program's own.
        let open = world.proxy.metric("process_open_fds").await;
        assert!(open < 64.0 + 50.0, "{open} are open");
    }
}
