//! Matrix products by NVIDIA's cuBLAS, opened when one is asked for. Its sums have an order of their own,
//! so that campaigns and exact passes never come here.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use cudarc::cublas::result::{self, CublasError};
use cudarc::cublas::sys;
use cudarc::cublas::sys::{
    cublasComputeType_t as ComputeType, cublasGemmAlgo_t as Algorithm, cublasHandle_t,
    cublasOperation_t as Operation, cudaDataType_t as DataType,
};
use cudarc::driver;

use super::{Backend, Device};
use crate::number::Compute;
use crate::{Error, Result};

/// C = op(A)·op(B), or C += op(A)·op(B): row-major f32 without gaps, C of m × n, sums of k terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// m × k; k × m if `a_transposed`.
    pub a: u64,
    /// k × n; n × k if `b_transposed`.
    pub b: u64,
    /// m × n.
    pub c: u64,
    pub a_transposed: bool,
    pub b_transposed: bool,
    pub accumulate: bool,
    /// What the factors are rounded to; `Exact` is true f32, though in the library's own order.
    pub compute: Compute,
}

/// What BLAS is told: C = op(A)·op(B) + beta·C over column-major matrices, element (row, column) of a
/// matrix at row + column·ld; op transposes where its flag says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GemmCall {
    pub a_transposed: bool,
    pub b_transposed: bool,
    pub m: i32,
    pub n: i32,
    pub k: i32,
    pub a: u64,
    pub lda: i32,
    pub b: u64,
    pub ldb: i32,
    pub beta: f32,
    pub c: u64,
    pub ldc: i32,
}

impl Gemm {
    /// The product in BLAS's words. Row-major memory of an m × n matrix is column-major memory of its
    /// transpose, n × m, whose columns are the rows: n apart. So the memory of C holds Cᵀ = op(B)ᵀ·op(A)ᵀ,
    /// a product of n × m whose first factor is B. The memory of B, k × n, already is Bᵀ and isn't
    /// transposed again, unless it was stored transposed; the same holds of A.
    ///
    /// # Errors
    /// [`Error::Shape`] for sizes that BLAS's 32 bits don't hold.
    pub fn call(&self) -> Result<GemmCall> {
        let size = |value: usize| match i32::try_from(value) {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(Error::shape(
                "a cuBLAS product",
                format!("of {}×{}×{}", self.m, self.n, self.k),
            )),
        };
        Ok(GemmCall {
            a_transposed: self.b_transposed,
            b_transposed: self.a_transposed,
            m: size(self.n)?,
            n: size(self.m)?,
            k: size(self.k)?,
            a: self.b,
            lda: size(if self.b_transposed { self.k } else { self.n })?,
            b: self.a,
            ldb: size(if self.a_transposed { self.m } else { self.k })?,
            beta: if self.accumulate { 1.0 } else { 0.0 },
            c: self.c,
            ldc: size(self.n)?,
        })
    }
}

impl Device {
    /// Queues a product by cuBLAS, whose bits aren't those of this crate's kernels.
    ///
    /// # Safety
    /// The addresses are of matrices of this device, of the sizes that are given, as for [`Device::launch`].
    ///
    /// # Errors
    /// [`Error::Unsupported`] on devices other than cuda. [`Error::Device`] where there is no libcublas
    /// or it fails; if it wasn't opened before, while a graph is being captured.
    pub unsafe fn gemm(&self, gemm: &Gemm) -> Result<()> {
        let Backend::Cuda(cuda) = &self.0.backend else {
            return Err(self.unsupported("a cuBLAS product"));
        };
        let call = gemm.call()?;
        if !cuda.cublas_is_open() {
            self.0.capture.refuse(self, "opening cuBLAS")?;
        }
        if !self.0.capture.note(self, true, || None)? {
            self.0.counters.launches.count();
        }
        // SAFETY: the addresses are the caller's.
        unsafe { cuda.gemm(&call, gemm.compute) }
    }
}

/// Scratch memory for the library, of the size that NVIDIA's guide recommends for Hopper. It is allocated
/// here, since the library's own allocations couldn't be part of a graph.
const WORKSPACE_BYTES: usize = 32 << 20;

