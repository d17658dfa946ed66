//! Loaders, samplers, transforms and file sources: order, edges, damage.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flodl::*;

#[path = "data/damage.rs"]
mod damage;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("flodl-data-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn range(n: i64) -> Tensor {
    Tensor::from_i64(&(0..n).collect::<Vec<_>>(), &[n], Device::CPU).unwrap()
}

fn numbers(n: i64) -> TensorDataset {
    TensorDataset::new(vec![range(n)]).unwrap()
}

fn all(loader: &mut DataLoader, epoch: usize) -> Vec<Vec<i64>> {
    loader.epoch(epoch).unwrap().map(|b| b.unwrap().get(0).to_i64_vec().unwrap()).collect()
}

/// A set that draws random numbers and takes its time.
struct Noisy(usize);

impl DataSet for Noisy {
    fn len(&self) -> usize {
        self.0
    }
    fn get(&self, index: usize) -> Result<Vec<Tensor>> {
        if index.is_multiple_of(5) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let noise = Tensor::rand(&[2], TensorOptions::default())?;
        Ok(vec![Tensor::from_i64(&[index as i64], &[], Device::CPU)?, noise])
    }
}

#[test]
fn what_comes_does_not_depend_on_the_number_of_workers() {
    let read = |workers: usize, depth: Option<usize>| -> Vec<(Vec<i64>, Vec<f32>)> {
        let jitter = TransformFn::new(|mut t, keys| {
            let add: Vec<f32> = keys.iter().map(|k| k.rng().f32()).collect();
            t[1] = t[1].add(&Tensor::from_f32(&add, &[keys.len() as i64, 1], Device::CPU)?)?;
            Ok(t)
        });
        let mut loader =
            DataLoader::from_samples(Noisy(37), 4).shuffle(9).transform(jitter).workers(workers);
        if let Some(depth) = depth {
            loader = loader.prefetch(depth);
        }
        manual_seed(workers as u64);
        let before = rng_state();
        let out = (0..2)
            .flat_map(|e| loader.epoch(e).unwrap().collect::<Vec<_>>())
            .map(|b| b.unwrap())
            .map(|b| (b.get(0).to_i64_vec().unwrap(), b.get(1).to_f32_vec().unwrap()))
            .collect();
        assert_eq!(rng_state(), before, "the caller's random numbers are its own");
        out
    };
    let want = read(0, None);
    assert_eq!(want.len(), 20);
    assert_ne!(want[0], want[10], "another order and other numbers in the second epoch");
    for (workers, depth) in [(1, None), (2, Some(1)), (3, None), (16, Some(50))] {
        assert_eq!(read(workers, depth), want, "{workers} workers");
    }
}

#[test]
fn an_epoch_goes_on_from_any_batch() {
    for workers in [0, 3] {
        let make = || DataLoader::new(numbers(10), 3).shuffle(2).workers(workers);
        let whole = all(&mut make(), 4);
        for first in 0..=4 {
            let mut loader = make();
            let rest = loader.epoch_from(4, first).unwrap();
            assert_eq!(rest.len(), 4 - first);
            let rest: Vec<_> = rest.map(|b| b.unwrap().get(0).to_i64_vec().unwrap()).collect();
            assert_eq!(rest, whole[first..]);
        }
    }
}

#[test]
fn small_sets_are_not_lost() {
    // P12: fewer samples than a batch, and the tail.
    assert_eq!(all(&mut DataLoader::new(numbers(3), 8), 0), [vec![0, 1, 2]]);
    assert_eq!(all(&mut DataLoader::new(numbers(5), 2), 0), [vec![0, 1], vec![2, 3], vec![4]]);
    let error = |mut l: DataLoader| l.epoch(0).err().unwrap().to_string();
    assert_eq!(
        error(DataLoader::new(numbers(3), 8).drop_last(true)),
        "DataLoader: an epoch without batches: 3 samples in batches of 8 with drop_last"
    );
    assert_eq!(
        error(DataLoader::new(numbers(0), 8)),
        "DataLoader: an epoch without batches: 0 samples in batches of 8"
    );
    assert_eq!(
        error(DataLoader::new(numbers(3), 0)),
        "DataLoader: batch_size must be at least 1, not 0"
    );
    let empty = |_| -> Result<SampleIter> { Ok(Box::new(std::iter::empty())) };
    let first = StreamLoader::new(empty, 4).epoch(0).unwrap().next().unwrap();
    assert_eq!(first.unwrap_err().to_string(), "StreamLoader: epoch 0 has no batches of 4");
}

