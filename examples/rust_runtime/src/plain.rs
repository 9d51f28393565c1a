//! What the runtime does, in plain loops: what its results are held against.

use std::collections::BTreeMap;

use recis::ops::initialize::Source;
use recis::ops::sparse_adamw::Coefficients;
use recis::ops::string_hash::HashType;

use crate::{Bags, DIM, INITIALIZER, SEED};

/// A word's embedding, exp_avg and exp_avg_sq.
pub type Rows<'a> = BTreeMap<&'a str, [[f32; DIM]; 3]>;

/// One step; returns the means.
pub fn step<'a>(
    rows: &mut Rows<'a>,
    bags: Bags<'a>,
    Coefficients { alpha, decay, beta1, beta2, eps }: Coefficients,
) -> Vec<f32> {
    let (mut means, mut gradients) = (Vec::new(), BTreeMap::<&str, [f32; DIM]>::new());
    for word in bags.concat() {
        rows.entry(word).or_insert_with(|| {
            let (mut row, id) = ([[0.0; DIM]; 3], HashType::Farm.hash(word.as_bytes()));
            Source::new(&INITIALIZER, SEED, "words").fill(id as i64, &mut row[0]);
            row
        });
    }
    for bag in bags {
        let count = bag.len().max(1) as f32; // an empty bag's mean is 0
        let mean = |column: usize| bag.iter().map(|word| rows[word][0][column]).sum::<f32>() / count;
        let bag_means: Vec<f32> = (0..DIM).map(mean).collect();
        for word in *bag {
            let gradient = gradients.entry(word).or_default();
            gradient.iter_mut().zip(&bag_means).for_each(|(g, mean)| *g += (mean - 1.0) / count);
        }
        means.extend(bag_means);
    }
    for (word, gradient) in gradients {
        let [embedding, m, v] = rows.get_mut(word).expect("it has been looked up");
        for (i, g) in gradient.into_iter().enumerate() {
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            embedding[i] = decay * embedding[i] + alpha * m[i] / (v[i].sqrt() + eps);
        }
    }
    means
}