/// The library on one GPU's stream.
pub(super) struct Cublas {
    handle: cublasHandle_t,
    workspace: u64,
    stream: Arc<driver::CudaStream>,
}

// SAFETY: a handle may be used by one thread at a time; its owner keeps it behind a lock.
unsafe impl Send for Cublas {}

impl Cublas {
    /// Opens libcublas for work on `stream`, whose context is bound.
    pub fn open(stream: &Arc<driver::CudaStream>) -> std::result::Result<Cublas, String> {
        // SAFETY: opens the library and closes it again.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "there is no libcublas: install the CUDA toolkit or the nvidia-cublas wheel, \
                        and put its folder into LD_LIBRARY_PATH"
                    .into(),
            );
        }
        // SAFETY: there is a library, and nothing is called.
        if unsafe { sys::culib().get::<*const ()>(b"cublasCreate_v2\0") }.is_err() {
            return Err("libcublas here isn't NVIDIA's: it has no cublasCreate_v2".into());
        }
        let failed = |error: CublasError| format!("cuBLAS can't be used: {error}");
        let handle = result::create_handle().map_err(failed)?;
        // Its `drop` gives up the handle from here on.
        let mut library = Cublas { handle, workspace: 0, stream: stream.clone() };
        // SAFETY: live memory of the bound context, which outlives the handle that uses it.
        unsafe {
            library.workspace = driver::result::malloc_sync(WORKSPACE_BYTES)
                .map_err(|error| format!("cuBLAS has no memory to work in: {error}"))?;
            // Setting the stream takes a workspace away, so it comes first.
            result::set_stream(handle, stream.cu_stream().cast()).map_err(failed)?;
            let workspace = library.workspace as *mut c_void;
            sys::cublasSetWorkspace_v2(handle, workspace, WORKSPACE_BYTES)
                .result()
                .map_err(failed)?;
        }
        Ok(library)
    }

    /// Queues a product.
    ///
    /// # Safety
    /// At `call`'s addresses lie matrices of its sizes and strides in memory of this GPU that lives until the product
    /// is done, and nobody else uses C meanwhile.
    pub unsafe fn gemm(
        &self,
        call: &GemmCall,
        compute: Compute,
    ) -> std::result::Result<(), String> {
        let operation = |transposed: bool| {
            if transposed { Operation::CUBLAS_OP_T } else { Operation::CUBLAS_OP_N }
        };
        let compute = match compute {
            Compute::Exact => ComputeType::CUBLAS_COMPUTE_32F,
            Compute::Tf32 => ComputeType::CUBLAS_COMPUTE_32F_FAST_TF32,
            Compute::Bf16 => ComputeType::CUBLAS_COMPUTE_32F_FAST_16BF,
            Compute::F16 => ComputeType::CUBLAS_COMPUTE_32F_FAST_16F,
        };
        let (alpha, beta) = (1f32, call.beta);
        let scalar = |value: &f32| std::ptr::from_ref(value).cast::<c_void>();
        let (m, n, k): (c_int, c_int, c_int) = (call.m, call.n, call.k);
        // SAFETY: the handle is alive; the scalars are read before the call returns; the matrices are the caller's.
        let done = unsafe {
            result::gemm_ex(
                self.handle,
                operation(call.a_transposed),
                operation(call.b_transposed),
                m,
                n,
                k,
                scalar(&alpha),
                call.a as *const c_void,
                DataType::CUDA_R_32F,
                call.lda,
                call.b as *const c_void,
                DataType::CUDA_R_32F,
                call.ldb,
                scalar(&beta),
                call.c as *mut c_void,
                DataType::CUDA_R_32F,
                call.ldc,
                compute,
                Algorithm::CUBLAS_GEMM_DEFAULT,
            )
        };
        done.map_err(|error| format!("a cuBLAS product of {n}×{m}×{k} failed: {error}"))
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        let context = self.stream.context();
        let freed = context.bind_to_thread().and_then(|()| {
            self.stream.synchronize()?;
            // SAFETY: made by `create_handle` and `malloc_sync`, given up once, in no more use.
            unsafe {
                let _ = result::destroy_handle(self.handle);
                if self.workspace != 0 { driver::result::free_sync(self.workspace) } else { Ok(()) }
            }
        });
        context.record_err(freed);
    }
}
