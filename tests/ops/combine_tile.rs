use recis::device::{Buffer, Stream};
use recis::ops::combine_tile::{Lookup, Place, backward, forward};

#[test]
fn rows_are_filled_cut_and_padded() {
    let stream = Stream::default();
    let embeddings = Buffer::from(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let (inverse, offsets) = (Buffer::from(vec![9, 0, 2, 1, 2]), Buffer::from(vec![0, 1, 1, 4]));
    let lookup =
        Lookup { embeddings: &embeddings, inverse: &inverse, first_id: 1, offsets: &offsets, dim: 2 };
    let place = Place { first_column: 1, stride: 5 };
    let mut out = Buffer::from(vec![-1.0; 15]);
    forward(&lookup, 2, &mut out, place, &stream).unwrap();
    let expected = [-1., 1., 2., 0., 0., -1., 0., 0., 0., 0., -1., 5., 6., 3., 4.];
    assert_eq!(out.host(), expected);

    let d_out = Buffer::from((0..15).map(|i| i as f32).collect::<Vec<_>>());
    let mut d_embeddings = Buffer::from(vec![100.0; 6]);
    backward(&lookup, 2, &d_out, place, &mut d_embeddings, &stream).unwrap();
    // The third id of the last row is cut off and gets nothing.
    assert_eq!(d_embeddings.host(), [101.0, 102.0, 113.0, 114.0, 111.0, 112.0]);
}

#[test]
fn threads_do_not_change_a_bit() {
    let (rows, len, unique, dim) = (200, 50, 30u32, 8);
    let embeddings = Buffer::from(vec![0.0; unique as usize * dim]);
    let inverse: Buffer<u32> =
        (0..rows * len).map(|i| (i as u32).wrapping_mul(2_654_435_761) % unique).collect::<Vec<_>>().into();
    let offsets: Buffer<i32> = (0..=rows).map(|row| (row * len) as i32).collect::<Vec<_>>().into();
    let d_out: Buffer<f32> = (0..rows * len * dim).map(|i| (i as f32).sin()).collect::<Vec<_>>().into();
    let lookup = Lookup { embeddings: &embeddings, inverse: &inverse, first_id: 0, offsets: &offsets, dim };
    let run = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let mut d_embeddings = Buffer::from(vec![0.0; embeddings.len()]);
            let place = Place { first_column: 0, stride: len * dim };
            backward(&lookup, len, &d_out, place, &mut d_embeddings, &Stream::default()).unwrap();
            d_embeddings
        })
    };
    assert!(run(1) == run(2) && run(1) == run(5));
}
