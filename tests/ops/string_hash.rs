use rand::Rng;
use recis::device::Stream;
use recis::ops::string_hash::{Column, HashType, farm, forward, murmur};

use crate::common::{each, on, read, rng};

fn bytes(len: usize) -> Vec<u8> {
    let mut rng = rng(len as u64);
    (0..len).map(|_| rng.random()).collect()
}

#[test]
fn farm_is_the_crates_where_the_crate_is_right() {
    for len in (0..1400).chain([2048, 4095, 4096, 4097]) {
        let s = bytes(len);
        // farmhash 1.1.5 takes one chunk too many when nothing is left behind the last.
        let crate_is_wrong = len >= 128 && len % 64 == 0;
        assert_eq!(farm(&s) == farmhash::fingerprint64(&s), !crate_is_wrong, "length {len}");
    }
}

/// Lengths that the `farmhash` crate gets wrong, from the vectors: Google's own fingerprints.
#[test]
fn farm_is_googles_where_the_crate_is_wrong() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors/farmhash.json");
    let vectors: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let hex = case["bytes_hex"].as_str().unwrap();
        let s: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let expected: u64 = case["google_fingerprint64_u64"].as_str().unwrap().parse().unwrap();
        assert_eq!(farm(&s), expected, "length {}", s.len());
        wrong += usize::from(farmhash::fingerprint64(&s) != expected);
    }
    assert!(wrong > 0, "no vector has a length that the crate gets wrong");
}

#[test]
fn empty_strings_have_their_constants() {
    assert_eq!((farm(b""), murmur(b"")), (0x9ae1_6a3b_2f90_404f, 0));
}

#[test]
fn columns_are_hashed_string_by_string() {
    each(|stream| {
        let text: Vec<i8> = b"abcde-0123456789".iter().map(|&b| b as i8).collect();
        let (text, offsets) = (on(text, stream), on([0, 0, 5, 6, 16], stream));
        let mut hashes = [HashType::Farm, HashType::Murmur].map(|t| (t, on([0i64; 4], stream)));
        let mut columns: Vec<_> = (hashes.iter_mut())
            .map(|(hash_type, out)| Column {
                bytes: &text,
                offsets: &offsets,
                hash_type: *hash_type,
                modulus: None,
                out,
            })
            .collect();
        forward(&mut columns, stream).unwrap();
        for (hash_type, out) in &hashes {
            let expected = ["", "abcde", "-", "0123456789"].map(|s| hash_type.hash(s.as_bytes()) as i64);
            assert_eq!(read(out, stream), expected);
        }
    });
}

#[test]
fn every_length_has_the_same_hash_on_every_device() {
    each(|stream| {
        let lens = (0..300).chain([511, 512, 513, 1400, 4096]);
        let (mut text, mut offsets, mut strings) = (Vec::new(), vec![0], Vec::new());
        for len in lens {
            strings.push(bytes(len));
            text.extend(strings[strings.len() - 1].iter().map(|&b| b as i8));
            offsets.push(text.len() as i32);
        }
        let (text, offsets) = (on(text, stream), on(offsets, stream));
        for hash_type in [HashType::Farm, HashType::Murmur] {
            let mut out = on(vec![0; strings.len()], stream);
            forward(
                &mut [Column { bytes: &text, offsets: &offsets, hash_type, modulus: None, out: &mut out }],
                stream,
            )
            .unwrap();
            let expected: Vec<_> = strings.iter().map(|s| hash_type.hash(s) as i64).collect();
            assert_eq!(read(&out, stream), expected);
        }
    });
}

#[test]
fn no_strings_are_fine_and_offsets_that_do_not_fit_are_refused() {
    each(|stream| {
        let (text, none, mut out) = (on([], stream), on([0], stream), on([], stream));
        let column =
            |offsets, out| Column { bytes: &text, offsets, hash_type: HashType::Farm, modulus: None, out };
        forward(&mut [column(&none, &mut out)], stream).unwrap();
        let mut out = on([0; 2], stream);
        let error = forward(&mut [column(&none, &mut out)], stream).unwrap_err().to_string();
        assert_eq!(error, "string_hash: 1 offsets for 2 strings");
    });
    let stream = &Stream::default();
    let (text, outside, mut out) = (on([0; 16], stream), on([0, 17], stream), on([0], stream));
    let column =
        Column { bytes: &text, offsets: &outside, hash_type: HashType::Farm, modulus: None, out: &mut out };
    let error = forward(&mut [column], stream).unwrap_err().to_string();
    assert_eq!(error, "string_hash: offsets end at 17, but there are 16 values");
}
