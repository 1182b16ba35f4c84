//! **rig** — hosts with a real systemd as their first process, several of them on one machine.
//!
//! Comes from a base disk (`.ci/tools-hosts`) and a directory for each host. Goes to the drills,
//! which pull the plug, cut the network and start units as an operator would. A host has its own
//! namespaces for network, mounts, processes, names, IPC and cgroups, on an overlay of the base;
//! nothing of it outlives the drill, see `space`.

mod disk;
mod space;

pub use space::enter;

use crate::drill::trouble::Trouble;
use disk::Disk;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const INIT: &str = include_str!("rig/init.sh");
/// What commands inside find their programs by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a boot may take; it takes one second where nothing is wrong.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long killed processes may take to be gone: dirty pages may have to be written back.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(20);
/// How much of the console is shown when a boot failed.
const TAIL: usize = 2_000;

/// One host.
#[derive(Debug)]
pub struct Machine {
    /// Its host name.
    pub name: String,
    /// Its address on the rig's switch, 10.77.0.0/24, where the drill itself is 10.77.0.1.
    pub ip: String,
    mac: String,
    port: String,
    cgroup: PathBuf,
    disk: Disk,
    binds: Vec<(PathBuf, PathBuf)>,
    cut: AtomicBool,
    /// The process outside that ends when the last one inside has ended.
    shell: Option<Child>,
}

impl Machine {
    /// A host that has not been switched on, at 10.77.0.(10 + `number`). `dir` becomes its own and
    /// is removed with it; it must be on a file system that an overlay can write to. `base` is the
    /// disk that it starts from.
    ///
    /// # Errors
    /// Outside a rig, or when its directories can't be made.
    pub fn new(name: &str, number: u8, dir: &Path, base: &Path) -> Result<Self, Trouble> {
        let last = number.checked_add(10).filter(|last| *last < 255);
        let last =
            last.ok_or_else(|| Trouble(format!("{number} is too high for a host's number")))?;
        let cgroup = space::cgroup_of(name)?;
        fs::create_dir_all(dir).map_err(|e| Trouble::of(dir.display(), e))?;
        Ok(Self {
            name: name.to_owned(),
            ip: format!("10.77.0.{last}"),
            mac: format!("02:00:0a:4d:00:{last:02x}"),
            port: format!("p{number}"),
            cgroup,
            disk: Disk::new(dir, base, name)?,
            binds: Vec::new(),
            cut: AtomicBool::new(false),
            shell: None,
        })
    }

    /// Shows a file or directory of this machine inside the host, read-only, from the next boot on.
    pub fn bind(&mut self, from: &Path, inside: &str) -> Result<(), Trouble> {
        let from = fs::canonicalize(from).map_err(|e| Trouble::of(from.display(), e))?;
        self.binds.push((from, disk::absolute(inside)?));
        Ok(())
    }

    /// Mounts a volume of the host's own at a directory inside, from the next boot on. Gives the
    /// place where its files are while the host is off.
    pub fn volume(&mut self, inside: &str) -> Result<PathBuf, Trouble> {
        self.disk.volume(inside)
    }

    /// Whether it is switched on and has not ended by itself.
    pub fn is_on(&self) -> bool {
        self.pid_1().is_some()
    }

    /// Switches it on and waits until systemd has started all there is: the same disk, a fresh
    /// /run, another boot id. Blocks for about a second.
    ///
    /// # Errors
    /// When it is on already or does not come up; then it is off.
    pub fn boot(&mut self) -> Result<(), Trouble> {
        if self.is_on() {
            return Err(Trouble(format!("{} is on already", self.name)));
        }
        // Also what is left of a host that ended by itself.
        self.power_off()?;
        let came_up = self.switch_on().and_then(|()| self.await_system());
        if came_up.is_err() {
            self.power_off()?;
        }
        came_up
    }

