//! **machine** — the disk adapter on real directories.

mod common;

use agent::{
    adapters::{
        disk::Disk,
        swap::{Step, Swap},
    },
    ports::machine::Machine,
};
use common::dirs::Dirs;
use protocol::{
    cluster::{Digest, Instance, MemberId, Slot},
    observation::{Belongs, InAttempt, LogState, Memory, Ran},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

fn ran(inc: u64) -> Ran {
    Ran {
        inc,
        instance: Instance("i-1".to_owned()),
        member_id: MemberId(0xfedc_ba98_7654_3210),
        plan: String::new(),
        fs: "uuid:x".to_owned(),
    }
}

#[tokio::test]
async fn what_is_remembered_comes_back_from_either_disk() {
    let dirs = Dirs::new();
    let disk = dirs.disk();
    assert_eq!(disk.memory().await, Ok(Memory::default()));
    disk.remember_seat("uid", Slot(2)).await.expect("a seat");
    disk.remember_ran(&ran(3)).await.expect("ran");
    disk.remember_opened(3).await.expect("opened");
    disk.retire(2).await.expect("retired");
    let marker = InAttempt { inc: 3, attempt: 7 };
    disk.mark(marker).await.expect("a marker");
    let all = Memory {
        uid: Some("uid".to_owned()),
        slot: Some(Slot(2)),
        marker: Some(marker),
        retired: 2,
        opened: 3,
        ran: Some(ran(3)),
    };
    assert_eq!(dirs.disk().memory().await.as_ref(), Ok(&all));
    let file = dirs.state().join("memory.json");
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The volume moves to a machine with an empty root disk: the promises come along, no more.
    fs::remove_file(&file).expect("the root disk is lost");
    let promises = Memory { marker: Some(marker), retired: 2, ..Memory::default() };
    assert_eq!(dirs.disk().memory().await, Ok(promises));
}

#[tokio::test]
async fn the_higher_promise_holds_and_only_the_same_is_taken_back() {
    let dirs = Dirs::new();
    let disk = dirs.disk();
    let (low, high) = (InAttempt { inc: 1, attempt: 9 }, InAttempt { inc: 2, attempt: 1 });
    disk.mark(high).await.expect("a marker");
    disk.mark(low).await.expect("a lower one");
    assert_eq!(disk.memory().await.map(|memory| memory.marker), Ok(Some(high)));
    disk.unmark(low).await.expect("not this one");
    assert_eq!(disk.memory().await.map(|memory| memory.marker), Ok(Some(high)));

    // Another root disk, with a marker of its own.
    fs::remove_file(dirs.state().join("memory.json")).expect("the root disk is lost");
    fs::rename(dirs.data(), dirs.root.path().join("away")).expect("unmounted");
    disk.mark(low).await.expect("without a data dir the root disk's will do");
    fs::rename(dirs.root.path().join("away"), dirs.data()).expect("mounted");
    assert_eq!(disk.memory().await.map(|memory| memory.marker), Ok(Some(high)));
    disk.unmark(high).await.expect("taken back");
    assert_eq!(disk.memory().await.map(|memory| memory.marker), Ok(Some(low)));
    disk.unmark(low).await.expect("taken back");
    assert_eq!(disk.memory().await.map(|memory| memory.marker), Ok(None));
}

#[tokio::test]
async fn a_corrupt_memory_is_an_error_never_nothing() {
    for file in ["state/memory.json", "data/.requorum/memory.json"] {
        for bytes in [&b""[..], b"{", b"{\"version\":2}", b"\xff\xfe"] {
            let dirs = Dirs::new();
            let disk = dirs.disk();
            disk.mark(InAttempt { inc: 1, attempt: 1 }).await.expect("a marker");
            fs::write(dirs.root.path().join(file), bytes).expect("damage");
            assert!(disk.memory().await.is_err(), "{file} {bytes:?}");
            assert!(disk.retire(1).await.is_err(), "{file} is not overwritten");
        }
    }
}

#[tokio::test]
async fn missing_is_only_said_of_what_could_be_looked_for() {
    let dirs = Dirs::new();
    let data = dirs.disk().data().await;
    assert_eq!((data.log, data.writable, data.belongs), (LogState::Missing, true, None));
    assert!(data.fs.is_some(), "a file system says who it is");
    let absent = Disk::new("a", dirs.root.path().join("not/yet/there"), dirs.state()).data().await;
    assert_eq!((absent.log, absent.writable), (LogState::Missing, true));
    assert_eq!(absent.fs, data.fs, "where it would be");

    fs::write(dirs.data().join("member"), "a file").expect("something else");
    assert!(matches!(dirs.disk().data().await.log, LogState::Unreadable(_)));
    fs::remove_file(dirs.data().join("member")).expect("gone");
    dirs.member("member", "no log");
    assert!(matches!(dirs.disk().data().await.log, LogState::Unreadable(_)));
    assert!(dirs.disk().read_log().await.is_err());
    fs::remove_dir_all(dirs.data().join("member")).expect("gone");
    std::os::unix::fs::symlink("/nowhere/at/all", dirs.data().join("member")).expect("a link");
    assert!(matches!(dirs.disk().data().await.log, LogState::Unreadable(_)));
    fs::remove_file(dirs.data().join("member")).expect("gone");
    fs::create_dir_all(dirs.data().join(".requorum")).expect("our directory");
    fs::write(dirs.data().join(".requorum/swap.json"), "{").expect("damage");
    let data = dirs.disk().data().await;
    assert!(matches!(data.log, LogState::Unreadable(_)) && data.swap.is_some());
}

#[tokio::test]
async fn a_swap_goes_on_wherever_it_was_interrupted() {
    let steps = [Step::Record, Step::MoveOut, Step::MoveIn, Step::Note, Step::Clear];
    for done in 0..=steps.len() {
        let dirs = Dirs::new();
        let plan = Digest::of(b"plan");
        dirs.member("member", "old");
        dirs.disk().remember_ran(&ran(1)).await.expect("ran");
        dirs.restored(&plan.short(), "new");
        assert_eq!(dirs.disk().data().await.restored, [plan.short()]);
        let swap = Swap::new(&dirs.data(), &plan.short(), 2, 1);
        for step in &steps[..done] {
            assert_eq!(swap.next_step(), Ok(Some(*step)));
            swap.perform(*step).expect("a step");
        }
        let between = dirs.disk().data().await;
        assert_eq!(between.swap.is_some(), (1..steps.len()).contains(&done), "after {done}");

        dirs.disk().swap(plan, 2, 1).await.expect("the rest");
        dirs.disk().swap(plan, 2, 1).await.expect("once more");
        assert_eq!(dirs.content("member").as_deref(), Some("new"));
        let kept = format!(".requorum/old/inc-1-{}/member", plan.short());
        assert_eq!(dirs.content(&kept).as_deref(), Some("old"));
        let data = dirs.disk().data().await;
        let belongs = Belongs { inc: 2, plan: Some(plan.short()) };
        assert_eq!((data.swap, data.belongs), (None, Some(belongs)));
        assert!(data.restored.is_empty());
    }
}

/// Only root can give files away; who is not root runs etcd as the user that restored.
#[tokio::test]
async fn what_root_restored_belongs_to_the_owner_of_the_data_dir() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dirs = Dirs::new();
    dirs.restored("abc", "new");
    std::os::unix::fs::chown(dirs.data(), Some(65_534), Some(65_533)).expect("root may");
    Swap::new(&dirs.data(), "abc", 2, 1).finish().expect("swapped in");
    for path in ["member", "member/wal", "member/wal/name"] {
        let found = fs::metadata(dirs.data().join(path)).expect("it is in place");
        assert_eq!((found.uid(), found.gid()), (65_534, 65_533), "{path}");
    }
}

