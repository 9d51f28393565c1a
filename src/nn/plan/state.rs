//! Taking a plan's state out, and back in.

use super::Plan;
use crate::device::Buffer;
use crate::snapshot::{ArrayData, ArraySnapshot, ModelSnapshot};
use crate::{Error, Result};

impl Plan {
    /// Everything that the model has learned: tables, parameters, optimizer state, metric counters.
    /// Gradients that wait for [`Plan::apply_gradients`] are not part of it. Of several ranks, which all
    /// call this together, rank 0 gets the whole model; the tables of the others have no rows.
    pub fn snapshot(&self) -> Result<ModelSnapshot> {
        let (tables, mut arrays) = self.embeddings.snapshot(&self.stream)?;
        for parameter in self.network.parameters() {
            let data = ArrayData::F32(parameter.value.to_vec(&self.stream)?);
            let (name, shape) = (parameter.name.clone(), parameter.shape.clone());
            arrays.push(ArraySnapshot { name, shape, data });
        }
        arrays.extend(self.dense_optimizer.snapshot(self.network.parameters(), &self.stream)?);
        for (name, metric) in &self.metrics {
            for (counter, values) in metric.state(&self.stream)? {
                let shape = vec![values.len()];
                let name = format!("{name}_metric.{counter}");
                arrays.push(ArraySnapshot { name, shape, data: ArrayData::I64(values) });
            }
        }
        Ok(ModelSnapshot { tables, arrays })
    }

    /// Takes a snapshot of a whole model back, whatever the number of ranks it came from; each rank
    /// keeps its part.
    ///
    /// # Errors
    /// The snapshot is of another model: something is missing, left over, or of another shape. The
    /// plan is then in between and should be dropped.
    pub fn restore(&mut self, snapshot: ModelSnapshot) -> Result<()> {
        let ModelSnapshot { mut tables, mut arrays } = snapshot;
        let mut take = |name: &str, shape: &[usize]| take_array(&mut arrays, name, shape);
        self.embeddings.restore(&mut tables, &mut take, &self.stream)?;
        for parameter in self.network.parameters_mut() {
            let values = take(&parameter.name, &parameter.shape)?.into_f32(&parameter.name)?;
            parameter.value = Buffer::from_vec(values, &self.stream)?;
        }
        self.dense_optimizer.restore(self.network.parameters(), &mut take, &self.stream)?;
        for (name, metric) in &mut self.metrics {
            let mut state = metric.state(&self.stream)?;
            for (counter, values) in &mut state {
                let name = format!("{name}_metric.{counter}");
                *values = take(&name, &[values.len()])?.into_i64(&name)?;
                // The counts of all ranks are one rank's from now on.
                if self.communicator.as_ref().is_some_and(|communicator| communicator.rank() > 0) {
                    values.fill(0);
                }
            }
            metric.restore(&state, &self.stream)?;
        }
        (self.pending_batches, self.sums_begun) = (0, false);
        let left: Vec<_> = (tables.iter().map(|t| &t.name)).chain(arrays.iter().map(|a| &a.name)).collect();
        if !left.is_empty() {
            return Err(Error::Model(format!("the model has no {left:?}")));
        }
        Ok(())
    }
}

fn take_array(arrays: &mut Vec<ArraySnapshot>, name: &str, shape: &[usize]) -> Result<ArrayData> {
    let place = arrays.iter().position(|array| array.name == name);
    let place = place.ok_or_else(|| Error::Model(format!("array '{name}' is missing")))?;
    let array = arrays.swap_remove(place);
    if array.shape != shape || array.data.len() != shape.iter().product::<usize>() {
        let what = format!("array '{name}' has shape {:?}, the model wants {shape:?}", array.shape);
        return Err(Error::Model(what));
    }
    Ok(array.data)
}
