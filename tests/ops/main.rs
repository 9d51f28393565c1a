//! Every operation against a plain reference, and its edge cases. The vectors of the specification
//! are run by `tests/vectors`.

mod modulo;
