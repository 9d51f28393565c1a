//! Ids that agree in the bits that are sorted first.

use super::{Column, MANY, check, check_in_order, check_listed, column};
use crate::common::bits;

/// The id whose key has a high word, and a rest below, where 64 bits vary.
fn id_of(high_bits: u32, high: u64, rest: u64) -> i64 {
    (high << (64 - high_bits) | rest).rotate_left(16) as i64
}

/// Runs of ids with one high word each, by the rests that they have from the first position to the last.
type Runs = Vec<Vec<u64>>;

/// Some that are put in order where they are, and some for which all passes are made.
fn runs_of_ties(high_bits: u32) -> ([Runs; 2], [Runs; 5]) {
    let top = 1 << (63 - high_bits);
    let parts = |count: u64| (0..count).map(|i| i * 5 % 3 * top + i % 2).collect::<Vec<_>>();
    let one_in = |len: usize, at: usize, rest: u64| {
        let mut run = vec![5; len];
        run[at] = rest;
        run
    };
    let pairs = (0..500).map(|i| vec![i % 5, i % 3 * top, i % 5]);
    let few = (0..300).map(|i| parts(2 + i % 2));
    let in_order = (1..40).map(|len| (0..len).map(|i| i / 3 * top).collect());
    let equal = (0..9).map(|i| vec![i * top; 150]);
    let short = pairs.chain(few).chain((0..32).map(parts)).chain(in_order).chain(equal).collect();
    let long = vec![
        one_in(900, 899, 4),
        one_in(700, 350, 4),
        vec![3; 999],
        one_in(900, 0, top),
        one_in(700, 350, top),
        // As long as may be, and of as many parts.
        one_in(1024, 1000, 4),
        one_in(1024, 1, 4),
        parts(32),
        (0..320).map(|i| 40 - i / 10).collect(),
    ];
    let too_much = [
        vec![one_in(1025, 1000, 4), vec![7, 6]],
        vec![one_in(3000, 40, 4)],
        vec![one_in(3000, 2990, 4)],
        vec![(0..33).map(|i| 100 - i).collect(), vec![5; 50]],
        vec![(0..3500).map(|i| i * 769 % 3500 * (top >> 12)).collect()],
    ];
    ([short, long], too_much)
}

/// Ids of these runs, and others, so that every bit varies.
fn with_ties(high_bits: u32, runs: &[Vec<u64>], len: usize) -> Vec<i64> {
    let highs = bits(3, runs.len()).map(|bits| bits >> (64 - high_bits));
    let mut ids = vec![0, -1, i64::MIN, i64::MAX];
    for (run, high) in runs.iter().zip(highs) {
        ids.extend(run.iter().map(|&rest| id_of(high_bits, high, rest)));
    }
    let missing = len - ids.len().min(len);
    ids.extend(bits(4, missing).map(|bits| bits as i64));
    ids
}

#[test]
fn ties_of_high_words() {
    let (some, too_much) = runs_of_ties(24);
    for runs in some.iter().chain(&too_much) {
        check(&[column(0, &with_ties(24, runs, MANY))], 1, 0, &[0]);
    }
    // The same ids in other tables, one after another and all at once.
    for runs in [&some[0], &too_much[3]] {
        let ids = with_ties(24, runs, MANY);
        let columns = [column(3, &ids[..2000]), column(0, &ids), column(3, &ids[1000..2500])];
        check(&columns, 4, 1, &[2, 0, 1]);
    }
    // Of so many positions that high words have 31 bits.
    let (some, too_much) = runs_of_ties(31);
    for runs in [some.concat(), too_much[4].clone()] {
        check_listed(&[column(0, &with_ties(31, &runs, 1 << 14))], 1, 0, &[0], 1.0);
    }
}

#[test]
fn ties_in_larger_tiles() {
    let len = 264 * 512 * 4 + 77;
    let mut ids = with_ties(31, &runs_of_ties(31).0.concat(), len);
    ids.rotate_left(len / 2);
    check_listed(&[column(0, &ids)], 1, 0, &[0], 1.0);
}

#[test]
fn high_words_that_hardly_vary() {
    // All tied: 64 bits of which only the lowest of the order, above bit 16, and the tables vary.
    let all: Vec<i64> = bits(1, MANY).map(|bits| (bits & 0xff_ffff) as i64 * 0x1_0000).collect();
    let ends = [0, -1];
    check_in_order(&[column(0, &all), column(0, &ends)], 1);
    check_in_order(&[column(9, &all), column(0, &ends), column(4095, &all[..700])], 4096);
    // Positions without an id among them.
    let some = Column { used: Some(MANY / 2), ..column(2, &all) };
    check_in_order(&[some, column(1, &all), column(1, &ends)], 3);
    // Hashed ids among small ones; and seven high words, an eighth of all ids the same one.
    let mixed: Vec<i64> =
        bits(2, MANY).map(|b| if b % 2 == 0 { b as i64 } else { (b >> 44) as i64 }).collect();
    check_in_order(&[column(0, &mixed)], 1);
    let skewed = bits(5, MANY).map(|bits| bits % 8 * (bits >> 8) % 4001);
    let skewed: Vec<i64> = skewed.map(|rest| id_of(24, rest % 7, rest)).collect();
    check_in_order(&[column(0, &skewed)], 1);
}
