//! Every codec, strings in full and in dictionaries, in blocks so small that runs cross them.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::io::OrcDatasetOptions;
use serde_json::{Value, json};

#[path = "../../examples/fake_data/orc_writer.rs"]
mod orc_writer;

use orc_writer::{Column, Compression, Options, Type, Writer};

use crate::reading::{self, BYTES, batches, plain};

#[test]
fn what_is_written_is_read() {
    let mut random = StdRng::seed_from_u64(1);
    let words: Vec<String> = (0..40).map(|i| "é".repeat(i % 7) + &i.to_string()).collect();
    for compression in
        [Compression::None, Compression::Zlib, Compression::Snappy, Compression::Zstd, Compression::Lz4]
    {
        for (dictionary, block_size) in [(false, 100), (true, 100), (false, 64 << 10), (true, 64 << 10)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let columns = [("f", Type::F64), ("i", Type::I64), ("s", Type::Str)];
            let options = Options { compression, dictionary, block_size };
            let mut writer = Writer::create(file.path(), &columns, options).unwrap();
            let mut expected: [Vec<Value>; 3] = Default::default();
            for rows in [1100, 1, 300] {
                let lengths: Vec<usize> = (0..rows).map(|_| random.random_range(0..9)).collect();
                let values = lengths.iter().sum();
                // Few wide values among narrow ones are patched, equal ones are a run.
                let ints: Vec<i64> = (0..values)
                    .map(|i| match random.random_range(0..100) {
                        0 => random.random(),
                        1..50 => random.random_range(0..200),
                        _ => i as i64 / 300,
                    })
                    .collect();
                let floats: Vec<f64> = (0..values).map(|_| random.random_range(-4..4) as f64 / 8.0).collect();
                let strings: Vec<&str> = (0..values).map(|_| &*words[random.random_range(0..40)]).collect();
                writer
                    .write_stripe(&[
                        Column::F64 { lengths: &lengths, values: &floats },
                        Column::I64 { lengths: &lengths, values: &ints },
                        Column::Str { lengths: &lengths, values: &strings },
                    ])
                    .unwrap();
                let mut first = 0;
                for length in lengths {
                    let row = first..first + length;
                    first += length;
                    expected[0].push(json!(floats[row.clone()]));
                    expected[1].push(json!(ints[row.clone()]));
                    expected[2].push(json!(strings[row]));
                }
            }
            writer.finish().unwrap();

            let options = OrcDatasetOptions { pack_threads_num: Some(2), ..plain(500) };
            let mut dataset = recis::io::OrcDataset::new(options).unwrap();
            dataset.add_path(file.path()).unwrap();
            dataset.varlen_feature("f", Default::default()).unwrap();
            dataset.varlen_feature("i", Default::default()).unwrap();
            dataset.varlen_feature("s", BYTES).unwrap();
            let batches = batches(&dataset).unwrap();
            for (name, expected) in ["f", "i", "s"].into_iter().zip(expected) {
                let found: Vec<_> = batches.iter().flat_map(|batch| reading::rows(batch, name)).collect();
                assert_eq!(
                    found, expected,
                    "{name}, {compression:?}, dictionary: {dictionary}, {block_size}"
                );
            }
        }
    }
}
