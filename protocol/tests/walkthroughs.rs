//! **walkthroughs** — stories of outages, told as text and replayed through the real core. Each
//! `walkthroughs/*.txt` is one story; the world in `world/` checks the invariants at every event.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the world tells and does what it knows of; the core names every case"
)]

mod world;

use std::{fs, path::Path};

fn tell(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/walkthroughs").join(name);
    let story = fs::read_to_string(&path).expect("the story stands beside this file");
    let told = world::script::replay(&story);
    if std::env::var_os("REWRITE").is_some() {
        fs::write(&path, &told).expect("the story can be rewritten");
    } else {
        assert_eq!(told, story, "{name}: REWRITE=1 rewrites the story");
    }
}

macro_rules! stories {
    ($($name:ident $file:literal,)+) => {$(
        #[test]
        fn $name() {
            tell($file);
        }
    )+};
}

stories! {
    s01_bootstrap "01-bootstrap.txt",
    s02_two_of_three_lose_their_disks "02-two-of-three-lose-their-disks.txt",
    s03_all_disks_lost "03-all-disks-lost.txt",
    s04_one_member_lost "04-one-member-lost.txt",
    s05_all_etcds_killed "05-all-etcds-killed.txt",
    s06_two_machines_gone "06-two-machines-gone.txt",
    s061_old_machine_returns "061-old-machine-returns.txt",
    s062_attested_but_alive "062-attested-but-alive.txt",
    s07_reboot "07-reboot.txt",
    s081_leader_dies_in_fencing "081-leader-dies-in-fencing.txt",
    s082_leader_dies_in_restoring "082-leader-dies-in-restoring.txt",
    s083_leader_dies_in_starting "083-leader-dies-in-starting.txt",
    s084_leader_dies_in_verifying "084-leader-dies-in-verifying.txt",
    s085_leader_dies_in_open "085-leader-dies-in-open.txt",
    s086_leader_dies_in_healing "086-leader-dies-in-healing.txt",
    s09_second_loss_in_healing "09-second-loss-in-healing.txt",
    s091_second_loss_after_open "091-second-loss-after-open.txt",
    s10_s3_down "10-s3-down.txt",
    s101_table_down "101-table-down.txt",
    s11_five_members "11-five-members.txt",
    s12_rollback "12-rollback.txt",
    s13_approval "13-approval.txt",
    s131_abort "131-abort.txt",
    s14_slow_restore "14-slow-restore.txt",
    s15_production_timers "15-production-timers.txt",
    s16_two_disks_and_the_leader_paused "16-two-disks-and-the-leader-paused.txt",
    s17_reboot_of_all_with_one_root_disk_lost "17-reboot-of-all-with-one-root-disk-lost.txt",
    s18_power_cut_in_fencing "18-power-cut-in-fencing.txt",
    s19_power_cut_in_starting "19-power-cut-in-starting.txt",
    s20_power_cut_in_bootstrap "20-power-cut-in-bootstrap.txt",
    s21_leader_dies_at_intent "21-leader-dies-at-intent.txt",
    s22_leader_dies_at_removed "22-leader-dies-at-removed.txt",
    s23_leader_dies_at_added "23-leader-dies-at-added.txt",
    s24_leader_dies_at_promoting "24-leader-dies-at-promoting.txt",
    s31_second_loss_at_intent "31-second-loss-at-intent.txt",
    s32_second_loss_at_removed "32-second-loss-at-removed.txt",
    s33_second_loss_at_added "33-second-loss-at-added.txt",
    s34_second_loss_at_promoting "34-second-loss-at-promoting.txt",
    s41_learner_lost_at_intent "41-learner-lost-at-intent.txt",
    s42_learner_lost_at_removed "42-learner-lost-at-removed.txt",
    s43_learner_lost_at_added "43-learner-lost-at-added.txt",
    s44_learner_lost_at_promoting "44-learner-lost-at-promoting.txt",
    s51_seat_attested_refilled "51-seat-attested-refilled.txt",
    s52_agents_upgraded "52-agents-upgraded.txt",
    s53_salvage "53-salvage.txt",
    s54_replaced_by_hand "54-replaced-by-hand.txt",
    s55_paused "55-paused.txt",
    s56_leader_cut_off "56-leader-cut-off.txt",
    s57_survivor_cut_off "57-survivor-cut-off.txt",
    s58_two_of_five "58-two-of-five.txt",
    s59_loss_bounded "59-loss-bounded.txt",
    s60_stores_silent_at_boot "60-stores-silent-at-boot.txt",
    s601_fenced_and_the_stores_silent "601-fenced-and-the-stores-silent.txt",
    s61_snapshot_damaged_after_commit "61-snapshot-damaged-after-commit.txt",
    s611_no_snapshot_left "611-no-snapshot-left.txt",
    s612_plan_lost_after_commit "612-plan-lost-after-commit.txt",
    s613_adopted_after_the_commit "613-adopted-after-the-commit.txt",
    s614_done_without_after_the_commit "614-done-without-after-the-commit.txt",
    s615_snapshot_damaged_before_open "615-snapshot-damaged-before-open.txt",
    s62_rollback_to_nowhere "62-rollback-to-nowhere.txt",
    s621_rollback_to_the_oldest "621-rollback-to-the-oldest.txt",
    s63_members_changed_by_hand "63-members-changed-by-hand.txt",
    s631_changed_back_by_hand "631-changed-back-by-hand.txt",
    s64_seats_differ "64-seats-differ.txt",
    s65_volumes_swapped "65-volumes-swapped.txt",
    s66_bucket_emptied "66-bucket-emptied.txt",
    s67_stores_unproven "67-stores-unproven.txt",
    s68_threshold "68-threshold.txt",
    s69_one_instance_twice "69-one-instance-twice.txt",
    s70_copy_refused "70-copy-refused.txt",
    s701_two_copies_refused "701-two-copies-refused.txt",
    s71_data_refused_by_etcd "71-data-refused-by-etcd.txt",
    s72_voter_added_by_hand "72-voter-added-by-hand.txt",
    s73_attested_machine_returns "73-attested-machine-returns.txt",
    s74_named_like_another "74-named-like-another.txt",
    s75_attested_after_its_successor_speaks "75-attested-after-its-successor-speaks.txt",
    s76_unreadable_for_an_attempt "76-unreadable-for-an-attempt.txt",
    s77_salvage_unreadable "77-salvage-unreadable.txt",
    s771_salvage_done_without "771-salvage-done-without.txt",
    s78_old_voters_in_a_log "78-old-voters-in-a-log.txt",
    s781_old_quorum_in_a_log "781-old-quorum-in-a-log.txt",
    s79_replaced_on_anothers_volume "79-replaced-on-anothers-volume.txt",
    s80_promise_lost_with_the_root_disk "80-promise-lost-with-the-root-disk.txt",
    s81_machine_that_never_comes "81-machine-that-never-comes.txt",
    s811_replacement_called_off "811-replacement-called-off.txt",
    s82_volume_away_in_a_restore "82-volume-away-in-a-restore.txt",
    s821_refilled_on_another_disk "821-refilled-on-another-disk.txt",
    s83_snapshots_readable_again "83-snapshots-readable-again.txt",
    s84_removed_by_hand_and_lost "84-removed-by-hand-and-lost.txt",
    s841_replaced_after_removals_by_hand "841-replaced-after-removals-by-hand.txt",
    s85_learner_added_late "85-learner-added-late.txt",
    s86_called_off_before_its_start "86-called-off-before-its-start.txt",
    s87_removed_by_hand_as_another_goes "87-removed-by-hand-as-another-goes.txt",
    s88_machine_dies_at_promoting "88-machine-dies-at-promoting.txt",
    s89_etcd_never_starts "89-etcd-never-starts.txt",
    s891_volumes_away_at_the_commit "891-volumes-away-at-the-commit.txt",
    s90_no_room_any_more "90-no-room-any-more.txt",
    s91_learner_ends_before_its_promotion "91-learner-ends-before-its-promotion.txt",
    s92_learners_machine_gone_old_one_runs "92-learners-machine-gone-old-one-runs.txt",
    s93_two_of_three_cannot_save "93-two-of-three-cannot-save.txt",
    s931_agent_ends_at_each_save "931-agent-ends-at-each-save.txt",
    s94_doubtful_snapshot "94-doubtful-snapshot.txt",
    s95_a_member_that_differs "95-a-member-that-differs.txt",
    s96_saved_by_hand "96-saved-by-hand.txt",
    s961_saved_by_hand_sealed "961-saved-by-hand-sealed.txt",
    s97_etcd_asks_for_a_user "97-etcd-asks-for-a-user.txt",
    s971_one_agent_is_no_user "971-one-agent-is-no-user.txt",
    s972_restored_behind_users "972-restored-behind-users.txt",
    s98_an_operator_stops_all "98-an-operator-stops-all.txt",
    s981_an_operator_stops_all_and_restores "981-an-operator-stops-all-and-restores.txt",
    s982_an_operator_stops_one_and_replaces_it "982-an-operator-stops-one-and-replaces-it.txt",
    s984_a_quarantine_that_leaks "984-a-quarantine-that-leaks.txt",
    s983_stopped_by_an_operator_and_a_power_cut "983-stopped-by-an-operator-and-a-power-cut.txt",
}
