//! The ORC writer of the examples, read back by orc-rust, and what the generated files hold.
//! tests/reference/check_make_data.py has pyarrow read them.

#[path = "../examples/fake_data/mod.rs"]
mod fake_data;

use std::fs::{self, File};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int64Type};
use arrow_array::{Array, ListArray, RecordBatch};
use fake_data::orc_writer::{Column, Compression, Options, Type, Writer};
use fake_data::{FakeData, generate};
use orc_rust::ArrowReaderBuilder;

fn read(path: &Path) -> Vec<RecordBatch> {
    let reader = ArrowReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build();
    reader.map(Result::unwrap).collect()
}

fn rows<T>(batches: &[RecordBatch], column: usize, items: impl Fn(&dyn Array) -> Vec<T>) -> Vec<Vec<T>> {
    let lists = batches.iter().map(|b| b.column(column).as_list());
    lists.flat_map(|list: &ListArray| list.iter().map(|row| items(&row.unwrap()))).collect()
}

fn primitive<T: ArrowPrimitiveType>(row: &dyn Array) -> Vec<T::Native> {
    row.as_primitive::<T>().values().to_vec()
}

fn strings(row: &dyn Array) -> Vec<String> {
    row.as_string::<i32>().iter().map(|s| s.unwrap().to_owned()).collect()
}

/// Every encoding of integers: runs of one value of each length, even steps up and down, each
/// packed width, differences that overflow, and the lengths around a full run.
fn hard_integers() -> Vec<i64> {
    let mut values = vec![i64::MIN, i64::MAX, -1, 0, i64::MAX, i64::MIN];
    for n in (1..=12).chain([511, 512, 513, 1025]) {
        values.extend(std::iter::repeat_n(-n, n as usize));
        values.extend(std::iter::repeat_n(i64::MIN + n, n as usize));
        values.extend((0..n).map(|i| 7 * i - 3));
        values.extend((0..n).map(|i| i64::MAX - i));
    }
    for width in 0..64 {
        values.extend((0..5_i64).map(|i| (i * i % 3 - 1) << width));
    }
    for n in [1, 511, 512, 513] {
        values.extend((0..n).map(|i| i * i % 1009));
    }
    values
}

#[test]
fn what_is_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.orc");
    let i64s = hard_integers();
    let f64s = [0.0, -0.0, f64::INFINITY, f64::MIN_POSITIVE, 0.1];
    let strs = ["", "a", "täglich", "a", "", "b"];
    let ragged = |n: usize| [0, 1, n - 2, 0, 1]; // five rows, of which two are empty
    for compression in
        [Compression::None, Compression::Zlib, Compression::Snappy, Compression::Zstd, Compression::Lz4]
    {
        for (dictionary, block_size) in [(false, 64 << 10), (true, 100)] {
            let columns = [("f", Type::F64), ("i", Type::I64), ("s", Type::Str)];
            let options = Options { compression, dictionary, block_size };
            let mut writer = Writer::create(&path, &columns, options).unwrap();
            let stripe = [
                Column::F64 { lengths: &ragged(f64s.len()), values: &f64s },
                Column::I64 { lengths: &ragged(i64s.len()), values: &i64s },
                Column::Str { lengths: &ragged(strs.len()), values: &strs },
            ];
            let empty = [
                Column::F64 { lengths: &[0], values: &[] },
                Column::I64 { lengths: &[0], values: &[] },
                Column::Str { lengths: &[0], values: &[] },
            ];
            for stripe in [&stripe, &empty, &stripe] {
                writer.write_stripe(stripe).unwrap();
            }
            writer.finish().unwrap();

            let batches = read(&path);
            let case = format!("{compression:?} {dictionary}");
            assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [5, 1, 5], "{case}");
            let bits = rows(&batches, 0, primitive::<Float64Type>).concat();
            let bits: Vec<_> = bits.into_iter().map(f64::to_bits).collect();
            assert_eq!(bits, [f64s.map(f64::to_bits); 2].concat(), "{case}");
            assert_eq!(
                rows(&batches, 1, primitive::<Int64Type>).concat(),
                [&i64s[..], &i64s].concat(),
                "{case}"
            );
            assert_eq!(rows(&batches, 2, strings).concat(), [strs, strs].concat(), "{case}");
            let lengths: Vec<_> = rows(&batches, 2, strings).iter().map(Vec::len).collect();
            assert_eq!(lengths, [0, 1, 4, 0, 1, 0, 0, 1, 4, 0, 1], "{case}");
        }
    }
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.orc");
    let columns = [("x", Type::I64), ("y", Type::F64)];
    let mut writer = Writer::create(&path, &columns, Options::default()).unwrap();
    let x = || Column::I64 { lengths: &[1], values: &[1] };
    let mut refused = |columns: &[Column<'_>]| writer.write_stripe(columns).unwrap_err().to_string();
    assert_eq!(refused(&[x()]), "1 columns, 2 declared");
    assert_eq!(refused(&[x(), x()]), "column y: I64 items, declared as F64");
    assert_eq!(
        refused(&[x(), Column::F64 { lengths: &[], values: &[] }]),
        "column y: 0 rows, the first has 1"
    );
    assert_eq!(
        refused(&[x(), Column::F64 { lengths: &[2], values: &[1.0] }]),
        "column y: 1 values, not the sum of its lengths"
    );
    let options = Options { block_size: 1 << 23, ..Options::default() };
    let refused = Writer::create(&path, &columns, options).err().map(|e| e.to_string());
    assert_eq!(refused.as_deref(), Some("block size 8388608: use 1 to 8388607"));
}

