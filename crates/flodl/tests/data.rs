//! Data sets, samplers, loaders with and without threads, and files whole and damaged.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flodl::*;

fn ids(values: &[i64]) -> Tensor {
    Tensor::from_i64(values, &[values.len() as i64], Device::CPU).unwrap()
}

fn counting(n: i64) -> TensorDataset {
    TensorDataset::new(vec![ids(&(0..n).collect::<Vec<_>>())]).unwrap()
}

/// The first tensors of all batches of an epoch.
fn batches(loader: &mut DataLoader, epoch: usize) -> Vec<Vec<f64>> {
    let all = loader.epoch(epoch).unwrap();
    all.map(|b| b.unwrap().get(0).to_f64_vec().unwrap()).collect()
}

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flodl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The message of an error without the path before it.
#[track_caller]
fn fault<T>(result: Result<T>, path: &Path) -> String {
    let Err(error) = result else { panic!("no error") };
    let text = error.to_string();
    let rest = text.strip_prefix(&path.display().to_string());
    rest.unwrap_or_else(|| panic!("{text:?} does not name {path:?}")).to_owned()
}

#[test]
fn every_sample_once_in_every_epoch() {
    for n in [1, 7, 64] {
        let mut loader = DataLoader::new(counting(n), 4).shuffle(3);
        let mut orders = Vec::new();
        for epoch in 0..3 {
            let all: Vec<f64> = batches(&mut loader, epoch).concat();
            let mut sorted = all.clone();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(sorted, (0..n).map(|i| i as f64).collect::<Vec<_>>());
            orders.push(all);
        }
        assert!(n < 64 || (orders[0] != orders[1] && orders[1] != orders[2]));
        assert_eq!(batches(&mut loader, 1).concat(), orders[1], "an epoch can be asked for again");
    }
}

#[test]
fn the_tail_stays_and_an_empty_epoch_is_an_error() {
    let mut loader = DataLoader::new(counting(10), 4);
    assert_eq!(loader.len(), 3);
    assert_eq!(batches(&mut loader, 0)[2], [8.0, 9.0]);
    let mut loader = loader.drop_last(true);
    assert_eq!(batches(&mut loader, 0).len(), 2);
    let said = |mut l: DataLoader| l.epoch(0).err().unwrap().to_string();
    assert_eq!(
        said(DataLoader::new(counting(3), 4).drop_last(true)),
        "DataLoader: an epoch without batches: 3 samples in batches of 4 with drop_last"
    );
    assert_eq!(
        said(DataLoader::new(counting(0), 4)),
        "DataLoader: an epoch without batches: 0 samples in batches of 4"
    );
    assert_eq!(
        said(DataLoader::new(counting(3), 0)),
        "DataLoader: batch_size must be at least 1, not 0"
    );
    // Smaller than one batch is one batch.
    assert_eq!(batches(&mut DataLoader::new(counting(3), 4), 0), [[0.0, 1.0, 2.0]]);
}

/// Draws random numbers for each sample and takes its time, unevenly.
struct Noisy(usize);

