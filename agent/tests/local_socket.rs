//! **local_socket** — the agent's socket against askers of every kind. The agent's loop is played
//! by this test, since only the socket's own promises are asked for here.

use agent::{
    driver::run::Ask,
    local::{Request, Told, client, server},
};
use protocol::{
    coordinator as core,
    event::Command,
    explanation::{Code, Note},
};
use std::{os::unix::fs::PermissionsExt, path::Path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};

/// Sends these bytes and reads what comes back, to the end.
async fn raw(socket: &Path, bytes: &[u8]) -> Told {
    let mut stream = UnixStream::connect(socket).await.expect("somebody listens");
    // the server may answer and close before it has read all of a line that is too long
    stream.write_all(bytes).await.ok();
    stream.shutdown().await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.ends_with(b"\n"), "one line");
    serde_json::from_slice(&answer).expect("a refusal")
}

#[tokio::test]
async fn bad_askers_get_a_sentence_and_the_next_one_is_served() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let socket = dir.path().join("agent.sock");
    let (asks, mut asked) = mpsc::channel(1);
    let listener = server::bind(&socket).expect("bound");
    tokio::spawn(server::serve(listener, asks, Vec::new(), "/nonexistent".into()));
    for bytes in [&b"{}\n"[..], b"\xff\xfe\n", b"", b"{\"request\":\"status\"}", b"[1,2]\n"] {
        let told = raw(&socket, bytes).await;
        assert!(!told.accepted && told.code == "BAD_REQUEST", "{bytes:?}: {told:?}");
    }
    let unknown = raw(&socket, b"{\"request\":\"approve\",\"attempt\":-1}\n").await;
    assert_eq!(unknown.code, "BAD_REQUEST");
    let nobody =
        raw(&socket, b"{\"request\":\"replace\",\"name\":\"x\",\"because\":\"y\"}\n").await;
    assert_eq!(nobody.code, "NO_SEAT");

    tokio::spawn(async move {
        while let Some(Ask::Tell(Command::Save, reply)) = asked.recv().await {
            let note = Note { code: Code::Saving, text: "a snapshot is being taken".into() };
            reply.send(core::Told::Accepted(note)).ok();
        }
    });
    let told: Told = client::ask(&socket, &Request::Save).await.expect("answered");
    assert!(told.accepted, "{told:?}");
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let socket = dir.path().join("agent.sock");
    let (asks, _asked) = mpsc::channel(1);
    tokio::spawn(server::serve(
        server::bind(&socket).expect("bound"),
        asks,
        Vec::new(),
        "/nonexistent".into(),
    ));
    let told = raw(&socket, &vec![b' '; 64 * 1024]).await;
    assert_eq!(told.code, "BAD_REQUEST");
}

#[tokio::test]
async fn an_agent_that_ends_says_so() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let socket = dir.path().join("agent.sock");
    let (asks, asked) = mpsc::channel(1);
    tokio::spawn(server::serve(
        server::bind(&socket).expect("bound"),
        asks,
        Vec::new(),
        "/nonexistent".into(),
    ));
    drop(asked);
    let told: Told = client::ask(&socket, &Request::Abort).await.expect("answered");
    assert_eq!(told.code, "ENDING");
}

#[tokio::test]
async fn a_socket_is_its_owners_alone_and_a_stale_one_is_nobody() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let socket = dir.path().join("agent.sock");
    let absent = client::ask_if_there::<Told>(&socket, &Request::Save).await;
    assert_eq!(absent, Ok(None), "no socket");
    drop(server::bind(&socket).expect("bound"));
    let stale = client::ask_if_there::<Told>(&socket, &Request::Save).await;
    assert_eq!(stale, Ok(None), "a socket that its agent left behind");
    let listener = server::bind(&socket).expect("bound over the stale one");
    let mode = std::fs::metadata(&socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(listener);
}
