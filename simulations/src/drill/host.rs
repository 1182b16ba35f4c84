//! **host** — one machine of a drill: its directories, its agent, and the etcd which that starts.
//!
//! Comes from the cluster: a name, addresses, an environment. Goes to the scenarios, which do to
//! it what happens to machines. When it is dropped, its agent and every etcd below its directory
//! are killed by pid and awaited, also on panic and after Ctrl-C.

use super::{
    process::{self, etcd_on, etcds_below},
    trouble::Trouble,
};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::{fs::FileTypeExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// How much of a log is shown when a wait was in vain.
const TAIL: u64 = 2_000;
/// How often a directory is emptied that a running etcd still writes to.
const ROUNDS: u32 = 10;
/// Passed through from the drill's own environment; everything else an agent sees is set here, so
/// that a developer's AWS profile or ETCD_ variables can't change a drill.
const INHERITED: [&str; 4] = ["PATH", "REQUORUM_LOG", "RUST_BACKTRACE", "SSL_CERT_FILE"];

/// What is emptied when a machine loses its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wipe {
    /// The data volume.
    Data,
    /// The data volume and what the agent keeps on the root disk.
    DataAndState,
}

/// One machine.
#[derive(Debug)]
pub struct Host {
    /// `ETCD_NAME`.
    pub name: String,
    /// Where clients reach its etcd.
    pub client_url: String,
    /// Where peers reach it.
    pub peer_url: String,
    dir: PathBuf,
    binary: PathBuf,
    env: BTreeMap<String, String>,
    machine: u32,
    bootstrap: bool,
    agent: Option<Child>,
}

impl Host {
    /// A machine that has not been switched on. `dir` becomes its own; `env` is what all machines
    /// share.
    ///
    /// # Errors
    /// When its directories can't be made.
    pub fn new(
        name: String,
        ip: &str,
        dir: PathBuf,
        binary: PathBuf,
        mut env: BTreeMap<String, String>,
    ) -> Result<Self, Trouble> {
        let client_url = format!("http://{ip}:2379");
        let peer_url = format!("http://{ip}:2380");
        for (key, value) in [
            ("ETCD_NAME", name.clone()),
            ("ETCD_DATA_DIR", dir.join("data").display().to_string()),
            ("ETCD_LISTEN_PEER_URLS", peer_url.clone()),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", peer_url.clone()),
            ("ETCD_LISTEN_CLIENT_URLS", client_url.clone()),
            ("ETCD_ADVERTISE_CLIENT_URLS", client_url.clone()),
            ("REQUORUM_STATE_DIR", dir.join("state").display().to_string()),
        ] {
            env.insert(key.to_owned(), value);
        }
        let mut host = Self {
            name,
            client_url,
            peer_url,
            dir,
            binary,
            env,
            machine: 0,
            bootstrap: true,
            agent: None,
        };
        host.fresh_machine()?;
        Ok(host)
    }

