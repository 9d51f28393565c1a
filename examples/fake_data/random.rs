//! Random numbers.

/// SplitMix64 (Steele, Lea and Flood, 2014). It is written out here because the generators and
/// distributions of crates may change with their versions, and a seed should mean the same files
/// for ever.
pub struct Random(u64);

impl Random {
    /// The numbers of one purpose; every `stream` of a seed is independent of the others.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Self(seed).next() ^ stream)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}
