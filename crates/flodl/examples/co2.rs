//! Forecasts a real series: CO2 in the air of Mauna Loa, week by week. A GRU reads two years and
//! says the year that follows; it learns from 1958 to 1989 and is measured on 1990 to 2001.
//!
//! ```text
//! cargo run --release --example co2
//! ```
//!
//! It is 0.57 ppm off on average. The same week a year ago, the seasonal naive forecast, is 1.52 ppm
//! off, and still 0.80 ppm with the last year's growth added.

use flodl::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/co2.csv");
const YEAR: usize = 52;
const PAST: usize = 2 * YEAR;
const FIRST_TEST_DAY: i64 = 19_900_101;
const EPOCHS: usize = 30;
/// Parts per million that count as 1.
const SCALE: f64 = 3.0;

/// The weeks that are past to the weeks that follow, all as differences to the last week.
struct Forecaster {
    gru: GRU,
    head: Linear,
}

impl Module for Forecaster {
    /// `[N, PAST, 1]` to `[N, YEAR]`.
    fn forward(&self, past: &Variable) -> Result<Variable> {
        let (_, last) = self.gru.forward_seq(past, None)?;
        self.head.forward(&last.select(0, -1)?)
    }
    children!(gru, head);
}

/// The series by day and value, with blanks on the line between their neighbours.
fn read() -> Result<(Vec<i64>, Vec<f32>)> {
    let table = CsvOptions::new().missing(Missing::Nan).read(FILE)?;
    let mut values = table.floats(&["co2"])?.to_f32_vec()?;
    let known: Vec<usize> = (0..values.len()).filter(|&i| !values[i].is_nan()).collect();
    for pair in known.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let slope = (values[b] - values[a]) / (b - a) as f32;
        (a + 1..b).for_each(|i| values[i] = values[a] + slope * (i - a) as f32);
    }
    Ok((table.integers("date")?.to_i64_vec()?, values))
}

/// Pasts and the years that follow, for years that begin at these weeks.
fn windows(values: &[f32], begin: std::ops::Range<usize>) -> Result<TensorDataset> {
    let n = begin.len() as i64;
    let (mut past, mut year) = (Vec::new(), Vec::new());
    for now in begin {
        let difference = |v: &f32| (v - values[now - 1]) / SCALE as f32;
        past.extend(values[now - PAST..now].iter().map(difference));
        year.extend(values[now..now + YEAR].iter().map(difference));
    }
    TensorDataset::new(vec![
        Tensor::from_f32(&past, &[n, PAST as i64, 1], Device::CPU)?,
        Tensor::from_f32(&year, &[n, YEAR as i64], Device::CPU)?,
    ])
}

fn main() -> Result<()> {
    manual_seed(2);
    let (days, values) = read()?;
    let first_test = days.partition_point(|&day| day < FIRST_TEST_DAY);
    // A year to learn must have ended before the first day of testing.
    let train = windows(&values, PAST..first_test - YEAR)?;
    let test = windows(&values, first_test..values.len() - YEAR)?;
    println!("{} weeks; {} years to learn, {} to test", values.len(), train.len(), test.len());

    let model = Forecaster {
        gru: GRU::new(1, 48, 1)?.batch_first(true),
        head: Linear::new(48, YEAR as i64)?,
    };
    let loader = DataLoader::new(train, 64).shuffle(1);
    let steps = EPOCHS * loader.len();
    let mut optimizer = AdamW::new(&model.parameters(), 5e-3, 1e-3);
    let loss = |out: &Variable, batch: &Batch| mse_loss(out, &batch.variable(1));
    Trainer::new(&model, &mut optimizer, loss)
        .epochs(EPOCHS)
        .train(loader)
        .schedule(OneCycleLR::with_warmup_frac(5e-3, steps, 0.1))
        .clip_norm(1.0)
        .run()?;

    let tensors = test.tensors();
    let (past, year) = (&tensors[0], &tensors[1]);
    model.eval();
    let forecast = no_grad(|| model.forward(&Variable::new(past.clone(), false)))?.data();
    // The same week a year ago, and that plus what the last year added.
    let (then, year_len) = (PAST as i64 - YEAR as i64, YEAR as i64);
    let seasonal = past.narrow(1, then, year_len)?.squeeze(2)?;
    let added = seasonal.sub(&past.narrow(1, then - year_len, year_len)?.squeeze(2)?)?;
    let drift = seasonal.add(&added.mean_dim(1, true)?)?;
    for (name, guess) in [
        ("the same week a year ago", seasonal),
        ("that plus last year's growth", drift),
        ("GRU", forecast),
    ] {
        let off = guess.sub(year)?.mul_scalar(SCALE)?;
        let mean = off.abs()?.mean()?.item()?;
        println!("{name}: {mean:.3} ppm off on average");
    }
    Ok(())
}
