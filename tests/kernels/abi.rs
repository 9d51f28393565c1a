//! The header, the bindings and what was linked belong together, and nothing in it goes untested.

use std::mem::offset_of;

use recis::ffi::{self, RECIS_ABI_VERSION, simt};

use crate::common::launches;
use crate::root::root;
use crate::{
    adamw, auroc, bce, bucketize, combine, combine_tile, copy_column, encode_ids, feature_cross, fill,
    hash_table, linear, linear_tile, merge_gradients, mlp, modulo, multi_hash, partition_ids, relu, rows,
    scale, sigmoid, sparse_adamw, string_hash, truncate,
};

const HEADER: &str = include_str!("../../cuda/include/recis.h");

/// The launchers that the header declares, as the operations they launch: `modulo.forward` for
/// `recis_modulo_forward`. What takes no stream launches nothing.
fn launchers() -> Vec<String> {
    let declarations = HEADER.split(';').filter(|text| text.contains("recis_stream_t stream)"));
    let names = declarations.filter_map(|text| text.split("int recis_").nth(1)?.split('(').next());
    names
        .map(|name| name_of(name).unwrap_or_else(|| panic!("recis_{name}: no cuda/*.cu is named after it")))
        .collect()
}

/// The operation that a launcher is named after, and its verb.
fn name_of(launcher: &str) -> Option<String> {
    let folder = std::fs::read_dir(root().join("cuda")).unwrap();
    let files =
        folder.filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix(".cu")?.to_string()));
    let ops = files.filter(|op| launcher.starts_with(&format!("{op}_")));
    let op = ops.max_by_key(String::len)?;
    Some(format!("{op}.{}", &launcher[op.len() + 1..]))
}

/// Kernels are launched before those ahead of them have ended: see `launch()` in cuda/common.cuh.
#[test]
fn every_kernel_waits_for_its_stream_first() {
    let mut kernels = 0;
    for file in std::fs::read_dir(root().join("cuda")).unwrap() {
        let path = file.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "cu" || extension == "cuh") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for kernel in source.split("__global__").skip(1) {
            let name = kernel.split('(').find(|part| part.trim_end().ends_with("_kernel"));
            let name = name.and_then(|part| part.split_whitespace().last()).unwrap_or_default();
            // It works on nothing.
            if name == "probe_kernel" {
                continue;
            }
            let (_, body) = kernel.split_once(") {").unwrap();
            let waits = body.trim_start().starts_with("wait_for_stream();");
            assert!(waits && !name.is_empty(), "{name} in {}", path.display());
            kernels += 1;
        }
    }
    assert!(kernels > 40, "{kernels}");
}

#[test]
fn every_launcher_is_executed() {
    // They run here too, because the harness may run them later than this, or not at all.
    adamw::launch_all();
    auroc::launch_all();
    bce::launch_all();
    bucketize::launch_all();
    combine::launch_all();
    combine_tile::launch_all();
    copy_column::launch_all();
    encode_ids::launch_all();
    feature_cross::launch_all();
    fill::launch_all();
    hash_table::launch_all();
    linear::launch_all();
    linear_tile::launch_all();
    merge_gradients::launch_all();
    mlp::launch_all();
    modulo::launch_all();
    multi_hash::launch_all();
    partition_ids::launch_all();
    relu::launch_all();
    rows::launch_all();
    scale::launch_all();
    sigmoid::launch_all();
    sparse_adamw::launch_all();
    string_hash::launch_all();
    truncate::launch_all();
    let never: Vec<_> = launchers().into_iter().filter(|op| launches(op) == 0).collect();
    assert_eq!(never, Vec::<String>::new());
    assert!(launchers().len() > 40, "the header could not be read: {:?}", launchers());
}

#[test]
fn the_bindings_are_those_of_the_library() {
    assert_eq!(unsafe { simt::recis_abi_version() } as u32, RECIS_ABI_VERSION);
}

/// The hash that `recis_header_layout()` makes of what C sees, of what Rust sees. Fields must be named in the
/// header's order.
macro_rules! layout {
    (enums $($name:ident)*; $($record:ident { $($field:ident),* })*) => {{
        let numbers = [
            $(size_of::<ffi::$name>(),)*
            $(
                size_of::<ffi::$record>(),
                $(offset_of!(ffi::$record, $field), size_of_field(|record: &ffi::$record| &record.$field),)*
            )*
        ];
        numbers.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &number| {
            (hash ^ number as u64).wrapping_mul(0x0100_0000_01b3)
        })
    }};
}

fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

#[test]
fn the_bindings_lay_structs_out_as_the_library() {
    let layout = layout! {
        enums recis_status recis_side recis_owner recis_precision recis_hash_table_counter recis_distribution recis_denominator;
        recis_adamw_parameter { value, exp_avg, exp_avg_sq, gradient, count }
        recis_ragged { values, offsets, weights, rows, capacity }
        recis_ids_column { ids, offsets, rows, capacity, first, table }
        recis_rows { storage, bound, dim, stride }
        recis_initializer { distribution, a, b, lower_q, upper_q, lower, upper }
        recis_gradients { rows, values, count, capacity }
        recis_lookup { embeddings, inverse, offsets, unique, dim, first_id, capacity, segments }
        recis_occurrences { positions, starts, table_offsets, total, table }
        recis_combined { lookup, weights, denominator, first_column }
        recis_combined_gradient { feature, occurrences, d_out, out_stride, d_embeddings }
        recis_linear_size { rows, inputs, outputs, precision }
        recis_dense_columns { x, width, first_column }
        recis_tile { lookup, tile_len, first_column, range }
        recis_mlp_layer { weight, bias, d_weight, d_bias, inputs, outputs }
    };
    // SAFETY: it takes nothing and returns a number.
    assert_eq!(unsafe { simt::recis_abi_layout() }, layout);
}

/// Starts, and answers, on a machine without a driver too.
#[cfg(recis_cuda)]
#[test]
fn the_cuda_build_answers() {
    use std::ffi::CStr;
    use std::ptr::null_mut;

    use recis::ffi::{cuda, recis_status};

    assert_eq!(unsafe { cuda::recis_abi_version() } as u32, RECIS_ABI_VERSION);
    let status = unsafe { cuda::recis_modulo_forward(null_mut(), 1, 3, null_mut(), null_mut()) };
    assert_eq!(status, recis_status::RECIS_INVALID_ARGUMENT.0 as i32);
    let error = unsafe { CStr::from_ptr(cuda::recis_last_error()) }.to_string_lossy();
    assert!(error.starts_with("modulo.forward: the input is null (cuda/"), "{error}");
}
