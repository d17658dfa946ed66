//! Damaged sources: an error that names the file and the place, never a panic, never half the data.

use super::*;

#[test]
fn tables_that_are_no_text() {
    let dir = folder("csv-damage");
    let path = dir.join("t.csv");
    std::fs::write(&path, b"a,b\n1,x\n2,\xff\xfe\n").unwrap();
    let error = CsvOptions::new().read(&path).unwrap_err().to_string();
    assert!(error.contains("t.csv: ") && error.contains("line 3"), "{error}");
    assert!(error.contains("invalid utf-8"), "{error}");

    let rows: String = (0..500).map(|i| format!("{i},{}\n", i * i)).collect();
    let whole = gz(format!("a,b\n{rows}").as_bytes());
    std::fs::write(&path, &whole).unwrap();
    let table = CsvOptions::new().read(&path).unwrap();
    assert_eq!(table.len(), 500);
    for n in (2..whole.len()).step_by(11) {
        std::fs::write(&path, &whole[..n]).unwrap();
        let error = CsvOptions::new().read(&path).unwrap_err().to_string();
        assert!(error.contains("t.csv: is damaged gzip, after "), "{n}: {error}");
    }
    // A flipped bit is found by the checksum, if not before; the header's own fields are free.
    for i in 10..whole.len() {
        let mut changed = whole.clone();
        changed[i] ^= 0x10;
        std::fs::write(&path, &changed).unwrap();
        let error = CsvOptions::new().read(&path).unwrap_err().to_string();
        assert!(error.contains("t.csv: "), "{i}: {error}");
    }
}

#[test]
fn streams_that_fail_on_the_way() {
    let broken = |_| -> Result<SampleIter> {
        let sample = |i: i64| match i {
            5 => Err(Error::new("log: line 6 is torn")),
            i => Ok(vec![Tensor::from_f32(&[i as f32], &[1], Device::CPU)?]),
        };
        Ok(Box::new((0..20).map(sample)))
    };
    for (prefetch, shuffle) in [(0, false), (2, false), (0, true), (2, true)] {
        let mut loader = StreamLoader::new(broken, 2).prefetch(prefetch);
        if shuffle {
            loader = loader.shuffle(3, 1);
        }
        let mut seen = 0;
        let mut batches = loader.epoch(0).unwrap();
        let error = loop {
            match batches.next().expect("the error comes before the end") {
                Ok(batch) => seen += batch.samples(),
                Err(e) => break e.to_string(),
            }
        };
        // What stood before it came, and nothing comes after it.
        assert_eq!(error, "log: line 6 is torn");
        assert!(seen <= 4 && (shuffle || seen == 4), "{seen}");
        assert!(batches.next().is_none());
    }
    let model = Linear::new(1, 1).unwrap();
    let mut optimizer = SGD::new(&model.parameters(), 0.1, 0.0);
    let error = Trainer::new(&model, &mut optimizer, |out, _| out.square()?.mean())
        .train(StreamLoader::new(broken, 2).prefetch(1))
        .quiet()
        .run()
        .unwrap_err();
    assert_eq!(error.to_string(), "log: line 6 is torn");
}

#[cfg(feature = "image")]
#[test]
fn jpegs_that_end_early() {
    let path = folder("jpeg").join("a.jpg");
    let picture = image::RgbImage::from_fn(24, 16, |x, y| {
        image::Rgb([(x * 9) as u8, (y * 15) as u8, ((x ^ y) * 20) as u8])
    });
    picture.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(read_image(&path).unwrap().shape(), [3, 16, 24]);
    for n in 0..whole.len() {
        std::fs::write(&path, &whole[..n]).unwrap();
        let error = read_image(&path).unwrap_err().to_string();
        assert!(error.contains("a.jpg: is no image that can be read"), "{n}: {error}");
    }
    // Something behind the picture, as some cameras leave it, does no harm.
    std::fs::write(&path, [&whole[..], &[0; 20]].concat()).unwrap();
    assert_eq!(read_image(&path).unwrap().shape(), [3, 16, 24]);
    // Damage in the middle: an error or a picture, no panic.
    for i in 0..whole.len() {
        let mut changed = whole.clone();
        changed[i] ^= 0xff;
        std::fs::write(&path, &changed).unwrap();
        let _ = read_image(&path);
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_files_with_a_changed_byte() {
    let whole = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/table.parquet"));
    let whole = whole.unwrap();
    let path = folder("parquet-flips").join("flipped.parquet");
    let mut refused = 0;
    for i in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[i] ^= flip;
            std::fs::write(&path, &changed).unwrap();
            // Values may differ where nothing is checked; what is refused names the file.
            if let Err(e) = read_parquet(&path) {
                refused += 1;
                assert!(e.to_string().contains("flipped.parquet: "), "{i}: {e}");
            }
        }
    }
    assert!(refused > whole.len() / 4, "{refused}");
}