#[tokio::test]
async fn only_a_complete_restore_is_swapped_in() {
    let dirs = Dirs::new();
    let plan = Digest::of(b"plan");
    dirs.member("member", "old");
    assert!(dirs.disk().swap(plan, 2, 1).await.is_err());
    dirs.member(&format!(".requorum/new/{}/member", plan.short()), "half");
    assert!(dirs.disk().swap(plan, 2, 1).await.is_err());
    assert_eq!(dirs.content("member").as_deref(), Some("old"));
    assert!(dirs.disk().data().await.restored.is_empty());
}

/// A volume may come from another seat's machine.
#[tokio::test]
async fn what_another_seat_restored_is_not_offered() {
    let dirs = Dirs::new();
    let plan = Digest::of(b"plan");
    dirs.restored(&plan.short(), "another's");
    assert_eq!(dirs.disk().data().await.restored, [plan.short()]);
    let other = Disk::new("b", dirs.data(), dirs.state());
    assert!(other.data().await.restored.is_empty());
}

#[tokio::test]
async fn a_swap_needs_no_old_member_and_may_be_replanned() {
    let dirs = Dirs::new();
    let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
    dirs.member("member", "old");
    dirs.restored(&first.short(), "first");
    dirs.restored(&second.short(), "second");
    let swap = Swap::new(&dirs.data(), &first.short(), 2, 1);
    for step in [Step::Record, Step::MoveOut] {
        swap.perform(step).expect("a step");
    }
    dirs.disk().swap(second, 2, 1).await.expect("the other plan");
    assert_eq!(dirs.content("member").as_deref(), Some("second"));
    let kept = format!(".requorum/old/inc-1-{}/member", first.short());
    assert_eq!(dirs.content(&kept).as_deref(), Some("old"));
}

#[tokio::test]
async fn a_member_moved_aside_is_kept() {
    let dirs = Dirs::new();
    for content in ["one", "two"] {
        dirs.member("member", content);
        dirs.disk().remember_ran(&ran(4)).await.expect("ran");
        dirs.disk().move_aside(4).await.expect("moved");
        dirs.disk().move_aside(4).await.expect("nothing left to move");
        let data = dirs.disk().data().await;
        assert_eq!((data.log, data.belongs), (LogState::Missing, None));
    }
    assert_eq!(dirs.content(".requorum/old/inc-4-1/member").as_deref(), Some("one"));
    assert_eq!(dirs.content(".requorum/old/inc-4-2/member").as_deref(), Some("two"));
}
