//! How many values a run-length encoded stream holds, and what unsigned ones sum to.
//!
//! A list's lengths say how much memory its elements will take, so they are summed and compared
//! with what is stored *before* anything is decoded. Runs of data are only counted, which reads
//! their headers and jumps over the rest.

/// What a stream of integers holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of values.
    pub count: u64,
    /// Their sum; 0 where only the count was asked for.
    pub sum: u128,
}

/// The two generations of ORC's integer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

const CUT: &str = "a run is cut off";
const NEGATIVE: &str = "a negative length";
/// Bits of a packed value, by the 5-bit code in a run's header.
const WIDTHS: [u32; 32] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 28, 30, 32,
    40, 48, 56, 64,
];

/// Counts the values of a stream of integers, signed or not.
pub fn count(stream: &[u8], version: Version) -> Result<u64, &'static str> {
    Ok(totals(stream, version, false)?.count)
}

/// Counts and sums a stream of lengths.
pub fn lengths(stream: &[u8], version: Version) -> Result<Totals, &'static str> {
    totals(stream, version, true)
}

/// Counts the values of a stream of bytes.
pub fn count_bytes(stream: &[u8]) -> Result<u64, &'static str> {
    let mut cursor = Cursor(stream);
    let mut count = 0;
    while let Some(header) = cursor.next() {
        let (values, stored) = match header as i8 {
            0.. => (header as u64 + 3, 1),
            literals => (literals.unsigned_abs() as u64, literals.unsigned_abs() as usize),
        };
        cursor.take(stored)?;
        count += values;
    }
    Ok(count)
}

fn totals(stream: &[u8], version: Version, sum: bool) -> Result<Totals, &'static str> {
    let mut cursor = Cursor(stream);
    let mut totals = Totals::default();
    while let Some(header) = cursor.next() {
        let run = match (version, header >> 6) {
            (Version::V1, _) => v1(&mut cursor, header, sum),
            (Version::V2, 0) => short_repeat(&mut cursor, header),
            (Version::V2, 1) => direct(&mut cursor, header, sum),
            (Version::V2, 2) => patched_base(&mut cursor, header, sum),
            (Version::V2, _) => delta(&mut cursor, header, sum),
        }?;
        totals.count += run.count;
        totals.sum = totals.sum.saturating_add(run.sum);
    }
    Ok(totals)
}

