//! Row P7: a listener belongs to its connection, and no other can end it or take its place.

use tokio::net::TcpStream;

use crate::support::client::our_client;
use crate::support::{Fixture, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_nobody_else_ends_a_listener() {
    let node = Fixture::start().await;
    let (owner, mut arrivals) = our_client(&node, "alice").await;
    let (other, _) = our_client(&node, "alice").await;
    let port = owner.listen("localhost", 0).await.expect("listens");
    // The same user, in another connection; and the owner itself under other names.
    other.unlisten("localhost", port).await.expect_err("not its own");
    other.listen("localhost", port).await.expect_err("taken");
    owner.unlisten("127.0.0.1", port).await.expect_err("not as it was asked for");
    owner.unlisten("localhost", 0).await.expect_err("not by its port");
    let program = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let arrived = arrivals.recv().await.expect("a connection");
    assert_eq!((arrived.address.as_str(), arrived.port), ("localhost", u32::from(port)));
    drop((program, arrived));
    owner.unlisten("localhost", port).await.expect("its own");
    std::net::TcpStream::connect(("127.0.0.1", port)).expect_err("ended before the answer");
    owner.unlisten("localhost", port).await.expect_err("only once");
    // And with its connection, which takes nothing of anybody else's along.
    let (first, second) =
        (owner.listen("", 0).await.expect("listens"), other.listen("", 0).await.expect("listens"));
    owner.disconnect("done").await;
    until("the end of the listener", || std::net::TcpStream::connect(("127.0.0.1", first)).is_err()).await;
    std::net::TcpStream::connect(("127.0.0.1", second)).expect("another connection's");
}
