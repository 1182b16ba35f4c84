//! **disk** — a host's disk as it is seen from outside: the layer over the base, and its volumes.
//!
//! Comes from a directory and a base that no host writes to. Goes to the overlay that a host
//! boots from. Written to only while the host is off: below a mounted overlay it is not defined
//! what the host would see.

use crate::drill::trouble::Trouble;
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Component, Path, PathBuf},
};

const UNITS: &str = "/etc/systemd/system";
/// What a host boots to. Units that are enabled for multi-user.target start as they do elsewhere.
const TARGET: &str = "[Unit]\n\
    Description=A host of a rig\n\
    Requires=basic.target dbus.socket multi-user.target\n\
    After=basic.target dbus.socket multi-user.target\n\
    AllowIsolate=yes\n";
/// Where a unit's sandbox has a /proc of its own, the host's boot id has to be put over the kernel's
/// once more. A unit with ProcSubset=pid has no place for it and would not start; for that one, link
/// /etc/systemd/system/UNIT.d/rig-boot-id.conf to /dev/null.
const BOOT_ID: &str =
    "[Service]\nBindReadOnlyPaths=-/run/boot-id:/proc/sys/kernel/random/boot_id\n";
/// Never started: what belongs to hardware, to the kernel that all hosts share, or to people.
const MASKED: [&str; 26] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "logrotate.timer",
    "man-db.timer",
    "nftables.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-logind.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-remount-fs.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-update-utmp-runlevel.service",
];

/// A host's disk.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    base: PathBuf,
    volumes: Vec<(PathBuf, PathBuf)>,
}

impl Disk {
    /// A disk that was never booted from, with the host's name and an identity of its own.
    pub(super) fn new(dir: &Path, base: &Path, host: &str) -> Result<Self, Trouble> {
        let dir = fs::canonicalize(dir).map_err(|e| Trouble::of(dir.display(), e))?;
        let at = |error| Trouble::of(format!("no base for hosts at {}", base.display()), error);
        let base = fs::canonicalize(base).map_err(at)?;
        for name in ["upper", "work", "root"] {
            fs::create_dir_all(dir.join(name)).map_err(|e| Trouble::of(dir.display(), e))?;
        }
        let disk = Self { dir, base, volumes: Vec::new() };
        let uuid = "/proc/sys/kernel/random/uuid";
        let machine = fs::read_to_string(uuid).map_err(|e| Trouble::of(uuid, e))?;
        disk.put("/etc/machine-id", machine.replace('-', "").as_bytes(), 0o444)?;
        disk.put("/etc/hostname", format!("{host}\n").as_bytes(), 0o644)?;
        disk.put(
            "/etc/hosts",
            format!("127.0.0.1 localhost\n127.0.1.1 {host}\n").as_bytes(),
            0o644,
        )?;
        disk.put(&format!("{UNITS}/rig.target"), TARGET.as_bytes(), 0o644)?;
        disk.put(&format!("{UNITS}/service.d/rig-boot-id.conf"), BOOT_ID.as_bytes(), 0o644)?;
        for unit in MASKED {
            let link = disk.at(&format!("{UNITS}/{unit}"))?;
            symlink("/dev/null", &link).map_err(|e| Trouble::of(link.display(), e))?;
        }
        Ok(disk)
    }

    /// Where the overlay's directories are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the overlay lies upon.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Where volumes are outside and inside.
    pub(super) fn volumes(&self) -> &[(PathBuf, PathBuf)] {
        &self.volumes
    }

    /// One more volume; the same one again when it is there already.
    pub(super) fn volume(&mut self, inside: &str) -> Result<PathBuf, Trouble> {
        let place = absolute(inside)?;
        if let Some((outside, _)) = self.volumes.iter().find(|(_, known)| *known == place) {
            return Ok(outside.clone());
        }
        let outside = self.dir.join(format!("volume-{}", self.volumes.len()));
        fs::create_dir_all(&outside).map_err(|e| Trouble::of(outside.display(), e))?;
        self.volumes.push((outside.clone(), place));
        Ok(outside)
    }

    /// Where a host's path is on its disk.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        let place = Path::new(inside);
        // The deepest, as a volume may be mounted inside another.
        let volumes = self.volumes.iter().filter_map(|(outside, at)| {
            Some((at.components().count(), outside.join(place.strip_prefix(at).ok()?)))
        });
        volumes.max_by_key(|(depth, _)| *depth).map_or_else(
            || self.dir.join("upper").join(place.strip_prefix("/").unwrap_or(place)),
            |(_, path)| path,
        )
    }

    /// Writes a file, whose directories are made where they are not.
    pub(super) fn put(&self, inside: &str, bytes: &[u8], mode: u32) -> Result<(), Trouble> {
        write(&self.at(inside)?, bytes, mode)
    }

    /// A path on the disk whose directory is there. One that the base has too keeps its owner and
    /// mode: a directory of the upper layer hides those of the one below.
    fn at(&self, inside: &str) -> Result<PathBuf, Trouble> {
        let place = absolute(inside)?;
        let parent = place.parent().unwrap_or(&place);
        let mut so_far = PathBuf::from("/");
        for part in parent.components().skip(1) {
            so_far.push(part);
            let below = self.base.join(so_far.strip_prefix("/").unwrap_or(&so_far));
            let below = fs::symlink_metadata(below).ok();
            if below.as_ref().is_some_and(|found| !found.is_dir()) {
                let link = so_far.display();
                return Err(Trouble(format!(
                    "{link} is no directory of the base; name where it leads"
                )));
            }
            let path = self.path(&so_far.display().to_string());
            let at = |error| Trouble::of(path.display(), error);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(at(error)),
            }
            if let Some(below) = below {
                chown(&path, Some(below.uid()), Some(below.gid())).map_err(at)?;
                fs::set_permissions(&path, below.permissions()).map_err(at)?;
            }
        }
        Ok(self.path(inside))
    }
}

/// Writes a file in one step, as what is inside may be reading it.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Trouble> {
    let at = |error| Trouble::of(path.display(), error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    fs::write(&new, bytes).map_err(at)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).map_err(at)?;
    fs::rename(&new, path).map_err(at)
}

/// A path inside a host, which is absolute and does not go up.
pub(super) fn absolute(inside: &str) -> Result<PathBuf, Trouble> {
    let place = PathBuf::from(inside);
    let plain = place.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if place.is_absolute() && plain {
        return Ok(place);
    }
    Err(Trouble(format!("{inside} is no absolute path inside a host")))
}
