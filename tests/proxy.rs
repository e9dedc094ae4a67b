//! The road of a request through the real program: what is let through, and how it arrives.

mod support;

use support::{World, seed};

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_held_opens_and_the_upstream_learns_who_asks() {
    let world = World::start().await;
    let token = world.token(seed::BAKKEN).await;
    let answer = world.get("/v1/parties/310000507/returns/7?x=%2e%2e/", &token).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let received = world.upstream.last();
    assert_eq!(received.target, "/v1/parties/310000507/returns/7?x=%2e%2e/");
    assert_eq!(received.header("portvakt-system-user"), [seed::BAKKEN_USER]);
    assert_eq!(received.header("portvakt-party"), ["310000507"]);
    assert_eq!(received.header("portvakt-consumer"), ["310000205"]);
    let record = world.proxy.audit_records(1).await.remove(0);
    assert_eq!(record["answer"], "permit");
    assert_eq!(record["source"], "pdp");
    assert_eq!(record["status"], 200);
}
