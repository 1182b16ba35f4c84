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
    a_loss_heals "wipes" 62_852,
    votes_may_lie "lies" 30_634,
    processes_end "kills" 8_148,
    machines_are_gone_for_good "graves" 24_432,
    leaders_follow_each_other "leaders" 108_232,
    a_write_comes_late "late" 397_432,
    a_write_comes_twice "twice" 294_964,
    answers_are_lost "answers" 68_361,
    etcd_starts_behind_the_gate "gates" 210_116,
    machines_come_and_go "machines" 10_873,
    a_rollback_ends_what_lives "rollback" 12_537,
    an_operator_interferes "words" 25_673,
    only_a_lie_breaks_s1 "perjury" 7_058,
}

#[test]
fn every_sub_model_says_what_it_covers() {
    for sub in submodels::ALL {
        assert!(!sub.covers.is_empty() && !sub.bounds_in_words().is_empty(), "{}", sub.name);
    }
}