    /// Pulls the plug: every process ends at once, the disk stays.
    ///
    /// # Errors
    /// When they are not gone in time.
    pub fn power_off(&mut self) -> Result<(), Trouble> {
        if let Some(mut shell) = self.shell.take() {
            if let Some(first) = first_inside(&shell) {
                // Gone already is what was wanted.
                let _ = kill_process(first, Signal::KILL);
            } else {
                // Too early for a first process; the shell fails only if it has ended.
                let _ = shell.kill();
            }
            // The kernel lets the first process end last, and the shell after that.
            await_that(&format!("all of {} is gone", self.name), GONE_WITHIN, || {
                Ok(!matches!(shell.try_wait(), Ok(None)))
            })?;
        }
        // The kernel removes the cable too, a little later; until then the next boot could lay none.
        await_that(&format!("the cable of {} is gone", self.name), GONE_WITHIN, || {
            // Fails when the kernel was faster.
            let _ = space::tool(&["ip", "link", "del", &self.port]);
            Ok(!self.has_port())
        })?;
        await_that(&format!("no cgroup of {} is left", self.name), GONE_WITHIN, || {
            remove_groups(&self.cgroup);
            Ok(!self.cgroup.exists())
        })
    }

    /// A command inside the host, as root with a clean environment; for callers that wait for it in
    /// their own way. What ends before it has ended leaves it running inside.
    ///
    /// # Errors
    /// When the host is off.
    pub fn command(&self, words: &[&str]) -> Result<Command, Trouble> {
        let first = self.pid_1().ok_or_else(|| Trouble(format!("{} is off", self.name)))?;
        let mut command = Command::new("nsenter");
        let target = first.as_raw_nonzero().to_string();
        command.args(["-t", &target, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]);
        command.args(words).env_clear().env("PATH", PATH).env("HOME", "/root").env("TERM", "dumb");
        // Its own group: Ctrl-C at the terminal is for the drill, which then ends things in order.
        command.process_group(0).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command inside the host to its end.
    ///
    /// # Errors
    /// When it can't be run at all; a failure of its own is in the output.
    pub fn run(&self, words: &[&str]) -> Result<Output, Trouble> {
        let output = self.command(words)?.output();
        output
            .map_err(|e| Trouble::of(format!("can't run {} in {}", words.join(" "), self.name), e))
    }

    /// A path of the running host, as this process can open it. Absolute links on the way lead out
    /// of the host.
    ///
    /// # Errors
    /// When the host is off.
    pub fn path(&self, inside: &str) -> Result<PathBuf, Trouble> {
        let first = self.pid_1().ok_or_else(|| Trouble(format!("{} is off", self.name)))?;
        let place = disk::absolute(inside)?;
        let root = PathBuf::from(format!("/proc/{}/root", first.as_raw_nonzero()));
        Ok(root.join(place.strip_prefix("/").unwrap_or(&place)))
    }

    /// A path on the disk of a host that is off. What never differed from the base is not there.
    pub fn disk(&self, inside: &str) -> PathBuf {
        self.disk.path(inside)
    }

    /// Writes a file inside the host, on or off, and makes the directories on the way.
    pub fn put(&self, inside: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<(), Trouble> {
        if !self.is_on() {
            return self.disk.put(inside, bytes.as_ref(), mode);
        }
        let path = self.path(inside)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Trouble::of(parent.display(), e))?;
        }
        disk::write(&path, bytes.as_ref(), mode)
    }

    /// Cuts it off from the network, also over its boots, until it is joined.
    pub fn cut(&self) -> Result<(), Trouble> {
        self.cut.store(true, Ordering::Relaxed);
        self.set_port()
    }

    /// Puts it back on the network.
    pub fn join(&self) -> Result<(), Trouble> {
        self.cut.store(false, Ordering::Relaxed);
        self.set_port()
    }

    /// The end of what was said on its console, which is little once systemd runs.
    pub fn console_tail(&self) -> String {
        let bytes = fs::read(self.disk.dir().join("console.log")).unwrap_or_default();
        let tail = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
        String::from_utf8_lossy(tail).into_owned()
    }