    /// What a shell needs to speak as this machine.
    pub const fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Sets a variable for the agent's next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.env.insert(key.to_owned(), value.to_owned());
    }

    /// Removes a variable for the agent's next start.
    pub fn unset(&mut self, key: &str) {
        self.env.remove(key);
    }

    /// The data volume.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What the agent keeps on the root disk.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The agent's local socket.
    pub fn socket(&self) -> PathBuf {
        self.state_dir().join("agent.sock")
    }

    /// Starts the agent; the first start of all may found the cluster and make the table.
    ///
    /// # Errors
    /// When it runs already or the binary can't be started.
    pub fn start_agent(&mut self) -> Result<(), Trouble> {
        if self.agent.is_some() {
            return Err(Trouble(format!("the agent of {} runs already", self.name)));
        }
        let path = self.dir.join("agent.log");
        let log = fs::File::options().create(true).append(true).open(&path);
        let log = log.map_err(|e| Trouble::of(path.display(), e))?;
        let mut command = self.command(&["agent"]);
        if self.bootstrap {
            command.args(["--bootstrap", "--create-table"]);
        }
        // Its own group: Ctrl-C at the terminal is for the drill, which then ends things in order.
        let spawned = command.process_group(0).stdout(Stdio::null()).stderr(log).spawn();
        self.agent = Some(spawned.map_err(|e| Trouble::of(self.binary.display(), e))?);
        self.bootstrap = false;
        Ok(())
    }

    /// SIGKILLs the agent and waits for its end. Its etcd lives on.
    pub fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // Both fail only if it was waited for already; it is taken, so nobody else did.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    /// SIGSTOPs the agent.
    pub fn pause_agent(&self) -> Result<(), Trouble> {
        self.agent.as_ref().map_or(Ok(()), |agent| process::pause_and_await(agent.id()))
    }

    /// Lets a stopped agent go on.
    pub fn continue_agent(&self) -> Result<(), Trouble> {
        self.agent.as_ref().map_or(Ok(()), |agent| process::signal(agent.id(), Signal::CONT))
    }

    /// Whether an agent was started and not killed by us.
    pub const fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// Says so if the agent ended by itself.
    pub fn agent_ended(&self) -> Option<String> {
        let agent = self.agent.as_ref()?;
        (!process::is_running(agent.id()))
            .then(|| format!("the agent of {} ended by itself", self.name))
    }

    /// The etcd on this machine's data dir.
    pub fn etcd_pid(&self) -> Option<u32> {
        etcd_on(&self.data_dir())
    }

    /// SIGKILLs etcd and waits until it is gone; its disk stays as it is.
    pub fn kill_etcd(&self) -> Result<(), Trouble> {
        self.etcd_pid().map_or(Ok(()), process::kill_and_await)
    }

    /// SIGSTOPs etcd.
    ///
    /// # Errors
    /// When none runs.
    pub fn pause_etcd(&self) -> Result<(), Trouble> {
        let none = || Trouble(format!("{} runs no etcd that could be paused", self.name));
        process::pause_and_await(self.etcd_pid().ok_or_else(none)?)
    }

    /// The disk is lost: agent stopped, etcd killed and awaited, disk emptied, agent continued.
    pub fn wipe(&self, what: Wipe) -> Result<(), Trouble> {
        self.pause_agent()?;
        self.kill_etcd()?;
        empty(&self.data_dir())?;
        if what == Wipe::DataAndState {
            empty(&self.state_dir())?;
        }
        self.continue_agent()
    }

    /// The data is deleted under a running etcd, which goes on with the files it holds open.
    ///
    /// # Errors
    /// When something is still there after several rounds: etcd may make a file in between.
    pub fn delete_data(&self) -> Result<(), Trouble> {
        let mut outcome = Ok(());
        for _ in 0..ROUNDS {
            outcome = empty(&self.data_dir());
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Power off: agent and etcd end at once, disks stay.
    pub fn power_off(&mut self) -> Result<(), Trouble> {
        self.kill_agent();
        self.kill_etcd()
    }

    /// The machine is gone for ever, with all its disks.
    pub fn vanish(&mut self) -> Result<(), Trouble> {
        self.power_off()?;
        for dir in [self.data_dir(), self.state_dir()] {
            fs::remove_dir_all(&dir).map_err(|e| Trouble::of(dir.display(), e))?;
        }
        Ok(())
    }

    /// Another machine at the same addresses: empty disks, another instance id.
    pub fn fresh_machine(&mut self) -> Result<(), Trouble> {
        for dir in [self.data_dir(), self.state_dir()] {
            fs::create_dir_all(&dir).map_err(|e| Trouble::of(dir.display(), e))?;
        }
        self.machine += 1;
        let instance = format!("i-{}-{}", self.name, self.machine);
        self.set("REQUORUM_INSTANCE", &instance);
        Ok(())
    }

    /// Runs a verb of `requorum` with this machine's environment, as an operator would.
    ///
    /// # Errors
    /// When it can't be run at all; a refusal is in the output.
    pub async fn run(&self, args: &[&str]) -> Result<Output, Trouble> {
        let mut command = tokio::process::Command::from(self.command(args));
        let output = command.kill_on_drop(true).output().await;
        output.map_err(|e| Trouble::of(self.binary.display(), e))
    }

    /// Begins a verb and does not wait for it; it ends when this is dropped.
    pub fn spawn(&self, args: &[&str]) -> Result<tokio::process::Child, Trouble> {
        let mut command = tokio::process::Command::from(self.command(args));
        command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|e| Trouble::of(self.binary.display(), e))
    }

    /// The end of the agent's log.
    pub fn log_tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = fs::File::open(self.dir.join("agent.log"))?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_or_else(
            |error| format!("(no log: {error})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).env_clear().stdin(Stdio::null());
        command.envs(INHERITED.iter().filter_map(|key| Some((key, std::env::var_os(key)?))));
        command.envs(&self.env);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill_agent();
        for pid in etcds_below(&self.dir) {
            // Nobody is left to tell; the next pid must be tried all the same.
            let _ = process::kill_and_await(pid);
        }
    }
}

/// Removes what is in a directory, not the directory: it may be a mount point. Sockets are no
/// data; without its own, a living agent could not be asked any more.
fn empty(dir: &Path) -> Result<(), Trouble> {
    let at = |error: std::io::Error| Trouble::of(format!("can't empty {}", dir.display()), error);
    for entry in fs::read_dir(dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        let kind = entry.file_type().map_err(at)?;
        let removed = match (kind.is_dir(), kind.is_socket()) {
            (true, _) => fs::remove_dir_all(entry.path()),
            (false, true) => Ok(()),
            (false, false) => fs::remove_file(entry.path()),
        };
        match removed {
            Ok(()) => {}
            // A running etcd renames its own files while we delete them.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
    }
    Ok(())
}
