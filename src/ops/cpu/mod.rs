//! The portable forms of the operations, on plain slices. Callers have checked the sizes.

pub mod modulo;

/// Elements below which splitting elementwise work over threads costs more than it gains.
const GRAIN: usize = 1 << 14;
