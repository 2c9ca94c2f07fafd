//! NVIDIA's driver: whether it is there, whether it is new enough, and which GPUs it sees.

use std::fmt;

use cudarc::driver::{DriverError, result, sys};

use super::kernels;

/// The driver API that cudarc's bindings are of (its feature `cuda-13000`). They look a function up when it
/// is called for the first time and panic where an older driver lacks it, so that the version is asked first.
const BINDINGS: Version = Version { major: 13, minor: 0 };

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// As the driver gives it: 1000·major + 10·minor.
    const fn of_number(number: u32) -> Version {
        Version { major: number / 1000, minor: number % 1000 / 10 }
    }

    /// The oldest driver that runs what a release of nvcc such as `V13.0.88` has compiled: machine code runs
    /// on every driver of its major version ("Minor Version Compatibility" in NVIDIA's CUDA Compatibility).
    fn of_images(nvcc: &str) -> Option<Version> {
        let major = nvcc.strip_prefix('V')?.split('.').next()?.parse().ok()?;
        Some(Version { major, minor: 0 })
    }

    /// What this program needs.
    fn needed() -> Version {
        Version::of_images(kernels::NVCC_RELEASE).map_or(BINDINGS, |images| images.max(BINDINGS))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The driver's own words for an error.
pub(super) fn reason(error: &DriverError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("error {:?}", error.0),
    }
}

/// The newest CUDA that the driver knows.
pub(super) fn version() -> Result<Version, DriverError> {
    let mut number = 0;
    // SAFETY: writes one integer. Drivers have had this function since CUDA 2.2, and answer it without
    // being initialised.
    unsafe { sys::cuDriverGetVersion(&mut number) }.result()?;
    Ok(Version::of_number(number.unsigned_abs()))
}

/// The number of GPUs, or why none can be used here. Never panics, whatever is installed.
pub(super) fn gpus() -> Result<usize, String> {
    if kernels::IMAGES.is_empty() {
        return Err(
            "the program was built without nvcc: run scripts/get-nvcc.sh and build again".into()
        );
    }
    // SAFETY: opens the library and closes it again.
    if !unsafe { sys::is_culib_present() } {
        return Err("there is no libcuda that can be opened: install the NVIDIA driver".into());
    }
    // SAFETY: there is a library, and nothing is called.
    if unsafe { sys::culib().get::<*const ()>(b"cuDriverGetVersion\0") }.is_err() {
        return Err("libcuda here isn't an NVIDIA driver: it has no cuDriverGetVersion".into());
    }
    let (found, needed) = match version() {
        Ok(found) => (found, Version::needed()),
        Err(error) => return Err(format!("the NVIDIA driver has no version ({})", reason(&error))),
    };
    if found < needed {
        return Err(format!(
            "the NVIDIA driver is of CUDA {found}, and these kernels need {needed}: install a newer driver \
             (`nvidia-smi` shows the one that runs)"
        ));
    }
    match result::init().and_then(|()| result::device::get_count()) {
        Ok(count) if count > 0 => Ok(count as usize),
        Ok(_) => Err("the NVIDIA driver sees no GPU".into()),
        Err(error) => Err(format!("the NVIDIA driver sees no GPU ({})", reason(&error))),
    }
}

/// Name, memory and compute capability of a GPU, and the driver's version.
pub(super) fn describe(index: usize) -> Result<String, DriverError> {
    use sys::CUdevice_attribute_enum::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let device = result::device::get(index as i32)?;
    let name = result::device::get_name(device)?;
    // SAFETY: a device that the driver just gave us.
    let (bytes, major, minor) = unsafe {
        (
            result::device::total_mem(device)?,
            result::device::get_attribute(device, MAJOR)?,
            result::device::get_attribute(device, MINOR)?,
        )
    };
    let gib = bytes as f64 / f64::from(1 << 30);
    let version = version()?;
    Ok(format!(
        "{name}, {gib:.1} GiB, compute capability {major}.{minor}, driver of CUDA {version}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_drivers_and_nvccs() {
        let version = |major, minor| Version { major, minor };
        assert_eq!(Version::of_number(13020), version(13, 2));
        assert_eq!(Version::of_number(12090), version(12, 9));
        assert!(Version::of_number(12090) < BINDINGS && BINDINGS <= Version::of_number(13000));
        assert_eq!(Version::of_images("V13.2.51"), Some(version(13, 0)));
        assert_eq!(Version::of_images("V14.1.0"), Some(version(14, 0)));
        assert_eq!(Version::of_images("of unknown release"), None);
        assert_eq!(Version::of_number(12090).to_string(), "12.9");
    }
}
