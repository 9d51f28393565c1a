//! Reading a case and comparing what it expects.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Debug;

use recis::device::{Buffer, Element, Stream};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

thread_local! {
    /// The device that cases run on.
    static STREAM: RefCell<Stream> = RefCell::default();
}

/// Runs the cases from now on with this stream.
pub fn run_on(stream: &Stream) {
    STREAM.with(|place| *place.borrow_mut() = stream.clone());
}

/// The stream that cases run on.
pub fn stream() -> Stream {
    STREAM.with(|place| place.borrow().clone())
}

/// Numbers on the device that cases run on.
pub fn on<T: Element>(values: Vec<T>) -> Buffer<T> {
    Buffer::from_vec(values, &stream()).expect("there is room for a case")
}

/// The elements of a buffer, wherever it is.
pub trait Elements<T> {
    fn elements(&self) -> Vec<T>;
}

impl<T: Element> Elements<T> for Buffer<T> {
    fn elements(&self) -> Vec<T> {
        self.to_vec(&stream()).expect("the device works")
    }
}

/// What a check gives: nothing, or why it failed.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A case as a struct whose fields are all that the check understands. Integers stay integers.
pub fn parse<'a, T: Deserialize<'a>>(case: &'a Value) -> Outcome<T> {
    T::deserialize(case).map_err(|e| format!("not understood: {e}").into())
}

/// Fails unless the two are equal.
pub fn same<T: PartialEq + Debug>(field: &str, expected: T, got: T) -> Outcome {
    if expected == got { Ok(()) } else { Err(differ(field, &expected, &got)) }
}

/// [`same`] for lists: names the first element that differs.
pub fn same_all<T: PartialEq + Debug>(field: &str, expected: &[T], got: &[T]) -> Outcome {
    let lens = (expected.len(), got.len());
    if let Some(i) = expected.iter().zip(got).position(|(expected, got)| expected != got) {
        return Err(differ(&format!("{field}[{i}]"), &expected[i], &got[i]));
    }
    same(&format!("the length of {field}"), lens.0, lens.1)
}

fn differ(field: &str, expected: &dyn Debug, got: &dyn Debug) -> Box<dyn Error> {
    format!("{field}: expected {expected:?}, got {got:?}").into()
}

/// How far a float may be from what is expected; by default not at all.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    rtol: f64,
    atol: f64,
}

impl Tolerance {
    /// Fails unless the two are as close as `atol + rtol * |expected|`.
    pub fn close(&self, field: &str, expected: f64, got: impl Into<f64>) -> Outcome {
        let got = got.into();
        let near = (got - expected).abs() <= self.atol + self.rtol * expected.abs();
        // Infinities and NaN are at no distance from themselves.
        if near || got == expected || got.is_nan() && expected.is_nan() {
            return Ok(());
        }
        Err(differ(field, &expected, &got))
    }

    /// [`Tolerance::close`] for lists: names the first element that differs.
    pub fn close_all(&self, field: &str, expected: &[f64], got: &[f32]) -> Outcome {
        same(&format!("the length of {field}"), expected.len(), got.len())?;
        let mut pairs = expected.iter().zip(got).enumerate();
        pairs.try_for_each(|(i, (&expected, &got))| self.close(&format!("{field}[{i}]"), expected, got))
    }
}

/// Prefix sums of the lengths of rows.
pub fn offsets<T>(rows: &[Vec<T>]) -> Vec<i32> {
    let mut ends = vec![0];
    ends.extend(rows.iter().scan(0, |end, row| {
        *end += row.len() as i32;
        Some(*end)
    }));
    ends
}

/// Floats among which NaN and infinities are written as strings.
pub fn floats<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Float {
        Number(f32),
        Text(String),
    }
    let floats = Vec::<Float>::deserialize(from)?;
    let number = |float| match float {
        Float::Number(number) => Ok(number),
        Float::Text(text) => text.parse().map_err(serde::de::Error::custom),
    };
    floats.into_iter().map(number).collect()
}
