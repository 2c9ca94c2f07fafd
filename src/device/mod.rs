//! stand-in
use crate::Result;
#[derive(Clone, Debug)]
pub struct Device(());
#[derive(Clone, Copy, Debug)]
pub enum DeviceKind { Cpu }
impl std::fmt::Display for DeviceKind { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "cpu") } }
pub unsafe trait KernelArgs: bytemuck::Pod {}
impl Device {
    pub fn cpu() -> Device { Device(()) }
    pub fn kind(&self) -> DeviceKind { DeviceKind::Cpu }
    pub fn is_cpu(&self) -> bool { true }
    pub fn host_memory(&self) -> bool { true }
    pub fn alloc(&self, bytes: usize) -> Result<Buffer> { let v = vec![[0u64; 8]; bytes.div_ceil(64)]; Ok(Buffer { v, bytes, device: self.clone() }) }
    pub fn launch<A: KernelArgs>(&self, _k: &'static str, _g: [u32; 3], _b: [u32; 3], _a: &A) -> Result<()> { unreachable!() }
    pub unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<()> { unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }; Ok(()) }
    pub unsafe fn read(&self, address: u64, out: &mut [u8]) -> Result<()> { unsafe { std::ptr::copy_nonoverlapping(address as *const u8, out.as_mut_ptr(), out.len()) }; Ok(()) }
}
pub struct Buffer { v: Vec<[u64; 8]>, bytes: usize, device: Device }
impl Buffer {
    pub fn address(&self) -> u64 { self.v.as_ptr() as u64 }
    pub fn bytes(&self) -> usize { self.bytes }
    pub fn device(&self) -> &Device { &self.device }
    pub fn write(&self, offset: usize, b: &[u8]) -> Result<()> { unsafe { self.device.write(self.address() + offset as u64, b) } }
    pub fn read(&self, offset: usize, b: &mut [u8]) -> Result<()> { unsafe { self.device.read(self.address() + offset as u64, b) } }
}
