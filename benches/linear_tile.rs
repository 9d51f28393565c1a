//! The first layer of the document's model: 1024 rows, two tiled features of 1000 × 16, 128 outputs.

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng, rngs::StdRng};
use recis::device::{Buffer, Stream};
use recis::ops::linear_tile::{Dense, Lookup, Size, Tile, backward_tile, backward_weight, forward};

const ROWS: usize = 1024;
const DIM: usize = 16;
const TILE_LEN: usize = 1000;
const SIZE: Size = Size { rows: ROWS, inputs: 64 + 2 * TILE_LEN * DIM, outputs: 128 };

fn linear_tile(c: &mut Criterion) {
    let stream = Stream::default();
    let mut rng = StdRng::seed_from_u64(1);
    let mut floats = |n: usize| Buffer::from((0..n).map(|_| rng.random::<f32>() - 0.5).collect::<Vec<_>>());
    let embeddings = floats(11_000 * DIM);
    let x = floats(ROWS * 64);
    let weight = floats(SIZE.outputs * SIZE.inputs);
    let bias = floats(SIZE.outputs);
    let d_y = floats(ROWS * SIZE.outputs);
    let mut ids = Vec::new();
    let mut offsets = [vec![0], vec![0]];
    for (offsets, table) in offsets.iter_mut().zip([0..10_000, 10_000..11_000]) {
        let mut count = 0;
        for _ in 0..ROWS {
            let len = rng.random_range(1..2000).min(TILE_LEN);
            ids.extend((0..len).map(|_| rng.random_range(table.clone())));
            count += len as i32;
            offsets.push(count);
        }
    }
    let first_id = [0, offsets[0][ROWS] as usize];
    let inverse = Buffer::from(ids);
    let offsets = offsets.map(Buffer::from);
    let tiles = [0, 1].map(|i| Tile {
        lookup: Lookup {
            embeddings: &embeddings,
            inverse: &inverse,
            first_id: first_id[i],
            offsets: &offsets[i],
            dim: DIM,
        },
        tile_len: TILE_LEN,
        first_column: 64 + i * TILE_LEN * DIM,
    });
    let dense = [Dense { x: &x, width: 64, first_column: 0 }];
    let mut y = Buffer::from(vec![0.0f32; ROWS * SIZE.outputs]);
    let mut d_weight = Buffer::from(vec![0.0f32; SIZE.outputs * SIZE.inputs]);
    let mut d_bias = Buffer::from(vec![0.0f32; SIZE.outputs]);
    let mut d_embeddings = Buffer::from(vec![0.0f32; embeddings.len()]);

    let mut group = c.benchmark_group("linear_tile");
    // Two operations for every weight that meets a value that is not padding.
    let valid = (inverse.len() * DIM * SIZE.outputs) as u64 * 2;
    group.throughput(criterion::Throughput::Elements(valid)).sample_size(10);
    group.bench_function("forward/1024x2x1000x16/cpu", |b| {
        b.iter(|| forward(&dense, &tiles, &weight, &bias, &mut y, SIZE, &stream).unwrap());
    });
    group.bench_function("backward_weight/1024x2x1000x16/cpu", |b| {
        b.iter(|| {
            backward_weight(&dense, &tiles, &d_y, &mut d_weight, &mut d_bias, SIZE, false, &stream).unwrap();
        });
    });
    group.bench_function("backward_tile/1024x2x1000x16/cpu", |b| {
        b.iter(|| {
            for tile in &tiles {
                backward_tile(tile, &d_y, &weight, &mut d_embeddings, SIZE, &stream).unwrap();
            }
        });
    });
    group.finish();
}

criterion_group!(benches, linear_tile);
criterion_main!(benches);