impl DataSet for Noisy {
    fn len(&self) -> usize {
        self.0
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>> {
        std::thread::sleep(std::time::Duration::from_micros((index * 37 % 5) as u64 * 100));
        let noise = Tensor::rand(&[3], TensorOptions::default())?;
        Ok(vec![noise.add_scalar(index as f64)?])
    }
}

#[test]
fn workers_change_nothing() {
    let jitter = TransformFn::new(|tensors, keys| {
        let add: Vec<f64> = keys.iter().map(|k| k.rng().f64()).collect();
        let add = Tensor::from_f64(&add, &[keys.len() as i64, 1], Device::CPU)?;
        Ok(vec![tensors[0].to_dtype(DType::Float64)?.add(&add)?])
    });
    let run = |workers: usize, prefetch: usize, epoch: usize| {
        let set = batch_dataset_from(Noisy(23));
        let loader = DataLoader::from_arc(set, 3).shuffle(5).transform(jitter.clone());
        batches(&mut loader.workers(workers).prefetch(prefetch), epoch)
    };
    manual_seed(1);
    let before = rng_state();
    let want = run(0, 2, 0);
    assert_eq!(rng_state(), before, "the caller's random numbers are left alone");
    manual_seed(2);
    for (workers, prefetch) in [(1, 0), (1, 4), (2, 1), (3, 2), (40, 1)] {
        assert_eq!(run(workers, prefetch, 0), want, "{workers} workers");
    }
    assert_ne!(run(2, 1, 1), want);
    // The rest of an epoch is the same as in the whole.
    for workers in [0, 2] {
        let mut loader = DataLoader::from_arc(batch_dataset_from(Noisy(23)), 3)
            .shuffle(5)
            .transform(jitter.clone())
            .workers(workers);
        let rest = loader.epoch_from(0, 5).unwrap();
        assert_eq!(rest.len(), 3);
        let rest: Vec<_> = rest.map(|b| b.unwrap().get(0).to_f64_vec().unwrap()).collect();
        assert_eq!(rest, want[5..]);
        assert_eq!(loader.epoch_from(0, 99).unwrap().count(), 0);
    }
}

/// Fails, panics, or has samples of different shapes.
struct Broken(u8);

impl DataSet for Broken {
    fn len(&self) -> usize {
        8
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>> {
        match (self.0, index) {
            (0, 5) => Err(Error::new("sample 5 is not readable")),
            (1, 5) => panic!("as it should, in this test"),
            (2, 5) => Ok(vec![ids(&[1, 2])]),
            _ => Ok(vec![ids(&[1])]),
        }
    }
}

#[test]
fn faults_of_a_data_set_are_errors_of_their_batch() {
    for (kind, workers, want) in [
        (0, 0, "sample 5 is not readable"),
        (0, 2, "sample 5 is not readable"),
        (1, 2, "DataLoader: worker 0 panicked while it made batch 2"),
        (2, 1, "stack"),
    ] {
        let mut loader = DataLoader::from_arc(batch_dataset_from(Broken(kind)), 2).workers(workers);
        let all: Vec<_> = loader.epoch(0).unwrap().collect();
        assert_eq!(all.len(), 4);
        assert!(all[0].is_ok() && all[1].is_ok() && all[3].is_ok() || kind == 1);
        let error = all[2].as_ref().unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    // An epoch that is left early ends its threads.
    let mut loader = DataLoader::from_arc(batch_dataset_from(Noisy(23)), 1).workers(3);
    drop(loader.epoch(0).unwrap().next());
    let mut loader = DataLoader::new(counting(4), 2).sampler(SubsetSampler::new(vec![1, 9]));
    let error = loader.epoch(0).unwrap().next().unwrap().unwrap_err().to_string();
    assert_eq!(error, "DataLoader: index 9 is out of range for size 4");
}

#[test]
fn samplers() {
    let mut split = SplitSampler::new(11, 3, 4);
    assert_eq!((split.splits(), split.len(), split.epoch_len()), (4, 11, 3));
    for pass in 0..2 {
        let mut all: Vec<usize> = (0..4).flat_map(|p| split.indices(pass * 4 + p)).collect();
        assert_ne!(all, (0..11).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..11).collect::<Vec<_>>());
    }
    assert!(split.indices(0) != split.indices(4));

    let mut subset = SubsetSampler::new(vec![4, 2, 9]);
    assert_eq!(subset.indices(5), [4, 2, 9]);
    let mut shuffled = SubsetSampler::new((0..50).collect()).shuffle(1);
    assert_ne!(shuffled.indices(0), shuffled.indices(1));

    let weights = [1.0, 0.0, 2.0, 5.0];
    let mut sampler = WeightedSampler::new(&weights, 80_000, true, 9).unwrap();
    let drawn = sampler.indices(0);
    assert_eq!((drawn.len(), sampler.epoch_len()), (80_000, 80_000));
    for (i, weight) in weights.iter().enumerate() {
        let n = drawn.iter().filter(|&&d| d == i).count() as f64;
        // Four standard deviations of a binomial.
        assert!((n - weight * 10_000.0).abs() < 600.0, "{i} drawn {n} times");
    }
    let mut sampler = WeightedSampler::new(&weights, 3, false, 9).unwrap();
    let mut first = [0; 4];
    for epoch in 0..4000 {
        let drawn = sampler.indices(epoch);
        first[drawn[0]] += 1;
        let mut sorted = drawn;
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 2, 3]);
    }
    assert!((first[3] as f64 - 2500.0).abs() < 150.0, "{first:?}");
    let said = |w: &[f64], n, r| WeightedSampler::new(w, n, r, 0).err().unwrap().to_string();
    assert_eq!(
        said(&[1.0, -1.0], 1, true),
        "WeightedSampler: weight -1 of sample 1 is not a finite number >= 0"
    );
    assert_eq!(
        said(&weights, 4, false),
        "WeightedSampler: 4 samples wanted, 3 have a weight above 0"
    );
    assert_eq!(said(&[0.0], 9, true), "WeightedSampler: 1 samples wanted, 0 have a weight above 0");
}