struct Failing(Arc<AtomicUsize>);

impl DataSet for Failing {
    fn len(&self) -> usize {
        100
    }
    fn get(&self, index: usize) -> Result<Vec<Tensor>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        match index {
            7 => Err(Error::new("sample 7 is damaged")),
            9 => panic!("sample 9"),
            i => Ok(vec![Tensor::from_i64(&[i as i64], &[], Device::CPU)?]),
        }
    }
}

#[test]
fn workers_hand_errors_on_and_end_early() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut loader = DataLoader::from_samples(Failing(count.clone()), 1).workers(2).prefetch(3);
    let got: Vec<Result<Batch>> = loader.epoch(0).unwrap().take(11).collect();
    assert_eq!(got[7].as_ref().unwrap_err().to_string(), "sample 7 is damaged");
    let panic = got[9].as_ref().unwrap_err().to_string();
    assert_eq!(panic, "DataLoader: a worker panicked: sample 9");
    assert_eq!(got[10].as_ref().unwrap().get(0).to_i64_vec().unwrap(), [10]);
    // Dropped after 11 of 100: no more than the depth and the threads' own were read.
    assert!(count.load(Ordering::Relaxed) <= 16, "{}", count.load(Ordering::Relaxed));
}

#[test]
fn prefetch_worker_reads_in_order_and_ends() {
    let set: Arc<dyn BatchDataSet> = Arc::new(numbers(10));
    let mut worker = PrefetchWorker::new(set.clone(), Device::CPU, 2, false, 2);
    assert_eq!(worker.prefetch_depth(), 2);
    worker.set_prefetch_depth(4);
    assert_eq!(worker.prefetch_depth(), 4);
    for i in 0..8 {
        worker.load_batch(vec![i]);
    }
    for i in 0..5 {
        let batch = worker.next_batch().unwrap().unwrap();
        assert_eq!(batch[0].to_i64_vec().unwrap(), [i, i], "each index twice");
    }
    worker.load_batch(vec![99]);
    drop(worker); // with batches open
    let worker = PrefetchWorker::new(set, Device::CPU, 1, false, 1);
    worker.load_batch(vec![99]);
    let error = worker.next_batch().unwrap().unwrap_err().to_string();
    assert_eq!(error, "TensorDataset: index 99 is out of range for size 10");
    assert!(worker.next_batch().is_none());
}

#[test]
fn samplers() {
    let once = |mut v: Vec<usize>, n: usize| {
        v.sort_unstable();
        assert_eq!(v, (0..n).collect::<Vec<_>>());
    };
    once(RandomSampler::new(50, 3).indices(2), 50);
    assert_eq!(RandomSampler::new(50, 3).indices(2), RandomSampler::new(50, 3).indices(2));
    assert_ne!(RandomSampler::new(50, 3).indices(2), RandomSampler::new(50, 3).indices(3));
    for (n, splits) in [(10, 3), (7, 7), (3, 5), (0, 2), (5, 0)] {
        let mut s = SplitSampler::new(n, 1, splits);
        let splits = s.splits();
        let parts: Vec<_> = (0..splits).map(|e| s.indices(e)).collect();
        assert!(parts.iter().all(|p| p.len() <= s.epoch_len()));
        once(parts.concat(), n);
        once((splits..2 * splits).flat_map(|e| s.indices(e)).collect(), n);
    }
    assert_eq!(SubsetRandomSampler::new(vec![4, 9], 1).indices(0).len(), 2);
    let mut w = WeightedRandomSampler::new(&[1.0, 0.0, 2.0, 1.0], 3, false, 4).unwrap();
    for epoch in 0..20 {
        let mut v = w.indices(epoch);
        v.sort_unstable();
        assert_eq!(v, [0, 2, 3]);
    }
    let bad = |w: &[f64], n, r| WeightedRandomSampler::new(w, n, r, 0).unwrap_err().to_string();
    assert_eq!(
        bad(&[1.0, -1.0], 1, true),
        "WeightedRandomSampler: weight -1 must be finite and not negative"
    );
    assert_eq!(bad(&[0.0], 1, true), "WeightedRandomSampler: at least one weight must be above 0");
    assert_eq!(
        bad(&[1.0, 0.0], 2, false),
        "WeightedRandomSampler: 2 samples without replacement, of 1 with weight"
    );
}

