//! Files that say something about themselves that is not so. Each is an error that says what.

use orc_rust::proto::column_encoding::Kind as EncodingKind;
use orc_rust::proto::stream::Kind as StreamKind;
use orc_rust::proto::r#type::Kind as TypeKind;
use recis::io::{OrcDataset, Varlen};
use serde_json::json;

use crate::memory;
use crate::reading::{BYTES, batches, plain};
use crate::write::{Orc, byte_runs, int_runs};

/// A table of three rows of ids and of strings.
fn table() -> Orc {
    let strings = json!([["a"], ["b", "c"], ["d", "e", "f"]]);
    Orc::new(&[("id", "list<bigint>", json!([[1], [2], [3]])), ("s", "list<string>", strings)])
}

fn refusal(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.orc");
    std::fs::write(&file, bytes).unwrap();
    let mut dataset = OrcDataset::new(plain(10)).unwrap();
    dataset.add_path(&file).unwrap();
    dataset.varlen_feature("id", Varlen::default()).unwrap().varlen_feature("s", BYTES).unwrap();
    memory::reset_peak();
    let refusal = batches(&dataset).unwrap_err().to_string();
    assert!(memory::peak() < 1 << 30, "{refusal}: {} bytes", memory::peak());
    refusal.replace(&format!("{}: ", file.display()), "").replace(&format!("{}", file.display()), "t.orc")
}

fn assert_damaged(table: &Orc, what: &str) {
    assert_eq!(refusal(&table.bytes()), format!("damaged ORC file: {what}"));
}

#[test]
fn what_is_no_orc_file() {
    for bytes in [&b""[..], b"ORC", b"PAR1, a file of another kind"] {
        assert_eq!(refusal(bytes), "not an ORC file");
    }
    let whole = table().bytes();
    assert_eq!(
        refusal(&whole[..whole.len() - 1]),
        "damaged ORC file: it does not end as an ORC file does; has it been written completely?"
    );
}

#[test]
fn postscripts() {
    let assert = |tamper, what: &str| assert_damaged(&Orc { tamper_postscript: tamper, ..table() }, what);
    assert(|p| p.compression = Some(9), "unknown compression 9");
    assert(|p| p.compression = Some(3), "compressed with LZO; write it with zlib, snappy, lz4 or zstd");
    let too_large = |p: &mut orc_rust::proto::PostScript| {
        (p.compression, p.compression_block_size) = (Some(4), Some(1 << 60));
    };
    assert(too_large, "a compression block size of 1152921504606846976; at most 8388608 is possible");
    let table = Orc { tamper_postscript: |p| p.footer_length = Some(u64::MAX), ..table() };
    let text = refusal(&table.bytes());
    assert!(
        text.starts_with("damaged ORC file: the footer has 18446744073709551615 bytes, before it are "),
        "{text}"
    );
}

#[test]
fn footers() {
    let assert = |tamper, what: &str| assert_damaged(&Orc { tamper_footer: tamper, ..table() }, what);
    assert(|f| f.types[2].subtypes.push(1), "type 2 is not one of ORC's");
    assert(|f| f.types[1].subtypes[0] = 1, "type 1 contains type 1, so the types form no tree");
    assert(|f| f.types[1].subtypes[0] = 0, "type 1 contains type 0, so the types form no tree");
    assert(|f| f.types[3].subtypes[0] = 2, "type 3 contains type 2, so the types form no tree");
    assert(|f| f.types[3].subtypes[0] = 99, "type 3 contains type 99, so the types form no tree");
    assert(|f| f.types[0].kind = Some(TypeKind::List as i32), "the root of the schema is not a struct");
    assert(|f| f.types.clear(), "no schema");
    assert(|f| f.types[0].field_names.truncate(1), "type 0 is not one of ORC's");
    assert(|f| f.types.push(f.types[2].clone()), "type 5 belongs to no column");
    let deep = |f: &mut orc_rust::proto::Footer| {
        let mut list = f.types[1].clone();
        for child in 5..100_000 {
            list.subtypes[0] = child + 1;
            f.types.push(list.clone());
        }
        f.types.push(f.types[2].clone());
        f.types[3].subtypes[0] = 5;
        f.types.remove(4);
        f.types[3].subtypes[0] = 4;
        f.types[4..].iter_mut().for_each(|ty| ty.subtypes.iter_mut().for_each(|child| *child -= 1));
    };
    assert(deep, "types nested more than 32 deep");
    assert(|f| f.number_of_rows = Some(4), "the stripes have 3 rows, the file has 4");
    assert(|f| f.stripes[0].data_length = Some(1 << 40), "stripe 0 ends after the stripes do");
    assert(|f| f.stripes[0].offset = Some(u64::MAX), "stripe 0 ends after the stripes do");
    let rows = |f: &mut orc_rust::proto::Footer| {
        (f.stripes[0].number_of_rows, f.number_of_rows) = (Some(1 << 60), Some(1 << 60));
    };
    assert(rows, "stripe 0 claims 1152921504606846976 rows; 2147483647 is the limit");
    let encrypted = Orc { tamper_footer: |f| f.encryption = Some(Default::default()), ..table() };
    assert_eq!(refusal(&encrypted.bytes()), "encrypted, cannot be read");
}

