//! What a plan computes, however it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use recis::device::{Buffer, Device, Stream};
use recis::nn::embedding::{Table, embedding_table};
use recis::nn::{
    ArrayData, ArraySnapshot, BceLoss, Linear, Loss, Model, ModelSnapshot, PlanOptions, Relu, Sequential,
    Sigmoid, TableSnapshot, Turn,
};
use recis::ops::linear_tile::Reduction;
use recis::ops::merge_gradients::Gradients;
use recis::ops::partition_ids::Partition;
use recis::ops::scale;
use recis::ops::unfit::Word;
use recis::optim::{SparseOptimizer, Take};
use recis::{DenseTensor, Result, Tensor, Values};

use crate::devices::devices;
use crate::model::{
    INPUTS, ROWS, batch, embeddings, features, model, plan, plan_of, plan_on, plan_with, train,
};

/// The largest difference of two snapshots' floats, and whether all else is equal.
fn difference(a: &ModelSnapshot, b: &ModelSnapshot) -> f32 {
    let mut largest = 0.0f32;
    let mut floats = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| largest = largest.max((a - b).abs()));
    };
    for (a, b) in a.tables.iter().zip(&b.tables) {
        assert_eq!((&a.name, &a.ids), (&b.name, &b.ids));
        a.slots.iter().zip(&b.slots).for_each(|((_, a), (_, b))| floats(a, b));
    }
    for (a, b) in a.arrays.iter().zip(&b.arrays) {
        assert_eq!(a.name, b.name);
        match (&a.data, &b.data) {
            (ArrayData::F32(a), ArrayData::F32(b)) => floats(a, b),
            (a, b) => assert_eq!(a, b),
        }
    }
    largest
}

#[test]
fn fused_and_unfused_agree() {
    for device in devices() {
        fused_and_unfused_agree_on(device, Reduction::Repeatable);
        fused_and_unfused_agree_on(device, Reduction::Unordered);
    }
}

fn fused_and_unfused_agree_on(device: Device, reduction: Reduction) {
    let options = PlanOptions { device, reduction, ..PlanOptions::default() };
    let mut fused = plan_of(model(), &options).unwrap();
    let mut unfused = plan_with(model(), false, device).unwrap();
    assert!(fused.to_string().contains("gathered by the first layer"));
    assert!(!unfused.to_string().contains("gathered"));
    let in_one = "\n  Relu, trained in one with the loss\n  Linear(16 -> 8), trained in one with the loss\n";
    assert!(fused.to_string().contains(in_one), "{fused}");
    assert!(!unfused.to_string().contains("in one"), "{unfused}");
    for seed in 0..5 {
        let batch = batch(seed, ROWS);
        let (a, b) = (train(&mut fused, &batch).unwrap(), train(&mut unfused, &batch).unwrap());
        assert!((a.loss - b.loss).abs() < 1e-5, "step {seed}: {} and {}", a.loss, b.loss);
        let (a, b) = (fused.predictions().unwrap(), unfused.predictions().unwrap());
        let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(a.len() == ROWS && apart < 1e-4, "step {seed}: predictions {apart} apart");
        fused.apply_gradients().unwrap();
        unfused.apply_gradients().unwrap();
    }
    // Adam moves a parameter by about lr whatever the size of its gradient, so rounding shows in
    // those whose gradient is near zero.
    assert!(difference(&fused.snapshot().unwrap(), &unfused.snapshot().unwrap()) < 0.02);
}

/// On a thread of their own, ahead of training; and then by themselves.
#[test]
fn batches_that_are_prepared_ahead_train_alike() {
    for device in devices() {
        let (mut ahead, mut alone) = (plan_on(device), plan_on(device));
        let preparer = ahead.preparer();
        let (give, prepared) = sync_channel(2);
        let thread = thread::spawn(move || {
            (0..5).for_each(|seed| give.send(preparer.prepare(&batch(seed, ROWS)).unwrap()).unwrap());
        });
        for (seed, prepared) in prepared.iter().enumerate() {
            let Turn::Step(step) = ahead.train_prepared(Some(prepared), false).unwrap() else {
                panic!("no step of a batch that is there")
            };
            ahead.apply_gradients().unwrap();
            let expected = train(&mut alone, &batch(seed as u64, ROWS)).unwrap();
            alone.apply_gradients().unwrap();
            assert_eq!(step.wait().unwrap().loss, expected.loss);
        }
        thread.join().unwrap();
        assert_eq!(difference(&ahead.snapshot().unwrap(), &alone.snapshot().unwrap()), 0.0);

        let of_another = alone.preparer().prepare(&batch(1, ROWS)).unwrap();
        let error = ahead.train_prepared(Some(of_another), false).unwrap_err();
        assert_eq!(error.to_string(), "model: a batch that another plan's preparer has prepared");
    }
}