#[test]
fn splits_and_combinations() {
    let parts = random_split(101, &[0.7, 0.2, 0.1], 5).unwrap();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [71, 20, 10]);
    assert_eq!(parts.concat().into_iter().collect::<BTreeSet<_>>().len(), 101);
    let labels: Vec<i64> = (0..100).map(|i| i64::from(i % 10 == 0)).collect();
    let parts = stratified_split(&labels, &[0.8, 0.2], 5).unwrap();
    let ones = |p: &[usize]| p.iter().filter(|&&i| labels[i] == 1).count();
    assert_eq!((ones(&parts[0]), ones(&parts[1])), (8, 2));
    assert_eq!((parts[0].len(), parts[1].len()), (80, 20));
    let error = random_split(4, &[0.5, 0.4], 0).unwrap_err().to_string();
    assert_eq!(error, "random_split: fractions [0.5, 0.4] sum to 0.9, not 1");

    let halves = Subset::random_split(numbers(10), &[0.5, 0.5], 1).unwrap();
    let joined: Vec<Arc<dyn BatchDataSet>> =
        halves.iter().map(|h| Arc::new(h.clone()) as Arc<dyn BatchDataSet>).collect();
    let concat = ConcatDataset::new(joined).unwrap();
    assert_eq!(concat.len(), 10);
    let got = concat.get_batch(&[9, 0, 4, 5]).unwrap()[0].to_i64_vec().unwrap();
    let want: Vec<i64> = [(1, 4), (0, 0), (0, 4), (1, 0)]
        .iter()
        .map(|&(h, i): &(usize, usize)| halves[h].indices()[i] as i64)
        .collect();
    assert_eq!(got, want);
    let error = concat.get_batch(&[10]).unwrap_err().to_string();
    assert_eq!(error, "ConcatDataset: index 10 is out of range for size 10");
    let error = Subset::new(numbers(3), vec![0, 3]).unwrap_err().to_string();
    assert_eq!(error, "Subset: index 3 is out of range for size 3");
}

#[test]
fn streams_shuffle_and_prefetch_alike() {
    let source = |_| -> Result<SampleIter> {
        Ok(Box::new((0..50).map(|i| Ok(vec![Tensor::from_i64(&[i], &[], Device::CPU)?]))))
    };
    let read = |prefetch: usize| -> Vec<i64> {
        let loader = StreamLoader::new(source, 4).shuffle(8, 3).prefetch(prefetch);
        loader.epoch(1).unwrap().flat_map(|b| b.unwrap().get(0).to_i64_vec().unwrap()).collect()
    };
    let here = read(0);
    assert_eq!(read(3), here);
    assert_ne!(here, (0..50).collect::<Vec<_>>());
    assert_eq!(here.iter().collect::<BTreeSet<_>>().len(), 50);
    // Dropped in the middle, the thread ends.
    let loader = StreamLoader::new(source, 1).prefetch(1);
    assert!(loader.epoch(0).unwrap().next().is_some());
}