fn v1(cursor: &mut Cursor<'_>, header: u8, sum: bool) -> Result<Totals, &'static str> {
    if header < 128 {
        let count = header as u64 + 3;
        let step = cursor.byte()? as i8;
        let base = cursor.varint()?;
        return if sum { arithmetic(base, step.into(), count) } else { Ok(Totals { count, sum: 0 }) };
    }
    let count = (header as i8).unsigned_abs() as u64;
    let mut sum = 0;
    for _ in 0..count {
        sum += cursor.varint()? as u128;
    }
    Ok(Totals { count, sum })
}

fn short_repeat(cursor: &mut Cursor<'_>, header: u8) -> Result<Totals, &'static str> {
    let count = (header & 7) as u64 + 3;
    let value = cursor.big_endian((header as usize >> 3 & 7) + 1)?;
    Ok(Totals { count, sum: value as u128 * count as u128 })
}

fn direct(cursor: &mut Cursor<'_>, header: u8, sum: bool) -> Result<Totals, &'static str> {
    let (bits, count) = cursor.width_and_count(header)?;
    let packed = cursor.packed(bits, count)?;
    Ok(Totals { count, sum: if sum { unpack(packed, bits, count).map(u128::from).sum() } else { 0 } })
}

fn patched_base(cursor: &mut Cursor<'_>, header: u8, sum: bool) -> Result<Totals, &'static str> {
    let (bits, count) = cursor.width_and_count(header)?;
    let (third, fourth) = (cursor.byte()?, cursor.byte()?);
    let patch_bits = WIDTHS[third as usize & 31];
    let gap_bits = (fourth as u32 >> 5) + 1;
    let patches = fourth as u64 & 31;
    if patch_bits + gap_bits > 64 || patch_bits + bits > 64 || patches == 0 {
        return Err("a patched run whose widths do not fit together");
    }
    let base_bytes = (third as usize >> 5) + 1;
    let base = cursor.big_endian(base_bytes)?;
    let packed = cursor.packed(bits, count)?;
    let patch_width = WIDTHS.into_iter().find(|&width| width >= patch_bits + gap_bits).unwrap_or(64);
    let patch_list = cursor.packed(patch_width, patches)?;
    if !sum {
        return Ok(Totals { count, sum: 0 });
    }
    // The base's highest bit is its sign.
    if base >> (8 * base_bytes - 1) == 1 {
        return Err(NEGATIVE);
    }
    // A patch supplies the bits above those that are packed, so it adds to its value.
    let mask = u64::MAX >> (64 - patch_bits);
    let patched = unpack(patch_list, patch_width, patches).map(|patch| u128::from(patch & mask) << bits);
    let stored = unpack(packed, bits, count).map(u128::from);
    Ok(Totals { count, sum: base as u128 * count as u128 + stored.chain(patched).sum::<u128>() })
}

fn delta(cursor: &mut Cursor<'_>, header: u8, sum: bool) -> Result<Totals, &'static str> {
    let (bits, count) = cursor.width_and_count(header)?;
    let base = cursor.varint()?;
    let step = unzigzag(cursor.varint()?);
    // Here, the code 0 stands for a constant step instead of a width of 1.
    if header & 0x3e == 0 {
        return if sum { arithmetic(base, step, count) } else { Ok(Totals { count, sum: 0 }) };
    }
    if count < 2 {
        return Err("a delta run of fewer than two values");
    }
    let packed = cursor.packed(bits, count - 2)?;
    if !sum {
        return Ok(Totals { count, sum: 0 });
    }
    let sign = if step > 0 { 1 } else { -1 };
    let mut value = i128::from(base) + i128::from(step);
    let mut total = i128::from(base) + value;
    for by in unpack(packed, bits, count - 2) {
        value += sign * i128::from(by);
        total += value;
    }
    // The values go one way, so none is negative unless the last is.
    if value < 0 { Err(NEGATIVE) } else { Ok(Totals { count, sum: total as u128 }) }
}

/// `count` values from `base` on, each `step` more than the one before.
fn arithmetic(base: u64, step: i64, count: u64) -> Result<Totals, &'static str> {
    let (base, step, n) = (i128::from(base), i128::from(step), i128::from(count));
    if base + step * (n - 1) < 0 {
        return Err(NEGATIVE);
    }
    Ok(Totals { count, sum: (n * base + step * (n * (n - 1) / 2)) as u128 })
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// `count` values of `bits` bits each, the highest bit first.
fn unpack(packed: &[u8], bits: u32, count: u64) -> impl Iterator<Item = u64> {
    let mask = u64::MAX >> (64 - bits);
    let (mut window, mut held) = (0u128, 0);
    let mut bytes = packed.iter();
    (0..count).map(move |_| {
        while held < bits {
            window = window << 8 | u128::from(*bytes.next().unwrap_or(&0));
            held += 8;
        }
        held -= bits;
        (window >> held) as u64 & mask
    })
}

/// The bytes not yet read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.next().ok_or(CUT)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn big_endian(&mut self, bytes: usize) -> Result<u64, &'static str> {
        Ok(self.take(bytes)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127).checked_shl(shift).unwrap_or(0);
            if byte < 128 {
                return Ok(value);
            }
        }
        Err("an integer of more than 64 bits")
    }

    /// What the first two bytes of every run but a short repeat say.
    fn width_and_count(&mut self, header: u8) -> Result<(u32, u64), &'static str> {
        let count = (u64::from(header & 1) << 8 | u64::from(self.byte()?)) + 1;
        Ok((WIDTHS[header as usize >> 1 & 31], count))
    }

    fn packed(&mut self, bits: u32, count: u64) -> Result<&'a [u8], &'static str> {
        self.take((u64::from(bits) * count).div_ceil(8) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the ORC specification.
    #[test]
    fn runs_are_counted_and_summed() {
        let patched: &[u8] = &[
            0x8e, 0x13, 0x2b, 0x21, 0x07, 0xd0, 0x1e, 0x00, 0x14, 0x70, 0x28, 0x32, 0x3c, 0x46, 0x50, 0x5a,
            0x64, 0x6e, 0x78, 0x82, 0x8c, 0x96, 0xa0, 0xaa, 0xb4, 0xbe, 0xfc, 0xe8,
        ];
        let patched_sum = 2030 + 2000 + 2020 + 1_000_000 + (2040..=2190).step_by(10).sum::<u128>();
        for (version, stream, count, sum) in [
            (Version::V1, &[0x61, 0x00, 0x07][..], 100, 700),
            (Version::V1, &[0x61, 0xff, 0x64], 100, (1..=100).sum()),
            (Version::V1, &[0xfb, 0x02, 0x03, 0x06, 0x07, 0x0b], 5, 2 + 3 + 6 + 7 + 11),
            (Version::V2, &[0x0a, 0x27, 0x10], 5, 50_000),
            (
                Version::V2,
                &[0x5e, 0x03, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef],
                4,
                23713 + 43806 + 57005 + 48879,
            ),
            (Version::V2, patched, 20, patched_sum),
            (
                Version::V2,
                &[0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46],
                10,
                2 + 3 + 5 + 7 + 11 + 13 + 17 + 19 + 23 + 29,
            ),
            // A constant step: 5, 3, 1.
            (Version::V2, &[0xc0, 0x02, 0x05, 0x03], 3, 9),
        ] {
            let both = [stream, stream].concat();
            let expected = Totals { count: 2 * count, sum: 2 * sum };
            assert_eq!(lengths(&both, version), Ok(expected), "{stream:x?}");
            assert_eq!(super::count(&both, version), Ok(2 * count), "{stream:x?}");
            for cut in 1..stream.len() {
                assert!(lengths(&stream[..cut], version) != lengths(stream, version), "{stream:x?} to {cut}");
            }
        }
        assert_eq!(count_bytes(&[0x61, 0x00, 0xfe, 0x44, 0x45]), Ok(102));
        assert_eq!(count_bytes(&[0xfe, 0x44]), Err(CUT));
    }

    #[test]
    fn negative_lengths_are_refused() {
        // One that falls below zero step by step, one by its deltas, one by its base, one as V1.
        for stream in [
            &[0xc0, 0x03, 0x05, 0x03][..],
            &[0xc6, 0x03, 0x05, 0x01, 0x90],
            &[0x8e, 0x00, 0x20, 0x01, 0x80, 0x00, 0x00, 0x00, 0x00],
        ] {
            assert_eq!(lengths(stream, Version::V2), Err(NEGATIVE), "{stream:x?}");
        }
        assert_eq!(lengths(&[0x00, 0xff, 0x01], Version::V1), Err(NEGATIVE));
    }
}