#[test]
fn splits() {
    let set: Arc<dyn BatchDataSet> = Arc::new(counting(101));
    let parts = random_split(set.clone(), &[0.7, 0.2, 0.1], 4).unwrap();
    assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), [71, 20, 10]);
    let mut all: Vec<usize> = parts.iter().flat_map(|p| p.indices().to_vec()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..101).collect::<Vec<_>>());
    let first = parts[1].get_batch(&[3]).unwrap()[0].to_i64_vec().unwrap();
    assert_eq!(first, [parts[1].indices()[3] as i64]);
    assert!(parts[1].get_batch(&[20]).is_err());

    // 81 of class 0, 20 of class 1.
    let labels = ids(&(0..101).map(|i| i64::from(i % 5 == 1)).collect::<Vec<_>>());
    let parts = stratified_split(set.clone(), &labels, &[0.75, 0.25], 4).unwrap();
    let ones = |p: &Subset| p.indices().iter().filter(|&&i| i % 5 == 1).count();
    assert_eq!((ones(&parts[0]), ones(&parts[1])), (15, 5));
    assert_eq!(parts[0].len() + parts[1].len(), 101);
    assert!((parts[0].len() as i64 - 76).abs() <= 1);
    assert_eq!(
        random_split(set.clone(), &[0.7, 0.7], 0).err().unwrap().to_string(),
        "random_split: shares [0.7, 0.7] are not positive numbers that sum to 1"
    );
    assert_eq!(
        stratified_split(set, &ids(&[1]), &[1.0], 0).err().unwrap().to_string(),
        "stratified_split: expected one label for each of 101 samples, got shape [1]"
    );
}

/// An IDX file of bytes.
fn idx(shape: &[u32], body: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|d| out.extend(d.to_be_bytes()));
    out.extend(body);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn mnist_files() {
    let dir = Folder::new("mnist");
    let pixels: Vec<u8> = (0..24).map(|i| i * 10).collect();
    let images = idx(&[4, 2, 3], &pixels);
    dir.write("train-images-idx3-ubyte.gz", &gzip(&images));
    let labels = dir.write("train-labels.idx1-ubyte", &idx(&[4], &[3, 1, 4, 1]));
    let set = mnist(&dir.0, true).unwrap();
    assert_eq!(set.len(), 4);
    assert_eq!(set.pixels().shape(), [4, 1, 2, 3]);
    let batch = set.get_batch(&[2, 0]).unwrap();
    assert_eq!(batch[0].shape(), [2, 1, 2, 3]);
    assert_eq!(batch[0].to_f32_vec().unwrap()[1], 130.0 / 255.0);
    assert_eq!(batch[1].to_i64_vec().unwrap(), [4, 3]);

    assert_eq!(fault(mnist(&dir.0, false), &dir.0), ": has no file t10k-images-idx3-ubyte[.gz]");
    std::fs::write(&labels, idx(&[3], &[3, 1, 4])).unwrap();
    assert_eq!(fault(mnist(&dir.0, true), &labels), ": has shape [3] for 4 images");

    let mut wrong_type = images.clone();
    wrong_type[2] = 0x42;
    let mut huge = images.clone();
    huge[4..8].fill(0xff);
    for (bytes, want) in [
        (
            images[..images.len() - 1].to_vec(),
            ": shape [4, 2, 3] needs 24 bytes after byte 16, got 23",
        ),
        (images[..9].to_vec(), ": the sizes of 3 dims are cut off at byte 9"),
        (images[..3].to_vec(), ": the header is cut off: 3 bytes instead of 4"),
        (Vec::new(), ": the header is cut off: 0 bytes instead of 4"),
        (wrong_type, ": byte 2: type code 0x42 is none of u8, i32, f32, f64"),
        (huge, ": shape [4294967295, 2, 3] needs 25769803770 bytes after byte 16, got 24"),
        (b"PNG image".to_vec(), ": byte 2: type code 0x47 is none of u8, i32, f32, f64"),
    ] {
        let path = dir.write("x", &bytes);
        assert_eq!(fault(read_idx(&path), &path), want);
    }
    let packed = gzip(&images);
    let path = dir.write("cut.gz", &packed[..packed.len() / 2]);
    let message = fault(read_idx(&path), &path);
    assert!(message.starts_with(": the gzip data is damaged after "), "{message}");
    let path = dir.0.join("nowhere");
    assert!(fault(read_idx(&path), &path).starts_with(": No such file"));

    // The other types, big-endian on disk.
    let mut floats = vec![0, 0, 0x0d, 1, 0, 0, 0, 2];
    floats.extend(1.5f32.to_be_bytes());
    floats.extend((-2.0f32).to_be_bytes());
    let path = dir.write("f", &floats);
    assert_eq!(read_idx(&path).unwrap().to_f32_vec().unwrap(), [1.5, -2.0]);
}