#[test]
fn image_transforms() {
    let image =
        Tensor::from_f32(&(0..24).map(|v| v as f32).collect::<Vec<_>>(), &[1, 4, 6], Device::CPU)
            .unwrap();
    let rng = &mut Rng::seed(1);
    let values = |t: Tensor| t.to_f32_vec().unwrap();
    let middle = CenterCrop::new([2, 2]).apply(image.clone(), rng).unwrap();
    assert_eq!(values(middle), [8.0, 9.0, 14.0, 15.0]);
    let flipped = RandomHorizontalFlip::new(1.0).unwrap().apply(image.clone(), rng).unwrap();
    assert_eq!(values(flipped)[..6], [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    let same = RandomHorizontalFlip::new(0.0).unwrap().apply(image.clone(), rng).unwrap();
    assert_eq!(values(same), values(image.clone()));
    let normal = Normalize::new(&[2.0], &[4.0]).unwrap().apply(image.clone(), rng).unwrap();
    assert_eq!(values(normal)[..3], [-0.5, -0.25, 0.0]);
    let small = Resize::new([2, 3]).antialias(false).apply(image.clone(), rng).unwrap();
    // PyTorch's bilinear interpolation without corners: means of 2 by 2.
    assert_eq!(values(small), [3.5, 5.5, 7.5, 15.5, 17.5, 19.5]);
    // PyTorch's with antialiasing: smaller, larger in one dim, and by other than whole factors.
    for (size, want) in [
        ([2, 3], vec![5.0, 6.785714, 8.571428, 14.428573, 16.214287, 18.0]),
        ([3, 4], vec![2.175, 3.577778, 5.022222, 6.425, 9.375, 10.777779, 12.222221, 13.625]),
        ([8, 3], vec![0.714286, 2.5, 4.285714, 2.214286, 4.0, 5.785714, 5.214286, 7.0, 8.785714]),
        ([5, 9], vec![0.0, 0.5, 1.166667, 1.833333, 2.5, 3.166667, 3.833333, 4.5, 5.0, 4.2]),
    ] {
        let got = values(Resize::new(size).apply(image.clone(), rng).unwrap());
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}");
    }
    let short = |size: [i64; 2], n: i64| {
        let image = Tensor::zeros(&[3, size[0], size[1]], TensorOptions::default()).unwrap();
        Resize::shorter(n).apply(image, &mut Rng::seed(1)).unwrap().shape()
    };
    assert_eq!((short([30, 50], 20), short([50, 30], 20)), (vec![3, 20, 33], vec![3, 33, 20]));
    let mut places = BTreeSet::new();
    for seed in 0..200 {
        let part =
            RandomCrop::new(4).padding(1).apply(image.clone(), &mut Rng::seed(seed)).unwrap();
        assert_eq!(part.shape(), [1, 4, 4]);
        places.insert(values(part).into_iter().map(|v| v as i64).collect::<Vec<_>>());
    }
    assert_eq!(places.len(), 3 * 5, "every place is met");
    let bytes = image.to_dtype(DType::UInt8).unwrap();
    assert_eq!(values(ToTensor.apply(bytes, rng).unwrap())[1], 1.0 / 255.0);
    // On a batch: each sample has numbers of its own.
    let batch = Tensor::stack(&[&image; 16], 0).unwrap();
    let labels = range(16);
    let set = TensorDataset::new(vec![batch, labels]).unwrap();
    let flip = TransformFn::each(RandomHorizontalFlip::new(0.5).unwrap());
    let mut loader = DataLoader::new(set, 16).seed(3).augment(2).transform(flip);
    let b = loader.epoch(0).unwrap().next().unwrap().unwrap();
    let first: Vec<f64> =
        b.get(0).select(3, 0).unwrap().select(2, 0).unwrap().to_f64_vec().unwrap();
    assert!(first.contains(&0.0) && first.contains(&5.0));
    assert_eq!(b.get(1).to_i64_vec().unwrap()[..4], [0, 0, 1, 1]);
    for (transform, want) in [
        (
            Box::new(CenterCrop::new(9)) as Box<dyn Transform>,
            "CenterCrop: expected an image of at least 9 by 9, got shape [1, 4, 6]",
        ),
        (
            Box::new(RandomCrop::new(9)),
            "RandomCrop: expected an image of at least 9 by 9, got shape [1, 4, 6]",
        ),
        (
            Box::new(Normalize::new(&[0.0; 3], &[1.0; 3]).unwrap()),
            "Normalize: expected 3 channels, got shape [1, 4, 6]",
        ),
    ] {
        assert_eq!(transform.apply(image.clone(), rng).unwrap_err().to_string(), want);
    }
    assert_eq!(
        RandomHorizontalFlip::new(1.5).unwrap_err().to_string(),
        "RandomHorizontalFlip: p 1.5 must be from 0 to 1"
    );
    assert_eq!(
        Normalize::new(&[0.0], &[0.0]).unwrap_err().to_string(),
        "Normalize: a deviation of 0 would divide by zero"
    );
}

#[test]
fn csv_tables() {
    let read = |o: CsvOptions, text: &str| o.parse("t.csv", text.as_bytes());
    let text = "a,b,kind\n1,0.5,red\n2,,blue\n3,2.5,\n";
    let error = read(CsvOptions::new(), text).unwrap_err().to_string();
    assert_eq!(error, "t.csv: line 3, column 2 (\"b\"): the field is blank");
    let t = read(CsvOptions::new().missing(Missing::Nan), text).unwrap();
    assert!(t.floats(&["b"]).unwrap().to_f32_vec().unwrap()[1].is_nan());
    assert_eq!(t.levels("kind").unwrap(), ["", "blue", "red"]);
    let t = read(CsvOptions::new().missing(Missing::DropRow), text).unwrap();
    assert_eq!((t.len(), t.names()), (1, vec!["a", "b", "kind"]));
    // A blank in a column that is not read drops nothing.
    let skip = CsvOptions::new().missing(Missing::DropRow).column("kind", ColumnKind::Skip);
    assert_eq!(read(skip, text).unwrap().len(), 2);
    let cases = [
        ("a,b\n1,2\n3\n", "t.csv: line 3 has 1 fields, not 2"),
        ("a,a\n1,2\n", "t.csv: has two columns named \"a\""),
        ("", "t.csv: is empty"),
        ("b,c\n1,2\n", "t.csv: has no column \"a\"; its columns are [\"b\", \"c\"]"),
        ("b,a\n1,2\n1,x\n", "t.csv: line 3, column 2 (\"a\"): \"x\" is not a number"),
    ];
    for (text, want) in cases {
        let options = CsvOptions::new().column("a", ColumnKind::Float);
        let got = read(options, text).map(|t| t.len()).unwrap_err().to_string();
        assert_eq!(got, want);
    }
    let t = read(CsvOptions::new().header(false).delimiter(b';'), "1;x\n2;y\n").unwrap();
    assert_eq!(t.integers("1").unwrap().to_i64_vec().unwrap(), [0, 1]);
    let t = read(CsvOptions::new(), "f,w\n0.5,x\n").unwrap();
    let errors = [
        (t.integers("f").unwrap_err(), "t.csv: column \"f\" holds numbers that are not whole"),
        (t.floats(&["w"]).unwrap_err(), "t.csv: column \"w\" holds words"),
        (
            t.floats(&["z"]).unwrap_err(),
            "t.csv: has no column \"z\"; its columns are [\"f\", \"w\"]",
        ),
    ];
    for (got, want) in errors {
        assert_eq!(got.to_string(), want);
    }
}

fn idx(code: u8, shape: &[u32], body: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, code, shape.len() as u8];
    shape.iter().for_each(|d| out.extend(d.to_be_bytes()));
    out.extend(body);
    out
}

