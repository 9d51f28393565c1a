use recis::ffi::simt::{
    recis_combine_tile_backward, recis_combine_tile_backward_workspace_size, recis_combine_tile_forward,
};
use recis::ops::combine::Place;
use recis::ops::cpu;

use crate::combine::{Batch, Reference, Spec, batches, large_batch};
use crate::common::*;

/// Combines the first feature, and its gradients, and compares.
pub fn run(batch: &Batch, dim: usize, tile_len: usize, place: Place) {
    let feature = &batch.features[0];
    let segments = feature.offsets.len() - 1;
    let what = format!("dim {dim}, {segments} segments, {} ids, tile_len {tile_len}", feature.places.len());
    let values = tame_floats(1, batch.unique * dim);
    let (host, embeddings) = (batch.host(0, dim, &values), Guarded::new(&values));
    let lookup = batch.lookup(0, dim, &embeddings);
    let Place { first_column, stride } = place;
    let (len, column, columns) = (tile_len as i64, first_column as i64, stride as i64);

    let mut expected = vec![7.0f32; segments * stride];
    let out = Guarded::new(&expected);
    cpu::combine_tile::forward(&host, tile_len, &mut expected, place);
    ok(unsafe { recis_combine_tile_forward(&lookup, len, out.ptr(), column, columns, STREAM) });
    assert_same(&out.to_vec(), &expected, &what);

    let gradients = tame_floats(5, segments * stride);
    let start = tame_floats(6, batch.unique * dim);
    let mut plain = start.clone();
    if tile_len > 0 {
        cpu::combine_tile::backward(&host, tile_len, &gradients, place, &mut plain);
    }
    let mut reference = Reference::new(&start);
    for segment in 0..segments {
        for (k, &id) in host.segment(segment).iter().take(tile_len).enumerate() {
            let at = segment * stride + first_column + k * dim;
            reference.add(id as usize, &gradients[at..at + dim], 1.0);
        }
    }
    let (d_out, occurrences) = (Guarded::new(&gradients), batch.occurrences(0));
    let mut bytes = 0;
    ok(unsafe { recis_combine_tile_backward_workspace_size(&lookup, &occurrences, &mut bytes) });
    let mut before = None;
    for _ in 0..2 {
        let (workspace, d_embeddings) = (Guarded::new(&vec![0xa5u8; bytes]), Guarded::new(&start));
        let (d, workspace) = (d_embeddings.ptr(), workspace.ptr().cast());
        ok(unsafe {
            let d_out = d_out.ptr();
            recis_combine_tile_backward(
                &lookup,
                &occurrences,
                len,
                d_out,
                column,
                columns,
                d,
                workspace,
                bytes,
                STREAM,
            )
        });
        reference.check(&d_embeddings.to_vec(), &plain, &what);
        let bits: Vec<u32> = d_embeddings.to_vec().iter().map(|x| x.to_bits()).collect();
        assert_eq!(*before.get_or_insert_with(|| bits.clone()), bits, "{what}: a second run");
    }
}

#[test]
fn dims() {
    for (i, batch) in batches().iter().enumerate() {
        for (j, dim) in [1usize, 3, 7, 8, 16, 17, 64, 128, 132].into_iter().enumerate() {
            let tile_len = [0, 1, 9, 10][(i + j) % 4];
            let (first_column, width) = (i % 3 * 4, (tile_len * dim).next_multiple_of(4));
            run(batch, dim, tile_len, Place { first_column, stride: first_column + width + 4 });
        }
    }
}

#[test]
fn tiles_and_columns() {
    for batch in &batches()[5..] {
        for tile_len in [1, 8, 39, 40, 41] {
            run(batch, 16, tile_len, Place { first_column: 0, stride: 16 * tile_len });
            // Columns that are not aligned.
            run(batch, 8, tile_len, Place { first_column: 3, stride: 8 * tile_len + 5 });
            run(batch, 4, tile_len, Place { first_column: 0, stride: 4 * tile_len + 1 });
        }
    }
}

