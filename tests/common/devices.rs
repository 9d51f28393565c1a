//! The devices that tests run on: the CPU, the kernels on the CPU, and every CUDA device there is.
//! `RECIS_TEST_DEVICES=cpu,simt,cuda:0` chooses among them.

use recis::device::Device;

pub fn devices() -> Vec<Device> {
    let mut devices = Device::available();
    devices.insert(1, Device::Simt);
    match std::env::var("RECIS_TEST_DEVICES") {
        Ok(wanted) => {
            let is_wanted = |device: &Device| wanted.split(',').any(|name| name == device.to_string());
            devices.retain(is_wanted);
            assert!(!devices.is_empty(), "RECIS_TEST_DEVICES={wanted} names no device that is here");
            devices
        }
        Err(_) => devices,
    }
}