#[test]
fn stripe_footers() {
    let assert = |tamper, what: &str| {
        let text = refusal(&Orc { tamper_stripe: tamper, ..table() }.bytes());
        assert_eq!(text, format!("t.orc, column 'id': damaged ORC file: stripe 0: {what}"));
    };
    assert(|s| s.columns.truncate(4), "4 encodings for 5 types");
    assert(|s| s.streams[0].length = Some(u64::MAX), "its streams are longer than it is");
    assert(|s| s.streams[0].length = Some(1 << 50), "its streams are longer than it is");
    assert(|s| s.streams[1] = s.streams[0].clone(), "type 1 has two streams of one kind");
    let unknown = |s: &mut orc_rust::proto::StripeFooter| s.streams[1].kind = Some(99);
    assert(unknown, "type 1 (list<bigint>): its lengths add up to 3, but 0 elements are stored");
}

#[test]
fn streams() {
    let assert = |tamper, column: &str, what: &str| {
        let text = refusal(&Orc { tamper_streams: tamper, ..table() }.bytes());
        assert_eq!(text, format!("t.orc, column '{column}': damaged ORC file: stripe 0: {what}"));
    };
    // The streams are: lengths and ids; lengths of rows, lengths of strings, bytes.
    assert(
        |s| s[0].2 = int_runs([1, 1, 1 << 62].into_iter()),
        "id",
        "type 1 (list<bigint>): its lengths add up to 4611686018427387906, but 3 elements are stored",
    );
    assert(
        |s| s[0].2 = int_runs([1, 1, u64::MAX].into_iter()),
        "id",
        "type 1 (list<bigint>): its lengths add up to 18446744073709551617, but 3 elements are stored",
    );
    assert(|s| s[0].2 = int_runs([1, 1].into_iter()), "id", "3 rows, but only 2 are stored");
    assert(|s| s[0].2 = vec![0x4e], "id", "type 1 (list<bigint>): a run is cut off");
    assert(|s| s[0].2 = vec![0xc0, 0x02, 0x01, 0x03], "id", "type 1 (list<bigint>): a negative length");
    assert(|s| s[1].2 = vec![0x4f], "id", "type 2 (bigint): a run is cut off");
    assert(
        |s| s[3].2 = int_runs([1, 1, 1, 1, 1, 2_000_000_000].into_iter()),
        "s",
        "type 4 (string): its lengths add up to 2000000005, but 6 bytes are stored",
    );
    assert(|s| s.push((1, StreamKind::Present, byte_runs(&[]))), "id", "3 rows, but only 0 are stored");
    assert(|s| s.push((2, StreamKind::Present, vec![0xff])), "id", "type 2 (bigint): a run is cut off");
}

#[test]
fn dictionaries() {
    let mut table = table();
    table.tamper_stripe = |stripe| {
        stripe.columns[4].kind = Some(EncodingKind::DictionaryV2 as i32);
        stripe.columns[4].dictionary_size = Some(u32::MAX);
    };
    table.tamper_streams = |streams| streams[4].1 = StreamKind::DictionaryData;
    let place = "t.orc, column 's': damaged ORC file: stripe 0: ";
    let size = "type 4 (string): a dictionary of 4294967295, but 6 are stored";
    assert_eq!(refusal(&table.bytes()), format!("{place}{size}"));

    table.tamper_stripe = |stripe| {
        stripe.columns[4].kind = Some(EncodingKind::DictionaryV2 as i32);
        stripe.columns[4].dictionary_size = Some(6);
    };
    table.tamper_streams = |streams| {
        streams[4].1 = StreamKind::DictionaryData;
        streams.push((4, StreamKind::Data, int_runs([0, 1, 2, 3, 4, 6].into_iter())));
    };
    let text = refusal(&table.bytes());
    assert!(text.starts_with(place) && text.contains("Invalid dictionary key 6"), "{text}");
}

/// A run of ids in which every value is patched, the last patch lying beyond the run: orc-rust
/// looks for a patch after the last.
#[test]
fn a_panic_in_orc_rust_is_an_error() {
    let mut table = table();
    table.tamper_streams = |streams| {
        // Three values of 8 bits, base 0, one patch of 8 bits with gap 255 and value 0.
        streams[1].2 = vec![0x8e, 0x02, 0x07, 0xe1, 0x00, 1, 2, 3, 0xff, 0x00];
    };
    let text = refusal(&table.bytes());
    let gave_up = "t.orc, column 'id': damaged ORC file: stripe 0: orc-rust gave up: index out of bounds";
    assert!(text.starts_with(gave_up), "{text}");
}
