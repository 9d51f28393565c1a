//! Initial values: from random words to distributions.
//!
//! Only `+ - * /` and square roots in f64 and no fused multiply-add, so that every device can give
//! the same bits: library logarithms differ from one to the next.

use super::philox;

/// The random words of one row are those of (key, id).
#[derive(Clone, Copy)]
pub struct RowRng {
    key: [u32; 2],
    id: [u32; 2],
}

impl RowRng {
    /// The words of row `id` under `key`.
    pub fn new(key: u64, id: i64) -> Self {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        Self { key: halves(key), id: halves(id as u64) }
    }

    /// Calls `value(out, p)` for each element, `p` uniform in the open interval (0, 1).
    pub fn fill(self, out: &mut [f32], value: impl Fn(f64) -> f32) {
        for (i, out) in out.chunks_mut(4).enumerate() {
            let words = philox::block([self.id[0], self.id[1], i as u32, 0], self.key);
            for (out, word) in out.iter_mut().zip(words) {
                *out = value((f64::from(word) + 0.5) / 4_294_967_296.0);
            }
        }
    }
}

/// The quantile of the standard normal distribution: Wichura's AS 241, PPND16, accurate to about
/// 1e-16. 0 and 1 give infinities.
pub fn probit(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * polynomial(&CENTRE_A, r) / polynomial(&CENTRE_B, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail <= 0.0 {
        return f64::INFINITY.copysign(q);
    }
    let r = (-ln(tail)).sqrt();
    let value = if r <= 5.0 {
        polynomial(&MIDDLE_A, r - 1.6) / polynomial(&MIDDLE_B, r - 1.6)
    } else {
        polynomial(&FAR_A, r - 5.0) / polynomial(&FAR_B, r - 5.0)
    };
    value.copysign(q)
}

fn polynomial(coefficients: &[f64; 8], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// The natural logarithm of a positive normal number, by `ln(m 2^e) = 2 atanh((m-1)/(m+1)) + e ln 2`.
fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & FRACTION) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    // z is at most 0.172: the first term left out is below 1e-17.
    let sum = (0..11).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    2.0 * z * sum + exponent as f64 * std::f64::consts::LN_2
}

/// The distribution function of the standard normal distribution, to about 1e-15, by its power
/// series near 0 and its continued fraction in the tails. Needed once for each table, on the host.
pub fn normal_cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() < 3.0 {
        let (mut term, mut sum, mut k) = (x, x, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            k += 2.0;
            term *= x * x / k;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let fraction = (1..200).rev().fold(x.abs(), |fraction, k| x.abs() + f64::from(k) / fraction);
    let tail = density / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}

const CENTRE_A: [f64; 8] = [
    3.387_132_872_796_366_5,
    133.141_667_891_784_38,
    1_971.590_950_306_551_3,
    13_731.693_765_509_46,
    45_921.953_931_549_87,
    67_265.770_927_008_7,
    33_430.575_583_588_13,
    2_509.080_928_730_122_7,
];
const CENTRE_B: [f64; 8] = [
    1.0,
    42.313_330_701_600_91,
    687.187_007_492_057_9,
    5_394.196_021_424_751,
    21_213.794_301_586_597,
    39_307.895_800_092_71,
    28_729.085_735_721_943,
    5_226.495_278_852_854,
];
const MIDDLE_A: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    0.241_780_725_177_450_6,
    0.022_723_844_989_269_184,
    7.745_450_142_783_414e-4,
];
const MIDDLE_B: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    0.689_767_334_985_1,
    0.148_103_976_427_480_08,
    0.015_198_666_563_616_457,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const FAR_A: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    0.296_560_571_828_504_87,
    0.026_532_189_526_576_124,
    1.242_660_947_388_078_4e-3,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const FAR_B: [f64; 8] = [
    1.0,
    0.599_832_206_555_888,
    0.136_929_880_922_735_8,
    0.014_875_361_290_850_615,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_8e-15,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_inverts_the_distribution() {
        for i in 1..2048 {
            let p = f64::from(i) / 2048.0;
            let x = probit(p);
            assert!((normal_cdf(x) - p).abs() < 1e-14, "p = {p}: {x}");
            assert_eq!(probit(1.0 - p), -x, "p = {p}");
        }
        // From tables: the quantiles of 1e-10 and 1e-5.
        assert!((probit(1e-10) + 6.361_340_902_404_056).abs() < 1e-13);
        assert!((probit(1e-5) + 4.264_890_793_922_825).abs() < 1e-13);
    }

    #[test]
    fn the_logarithm_is_the_librarys_to_the_last_bits() {
        for i in 0..3000 {
            let x = 10f64.powf(f64::from(i) * -0.1) * 1.234_567;
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "{x}");
        }
    }
}
