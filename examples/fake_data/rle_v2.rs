//! ORC's run-length encoding of integers, version 2.

/// The most values that a run holds.
const MAX_RUN: usize = 512;

/// Integers in run-length encoding, version 2: a value repeated 3 to 10 times as SHORT_REPEAT, an
/// arithmetic sequence as DELTA, anything else as DIRECT.
pub fn encode(mut values: &[i64], signed: bool) -> Vec<u8> {
    let mut out = vec![];
    let bits_of = |v: i64| if signed { zigzag(v) } else { v as u64 };
    while let Some(&first) = values.first() {
        let run = match even_run(values) {
            Some((run @ 3..=10, 0)) => {
                let value = bits_of(first).to_be_bytes();
                let skip = value.iter().take_while(|&&b| b == 0).count().min(7);
                out.push(((7 - skip) << 3 | (run - 3)) as u8);
                out.extend(&value[skip..]);
                run
            }
            Some((run, delta)) => {
                out.extend(run_header(0b11, 0, run));
                varint(bits_of(first), &mut out);
                varint(zigzag(delta), &mut out);
                run
            }
            None => {
                let most = values.len().min(MAX_RUN);
                let run = (1..most).find(|&i| even_run(&values[i..]).is_some()).unwrap_or(most);
                let direct: Vec<u64> = values[..run].iter().map(|&v| bits_of(v)).collect();
                let (width, code) = packed_width(&direct);
                out.extend(run_header(0b01, code, run));
                pack(&direct, width, &mut out);
                run
            }
        };
        values = &values[run..];
    }
    out
}

/// How many values from the start on have one difference, and that difference, if they are enough
/// to be stored as such.
fn even_run(values: &[i64]) -> Option<(usize, i64)> {
    let delta = values.get(1)?.checked_sub(values[0])?;
    let even = |pair: &&[i64]| pair[1].checked_sub(pair[0]) == Some(delta);
    let run = 1 + values.windows(2).take(MAX_RUN - 1).take_while(even).count();
    (run >= if delta == 0 { 3 } else { 8 }).then_some((run, delta))
}

fn run_header(encoding: usize, width_code: usize, run: usize) -> [u8; 2] {
    let header = encoding << 14 | width_code << 9 | (run - 1);
    (header as u16).to_be_bytes()
}

/// Bits a value, and their code. Of the widths that hold the largest value, the one that readers
/// unpack fastest (ORC's own writers choose the same).
fn packed_width(values: &[u64]) -> (u32, usize) {
    const WIDTHS: [(u32, usize); 11] = [
        (1, 0),
        (2, 1),
        (4, 3),
        (8, 7),
        (16, 15),
        (24, 23),
        (32, 27),
        (40, 28),
        (48, 29),
        (56, 30),
        (64, 31),
    ];
    let needed = values.iter().map(|v| u64::BITS - v.leading_zeros()).max().unwrap_or(0);
    WIDTHS[WIDTHS.partition_point(|&(width, _)| width < needed)]
}

/// Appends the lowest `width` bits of every value, most significant bit first.
fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    let (mut pending, mut bits) = (0_u128, 0);
    for &value in values {
        pending = pending << width | u128::from(value);
        bits += width;
        while bits >= 8 {
            bits -= 8;
            out.push((pending >> bits) as u8);
        }
    }
    if bits > 0 {
        out.push((pending << (8 - bits)) as u8);
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
