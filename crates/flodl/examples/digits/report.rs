//! What the example shows: progress, a confusion matrix, digits, curves.

use std::time::Instant;

use flodl::*;
use plotters::prelude::*;

use crate::data::Digits;

/// Loss and accuracies of an epoch.
pub struct Epoch {
    pub loss: f64,
    pub train_accuracy: f64,
    pub test_accuracy: f64,
}

/// Says what is about to be trained on what.
pub fn describe(model: &Graph, digits: &Digits) {
    let weights: i64 = model.parameters().iter().map(|p| p.variable.numel()).sum();
    println!(
        "{} digits to train on, {} to test on; {weights} weights; {} threads",
        digits.train_len(),
        digits.test_len(),
        num_threads()
    );
}

/// Loss and accuracy of the epoch so far, and what came before.
pub struct Progress {
    bar: flodl::Progress,
    accuracy: Accuracy,
    loss: f64,
    seen: usize,
    begun: Instant,
    start: Instant,
    history: Vec<Epoch>,
}

impl Progress {
    pub fn new(epochs: usize, samples: usize) -> Self {
        Progress {
            bar: flodl::Progress::new(epochs, samples),
            accuracy: Accuracy::new(),
            loss: 0.0,
            seen: 0,
            begun: Instant::now(),
            start: Instant::now(),
            history: Vec::with_capacity(epochs),
        }
    }

    /// Counts a training step.
    pub fn step(&mut self, loss: &Variable, logits: &Variable, y: &Variable) -> Result<()> {
        let n = y.numel() as usize;
        self.accuracy.update(&logits.data(), &y.data())?;
        self.loss += loss.item()? * n as f64;
        self.seen += n;
        let loss = self.loss / self.seen as f64;
        self.bar.step(n, &[("loss", loss), ("accuracy", self.accuracy.compute()?)]);
        Ok(())
    }

    /// Ends an epoch.
    pub fn epoch(&mut self, test_accuracy: f64) -> Result<()> {
        let loss = self.loss / self.seen.max(1) as f64;
        let epoch = Epoch { loss, train_accuracy: self.accuracy.compute()?, test_accuracy };
        self.bar.epoch(&EpochRecord {
            epoch: self.history.len(),
            duration: self.begun.elapsed(),
            metrics: vec![
                ("loss".into(), epoch.loss),
                ("train %".into(), 100.0 * epoch.train_accuracy),
                ("test %".into(), 100.0 * epoch.test_accuracy),
            ],
        });
        self.history.push(epoch);
        self.accuracy.reset();
        (self.loss, self.seen, self.begun) = (0.0, 0, Instant::now());
        Ok(())
    }

    /// Ends the training.
    pub fn finish(self) -> Vec<Epoch> {
        self.bar.finish();
        let seconds = self.start.elapsed().as_secs_f64();
        let last = self.history.last().map_or(f64::NAN, |e| e.loss);
        println!("trained in {seconds:.1} s; final loss {last:.9}");
        self.history
    }
}

/// What a model said to the test digits.
pub struct Test {
    /// Rows are digits, columns what the model said.
    confusion: ConfusionMatrix,
    /// Pixels, digit, answer, and the model's confidence in it.
    shown: Vec<(Vec<f32>, usize, usize, f64)>,
}

impl Test {
    pub fn new() -> Result<Self> {
        Ok(Test { confusion: ConfusionMatrix::new(10)?, shown: Vec::new() })
    }

