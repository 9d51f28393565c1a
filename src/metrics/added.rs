use std::sync::{Mutex, PoisonError};

/// What [`add_metric`] has set, in the order in which the names first appeared.
static ADDED: Mutex<Vec<(String, f64)>> = Mutex::new(Vec::new());

/// Shows a number of one's own in every log line from now on, under `name`; setting it again
/// overwrites it in its place. For hooks and layers; a model's metrics come by
/// [`crate::nn::Model::add_metric`]. One for the whole process, as in RecIS.
pub fn add_metric(name: &str, value: f64) {
    let mut added = ADDED.lock().unwrap_or_else(PoisonError::into_inner);
    match added.iter_mut().find(|(n, _)| n == name) {
        Some((_, place)) => *place = value,
        None => added.push((name.into(), value)),
    }
}

pub(crate) fn added_metrics() -> Vec<(String, f64)> {
    ADDED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
