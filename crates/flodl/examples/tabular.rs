//! Tells malignant from benign tumours by thirty measurements of their cells' nuclei.
//!
//!     cargo run --release --example tabular

use std::sync::Arc;

use flodl::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/breast_cancer.csv");

fn main() -> Result<()> {
    manual_seed(0);
    let text = std::fs::read_to_string(FILE)
        .map_err(|source| Error::Io { path: FILE.to_owned(), source })?;
    // The first line counts rows and names classes; it is no header.
    let (_, rows) = text.split_once('\n').ok_or(Error::new("the table has no rows"))?;
    let table = CsvTable::parse(rows, FILE, false)?;
    let names: Vec<&str> = table.names().iter().map(String::as_str).collect();
    let (label, features) = names.split_last().ok_or(Error::new("the table has no columns"))?;
    let x = table.floats(features)?;
    // In the file 0 is malignant, the class to be found.
    let y = table.labels(label)?.0.eq_scalar(0.0)?.to_dtype(DType::Int64)?;

    let all: Arc<dyn BatchDataSet> = Arc::new(TensorDataset::new(vec![x.clone(), y.clone()])?);
    let parts = stratified_split(all, &y, &[0.75, 0.25], 0)?;
    let (train, test) = (parts[0].clone(), parts[1].clone());
    // Scaled by what the training rows say; the test rows are not looked at.
    let rows: Vec<i64> = train.indices().iter().map(|&i| i as i64).collect();
    let seen = x.index_select(0, &Tensor::from_i64(&rows, &[rows.len() as i64], Device::CPU)?)?;
    let (mean, std) = (seen.mean_dim(0, false)?, seen.std_dim(0, false)?);
    let scale = TransformFn::new(move |mut tensors, _| {
        tensors[0] = tensors[0].sub(&mean)?.div(&std)?;
        Ok(tensors)
    });

    let model = FlowBuilder::from(Linear::new(features.len() as i64, 32)?)
        .through(ReLU)
        .through(Dropout::new(0.3))
        .through(Linear::new(32, 1)?)
        .build()?;
    let mut optimizer = AdamW::new(&model.parameters(), 3e-3, 1e-2);
    println!("{} rows to learn from, {} to test on", train.len(), test.len());
    let mut loader = DataLoader::new(train, 32).shuffle(0).transform(scale.clone());
    for epoch in 0..40 {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch)? {
            let batch = batch?;
            let target = batch.get(1).to_dtype(DType::Float32)?.unsqueeze(1)?;
            let scores = model.forward(&Variable::new(batch.get(0).clone(), false))?;
            let loss = bce_with_logits_loss(&scores, &Variable::new(target, false))?;
            optimizer.zero_grad();
            loss.backward()?;
            optimizer.step()?;
            sum += loss.item()?;
        }
        if epoch % 10 == 9 {
            println!("epoch {:2}: loss {:.4}", epoch + 1, sum / loader.len() as f64);
        }
    }

    model.eval();
    let mut matrix = ConfusionMatrix::new(2).with_labels(&["benign", "malignant"])?;
    let mut auc = RocAuc::new();
    for batch in DataLoader::new(test, 64).transform(scale).epoch(0)? {
        let batch = batch?;
        let x = Variable::new(batch.get(0).clone(), false);
        let scores = no_grad(|| model.forward(&x))?.data().squeeze(1)?;
        let said = scores.gt_scalar(0.0)?.to_dtype(DType::Int64)?;
        matrix.update(&said, batch.get(1))?;
        auc.update(&scores, batch.get(1))?;
    }
    println!("accuracy {:.4}, area under the ROC curve {:.4}", matrix.accuracy(), auc.compute()?);
    println!("malignant tumours found: {:.4}", matrix.recall_per_class()[1]);
    println!("\nrows: what it is; columns: what the model says\n{matrix}");
    Ok(())
}
