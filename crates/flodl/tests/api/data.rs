use super::*;

pub use flodl::{
    Batch, BatchDataSet, CpuWorker, DataSet, ENV_VAR, EpochRecord, FixedStrideRecords, Metrics,
    Monitor, PickKey, PrefetchWorker, RandomSampler, Rng, Sampler, SequentialSampler, SplitSampler,
    TransformFn, Verbosity,
};

free! {
    fn set_verbosity(level: Verbosity);
    fn verbosity() -> Verbosity;
    fn enabled(level: Verbosity) -> bool;
    fn set_node_label(host: impl Into<String>);
    fn set_thread_device(local_dev: u8, global_rank: Option<usize>);
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

methods! { monitor_: Monitor;
    fn new(total_epochs: usize) -> Monitor;
    fn silent_summary(&mut self) -> &mut Monitor;
    fn is_primary(&self) -> bool;
    fn serve(&mut self, port: u16) -> std::io::Result<()>;
    fn save_html(&mut self, path: &str);
    fn set_archive_theme(&mut self, theme: &str);
    fn set_metadata(&mut self, meta: serde_json::Value);
    fn watch(&mut self, graph: &Graph);
    fn watch_profiled(&mut self, graph: &Graph);
    fn set_svg(&mut self, svg: &str);
    fn set_hardware(&mut self, hardware: impl Into<String>);
    fn log_epoch_record(&mut self, record: EpochRecord);
    fn set_identity(&mut self, label: Option<&str>, hash: Option<&str>);
    fn log(&mut self, epoch: usize, duration: Duration, metrics: impl Metrics);
    fn finish(&mut self);
    fn finish_with(&mut self, graph: &Graph);
    fn history(&self) -> &[EpochRecord];
    fn write_log(&self, path: &str) -> std::io::Result<()>;
    fn export_csv(&self, path: &str) -> std::io::Result<()>;
}

methods! { cpu_worker_: CpuWorker;
    fn new() -> CpuWorker;
    fn is_idle(&self) -> bool;
    fn finish(&mut self);
}

methods! { prefetch_worker_: PrefetchWorker;
    fn new(dataset: Arc<dyn BatchDataSet>, device: Device, prefetch_depth: usize, vram_pool: bool, augment: usize) -> PrefetchWorker;
    fn load_batch(&self, indices: Vec<usize>);
    fn install_vram_pool_budget(&self, reserve_bytes: u64);
    fn prefetch_depth(&self) -> usize;
    fn set_prefetch_depth(&mut self, depth: usize);
}

fn work_goes_to_another_thread<F: FnOnce() + Send + 'static>(worker: &CpuWorker, f: F) {
    worker.submit(f);
}

fn slices_are_shuffled<T>(rng: &mut Rng, slice: &mut [T]) {
    rng.shuffle(slice);
}
