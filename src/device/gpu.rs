//! GPUs as the process has opened them: one context and one set of loaded kernels each, for as long as
//! the process runs.
//!
//! Every file's image is loaded when the GPU is opened for the first time, not at its first launch: a load
//! inside a timed run or a captured graph would be worse than the moment that it takes here, and an image
//! that the GPU can't run is found at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cudarc::driver::sys::CUfunction_attribute_enum as FunctionAttribute;
use cudarc::driver::{CudaContext, CudaFunction, DriverError, sys};
use cudarc::nvrtc::Ptx;

use super::driver::{self, reason};
use super::kernels;
use crate::{Error, Result};

/// Dynamic shared memory that a kernel gets without asking.
const FREE_SHARED_BYTES: u32 = 48 * 1024;

/// Kernels with at least this many bytes a block ask for the largest shared-memory carveout, which leaves
/// the least L1, so that the number of resident blocks doesn't depend on the driver's guess.
const STAGING_SHARED_BYTES: u32 = 16 * 1024;

/// A GPU that this process has opened.
pub(super) struct Gpu {
    pub index: usize,
    pub context: Arc<CudaContext>,
    /// By the kernel's number; `None` for those of the emulator's tests.
    functions: Vec<Option<CudaFunction>>,
    /// How many images were loaded, and how long opening took.
    pub images: usize,
    pub opening: Duration,
}

/// Never closed: the context of a process is made once, and its kernels are loaded once.
static OPENED: Mutex<Vec<&'static Gpu>> = Mutex::new(Vec::new());

impl Gpu {
    /// GPU number `index`, opened now unless it is already.
    ///
    /// # Errors
    /// [`Error::Device`]; the next call tries again.
    pub fn open(index: usize) -> Result<&'static Gpu> {
        // Held while kernels are loaded: whoever comes second waits for them.
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = opened.iter().find(|gpu| gpu.index == index) {
            return Ok(gpu);
        }
        let gpu: &'static Gpu = Box::leak(Box::new(Gpu::load(index)?));
        opened.push(gpu);
        Ok(gpu)
    }

    fn load(index: usize) -> Result<Gpu> {
        let failed = |detail| Error::Device { device: format!("cuda:{index}"), detail };
        let count = driver::gpus().map_err(failed)?;
        if index >= count {
            return Err(failed(format!("there are {count} GPUs, numbered from 0")));
        }
        let start = Instant::now();
        let at_driver = |error: DriverError| failed(reason(&error));
        let context = CudaContext::new(index).map_err(at_driver)?;
        // SAFETY: cudarc's own buffers, which events would order between streams, aren't used.
        unsafe { context.disable_event_tracking() };
        let mut functions = vec![None; kernels::kernels().len()];
        let mut images = 0;
        for (number, file) in kernels::files().iter().enumerate() {
            if file.fatbin.is_empty() {
                continue;
            }
            load_file(&context, number, file.fatbin, &mut functions).map_err(|error| {
                failed(format!(
                    "kernels/{} can't be loaded: {} (images are for {}; this GPU is an {})",
                    file.name,
                    reason(&error),
                    kernels::IMAGES,
                    driver::describe(index).unwrap_or_else(|error| reason(&error)),
                ))
            })?;
            images += 1;
        }
        Ok(Gpu { index, context, functions, images, opening: start.elapsed() })
    }

    /// The loaded kernel of that number; `None` for those of the emulator's tests.
    pub fn function(&self, number: usize) -> Option<&CudaFunction> {
        self.functions[number].as_ref()
    }

    /// What it is, and what of this program lies on it.
    pub fn describe(&self) -> String {
        format!(
            "{}; images for {}: {} files loaded in {:.2} s",
            driver::describe(self.index).unwrap_or_else(|error| reason(&error)),
            kernels::IMAGES,
            self.images,
            self.opening.as_secs_f64()
        )
    }
}

/// Loads the image of a file; its kernels' functions go to their numbers.
fn load_file(
    context: &Arc<CudaContext>,
    file: usize,
    fatbin: &[u8],
    functions: &mut [Option<CudaFunction>],
) -> std::result::Result<(), DriverError> {
    let module = context.load_module(Ptx::from_binary(fatbin.to_vec()))?;
    for number in kernels::of_file(file) {
        let info = &kernels::kernels()[number];
        let function = module.load_function(info.symbol)?;
        if info.shared_bytes > FREE_SHARED_BYTES {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, info.shared_bytes as i32)?;
        }
        if info.shared_bytes >= STAGING_SHARED_BYTES {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
            let most = sys::CUshared_carveout_enum::CU_SHAREDMEM_CARVEOUT_MAX_SHARED;
            function.set_attribute(attribute, most as i32)?;
        }
        // The driver would leave it to the first launch.
        // SAFETY: a function of a module that stays loaded.
        unsafe { sys::cuFuncLoad(function.cu_function()) }.result()?;
        functions[number] = Some(function);
    }
    Ok(())
}
