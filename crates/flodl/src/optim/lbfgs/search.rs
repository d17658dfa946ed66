//! A length along a direction that fulfils the strong Wolfe conditions (Nocedal and Wright, 2006,
//! chapter 3.5), with PyTorch's constants.

use crate::{Result, Tensor};

/// The loss at a length along the direction.
#[derive(Clone)]
pub(super) struct Point {
    pub length: f64,
    pub loss: f64,
    /// The derivative along the direction.
    pub slope: f64,
    pub gradient: Tensor,
}

/// Where the cubic through two points with their slopes has its minimum, within bounds.
fn cubic(a: &Point, b: &Point, (low, high): (f64, f64)) -> f64 {
    let d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.length - b.length);
    let square = d1 * d1 - a.slope * b.slope;
    if square.is_nan() || square < 0.0 {
        return (low + high) / 2.0;
    }
    let (a, b) = if a.length <= b.length { (a, b) } else { (b, a) };
    let d2 = square.sqrt();
    let share = (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
    (b.length - (b.length - a.length) * share).max(low).min(high)
}

fn ordered(a: f64, b: f64) -> (f64, f64) {
    if a <= b { (a, b) } else { (b, a) }
}

/// The point that was found, and how often the loss was evaluated. `reach` is the direction's
/// largest element, `least` the smallest bracket.
pub(super) fn strong_wolfe(
    at: &mut dyn FnMut(f64) -> Result<Point>,
    start: Point,
    length: f64,
    reach: f64,
    least: f64,
    most: usize,
) -> Result<(Point, usize)> {
    const DECREASE: f64 = 1e-4;
    const CURVATURE: f64 = 0.9;
    let too_high = |p: &Point| p.loss > start.loss + DECREASE * p.length * start.slope;
    let flat = |p: &Point| p.slope.abs() <= -CURVATURE * start.slope;
    let mut now = at(length)?;
    let (mut calls, mut tries) = (1, 0);
    let mut before = start.clone();
    // Two points with a good one between them.
    let mut bracket = loop {
        if tries == most {
            break [start.clone(), now];
        }
        if too_high(&now) || (tries > 1 && now.loss >= before.loss) {
            break [before, now];
        }
        if flat(&now) {
            return Ok((now, calls));
        }
        if now.slope >= 0.0 {
            break [before, now];
        }
        let bounds = (now.length + 0.01 * (now.length - before.length), now.length * 10.0);
        let next = at(cubic(&before, &now, bounds))?;
        before = std::mem::replace(&mut now, next);
        calls += 1;
        tries += 1;
    };
    let mut low = usize::from(bracket[0].loss > bracket[1].loss);
    let mut stuck = false;
    while tries < most {
        let (from, to) = ordered(bracket[0].length, bracket[1].length);
        if (to - from) * reach < least {
            break;
        }
        let mut length = cubic(&bracket[0], &bracket[1], (from, to));
        let edge = 0.1 * (to - from);
        // Near an end: once is allowed, then the length moves a tenth inwards.
        if (to - length).min(length - from) < edge {
            if stuck || length >= to || length <= from {
                length = if (length - to).abs() < (length - from).abs() {
                    to - edge
                } else {
                    from + edge
                };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let new = at(length)?;
        calls += 1;
        tries += 1;
        let high = 1 - low;
        if too_high(&new) || new.loss >= bracket[low].loss {
            bracket[high] = new;
            low = usize::from(bracket[0].loss > bracket[1].loss);
        } else {
            let done = flat(&new);
            if !done && new.slope * (bracket[high].length - bracket[low].length) >= 0.0 {
                bracket[high] = bracket[low].clone();
            }
            bracket[low] = new;
            if done {
                break;
            }
        }
    }
    let [first, second] = bracket;
    Ok((if low == 0 { first } else { second }, calls))
}