#[test]
fn many_positions() {
    let batch = large_batch();
    run(&batch, 8, 1000, Place { first_column: 0, stride: 8000 });
    run(&batch, 1, 2000, Place { first_column: 1, stride: 2002 });
    // More columns than a grid has threads for.
    let spec = Spec { table: 0, lengths: vec![70_000], ids: 3, hot: 1, spare: 0 };
    let columns = 132 * 16 * 256 * 4 + 9;
    run(&Batch::new(&[spec]), 1, columns, Place { first_column: 0, stride: columns });
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let batch = Batch::new(&[Spec { table: 0, lengths: vec![1, 2], ids: 2, hot: 0, spare: 0 }]);
    let embeddings = Guarded::new(&vec![1f32; batch.unique * 4]);
    let (lookup, occurrences) = (batch.lookup(0, 4, &embeddings), batch.occurrences(0));
    let out = Guarded::new(&[7f32; 16]);
    let null = std::ptr::null_mut();
    let forward = |lookup, tile_len, out, column, columns, what: &str| {
        let status = unsafe { recis_combine_tile_forward(lookup, tile_len, out, column, columns, STREAM) };
        refused(status, &format!("combine_tile.forward: {what}"));
    };
    let o = out.ptr();
    forward(std::ptr::null(), 2, o, 0, 8, "lookup is null");
    forward(&lookup, -1, o, 0, 8, "tile_len is negative or too large");
    forward(&lookup, 1 << 30, o, 0, 8, "tile_len is negative or too large");
    forward(&lookup, 2, null, 0, 8, "out is null");
    forward(&lookup, 2, out.misaligned(), 0, 8, "out is not aligned to 16 bytes");
    forward(&lookup, 2, o, -1, 8, "first_column is negative");
    forward(&lookup, 2, o, 1, 8, "out_stride is below what the columns need");
    let mut short = lookup;
    short.dim = 0;
    forward(&short, 2, o, 0, 8, "dim is below 1");
    assert_eq!(out.to_vec(), [7.0; 16]);

    let mut bytes = 0;
    ok(unsafe { recis_combine_tile_backward_workspace_size(&lookup, &occurrences, &mut bytes) });
    let sized =
        unsafe { recis_combine_tile_backward_workspace_size(std::ptr::null(), &occurrences, &mut bytes) };
    refused(sized, "combine_tile.backward_workspace_size: lookup is null");
    let (workspace, d) = (Guarded::new(&vec![0u8; bytes]), Guarded::new(&vec![7f32; batch.unique * 4]));
    let backward = |lookup, occurrences, tile_len, d_out, d_embeddings, workspace: *mut u8, size| unsafe {
        let workspace = workspace.cast();
        recis_combine_tile_backward(
            lookup,
            occurrences,
            tile_len,
            d_out,
            0,
            8,
            d_embeddings,
            workspace,
            size,
            STREAM,
        )
    };
    let refuse = |status, what: &str| refused(status, &format!("combine_tile.backward: {what}"));
    let (w, l, occurrences, d) = (workspace.ptr(), &raw const lookup, &raw const occurrences, &d);
    refuse(backward(std::ptr::null(), occurrences, 2, o, d.ptr(), w, bytes), "lookup is null");
    refuse(backward(l, std::ptr::null(), 2, o, d.ptr(), w, bytes), "occurrences is null");
    refuse(backward(l, occurrences, -1, o, d.ptr(), w, bytes), "tile_len is negative or too large");
    refuse(backward(l, occurrences, 2, null, d.ptr(), w, bytes), "d_out is null");
    refuse(backward(l, occurrences, 2, o, null, w, bytes), "d_embeddings is null");
    refuse(backward(l, occurrences, 2, o, d.ptr(), std::ptr::null_mut(), bytes), "workspace is null");
    assert_eq!(backward(l, occurrences, 2, o, d.ptr(), w, bytes - 1), 2, "{}", last_error());
    assert_eq!(d.to_vec(), vec![7.0; batch.unique * 4]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(&batches()[9], 8, 5, Place { first_column: 0, stride: 40 });
}