fn small(directory: &Path) -> FakeData {
    FakeData { output: directory.into(), files: 2, rows: 50, max_len: 20, ..FakeData::default() }
}

#[test]
fn files_hold_what_the_document_says() {
    let directory = tempfile::tempdir().unwrap();
    let paths = generate(&FakeData { stripe_rows: Some(20), ..small(directory.path()) }).unwrap();
    let names: Vec<_> = paths.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["data_0.orc", "data_1.orc"]);
    assert!(
        fs::read(&paths[0]).unwrap() == fs::read(&paths[1]).unwrap(),
        "the document's files are the same"
    );

    let batches = read(&paths[0]);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [20, 20, 10]);
    let names: Vec<_> = batches[0].schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["label", "dense1", "dense2", "sparse1", "sparse2", "sparse3", "sparse4", "sparse5"]);
    let f64s = |column| rows(&batches, column, primitive::<Float64Type>);
    let i64s = |column| rows(&batches, column, primitive::<Int64Type>);
    assert!(f64s(0).iter().all(|row| row == &[0.0] || row == &[1.0]));
    assert!(f64s(1).iter().all(|row| row.len() == 8 && row.iter().all(|x| (0.0..1.0).contains(x))));
    assert!(f64s(2).iter().all(|row| row.len() == 1 && (0.0..1.0).contains(&row[0])));
    for column in 3..6 {
        assert_eq!(i64s(column), (0..50).map(|i| vec![i]).collect::<Vec<_>>());
    }
    assert!(i64s(6).iter().all(|row| (1..20).contains(&row.len())));
    assert!(i64s(6).concat().iter().all(|id| (0..1_000_000).contains(id)));
    assert!(rows(&batches, 7, strings).iter().all(|row| (1..20).contains(&row.len())));
    let plain = |s: &String| s.len() == 10 && s.bytes().all(|b| b.is_ascii_alphanumeric());
    assert!(rows(&batches, 7, strings).concat().iter().all(plain));
}

#[test]
fn a_seed_means_the_same_values_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let paths = generate(&small(directory.path())).unwrap();
    let batches = read(&paths[0]);
    assert_eq!(rows(&batches, 1, primitive::<Float64Type>)[49][7], 0.538_749_568_421_378);
    assert_eq!(rows(&batches, 6, primitive::<Int64Type>)[0][0], 641_075);
    assert_eq!(rows(&batches, 7, strings)[0][0], "ksTrf8EdVI");
}

#[test]
fn distinct_files_differ_and_can_be_made_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let distinct = || FakeData { distinct: true, ..small(directory.path()) };
    let both: Vec<_> = generate(&distinct()).unwrap().iter().map(|p| fs::read(p).unwrap()).collect();
    assert!(both[0] != both[1]);
    let path = generate(&FakeData { files: 1, first_file: 1, ..distinct() }).unwrap().remove(0);
    assert!(fs::read(path).unwrap() == both[1]);
}

/// Fits a linear rule to one file and finds that it holds in another.
#[test]
fn a_learnable_label_can_be_learned() {
    let directory = tempfile::tempdir().unwrap();
    let data = FakeData { learnable: true, rows: 1000, ..small(directory.path()) };
    let files = generate(&data).unwrap().into_iter().map(|path| {
        let batches = read(&path);
        let labels = rows(&batches, 0, primitive::<Float64Type>).concat();
        (rows(&batches, 1, primitive::<Float64Type>), labels)
    });
    let [(x, labels), (unseen, unseen_labels)] = files.collect::<Vec<_>>().try_into().unwrap();
    let difference = |j: usize| -> f64 { x.iter().zip(&labels).map(|(x, y)| (x[j] - 0.5) * (y - 0.5)).sum() };
    let weights: Vec<f64> = (0..8).map(difference).collect();
    let mut scored: Vec<(f64, f64)> = unseen
        .iter()
        .zip(unseen_labels)
        .map(|(x, y)| (x.iter().zip(&weights).map(|(x, w)| x * w).sum(), y))
        .collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));

    let (mut negatives, mut ordered_pairs) = (0.0, 0.0);
    for (_, label) in scored {
        negatives += 1.0 - label;
        ordered_pairs += label * negatives;
    }
    let auc = ordered_pairs / (negatives * (1000.0 - negatives));
    assert!(auc > 0.95, "AUC {auc}");
}

#[test]
fn numbers_that_mean_nothing_and_places_that_cannot_be_written_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |data| generate(&data).unwrap_err().to_string();
    let small = || small(directory.path());
    assert_eq!(refused(FakeData { rows: 0, ..small() }), "--rows: 0 is too small: give at least 1");
    assert_eq!(refused(FakeData { files: 0, ..small() }), "--files: 0 is too small: give at least 1");
    assert_eq!(refused(FakeData { max_len: 1, ..small() }), "--max-len: 1 is too small: give at least 2");
    let stripe_rows = Some(0);
    assert_eq!(
        refused(FakeData { stripe_rows, ..small() }),
        "--stripe-rows: 0 is too small: give at least 1"
    );
    let output = directory.path().join("file");
    fs::write(&output, "").unwrap();
    let refused = refused(FakeData { output: output.clone(), ..small() });
    assert!(refused.starts_with(&output.display().to_string()), "{refused}");
}