#[test]
fn idx_files_and_their_damage() {
    let dir = folder("idx");
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    let images = idx(8, &[2, 2, 3], &(0..12).collect::<Vec<u8>>());
    put("train-images-idx3-ubyte.gz", &gz(&images));
    put("train-labels-idx1-ubyte", &idx(8, &[2], &[7, 3]));
    let mnist = Mnist::open(&dir, true).unwrap();
    assert_eq!(mnist.images.shape(), [2, 1, 2, 3]);
    assert_eq!(mnist.labels.to_i64_vec().unwrap(), [7, 3]);
    assert_eq!(mnist.dataset().unwrap().tensors()[0].to_f32_vec().unwrap()[5], 5.0 / 255.0);
    let missing = Mnist::open(&dir, false).unwrap_err().to_string();
    assert!(missing.ends_with("has no file t10k-images-idx3-ubyte, plain or .gz"), "{missing}");

    put("f", &idx(0x0d, &[2], &[1.5f32.to_be_bytes(), (-2f32).to_be_bytes()].concat()));
    assert_eq!(read_idx(dir.join("f")).unwrap().to_f32_vec().unwrap(), [1.5, -2.0]);
    put("s", &idx(0x0b, &[1], &(-300i16).to_be_bytes()));
    assert_eq!(read_idx(dir.join("s")).unwrap().to_i64_vec().unwrap(), [-300]);

    // Cut at every length: never a panic, always the file's name.
    for n in 0..images.len() {
        put("cut", &images[..n]);
        let error = read_idx(dir.join("cut")).unwrap_err().to_string();
        assert!(error.contains("cut: "), "{n}: {error}");
    }
    // Each byte of the header flipped.
    for i in 0..16 {
        let mut bytes = images.clone();
        bytes[i] ^= 0xff;
        put("flipped", &bytes);
        assert!(read_idx(dir.join("flipped")).is_err(), "byte {i}");
    }
    put("cut", &images[..20]);
    let error = read_idx(dir.join("cut")).unwrap_err().to_string();
    assert!(
        error.ends_with("byte 16: shape [2, 2, 3] needs 12 bytes of data, there are 4"),
        "{error}"
    );
    // Damaged gzip.
    let packed = gz(&images);
    put("cut.gz", &packed[..packed.len() - 9]);
    let error = read_idx(dir.join("cut.gz")).unwrap_err().to_string();
    assert!(error.contains("cut.gz: is damaged gzip, after "), "{error}");
    let mut bytes = packed;
    let n = bytes.len();
    bytes[n - 6] ^= 1; // the checksum
    put("sum.gz", &bytes);
    assert!(read_idx(dir.join("sum.gz")).unwrap_err().to_string().contains("damaged gzip"));
    // Parts that do not belong together.
    put("train-labels-idx1-ubyte", &idx(8, &[3], &[7, 3, 1]));
    let error = Mnist::open(&dir, true).unwrap_err().to_string();
    assert!(error.contains("holds shape [3], ") && error.ends_with("has 2 images"), "{error}");
}