/// Also of other sizes, of ids that tables must grow for, and behind a batch that is refused halfway.
#[test]
fn updates_launched_with_their_batch_are_the_same() {
    for device in devices() {
        let (mut at_once, mut after) = (plan_on(device), plan_on(device));
        at_once.update_every(1);
        let mut steps_of_both = Vec::new();
        let steps =
            [(0, ROWS), (1, ROWS), (2, 300), (3, 1), (4, ROWS), (4, ROWS), (5, 3000), (6, ROWS), (7, 300)];
        for (number, (seed, rows)) in steps.into_iter().enumerate() {
            if number == 4 {
                let mut batch = batch(seed, rows);
                let values = Values::I8(vec![1; 8 * rows].into());
                batch.insert("dense1", Tensor::Dense(DenseTensor { rows, width: 8, values }));
                let [a, b] =
                    [&mut at_once, &mut after].map(|plan| train(plan, &batch).unwrap_err().to_string());
                assert!(a == b && a.contains("dense1"), "{a}, {b}");
                continue;
            }
            let batch = batch(seed, rows);
            steps_of_both.push((at_once.train_batch(&batch).unwrap(), after.train_batch(&batch).unwrap()));
            at_once.apply_gradients().unwrap();
            after.apply_gradients().unwrap();
        }
        // Not before: what a device still does is not to be waited for by the host.
        for (number, (a, b)) in steps_of_both.into_iter().enumerate() {
            assert_eq!(a.wait().unwrap(), b.wait().unwrap(), "step {number}");
        }
        assert_eq!(at_once.predictions().unwrap(), after.predictions().unwrap());
        assert_eq!(difference(&at_once.snapshot().unwrap(), &after.snapshot().unwrap()), 0.0);
    }
}

/// A loss of one's own.
struct Doubled;

impl Loss for Doubled {
    fn describe(&self) -> String {
        "Doubled".into()
    }
    fn forward(
        &self,
        prediction: &Buffer<f32>,
        label: &Buffer<f32>,
        loss: &mut Buffer<f32>,
        d_prediction: Option<&mut Buffer<f32>>,
        unfit: Word<'_>,
        stream: &Stream,
    ) -> Result<()> {
        BceLoss.forward(prediction, label, loss, d_prediction, unfit, stream)?;
        scale::forward(loss, 2.0, stream)
    }
}

#[test]
fn only_layers_of_one_form_are_trained_in_one() {
    let layers = |width| Sequential::new("dnn").add(Linear::new(256, width));
    let in_one = |dense: Sequential, loss: Option<Doubled>| {
        let model = match loss {
            Some(loss) => Model::new(dense, "label", loss),
            None => Model::new(dense, "label", BceLoss),
        };
        let model = model.features(features()).embeddings(embeddings()).concat(&INPUTS);
        let mut plan = plan_with(model, true, Device::Cpu).unwrap();
        let loss = train(&mut plan, &batch(1, ROWS)).unwrap().loss;
        (plan.to_string().contains("trained in one"), loss)
    };
    let small = || layers(8).add(Relu).add(Linear::new(8, 1)).add(Sigmoid);
    let ((one, loss), (other, doubled)) = (in_one(small(), None), in_one(small(), Some(Doubled)));
    assert!(one && !other && (doubled - 2.0 * loss).abs() < 1e-6, "{loss}, doubled {doubled}");
    for dense in [
        layers(1).add(Sigmoid),
        layers(8).add(Linear::new(8, 1)).add(Sigmoid),
        layers(8).add(Relu).add(Relu).add(Linear::new(8, 1)).add(Sigmoid),
        layers(300).add(Relu).add(Linear::new(300, 1)).add(Sigmoid),
    ] {
        assert!(!in_one(dense, None).0);
    }
}

#[test]
fn two_equal_batches_move_the_model_as_one() {
    devices().into_iter().for_each(two_equal_batches_move_the_model_as_one_on);
}

fn two_equal_batches_move_the_model_as_one_on(device: Device) {
    let (mut once, mut twice) = (plan_on(device), plan_on(device));
    train(&mut once, &batch(1, ROWS)).unwrap();
    train(&mut twice, &batch(1, ROWS)).unwrap();
    train(&mut twice, &batch(1, ROWS)).unwrap();
    once.apply_gradients().unwrap();
    twice.apply_gradients().unwrap();
    let (once, mut twice) = (once.snapshot().unwrap(), twice.snapshot().unwrap());
    // The metric has seen every row twice.
    twice.arrays.iter_mut().zip(&once.arrays).filter(|(a, _)| a.name.starts_with("auc")).for_each(
        |(a, b)| {
            assert_ne!(a.data, b.data);
            a.data = b.data.clone();
        },
    );
    assert!(difference(&once, &twice) < 1e-6);
}

#[test]
fn accumulated_batches_count_alike() {
    // Two halves of a batch, accumulated, are the batch: the mean of the means of equal halves.
    for device in devices() {
        let (whole, mut halves) = (batch(3, 2 * ROWS), plan_on(device));
        let mut one = plan_on(device);
        train(&mut one, &whole).unwrap();
        one.apply_gradients().unwrap();
        for half in 0..2 {
            train(&mut halves, &rows(&whole, half * ROWS..(half + 1) * ROWS)).unwrap();
        }
        halves.apply_gradients().unwrap();
        assert!(difference(&one.snapshot().unwrap(), &halves.snapshot().unwrap()) < 1e-4, "{device}");
    }
}

