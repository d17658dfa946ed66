use super::*;

pub use flodl::{
    Batch, BatchDataSet, DataSet, FixedStrideRecords, PickKey, RandomSampler, Rng, Sampler,
    SequentialSampler, SplitSampler, TransformFn,
};

free! {
    fn batch_dataset_from(dataset: impl DataSet + 'static) -> Arc<dyn BatchDataSet>;
}

methods! { pick_key_: PickKey;
    fn rng(&self) -> Rng;
}

methods! { transform_fn_: TransformFn;
    fn new(f: impl Fn(Vec<Tensor>, &[PickKey]) -> Result<Vec<Tensor>> + Send + Sync + 'static) -> TransformFn;
}

methods! { batch_: Batch;
    fn get(&self, index: usize) -> &Tensor;
    fn get_named(&self, name: &str) -> Option<&Tensor>;
    fn has(&self, name: &str) -> bool;
    fn names(&self) -> &[String];
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn into_vec(self) -> Vec<Tensor>;
    fn into_parts(self) -> (Vec<String>, Vec<Tensor>);
}

methods! { fixed_stride_records_: FixedStrideRecords;
    fn open(path: impl AsRef<Path>, stride: usize) -> Result<FixedStrideRecords>;
    fn with_header(path: impl AsRef<Path>, stride: usize, header: u64) -> Result<FixedStrideRecords>;
    fn count(&self) -> usize;
    fn stride(&self) -> usize;
    fn path(&self) -> &Path;
    fn record(&self, index: usize) -> Result<Vec<u8>>;
}

methods! { random_sampler_: RandomSampler;
    fn new(n: usize, seed: u64) -> RandomSampler;
}

methods! { split_sampler_: SplitSampler;
    fn new(n: usize, seed: u64, splits: usize) -> SplitSampler;
    fn splits(&self) -> usize;
}

methods! { sequential_sampler_: SequentialSampler;
    fn new(n: usize) -> SequentialSampler;
}

methods! { rng_: Rng;
    fn seed(seed: u64) -> Rng;
    fn from_entropy() -> Rng;
    fn usize(&mut self, n: usize) -> usize;
    fn f32(&mut self) -> f32;
    fn f64(&mut self) -> f64;
    fn bernoulli(&mut self, p: f64) -> bool;
    fn range(&mut self, low: i64, high: i64) -> i64;
    fn normal(&mut self, mean: f64, std: f64) -> f64;
}

fn slices_are_shuffled<T>(rng: &mut Rng, slice: &mut [T]) {
    rng.shuffle(slice);
}
