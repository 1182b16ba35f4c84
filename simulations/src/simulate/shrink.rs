//! **shrink** — makes a failing run small: leaves out faults, and what stores do wrong, as long as the
//! same invariant still breaks. What is left is what a reader has to understand.

use super::{Options, options::Rates, runs};

/// The smallest options found that break the same invariant as `options` do.
pub fn shrink(options: Options) -> Options {
    let invariant =
        |options: &Options| runs::run(options.clone(), false).invariant().map(ToOwned::to_owned);
    let Some(wanted) = invariant(&options) else { return options };
    let still = |options: &Options| invariant(options).as_ref() == Some(&wanted);
    let mut best = options;
    let mut chunk = best.faults.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < best.faults.len() {
            let mut less = best.clone();
            let to = (from + chunk).min(less.faults.len());
            less.faults.drain(from..to);
            if still(&less) {
                best = less;
            } else {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    for rate in 0..8 {
        let mut less = best.clone();
        *nth(&mut less.rates, rate) = 0;
        if still(&less) {
            best = less;
        }
    }
    best
}

fn nth(rates: &mut Rates, index: usize) -> &mut u64 {
    match index {
        0 => &mut rates.refused,
        1 => &mut rates.lost,
        2 => &mut rates.late,
        3 => &mut rates.twice,
        4 => &mut rates.torn,
        5 => &mut rates.stale,
        6 => &mut rates.forged,
        _ => &mut rates.slow,
    }
}