    /// Starts the first process and gives it its network.
    fn switch_on(&mut self) -> Result<(), Trouble> {
        let at = |error| Trouble::of(format!("can't switch on {}", self.name), error);
        fs::create_dir(&self.cgroup).map_err(|e| Trouble::of(self.cgroup.display(), e))?;
        let console = fs::File::create(self.disk.dir().join("console.log")).map_err(at)?;
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]);
        command.args(["sh", "-c", INIT, "host", "first", INIT, &self.name, &self.ip]);
        command.arg(self.disk.dir()).arg(self.disk.base()).arg(&self.cgroup);
        for (outside, inside) in self.disk.volumes() {
            command.arg("rw").arg(outside).arg(inside);
        }
        for (outside, inside) in &self.binds {
            command.arg("ro").arg(outside).arg(inside);
        }
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(console.try_clone().map_err(at)?).stderr(console);
        let shell = self.shell.insert(command.spawn().map_err(at)?);
        let go = shell.stdin.take();
        // Once there is a child, all namespaces are there.
        await_that(&format!("{} has a first process", self.name), UP_WITHIN, || {
            Ok(self.pid_1().is_some() || self.has_ended())
        })?;
        let first = self.pid_1().ok_or_else(|| self.ended())?.as_raw_nonzero().to_string();
        // The same card at every boot: others go on asking for the address they know.
        let card = ["type", "veth", "peer", "name", "eth0", "address", &self.mac, "netns", &first];
        space::tool(&[&["ip", "link", "add", &self.port], &card[..]].concat())?;
        space::tool(&["ip", "link", "set", &self.port, "master", "br0"])?;
        self.set_port()?;
        go.map_or(Ok(()), |mut go| go.write_all(b"go\n")).map_err(at)
    }

    /// Waits until systemd has nothing left to start.
    fn await_system(&self) -> Result<(), Trouble> {
        await_that(&format!("systemd is up on {}", self.name), UP_WITHIN, || {
            let Some(first) = self.pid_1() else { return Err(self.ended()) };
            let name = fs::read_to_string(format!("/proc/{}/comm", first.as_raw_nonzero()));
            // Until then the root is not yet the host's own.
            if name.is_err() || name.is_ok_and(|name| name.trim_end() != "systemd") {
                return Ok(false);
            }
            let said = self.run(&["systemctl", "is-system-running"])?.stdout;
            Ok(matches!(said.trim_ascii(), b"running" | b"degraded"))
        })
    }

    /// The host's first process, as seen from here. Asked for anew each time: while the shell has
    /// not been waited for, its pid can't be another's.
    fn pid_1(&self) -> Option<Pid> {
        first_inside(self.shell.as_ref()?)
    }

    fn has_ended(&self) -> bool {
        self.shell.as_ref().is_none_or(|shell| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", shell.id())).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
        })
    }

    fn ended(&self) -> Trouble {
        Trouble::of(format!("{} ended while it booted", self.name), self.console_tail().trim_end())
    }

    /// Whether the switch's end of its cable is there.
    fn has_port(&self) -> bool {
        space::tool(&["ip", "link", "show", &self.port]).is_ok()
    }

    fn set_port(&self) -> Result<(), Trouble> {
        if self.shell.is_none() {
            return Ok(()); // the next boot looks
        }
        let state = if self.cut.load(Ordering::Relaxed) { "down" } else { "up" };
        space::tool(&["ip", "link", "set", &self.port, state])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nobody is left to tell; what is not gone now goes with the namespaces.
        if self.power_off().is_ok() {
            let _ = fs::remove_dir_all(self.disk.dir());
        }
    }
}

/// The one child of the process that made a host's namespaces.
fn first_inside(shell: &Child) -> Option<Pid> {
    let file = format!("/proc/{0}/task/{0}/children", shell.id());
    let children = fs::read_to_string(file).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// Removes cgroups from the deepest on. One that still has a process stays for the next look.
fn remove_groups(group: &Path) {
    for inner in fs::read_dir(group).into_iter().flatten().flatten() {
        if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&inner.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn await_that(
    what: &str,
    bound: Duration,
    mut done: impl FnMut() -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > bound {
            return Err(Trouble(format!("waited {} s in vain until {what}", bound.as_secs())));
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}
