//! Small sub-models, explored to their ends: what must hold holds, what must be possible is seen,
//! and the number of states is what it was, so that a change of the model is noticed.

use simulations::explore::{
    self, Report,
    submodels::{self, SubModel},
};

fn report(name: &str) -> (SubModel, Report) {
    let sub = submodels::ALL.iter().find(|sub| sub.name == name).expect("it is in the table");
    let sub = sub.clone().with_members(3);
    let report = explore::run(&sub, None);
    (sub, report)
}

/// It comes out as it must, after so many states.
fn explores(name: &str, states: u64) {
    let (sub, report) = report(name);
    assert!(report.is_right(&sub), "{name}: {report:#?}");
    assert!(report.exhausted || sub.breaks, "{name} ends within its bound");
    assert_eq!(report.unique, states, "{name}: the model has changed; was that meant?");
}

macro_rules! sub_models {
    ($($name:ident $sub:literal $states:literal,)+) => {$(
        #[test]
        fn $name() {
            explores($sub, $states);
        }
    )+};
}

sub_models! {
    a_loss_heals "wipes" 38_522,
    votes_may_lie "lies" 21_362,
    processes_end "kills" 8_874,
    machines_are_gone_for_good "graves" 21_655,
    leaders_follow_each_other "leaders" 80_458,
    a_write_comes_late "late" 232_299,
    a_write_comes_twice "twice" 172_855,
    answers_are_lost "answers" 45_715,
    etcd_starts_behind_the_gate "gates" 112_374,
    machines_come_and_go "machines" 10_831,
    a_rollback_ends_what_lives "rollback" 15_465,
    an_operator_interferes "words" 16_741,
    only_a_lie_breaks_s1 "perjury" 6_870,
    a_restore_is_given_up_as_it_starts "again-start" 24_452,
    a_quorum_is_lost_again_while_compared "again-verify" 12_626,
    a_quorum_is_lost_again_as_clients_come "again-open" 9_486,
    a_quorum_is_lost_again_while_healing "again-heal" 5_865,
    a_member_is_away_while_another_is_replaced "away" 37_611,
    a_healthy_member_is_replaced "by-word" 872,
}

#[test]
fn every_sub_model_says_what_it_covers() {
    for sub in submodels::ALL {
        assert!(!sub.covers.is_empty() && !sub.bounds_in_words().is_empty(), "{}", sub.name);
    }
}
