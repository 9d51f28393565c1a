//! Remainders of ids. (`mod` is a keyword in Rust, so the operation is called `modulo` everywhere.)

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::{Result, ops::cpu};

/// One column to reduce.
pub struct Column<'a> {
    /// Ids, any 64 bits.
    pub values: &'a Buffer<i64>,
    /// The modulus, at least 1.
    pub modulus: u64,
    /// As many elements as `values`.
    pub out: &'a mut Buffer<i64>,
}

/// `out = (values as u64) % modulus`, as i64 (SPEC 2.2): never negative for a modulus below 2^63.
pub fn forward(columns: &mut [Column<'_>], stream: &Stream) -> Result<()> {
    for c in columns.iter() {
        ensure(c.modulus > 0, "modulo", || "the modulus is 0".into())?;
        ensure(c.values.len() == c.out.len(), "modulo", || {
            format!("{} values but room for {}", c.values.len(), c.out.len())
        })?;
    }
    columns.iter_mut().try_for_each(|c| match stream.device() {
        Device::Cpu => {
            cpu::modulo::forward(c.values.on_cpu()?, c.modulus, c.out.on_cpu_mut()?);
            Ok(())
        }
        _ => {
            let (values, count) = (c.values.on(stream)?, c.values.len() as i64);
            launch!(stream, recis_modulo_forward(values, count, c.modulus, c.out.on_mut(stream)?))
        }
    })
}
