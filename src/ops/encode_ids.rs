//! RecIS's keys: the logical table in the upper 12 bits, the id in the lower 52 (SPEC 3.3). Our own
//! tables keep whole ids; this is for reading and writing RecIS's checkpoints.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::{launch, only_cpu};
use crate::{Error, Result, ops::cpu};

/// Bits of a key that hold the id.
pub const ID_BITS: u32 = 52;

/// What becomes of an id that does not fit in 52 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its upper bits are lost, as in RecIS.
    Cut,
    /// It is an error.
    Refuse,
}

/// One column to encode.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    /// The logical table, below 4096.
    pub table: u32,
    /// The ids.
    pub ids: &'a Buffer<i64>,
}

/// The keys of all columns, one after the other. With [`Overflow::Refuse`], ids are those that RecIS
/// decodes to themselves: 0 to 2^52 - 1.
pub fn forward(columns: &[Column<'_>], overflow: Overflow, stream: &Stream) -> Result<Buffer<i64>> {
    for column in columns {
        ensure(column.table < 1 << (64 - ID_BITS), "encode_ids", || {
            format!("table {} does not fit in {} bits", column.table, 64 - ID_BITS)
        })?;
    }
    match stream.device() {
        Device::Cpu => {
            let mut keys = Vec::new();
            for Column { table, ids } in columns {
                let ids = ids.on_cpu()?;
                if overflow == Overflow::Refuse {
                    let wide = ids.iter().position(|&id| id as u64 >> ID_BITS != 0);
                    ensure(wide.is_none(), "encode_ids", || {
                        let i = wide.unwrap_or_default();
                        format!("id {} (number {i}) does not fit in {ID_BITS} bits", ids[i])
                    })?;
                }
                cpu::encode_ids::forward(*table, ids, &mut keys);
            }
            Ok(keys.into())
        }
        device if overflow == Overflow::Refuse => Err(only_cpu("encode_ids that refuses", device)),
        _ => {
            let [Column { table, ids }] = columns else {
                return Err(Error::shape("encode_ids", "a device encodes one column a call"));
            };
            let mut keys = Buffer::unset(ids.len(), stream)?;
            let (ids, count) = (ids.on(stream)?, ids.len() as i64);
            launch!(stream, recis_encode_ids_forward(ids, count, *table, keys.on_mut(stream)?))?;
            Ok(keys)
        }
    }
}
