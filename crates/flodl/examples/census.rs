//! A table of words and numbers: who earns more than 50,000 dollars a year? Each word of a column
//! gets a learned vector (an embedding), and a small network reads the vectors beside the numbers.
//! Five-fold cross-validation on 32,561 answers to the census of 1994.
//!
//! ```text
//! cargo run --release --example census
//! ```
//!
//! It is right in about 85.07 % of the answers that it was not trained on, with an area under the ROC
//! curve of about 0.9070; always saying "no more" is right in 75.9 %.

use std::rc::Rc;

use flodl::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/adult.csv.gz");
const WORDS: [&str; 8] = [
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native_country",
];
const NUMBERS: [&str; 3] = ["age", "education_years", "hours_per_week"];
/// Mostly zero, and seldom very large: their logarithms are easier to read.
const GAINS: [&str; 2] = ["capital_gain", "capital_loss"];
const FOLDS: usize = 5;
const EPOCHS: usize = 8;

/// One embedding for each column of words, and a network on all of it.
struct Income {
    embeddings: Vec<Rc<Embedding>>,
    body: Rc<Graph>,
}

impl Income {
    /// For columns with these numbers of different words.
    fn new(levels: &[usize]) -> Result<Self> {
        let width = |&n: &usize| n.div_ceil(2).min(8) as i64;
        let embedding = |n: &usize| Ok(Rc::new(Embedding::new(*n as i64, width(n))?));
        let embeddings = levels.iter().map(embedding).collect::<Result<_>>()?;
        let inputs = (NUMBERS.len() + GAINS.len()) as i64 + levels.iter().map(width).sum::<i64>();
        let body = FlowBuilder::from(Linear::new(inputs, 64)?)
            .through(ReLU)
            .through(Dropout::new(0.2))
            .through(Linear::new(64, 32)?)
            .through(ReLU)
            .through(Linear::new(32, 2)?);
        Ok(Income { embeddings, body: Rc::new(body.build()?) })
    }
}

impl Module for Income {
    /// Rows of the numbers, then the number of each word: `[N, numbers + words]`.
    fn forward(&self, rows: &Variable) -> Result<Variable> {
        let words = self.embeddings.len() as i64;
        let numbers = rows.shape()[1] - words;
        let mut parts = vec![rows.narrow(1, 0, numbers)?];
        for (column, embedding) in (numbers..).zip(&self.embeddings) {
            parts.push(embedding.forward(&rows.select(1, column)?.to_dtype(DType::Int64)?)?);
        }
        self.body.forward(&Variable::cat_many(&parts.iter().collect::<Vec<_>>(), 1)?)
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        let embeddings = self.embeddings.iter().map(|e| e.clone() as Rc<dyn Module>);
        embeddings.chain([self.body.clone() as Rc<dyn Module>]).collect()
    }
}

/// The rows of a tensor at some places.
fn rows(of: &Tensor, at: &[usize]) -> Result<Tensor> {
    let at: Vec<i64> = at.iter().map(|&i| i as i64).collect();
    of.index_select(0, &Tensor::from_i64(&at, &[at.len() as i64], Device::CPU)?)
}

fn main() -> Result<()> {
    manual_seed(3);
    let table = CsvOptions::new().read(FILE)?;
    let gains = table.floats(&GAINS)?.log1p()?;
    let numbers = Tensor::cat_many(&[&table.floats(&NUMBERS)?, &gains], 1)?;
    let words = WORDS.map(|name| table.integers(name));
    let words: Vec<Tensor> = words.into_iter().collect::<Result<_>>()?;
    let words = Tensor::stack(&words.iter().collect::<Vec<_>>(), 1)?.to_dtype(DType::Float32)?;
    let levels = WORDS.map(|name| table.levels(name).map(<[String]>::len));
    let levels: Vec<usize> = levels.into_iter().collect::<Result<_>>()?;
    let (income, classes) = (table.integers("income")?, table.levels("income")?);
    println!("{} answers; {WORDS:?} have {levels:?} words; classes {classes:?}", table.len());

    let folds = stratified_split(&income.to_i64_vec()?, &[1.0 / FOLDS as f64; FOLDS], 42)?;
    let (mut matrix, mut auroc) = (ConfusionMatrix::new(classes.len())?, Auroc::binary());
    for (i, test) in folds.iter().enumerate() {
        let others = folds.iter().enumerate().filter(|(k, _)| *k != i);
        let train: Vec<usize> = others.flat_map(|(_, rows)| rows.iter().copied()).collect();
        // Means and deviations of the training rows: the test rows must not leak into them.
        let scaler = StandardScaler::fit(&rows(&numbers, &train)?)?;
        let set = |at: &[usize]| {
            let parts = [&scaler.apply(&rows(&numbers, at)?)?, &rows(&words, at)?];
            TensorDataset::new(vec![Tensor::cat_many(&parts, 1)?, rows(&income, at)?])
        };
        let model = Income::new(&levels)?;
        let mut optimizer = AdamW::new(&model.parameters(), 4e-3, 0.01);
        let loader = DataLoader::new(set(&train)?, 256).shuffle(1);
        let schedule = CosineScheduler::new(4e-3, 1e-5, EPOCHS * loader.len());
        let loss = |out: &Variable, batch: &Batch| cross_entropy_loss(out, &batch.variable(1));
        Trainer::new(&model, &mut optimizer, loss)
            .epochs(EPOCHS)
            .train(loader)
            .schedule(schedule)
            .quiet()
            .run()?;
        model.eval();
        let mut part = ConfusionMatrix::new(classes.len())?;
        for batch in DataLoader::new(set(test)?, 1024).epoch(0)? {
            let batch = batch?;
            let scores = no_grad(|| model.forward(&batch.variable(0)))?.data();
            part.update(&scores, batch.get(1))?;
            auroc.update(&scores.softmax(1)?, batch.get(1))?;
        }
        println!("fold {}: accuracy {:.2} %", i + 1, 100.0 * part.accuracy()?);
        matrix.merge(&part)?;
    }
    println!(
        "\nall folds: accuracy {:.2} %, area under ROC {:.4}",
        100.0 * matrix.accuracy()?,
        auroc.compute()?
    );
    println!("\nrows: what is true, columns: what the model said {classes:?}\n{matrix}");
    Ok(())
}