#[test]
fn cifar_files() {
    let dir = Folder::new("cifar");
    let record = |labels: &[u8], shade: u8| {
        let mut r = labels.to_vec();
        r.extend(std::iter::repeat_n(shade, 3072));
        r
    };
    for i in 1..=5u8 {
        let two = [record(&[i], i * 10), record(&[9], 255)].concat();
        dir.write(&format!("data_batch_{i}.bin"), &two);
    }
    let set = cifar10(&dir.0, true).unwrap();
    assert_eq!((set.len(), set.pixels().shape()), (10, vec![10, 3, 32, 32]));
    assert_eq!(set.labels()[0].to_i64_vec().unwrap(), [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
    assert_eq!(set.get_batch(&[1]).unwrap()[0].to_f32_vec().unwrap()[77], 1.0);

    let path = dir.write("data_batch_2.bin", &[record(&[1], 0), vec![0; 100]].concat());
    assert_eq!(fault(cifar10(&dir.0, true), &path), ": record 1 has 100 bytes, not 3073");
    std::fs::write(&path, [record(&[1], 0), record(&[10], 0)].concat()).unwrap();
    assert_eq!(fault(cifar10(&dir.0, true), &path), ": record 1: label 10 is not below 10");
    let path = dir.0.join("test_batch.bin");
    assert!(fault(cifar10(&dir.0, false), &path).starts_with(": No such file"));

    std::fs::create_dir(dir.0.join("cifar-100-binary")).unwrap();
    dir.write("cifar-100-binary/test.bin", &record(&[19, 99], 7));
    let set = cifar100(&dir.0, false).unwrap();
    let labels: Vec<_> = set.labels().iter().map(|l| l.to_i64_vec().unwrap()).collect();
    assert_eq!(labels, [[99], [19]], "fine, then coarse");
}

#[test]
fn records() {
    let dir = Folder::new("records");
    let path = dir.write("r", &[9, 9, 1, 2, 3, 4, 5, 6]);
    let records = FixedStrideRecords::with_header(&path, 3, 2).unwrap();
    assert_eq!((records.count(), records.stride(), records.path()), (2, 3, path.as_path()));
    assert_eq!(records.record(1).unwrap(), [4, 5, 6]);
    assert_eq!(records.record(0).unwrap(), [1, 2, 3]);
    assert_eq!(
        records.record(2).unwrap_err().to_string(),
        "FixedStrideRecords: index 2 is out of range for size 2"
    );
    let open = |stride, header| FixedStrideRecords::with_header(&path, stride, header);
    assert_eq!(fault(open(3, 0), &path), ": record 2 at byte 6 has 2 bytes, not 3");
    assert_eq!(fault(open(3, 9), &path), ": has 8 bytes, less than the header of 9");
    assert_eq!(
        open(0, 0).unwrap_err().to_string(),
        "FixedStrideRecords: stride must be at least 1, not 0"
    );
    // A file that shrinks under an open set.
    std::fs::write(&path, [1]).unwrap();
    assert!(fault(records.record(1), &path).starts_with(": "));
}

#[test]
fn text() {
    let vocab = CharVocab::from_text("Käse und Brot");
    let tokens = vocab.encode("Brot und Käse").unwrap();
    assert_eq!(vocab.decode(&tokens).unwrap(), "Brot und Käse");
    assert!(tokens.iter().all(|&t| t < vocab.len() as i64));
    assert_eq!(
        vocab.encode("uX").unwrap_err().to_string(),
        "CharVocab: 'X' at character 1 is not in the vocabulary"
    );
    assert!(vocab.decode(&[-1]).is_err() && vocab.decode(&[99]).is_err());
    assert_eq!(ByteVocab.decode(&ByteVocab.encode("Käse")).unwrap(), "Käse");
    assert!(ByteVocab.decode(&[256]).is_err());

    let windows = TextWindows::new((0..10).collect(), 4, 4).unwrap();
    assert_eq!(windows.len(), 2);
    let batch = windows.get_batch(&[1, 0]).unwrap();
    assert_eq!(batch[0].to_i64_vec().unwrap(), [4, 5, 6, 7, 0, 1, 2, 3]);
    assert_eq!(batch[1].to_i64_vec().unwrap(), [5, 6, 7, 8, 1, 2, 3, 4]);
    assert!(windows.get_batch(&[2]).is_err());
    let said = |n, t, s| TextWindows::new(vec![0; n], t, s).err().unwrap().to_string();
    assert_eq!(said(4, 4, 1), "TextWindows: 4 tokens are too few: a window and its target take 5");
    assert_eq!(said(4, 0, 1), "TextWindows: length 0 and stride 1 must be at least 1");
}

#[test]
fn tables() {
    let text = "n,x,kind\n1,2.5,b\n-3,,a\n4, 1e3 ,\"b, too\"\n";
    let table = CsvTable::parse(text, "t.csv", true).unwrap();
    assert_eq!((table.rows(), table.names().len()), (3, 3));
    assert_eq!(table.column("n").unwrap(), &Column::Int(vec![1, -3, 4]));
    assert_eq!(table.column("x").unwrap().kind(), "float");
    let x = table.floats(&["x", "n"]).unwrap().to_f32_vec().unwrap();
    assert_eq!((x[0], x[1], x[4]), (2.5, 1.0, 1000.0));
    assert!(x[2].is_nan());
    let (kinds, classes) = table.labels("kind").unwrap();
    assert_eq!(kinds.to_i64_vec().unwrap(), [1, 0, 2]);
    assert_eq!(classes, ["a", "b", "b, too"]);
    let plain = CsvTable::parse("1,a\n2,b\n", "t.csv", false).unwrap();
    assert_eq!((plain.names(), plain.rows()), (&["0".to_owned(), "1".to_owned()][..], 2));

    let parse = |text: &str| CsvTable::parse(text, "t.csv", true);
    let path = Path::new("t.csv");
    assert_eq!(
        fault(table.floats(&["kind"]), path),
        ": column \"kind\", row 1: \"b\" is not a number"
    );
    assert_eq!(
        fault(table.labels("x"), path),
        ": column \"x\" holds fractions or blanks, not classes"
    );
    assert_eq!(
        fault(table.column("y"), path),
        ": has no column \"y\", only [\"n\", \"x\", \"kind\"]"
    );
    assert_eq!(fault(parse("a,a\n1,2\n"), path), ": line 1: two columns are named \"a\"");
    let ragged = fault(parse("a,b\n1,2\n3\n"), path);
    assert!(ragged.contains("line: 3"), "{ragged}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/co2.csv");
    let co2 = CsvTable::read(file, true).unwrap();
    assert_eq!(co2.rows(), 2284);
    let values = co2.floats(&["co2"]).unwrap();
    assert_eq!(values.isnan().unwrap().count_nonzero().unwrap().item().unwrap(), 59.0);
}
