//! Trained networks from elsewhere, loaded by name.

use std::path::Path;

use flodl::*;

/// The digit network of `models/`: weights loaded by their PyTorch names reproduce its logits.
#[test]
fn parity_digit_cnn_reproduces_its_logits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/digit_cnn.safetensors");
    let tensors: std::collections::HashMap<String, Tensor> =
        load_tensors(&path).unwrap().into_iter().collect();
    let conv = |i, o| Conv2d::configure(i, o, 3).with_padding(1).done().unwrap();
    let convs = [conv(1, 32), conv(32, 64), conv(64, 128)];
    let fc = [Linear::new(1152, 256).unwrap(), Linear::new(256, 10).unwrap()];
    let mut named = Vec::new();
    let layers = convs.iter().zip(["conv_layers.0", "conv_layers.3", "conv_layers.6"]);
    for (layer, name) in layers {
        named.extend(layer.named_parameters().into_iter().map(|(n, p)| (format!("{name}.{n}"), p)));
    }
    for (layer, name) in fc.iter().zip(["fc_layers.0", "fc_layers.2"]) {
        named.extend(layer.named_parameters().into_iter().map(|(n, p)| (format!("{name}.{n}"), p)));
    }
    let report = load_checkpoint_file(&path.display().to_string(), &named, &[], None).unwrap();
    assert_eq!((report.loaded.len(), report.missing.len()), (10, 0));

    let mut x = Variable::new(tensors["in.images"].clone(), false);
    for conv in &convs {
        x = conv.forward(&x).unwrap().relu().unwrap();
        x = max_pool2d(&x, [2, 2], [2, 2], [0, 0], [1, 1], false).unwrap();
    }
    x = fc[0].forward(&x.flatten(1, -1).unwrap()).unwrap().relu().unwrap();
    let logits = fc[1].forward(&x).unwrap().data();
    assert_eq!(logits.shape(), [64, 10]);
    let (ours, theirs) =
        (logits.to_f64_vec().unwrap(), tensors["out.logits"].to_f64_vec().unwrap());
    let error = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    let worst = error.fold(0.0, f64::max);
    assert!(worst <= 1e-5, "the logits differ by {worst:e}");
    let classes = logits.argmax(1, false).unwrap().to_i64_vec().unwrap();
    let right = classes.iter().zip(tensors["in.labels"].to_i64_vec().unwrap());
    assert!(right.filter(|(a, b)| *a == b).count() >= 62);
}
