//! **moto** — a second opinion on S3, as a process of its own (Python; `.ci/tools-moto` installs it).

use super::loopback;
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// moto's process; ends with this.
pub(crate) struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Moto {
    /// Starts it on a free port; answers with its endpoint. `None`: this machine has no python3, as
    /// `.ci/tools-moto` found. Panics with what to do if it can't.
    pub(crate) fn start() -> Option<(Self, String)> {
        let below = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/moto/bin/moto_server");
        let absent = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/moto/absent");
        if std::path::Path::new(absent).exists() {
            return None;
        }
        let program = std::env::var_os("REQUORUM_MOTO").map_or_else(|| below.into(), PathBuf::from);
        let free = TcpListener::bind(loopback()).and_then(|it| it.local_addr()).expect("a port");
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &free.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("moto at {program:?}: {e}; `.ci/tools-moto` installs it"));
        let mut moto = Self(child);
        let began = Instant::now();
        while std::net::TcpStream::connect(free).is_err() {
            let ended = moto.0.try_wait().expect("our own child");
            assert!(ended.is_none(), "moto ended at once: {ended:?}");
            assert!(began.elapsed() < Duration::from_secs(60), "moto does not listen on {free}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some((moto, format!("http://{free}")))
    }
}
