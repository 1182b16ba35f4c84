//! **durable** — files and renames that are on the disk when the call returns.
//!
//! In: paths and bytes. Out: nothing, or the disk's error. A promise counts only once it would
//! survive a power loss (protocol.md A2): a new file is fsynced before it gets its name, and the
//! directory that holds the name is fsynced after. A crash in between leaves the old state or the
//! new one, and perhaps a `.tmp` that the next write replaces.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown},
    path::Path,
};

/// Largest document we read; ours have a few hundred bytes.
const DOCUMENT_MAX: u64 = 1 << 20;

/// A document's bytes; `None` only if the file system says that there is no such file.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let mut bytes = Vec::new();
    file.take(DOCUMENT_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces a document, readable by its owner only; makes its directory if need be.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = parent(path)?;
    make_dirs(dir)?;
    let temporary = path.with_extension("tmp");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(dir)
}

/// Removes a document; done if there is none.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)?),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

/// Renames inside one file system. The target must not exist, and its directory must.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_dir(parent(to)?)?;
    sync_dir(parent(from)?)
}

/// Makes a directory and those above it, each 0700 as etcd wants its own.
pub(super) fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir)?;
    make_dirs(above)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => sync_dir(above),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(why) => Err(why),
    }
}

/// Gives a tree to whom `whose` belongs, durably: etcd runs as a user of its own, and what an agent of root
/// restored is root's.
pub(super) fn give(tree: &Path, whose: &Path) -> io::Result<()> {
    let owner = fs::metadata(whose)?;
    let is_given = |path: &Path| -> io::Result<bool> {
        let found = path.symlink_metadata()?;
        Ok((found.uid(), found.gid()) == (owner.uid(), owner.gid()))
    };
    if give_below(tree, &is_given, (owner.uid(), owner.gid()))? {
        sync_tree(tree)?;
    }
    Ok(())
}

/// Answers whether anything had to be given.
fn give_below(
    path: &Path,
    is_given: &impl Fn(&Path) -> io::Result<bool>,
    (uid, gid): (u32, u32),
) -> io::Result<bool> {
    let mut changed = !is_given(path)?;
    if changed {
        lchown(path, Some(uid), Some(gid))?;
    }
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            changed |= give_below(&entry?.path(), is_given, (uid, gid))?;
        }
    }
    Ok(changed)
}

/// Fsyncs every file and directory below `dir`, and `dir`.
pub(super) fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(dir)
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether something is there; `Err`: could not look.
pub(super) fn exists(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(why),
    }
}

/// Whether the disk, or this user's share of it, is full.
pub(super) fn is_full(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn parent(path: &Path) -> io::Result<&Path> {
    let found =
        path.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the root has no parent"))
}

/// Size from which on a log is begun anew, in bytes.
const LOG_MAX: u64 = 64 << 20;

/// Puts a log aside that has grown large; one older log is kept.
pub(super) fn turn_over(log: &Path) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(found) if found.len() > LOG_MAX => fs::rename(log, log.with_extension("log.1")),
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        Ok(_) | Err(_) => Ok(()),
    }
}