#[test]
fn cifar_and_records() {
    let dir = folder("cifar");
    let record = |labels: &[u8], v: u8| [labels, &[v; 3072]].concat();
    std::fs::write(dir.join("test_batch.bin"), [record(&[3], 1), record(&[9], 2)].concat())
        .unwrap();
    let c = Cifar::open_10(&dir, false).unwrap();
    assert_eq!(
        (c.images.shape(), c.labels.to_i64_vec().unwrap()),
        (vec![2, 3, 32, 32], vec![3, 9])
    );
    std::fs::write(dir.join("test.bin"), record(&[19, 99], 5)).unwrap();
    let c = Cifar::open_100(&dir, false).unwrap();
    assert_eq!(c.labels.to_i64_vec().unwrap(), [99]);
    assert_eq!(c.coarse_labels.unwrap().to_i64_vec().unwrap(), [19]);
    let error = |bytes: Vec<u8>| {
        std::fs::write(dir.join("bad.bin"), bytes).unwrap();
        let e = Cifar::read_10(&[dir.join("bad.bin")]).unwrap_err().to_string();
        e.split_once("bad.bin: ").unwrap().1.to_owned()
    };
    assert_eq!(
        error([record(&[1], 0), record(&[10], 0)].concat()),
        "record 1, byte 3073: label 10 is none of 0 to 9"
    );
    let mut cut = [record(&[1], 0), record(&[1], 0)].concat();
    cut.truncate(4000);
    let want = "ends within a record: after 1 records of 3073 bytes there are 927 bytes more, at byte 3073";
    assert_eq!(error(cut), want);

    let path = dir.join("records");
    std::fs::write(&path, [b"head".as_slice(), &[1, 2, 3, 4, 5, 6]].concat()).unwrap();
    let r = FixedStrideRecords::with_header(&path, 2, 4).unwrap();
    assert_eq!((r.count(), r.stride(), r.path()), (3, 2, path.as_path()));
    assert_eq!(r.record(2).unwrap(), [5, 6]);
    assert!(r.record(3).unwrap_err().to_string().contains("index 3 is out of range for size 3"));
    let error = |s: Result<FixedStrideRecords>| s.unwrap_err().to_string();
    assert!(error(FixedStrideRecords::open(&path, 4)).ends_with(
        "ends within a record: after 2 records of 4 bytes there are 2 bytes more, at byte 8"
    ));
    assert!(
        error(FixedStrideRecords::with_header(&path, 2, 11))
            .ends_with("fewer than its header of 11")
    );
    assert!(error(FixedStrideRecords::open(&path, 0)).contains("stride must be at least 1"));
    // The file shrinks while it is open.
    std::fs::write(&path, b"headxx").unwrap();
    assert!(r.record(2).unwrap_err().to_string().contains("record 2, byte 8"));
}

