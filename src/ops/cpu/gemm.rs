//! Matrix products on strided views, on one thread each: callers split the work into parts of a
//! fixed size, so that results do not depend on the number of threads.

use std::marker::PhantomData;
use std::ops::Range;

use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;

/// A matrix to read: element (i, j) is at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// `rows` × `cols` elements, rows being `row_stride` apart.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, row_stride), "matrix view outside its data");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write, with contiguous rows.
pub struct MatMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    lifetime: PhantomData<&'a mut f32>,
}

// SAFETY: a MatMut has the only access to its elements, like `&mut [f32]`.
unsafe impl Send for MatMut<'_> {}
// SAFETY: a shared MatMut gives no access but through the unsafe `columns`.
unsafe impl Sync for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// `rows` × `cols` elements, rows being `row_stride` apart.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, row_stride), "matrix view outside its data");
        Self { data: data.as_mut_ptr(), rows, cols, row_stride, lifetime: PhantomData }
    }

    /// Some of the columns, to be written beside others.
    ///
    /// # Safety
    /// Columns that are in use at the same time must not overlap.
    pub unsafe fn columns(&self, range: Range<usize>) -> MatMut<'_> {
        assert!(range.start <= range.end && range.end <= self.cols, "columns outside the matrix");
        // SAFETY: inside the allocation, by the assertions here and in `new`.
        let data = if self.rows == 0 { self.data } else { unsafe { self.data.add(range.start) } };
        MatMut { data, cols: range.len(), ..*self }
    }
}

fn fits(len: usize, rows: usize, cols: usize, row_stride: usize) -> bool {
    let end = |rows: usize| (rows - 1).checked_mul(row_stride)?.checked_add(cols);
    rows == 0 || cols == 0 || (cols <= row_stride && end(rows).is_some_and(|end| end <= len))
}

/// `c = a b`, or `c += a b`.
pub fn gemm(c: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, accumulate: bool) {
    assert!(c.rows == a.rows && c.cols == b.cols && a.cols == b.rows, "matrix sizes do not match");
    // The library wants contiguous columns: cᵀ = bᵀ aᵀ has them.
    let (rows, cols, row_stride, col_stride, lhs, rhs) = if c.row_stride > 1 {
        (c.cols, c.rows, 1, c.row_stride, b.t(), a.t())
    } else {
        (c.rows, c.cols, c.row_stride, 1, a, b)
    };
    // SAFETY: the views were checked against their data, and the sizes against each other.
    unsafe {
        get_gemm_fn()(
            rows,
            cols,
            lhs.cols,
            c.data,
            col_stride as isize,
            row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
