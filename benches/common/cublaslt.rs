//! A product of matrices by cuBLASLt in a layer's precision, f32 in memory: what a fully connected layer is
//! held against. Fp32 is without TF32 there. The library is looked for when it is needed (`libcublasLt.so`, `.so.12` or `.so.11`).

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, sys::CUevent_flags};
use recis::device::Device;
use recis::ops::linear::{Precision, Size};

use crate::common::{Baseline, Bench, median};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const WORKSPACE: usize = 32 << 20;
/// Larger than the caches of any device.
const LARGE: usize = 256 << 20;
const SAMPLES: usize = 11;

/// Which of a layer's products, by the operation's verbs.
#[derive(Clone, Copy)]
pub enum Product {
    Forward,
    BackwardWeight,
    BackwardInput,
}

/// How long cuBLASLt takes for a layer's product, the bias left out; none on the CPU, and where there is
/// no cuBLASLt, which is told.
pub fn baseline(bench: &Bench<'_>, product: Product, size: Size) -> Option<Baseline> {
    let Device::Cuda(ordinal) = bench.stream().device() else { return None };
    // SAFETY: it only tries to open the library.
    if !unsafe { sys::is_culib_present() } {
        println!("no cuBLASLt to compare with: libcublasLt.so is not on the library path");
        return None;
    }
    match measure(ordinal, product, size) {
        Ok(baseline) => Some(baseline),
        Err(error) => {
            println!("cuBLASLt is not measured: {error}");
            None
        }
    }
}

fn measure(ordinal: usize, product: Product, size: Size) -> Result<Baseline> {
    let mut gemm = Gemm::new(ordinal, product, size)?;
    let mut seconds = |cold| {
        let samples = (0..SAMPLES).map(|_| gemm.seconds(cold)).collect::<Result<Vec<_>>>();
        samples.map(|mut samples| median(&mut samples))
    };
    let name = match size.precision {
        Precision::Fp32 => "cuBLASLt fp32",
        Precision::Tf32 => "cuBLASLt tf32",
        Precision::Bf16 => "cuBLASLt bf16",
    };
    Ok(Baseline { name, warm: seconds(false)?, cold: seconds(true)? })
}

/// A product `c = a b` of cuBLAS's column-major matrices, ready to run.
struct Gemm {
    handle: sys::cublasLtHandle_t,
    desc: sys::cublasLtMatmulDesc_t,
    preference: sys::cublasLtMatmulPreference_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    matrices: [CudaSlice<f32>; 3],
    workspace: CudaSlice<u8>,
    large: CudaSlice<u8>,
    stream: Arc<CudaStream>,
}

impl Gemm {
    fn new(ordinal: usize, product: Product, size: Size) -> Result<Self> {
        let Size { rows, inputs, outputs, .. } = size;
        // Our row-major matrices are their transposes in the eyes of cuBLAS: x is [inputs, rows], weight
        // [inputs, outputs], y [outputs, rows]. Stored shapes, then whether they are to be transposed.
        let (x, weight, y) = ([inputs, rows], [inputs, outputs], [outputs, rows]);
        let (shapes, transposed) = match product {
            Product::Forward => ([weight, x, y], [1i32, 0]),
            Product::BackwardWeight => ([x, y, weight], [0, 1]),
            Product::BackwardInput => ([weight, y, x], [0, 0]),
        };
        let stream = CudaContext::new(ordinal)?.new_stream()?;
        let numbers = |[rows, columns]: [usize; 2]| {
            let mut state = 1u32;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            };
            stream.clone_htod(&(0..rows * columns).map(|_| next()).collect::<Vec<_>>())
        };
        let matrices = [numbers(shapes[0])?, numbers(shapes[1])?, numbers(shapes[2])?];
        let layout = |[rows, columns]: [usize; 2]| {
            let kind = sys::cudaDataType_t::CUDA_R_32F;
            result::create_matrix_layout(kind, rows as u64, columns as u64, rows as i64)
        };
        let handle = result::create_handle()?;
        let compute = match size.precision {
            Precision::Fp32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let desc = result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F)?;
        let preference = result::create_matmul_pref()?;
        let layouts = [layout(shapes[0])?, layout(shapes[1])?, layout(shapes[2])?];
        let attributes = [
            sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
            sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB,
        ];
        let most = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        // SAFETY: the objects were made above, and the attributes have these sizes.
        let heuristic = unsafe {
            for (attribute, transposed) in attributes.into_iter().zip(&transposed) {
                let value = ptr::from_ref(transposed).cast();
                result::set_matmul_desc_attribute(desc, attribute, value, size_of::<i32>())?;
            }
            let value = ptr::from_ref(&WORKSPACE).cast();
            result::set_matmul_pref_attribute(preference, most, value, size_of::<usize>())?;
            let [a, b, c] = layouts;
            result::get_matmul_algo_heuristic(handle, desc, a, b, c, c, preference)?
        };
        let (workspace, large) = (stream.alloc_zeros(WORKSPACE)?, stream.alloc_zeros(LARGE)?);
        let algorithm = heuristic.algo;
        stream.synchronize()?;
        Ok(Self { handle, desc, preference, layouts, algorithm, matrices, workspace, large, stream })
    }

    /// Seconds of one run: behind another one, or with nothing of its matrices in the cache.
    fn seconds(&mut self, cold: bool) -> Result<f64> {
        // Twice, so that the host is ahead of the device.
        for _ in 0..2 {
            self.stream.memset_zeros(&mut self.large)?;
        }
        if !cold {
            self.run()?;
        }
        let begin = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        self.run()?;
        let end = self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        Ok(f64::from(begin.elapsed_ms(&end)?) / 1e3)
    }

    fn run(&self) -> Result<()> {
        let [a, b, c] = [0, 1, 2].map(|i| self.matrices[i].device_ptr(&self.stream).0);
        let workspace = self.workspace.device_ptr(&self.stream).0;
        let [a_layout, b_layout, c_layout] = self.layouts;
        let (one, zero) = (1.0f32, 0.0f32);
        // SAFETY: the matrices have the sizes that the layouts say, the workspace what was promised.
        unsafe {
            result::matmul(
                self.handle,
                self.desc,
                ptr::from_ref(&one).cast(),
                ptr::from_ref(&zero).cast(),
                a as *const c_void,
                a_layout,
                b as *const c_void,
                b_layout,
                c as *const c_void,
                c_layout,
                c as *mut c_void,
                c_layout,
                &self.algorithm,
                workspace as *mut c_void,
                WORKSPACE,
                self.stream.cu_stream().cast(),
            )?;
        }
        Ok(())
    }
}

impl Drop for Gemm {
    fn drop(&mut self) {
        // SAFETY: they were made by `new` and nothing runs any more, since every run was waited for.
        unsafe {
            for layout in self.layouts {
                _ = result::destroy_matrix_layout(layout);
            }
            _ = result::destroy_matmul_pref(self.preference);
            _ = result::destroy_matmul_desc(self.desc);
            _ = result::destroy_handle(self.handle);
        }
    }
}