#[test]
fn text() {
    let vocab = CharVocab::from_text("naïve");
    assert_eq!(vocab.vocab_size(), 5);
    assert_eq!(vocab.decode(&vocab.encode("vïa").unwrap()).unwrap(), "vïa");
    assert_eq!(
        vocab.encode("nax").unwrap_err().to_string(),
        "CharVocab: character 2, 'x', is not in the vocabulary"
    );
    assert_eq!(
        vocab.decode(&[9]).unwrap_err().to_string(),
        "CharVocab: index 9 is out of range for size 5"
    );
    assert_eq!(ByteTokenizer.decode(&ByteTokenizer.encode("ä!").unwrap()).unwrap(), "ä!");
    assert!(ByteTokenizer.decode(&[256]).is_err());
    let set = TokenWindows::new((0..10).collect(), 3, 2).unwrap();
    assert_eq!(set.len(), 4);
    let b = set.get_batch(&[0, 3]).unwrap();
    assert_eq!(b[0].to_i64_vec().unwrap(), [0, 1, 2, 6, 7, 8]);
    assert_eq!(b[1].to_i64_vec().unwrap(), [1, 2, 3, 7, 8, 9]);
    let error = TokenWindows::new(vec![1, 2], 2, 1).unwrap_err().to_string();
    assert_eq!(error, "TokenWindows: 2 tokens are too few for a window of 2");
    let dir = folder("text");
    std::fs::write(dir.join("t"), b"ab\xff").unwrap();
    let error = read_text(dir.join("t")).unwrap_err().to_string();
    assert!(error.ends_with("t: is not UTF-8 at byte 2"), "{error}");
    let absent = read_text(Path::new("/no/such/file")).unwrap_err().to_string();
    assert!(absent.starts_with("/no/such/file: "), "{absent}");
}

#[cfg(feature = "image")]
#[test]
fn image_folders() {
    let dir = folder("images");
    for (class, shade, size) in [("dark", 10u8, 4u32), ("light", 240, 6)] {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        let picture = image::RgbImage::from_pixel(size, 4, image::Rgb([shade, 0, 0]));
        picture.save(dir.join(class).join("a.png")).unwrap();
    }
    std::fs::write(dir.join("dark/notes.txt"), "no image").unwrap();
    let set = ImageFolder::open(&dir).unwrap();
    assert_eq!((set.classes(), set.len()), (&["dark".to_owned(), "light".to_owned()][..], 2));
    let sample = set.get(1).unwrap();
    assert_eq!(sample[0].shape(), [3, 4, 6]);
    assert_eq!(sample[1].to_i64_vec().unwrap(), [1]);
    let set = set.transform(Compose::new().then(ToTensor).then(Resize::new(4)));
    let batch =
        DataLoader::from_samples(set, 2).workers(1).epoch(0).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.get(0).shape(), [2, 3, 4, 4]);
    let bytes = std::fs::read(dir.join("dark/a.png")).unwrap();
    for n in 0..bytes.len() - 12 {
        std::fs::write(dir.join("cut.png"), &bytes[..n]).unwrap();
        let error = read_image(dir.join("cut.png")).unwrap_err().to_string();
        assert!(error.contains("cut.png: is no image that can be read"), "{n}: {error}");
    }
    std::fs::create_dir_all(dir.join("none")).unwrap();
    assert!(
        ImageFolder::open(&dir).err().unwrap().to_string().ends_with("has no .png or .jpg files")
    );
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/table.parquet");
    let table = read_parquet(path).unwrap();
    assert_eq!(table.names(), ["number", "count", "flag", "word"]);
    assert_eq!(table.len(), 120);
    let numbers = table.floats(&["number"]).unwrap();
    assert_eq!(numbers.shape(), [120, 1]);
    let numbers = numbers.to_f32_vec().unwrap();
    assert!(numbers[3].is_nan() && numbers[113].is_nan());
    assert_eq!((numbers[4], numbers[119]), (2.0, 59.5));
    // The second group of rows follows the first.
    let counts = table.integers("count").unwrap().to_i64_vec().unwrap();
    assert_eq!((counts[63], counts[64], counts[119]), (3969, 4096, 14161));
    assert_eq!(table.integers("flag").unwrap().to_i64_vec().unwrap()[..4], [1, 0, 0, 1]);
    assert_eq!(table.levels("word").unwrap().len(), 3);

    let bytes = std::fs::read(path).unwrap();
    let dir = folder("parquet");
    let damaged = dir.join("damaged.parquet");
    for cut in [0, 3, bytes.len() / 2, bytes.len() - 5] {
        std::fs::write(&damaged, &bytes[..cut]).unwrap();
        let error = read_parquet(&damaged).unwrap_err().to_string();
        assert!(error.contains("damaged.parquet"), "{error}");
    }
    let error = read_parquet(dir.join("absent")).unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
}
