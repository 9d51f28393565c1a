//! RecIS's keys.

use crate::ops::encode_ids::ID_BITS;

/// Appends the keys of a table's ids.
pub fn forward(table: u32, ids: &[i64], keys: &mut Vec<i64>) {
    let mask = (1i64 << ID_BITS) - 1;
    keys.extend(ids.iter().map(|id| (id & mask) | i64::from(table) << ID_BITS));
}