    /// Counts a batch.
    pub fn add(&mut self, batch: &Batch, logits: &Variable) -> Result<()> {
        self.confusion.update(&logits.data(), batch.get(1))?;
        let said = logits.data().argmax(1, false)?.to_i64_vec()?;
        let sure = logits.data().softmax(1)?.max_dim(1, false)?.to_f64_vec()?;
        for (i, (&label, &said)) in batch.get(1).to_i64_vec()?.iter().zip(&said).enumerate() {
            let (label, said) = (label as usize, said as usize);
            // Two that are right, and the first mistakes.
            let right = self.shown.iter().filter(|s| s.1 == s.2).count();
            let wanted = if label == said { right < 2 } else { self.shown.len() - right < 3 };
            if wanted {
                let pixels = batch.get(0).select(0, i as i64)?.to_f32_vec()?;
                self.shown.push((pixels, label, said, sure[i]));
            }
        }
        Ok(())
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> Result<f64> {
        self.confusion.accuracy()
    }

    /// Accuracy, confusion matrix, and some digits.
    pub fn print(&self) -> Result<()> {
        let (accuracy, all) = (100.0 * self.accuracy()?, self.confusion.total());
        println!("\ntest accuracy {accuracy:.4} % on {all} digits\n");
        println!("confusion matrix (rows: the digit, columns: what the model said)");
        println!("{}", self.confusion);
        println!();
        let title = |s: &(Vec<f32>, usize, usize, f64)| {
            let mark = if s.1 == s.2 { "right" } else { "WRONG" };
            format!("{:<25}", format!("{} said {} ({:.0} %) {mark}", s.1, s.2, 100.0 * s.3))
        };
        println!("{}", self.shown.iter().map(title).collect::<String>());
        for y in (2..26).step_by(2) {
            let line = |s: &(Vec<f32>, usize, usize, f64)| -> String {
                let shade = |x: usize| {
                    let ink = (s.0[y * 28 + x] + s.0[(y + 1) * 28 + x]) / 2.0;
                    // Normalised pixels run from -0.42 to 2.82.
                    let level = ((ink + 0.42) / 3.24 * 9.0).round().clamp(0.0, 9.0);
                    b" .:-=+*#%@"[level as usize] as char
                };
                (3..25).map(shade).chain("   ".chars()).collect()
            };
            println!("{}", self.shown.iter().map(line).collect::<String>());
        }
        Ok(())
    }
}

/// Makes the folder for the results and tries that a file can be written there, so that a training
/// is never lost to a folder that cannot take its weights.
pub fn prepare(dir: &str) -> Result<()> {
    let probe = format!("{dir}/.writable.{}", std::process::id());
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|source| Error::Io { path: dir.to_owned(), source })
}

/// Writes the weights, a picture of the model and one of the curves.
pub fn save(model: &Graph, history: &[Epoch], dir: &str) -> Result<()> {
    let (weights, picture) = (format!("{dir}/model.safetensors"), format!("{dir}/curves.svg"));
    let drawing = format!("{dir}/model.svg");
    model.save_checkpoint(&weights)?;
    model.svg(Some(&drawing))?;
    let svg = curves(history).map_err(|e| Error::new(&format!("drawing {picture}: {e}")))?;
    write_atomic(&picture, svg.as_bytes())?;
    println!("\nweights: {weights}\nmodel:   {drawing}\ncurves:  {picture}");
    println!("test them again: cargo run --release --example digits -- --load {weights}");
    Ok(())
}

/// Name, colour and points of a curve.
type Line<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

const BLUISH: RGBColor = RGBColor(37, 99, 235);
const REDDISH: RGBColor = RGBColor(220, 38, 38);

/// Loss on the left, accuracies on the right.
fn curves(history: &[Epoch]) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, 380)).into_drawing_area();
        root.fill(&WHITE)?;
        let (left, right) = root.split_horizontally(450);
        let series = |f: fn(&Epoch) -> f64| -> Vec<(f64, f64)> {
            history.iter().enumerate().map(|(i, e)| ((i + 1) as f64, f(e))).collect()
        };
        let draw = |area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
                    title: &str,
                    y: std::ops::Range<f64>,
                    lines: &[Line]|
         -> std::result::Result<(), Box<dyn std::error::Error>> {
            let mut chart = ChartBuilder::on(area)
                .caption(title, ("sans-serif", 20))
                .margin(14)
                .x_label_area_size(34)
                .y_label_area_size(48)
                .build_cartesian_2d(1.0..(history.len() as f64).max(2.0), y)?;
            chart
                .configure_mesh()
                .x_desc("epoch")
                .x_label_formatter(&|x| format!("{x:.0}"))
                .light_line_style(TRANSPARENT)
                .bold_line_style(BLACK.mix(0.12))
                .axis_style(BLACK.mix(0.5))
                .x_labels(history.len().clamp(2, 10))
                .y_labels(8)
                .draw()?;
            for (name, color, points) in lines {
                let style = color.filled().stroke_width(2);
                chart
                    .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
                    .label(*name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
            chart
                .configure_series_labels()
                .background_style(WHITE)
                .border_style(BLACK.mix(0.2))
                .position(SeriesLabelPosition::MiddleRight)
                .draw()?;
            Ok(())
        };
        let top = history.iter().map(|e| e.loss).fold(0.1, f64::max) * 1.05;
        let loss = [("training loss", BLUISH, series(|e| e.loss))];
        draw(&left, "Cross-entropy", 0.0..top, &loss)?;
        let worst = |e: &Epoch| e.train_accuracy.min(e.test_accuracy);
        let floor = history.iter().map(worst).fold(1.0, f64::min).mul_add(100.0, -1.0).floor();
        let accuracy = [
            ("training (with dropout)", BLUISH, series(|e| 100.0 * e.train_accuracy)),
            ("test", REDDISH, series(|e| 100.0 * e.test_accuracy)),
        ];
        draw(&right, "Accuracy, %", floor.max(0.0)..100.0, &accuracy)?;
        root.present()?;
    }
    Ok(svg)
}