/// Some rows of a batch.
fn rows(batch: &recis::Batch, range: std::ops::Range<usize>) -> recis::Batch {
    use recis::{DenseTensor, RaggedTensor, Tensor, Values};
    let mut part = recis::Batch::new(range.len());
    for (name, tensor) in batch.columns() {
        let cut = match tensor.as_ref() {
            Tensor::Dense(DenseTensor { values: Values::F32(values), width, .. }) => {
                crate::model::dense(values.host()[range.start * width..range.end * width].to_vec(), *width)
            }
            Tensor::Ragged(RaggedTensor { values, offsets, .. }) => {
                let mut range = range.clone();
                let mut levels = Vec::new();
                for level in offsets {
                    let level = level.host();
                    let (first, last) = (level[range.start], level[range.end]);
                    levels.push(
                        level[range.start..=range.end].iter().map(|o| o - first).collect::<Vec<_>>().into(),
                    );
                    range = first as usize..last as usize;
                }
                let values = match values {
                    Values::I64(v) => Values::I64(v.host()[range].to_vec().into()),
                    Values::I8(v) => Values::I8(v.host()[range].to_vec().into()),
                    _ => unreachable!("the small model has no other columns"),
                };
                Tensor::Ragged(RaggedTensor::new(values, levels, None))
            }
            _ => unreachable!("the small model has no other columns"),
        };
        part.insert(name, cut);
    }
    part
}

/// A table of one's own: counts the keys that it is asked for, and leaves the rest to ours.
struct Counting(Box<dyn Table>, Arc<AtomicUsize>);

impl Table for Counting {
    fn dim(&self) -> usize {
        self.0.dim()
    }
    fn sizes(&self, stream: &Stream) -> Result<Vec<(&str, usize)>> {
        self.0.sizes(stream)
    }
    fn attach(&mut self, optimizer: &dyn SparseOptimizer, stream: &Stream) -> Result<()> {
        self.0.attach(optimizer, stream)
    }
    fn lookup(
        &mut self,
        partition: &Partition,
        insert: bool,
        rows: &mut Buffer<u32>,
        embeddings: &mut Buffer<f32>,
        stream: &Stream,
    ) -> Result<()> {
        let count = partition.count.to_vec(stream)?[0] as usize;
        self.1.fetch_add(count, Ordering::Relaxed);
        self.0.lookup(partition, insert, rows, embeddings, stream)
    }
    fn accept_gradients(&mut self, gradients: Gradients, stream: &Stream) -> Result<()> {
        self.0.accept_gradients(gradients, stream)
    }
    fn step(&mut self, optimizer: &dyn SparseOptimizer, steps: usize, stream: &Stream) -> Result<()> {
        self.0.step(optimizer, steps, stream)
    }
    fn snapshot(&self, stream: &Stream) -> Result<(Vec<TableSnapshot>, Vec<ArraySnapshot>)> {
        self.0.snapshot(stream)
    }
    fn restore(
        &mut self,
        tables: &mut Vec<TableSnapshot>,
        take: &mut Take<'_>,
        stream: &Stream,
    ) -> Result<()> {
        self.0.restore(tables, take, stream)
    }
}

#[test]
fn a_model_may_bring_its_tables() {
    let keys = Arc::new(AtomicUsize::new(0));
    let counter = keys.clone();
    let model = model().tables(move |layout, seed, stream| {
        Ok(Box::new(Counting(embedding_table(layout, seed, stream)?, counter.clone())))
    });
    let (mut own, mut plain) = (plan_with(model, true, Device::Cpu).unwrap(), plan());
    let batch = batch(1, ROWS);
    assert_eq!(train(&mut own, &batch).unwrap(), train(&mut plain, &batch).unwrap());
    let sizes = own.table_sizes().unwrap();
    assert_eq!(keys.load(Ordering::Relaxed), sizes.iter().map(|(_, ids)| ids).sum::<usize>());
}

#[test]
fn evaluation_learns_nothing() {
    devices().into_iter().for_each(evaluation_learns_nothing_on);
}

fn evaluation_learns_nothing_on(device: Device) {
    let mut plan = plan_on(device);
    train(&mut plan, &batch(1, ROWS)).unwrap();
    plan.apply_gradients().unwrap();
    let before = plan.snapshot().unwrap();
    let mut metrics = plan.fresh_metrics();
    let loss = plan.evaluate_batch(&batch(2, ROWS), &mut metrics).unwrap();
    assert!(loss.is_finite());
    assert_eq!(plan.snapshot().unwrap(), before, "ids of the second batch are in the tables");
    assert_ne!(plan.compute(&mut metrics).unwrap(), plan.compute(&mut plan.fresh_metrics()).unwrap());
}

#[test]
fn batches_may_differ_in_size() {
    for device in devices() {
        let mut plan = plan_on(device);
        for (seed, rows) in [(0, 1), (1, 300), (2, 2), (3, 129)] {
            assert!(train(&mut plan, &batch(seed, rows)).unwrap().loss.is_finite());
            assert_eq!(plan.predictions().unwrap().len(), rows);
            plan.apply_gradients().unwrap();
        }
    }
}
